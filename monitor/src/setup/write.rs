//! The child: its orders are its standard input, the rootfs its `/`.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use pve_integration::setup::{
    Look, Plan, Step, Where, after_create, after_net_change, before_start, home_of, with_password,
    with_section,
};

use super::tree::Tree;
use super::{Moment, New, Orders, systemd};
use crate::confined::enter;
use crate::error::{During, Result};
use crate::guest::warn;

const PASSWD: &str = "/etc/passwd";
const SHADOW: &str = "/etc/shadow";
/// For an account that nobody logs in to by password.
const LOCKED: &str = "*";

pub(crate) fn setup_here(rootfs: &Path, shifted: bool) -> Result<()> {
    let orders: Orders = serde_json::from_reader(io::stdin().lock())
        .map_err(io::Error::from)
        .during("cannot read what the rootfs is to get")?;
    let tree = Tree::new(enter(rootfs, shifted)?);
    apply(&tree, &orders)
}

fn apply(tree: &Tree, orders: &Orders) -> Result<()> {
    let settings = &orders.settings;
    match &orders.moment {
        Moment::New(new) => {
            furnish(tree, new)?;
            carry_out(tree, &after_create(settings, tree));
        }
        Moment::Start => carry_out(tree, &before_start(settings, tree)),
        Moment::NetChange => {
            carry_out(tree, &after_net_change(settings, tree));
            return Ok(());
        }
    }
    if !settings.nesting
        && let Some(advice) = systemd::nesting_advice(tree)
    {
        warn("features", &advice);
    }
    Ok(())
}

/// A file that cannot be written, say on a full disk, is no reason not to start: it is named.
fn carry_out(tree: &Tree, plan: &Plan) {
    for warning in &plan.warnings {
        warn("ostype", warning);
    }
    for step in &plan.steps {
        if let Err(err) = take(tree, step) {
            warn("ostype", &format!("cannot write '{}': {err}", step.path()));
        }
    }
}

fn take(tree: &Tree, step: &Step) -> io::Result<()> {
    match step {
        Step::Write { path, text, mode } => tree.write(path, text.as_bytes(), *mode),
        Step::Link { path, target } => tree.link(target, path),
        Step::Remove { path } => tree.remove(path),
        Step::Folder { path } => tree.make_folders(path, 0o755),
    }
}

impl Look for Tree {
    fn read(&self, path: &str) -> io::Result<Option<String>> {
        self.read_text(path)
    }

    fn is_folder(&self, path: &str) -> bool {
        Self::is_folder(self, path)
    }

    fn is_program(&self, path: &str) -> bool {
        Self::is_program(self, path)
    }

    fn exists(&self, path: &str) -> bool {
        Self::exists(self, path)
    }

    fn read_link(&self, path: &str) -> Option<String> {
        Self::read_link(self, path)
    }
}

/// What only a new one gets.
fn furnish(tree: &Tree, new: &New) -> Result<()> {
    clear_machine_id(tree).during("cannot clear the machine id")?;
    let hash = new.secrets.password_hash.as_deref();
    set_password(tree, hash.unwrap_or(LOCKED)).during("cannot set root's password")?;
    if let Some(keys) = &new.secrets.ssh_public_keys {
        authorize(tree, keys).during("cannot set root's SSH keys")?;
    }
    for key in &new.host_keys {
        let path = format!("/etc/ssh/{}", key.name);
        tree.write(&path, key.private.as_bytes(), Some(0o600))
            .and_then(|()| tree.write(&format!("{path}.pub"), key.public.as_bytes(), Some(0o644)))
            .during("cannot write an SSH host key")?;
    }
    Ok(())
}

/// systemd makes a new one at the first start of a machine that has none.
fn clear_machine_id(tree: &Tree) -> io::Result<()> {
    let systemd = ["/lib/systemd/systemd", "/usr/lib/systemd/systemd"];
    let dbus = "/var/lib/dbus/machine-id";
    if systemd.iter().any(|path| tree.is_file(path)) && tree.is_file(dbus) && !tree.is_link(dbus) {
        tree.remove(dbus)?;
    }
    if tree.is_file("/etc/machine-id") {
        tree.remove("/etc/machine-id")?;
    }
    Ok(())
}

fn set_password(tree: &Tree, hash: &str) -> io::Result<()> {
    let Some(passwd) = tree.read(PASSWD)? else {
        if hash != LOCKED {
            warn("password", "not set: the container has no /etc/passwd");
        }
        return Ok(());
    };
    match tree.read(SHADOW)? {
        Some(shadow) => {
            tree.write(SHADOW, &with_password(&shadow, "root", hash, Some(days())), None)?;
            tree.write(PASSWD, &with_password(&passwd, "root", "x", None), None)
        }
        None => tree.write(PASSWD, &with_password(&passwd, "root", hash, None), None),
    }
}

fn days() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() / 86_400)
}

fn authorize(tree: &Tree, keys: &str) -> io::Result<()> {
    let home = tree.read(PASSWD)?.and_then(|passwd| home_of(&passwd, "root"));
    let home = home.unwrap_or_else(|| "/root".to_owned());
    let home = home.trim_end_matches('/');
    if !tree.is_folder(home) {
        let text = format!("home directory '{home}' of root does not exist!");
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    let folder = format!("{home}/.ssh");
    if !tree.is_folder(&folder) {
        tree.make_folder(&folder, 0o700)?;
    }
    // sshd refuses a file that others may write; PVE's 0700 is no better than this.
    let path = format!("{folder}/authorized_keys");
    let old = tree.read_text(&path)?;
    match with_section(old.as_deref(), keys, Where::Append) {
        Some(new) => tree.write(&path, new.as_bytes(), Some(0o600)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use pve_integration::setup::{Secrets, Settings, Timezone};
    use rustix::fs::{CWD, Mode, OFlags, openat};

    use super::*;

    fn set_up(files: &[(&str, &str)], orders: &Orders) -> (tempfile::TempDir, Result<()>) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        let root =
            openat(CWD, dir.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let done = apply(&Tree::new(root), orders);
        (dir, done)
    }

    #[test]
    fn a_distribution_gets_all_of_it() {
        let secrets = Secrets {
            password_hash: Some("$6$salt$hash".to_owned()),
            ssh_public_keys: Some("ssh-ed25519 AAAA me".to_owned()),
        };
        let zone = Timezone { file: "/usr/share/zoneinfo/UTC".to_owned(), name: "UTC".to_owned() };
        let settings = Settings {
            ostype: Some("debian".to_owned()),
            hostname: "web.lan".to_owned(),
            servers: vec!["1.1.1.1".to_owned()],
            names: true,
            timezone: Some(zone),
            ..Settings::default()
        };
        let new = New { secrets, ..New::default() };
        let files = [
            ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
            ("etc/shadow", "root:*:1:0:99999:7:::\n"),
            ("etc/machine-id", "abc\n"),
            ("etc/timezone", "Etc/X\n"),
            ("usr/share/zoneinfo/UTC", ""),
            ("root/.profile", ""),
        ];

        let (dir, done) = set_up(&files, &Orders { settings, moment: Moment::New(new) });

        done.unwrap();
        let read = |path: &str| fs_err::read_to_string(dir.path().join(path)).unwrap();
        assert!(read("etc/shadow").starts_with("root:$6$salt$hash:"), "{}", read("etc/shadow"));
        assert_eq!(read("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n");
        assert!(read("root/.ssh/authorized_keys").contains("\nssh-ed25519 AAAA me\n"));
        let mode = |path: &str| {
            fs_err::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o7777
        };
        assert_eq!((mode("root/.ssh"), mode("root/.ssh/authorized_keys")), (0o700, 0o600));
        assert_eq!(
            (read("etc/hostname").as_str(), read("etc/timezone").as_str()),
            ("web\n", "UTC\n")
        );
        assert!(read("etc/hosts").contains("127.0.1.1 web.lan web\n"));
        assert!(read("etc/resolv.conf").contains("nameserver 1.1.1.1\n"));
        assert!(!dir.path().join("etc/machine-id").exists());
        assert!(fs_err::read_link(dir.path().join("etc/localtime")).is_ok());
    }

    #[test]
    fn without_a_password_nobody_logs_in_by_one() {
        let files = [("etc/passwd", "root::0:0:root:/root:/bin/sh\n")];
        let (dir, done) =
            set_up(&files, &Orders { moment: Moment::New(New::default()), ..Orders::default() });
        done.unwrap();
        let passwd = fs_err::read_to_string(dir.path().join("etc/passwd")).unwrap();
        assert_eq!(passwd, "root:*:0:0:root:/root:/bin/sh\n");
    }

    #[test]
    fn keys_do_not_follow_a_home_that_leads_out() {
        let outside = tempfile::tempdir().unwrap();
        let secrets = Secrets { ssh_public_keys: Some("key".to_owned()), ..Secrets::default() };
        let dir = tempfile::tempdir().unwrap();
        symlink(outside.path(), dir.path().join("root")).unwrap();
        let root =
            openat(CWD, dir.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();

        let new = New { secrets, ..New::default() };
        let err =
            apply(&Tree::new(root), &Orders { moment: Moment::New(new), ..Orders::default() })
                .unwrap_err();

        assert_eq!(err.to_string(), "cannot set root's SSH keys");
        assert_eq!(fs_err::read_dir(outside.path()).unwrap().count(), 0);
    }

    /// A root that wants to be taken for the host's: every folder and file that is written leads out.
    #[test]
    fn nothing_outside_changes_whatever_the_links_say() {
        let outside = tempfile::tempdir().unwrap();
        for folder in ["network", "systemd/system", "folder"] {
            fs_err::create_dir_all(outside.path().join(folder)).unwrap();
        }
        for file in ["hosts", "hostname", "resolv.conf", "inittab", "network/interfaces"] {
            fs_err::write(outside.path().join(file), "the host's\n").unwrap();
        }
        let listed = || {
            let output =
                std::process::Command::new("find").arg(outside.path()).args(["-ls"]).output();
            String::from_utf8(output.unwrap().stdout).unwrap()
        };
        let before = listed();
        let out = |path: &str| outside.path().join(path);
        let links: &[&[(&str, &str)]] = &[
            &[("etc", "")],
            &[("etc/network", "network"), ("etc/systemd", "systemd"), ("fastboot", "hosts")],
            &[
                ("etc/hosts", "hosts"),
                ("etc/hostname", "hostname"),
                ("etc/resolv.conf", "resolv.conf"),
                ("etc/inittab", "inittab"),
                ("etc/network/interfaces", "network/interfaces"),
                ("etc/.hosts.new", "hosts"),
            ],
        ];
        for links in links {
            let dir = tempfile::tempdir().unwrap();
            fs_err::create_dir_all(dir.path().join("usr/lib")).unwrap();
            fs_err::write(dir.path().join("usr/lib/os-release"), "ID=alpine\n").unwrap();
            for (path, target) in *links {
                let path = dir.path().join(path);
                fs_err::create_dir_all(path.parent().unwrap()).unwrap();
                symlink(out(target), path).unwrap();
            }
            let root =
                openat(CWD, dir.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
            let net = "net0: name=eth0,ip=10.0.0.5/24\nhostname: web\nnameserver: 1.1.1.1\n";
            let config = pve_integration::ct_config::ContainerConfig::parse(net.as_bytes());
            let vmid = "100".parse().unwrap();
            let host = pve_integration::setup::HostResolver::default();
            let settings = Settings::of(&config, vmid, host).unwrap();

            apply(&Tree::new(root), &Orders { settings, moment: Moment::Start }).unwrap();

            assert_eq!(listed(), before, "{links:?}");
        }
    }

    #[test]
    fn odd_files_are_named_and_the_rest_is_written() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::create_dir_all(dir.path().join("etc/network")).unwrap();
        fs_err::write(dir.path().join("etc/alpine-release"), "3.20.0\n").unwrap();
        // No text, a pipe that nobody writes into, and more than anybody edits.
        fs_err::write(dir.path().join("etc/network/interfaces"), b"\xff\xfe").unwrap();
        rustix::fs::mkfifoat(CWD, dir.path().join("etc/hosts"), Mode::RUSR | Mode::WUSR).unwrap();
        fs_err::write(dir.path().join("etc/inittab"), vec![b'x'; 5 << 20]).unwrap();
        let root =
            openat(CWD, dir.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let settings = Settings { hostname: "web".to_owned(), names: true, ..Settings::default() };

        apply(&Tree::new(root), &Orders { settings, moment: Moment::Start }).unwrap();

        assert_eq!(fs_err::read_to_string(dir.path().join("etc/hostname")).unwrap(), "web\n");
        assert!(dir.path().join("fastboot").exists());
        let kept = fs_err::read(dir.path().join("etc/network/interfaces")).unwrap();
        assert_eq!(kept, b"\xff\xfe");
    }

    #[test]
    fn leaves_what_an_administrator_said_to_leave() {
        let (dir, done) = set_up(
            &[
                ("etc/debian_version", "13.0\n"),
                ("etc/hosts", "mine\n"),
                ("etc/.pve-ignore.hosts", ""),
                ("etc/.pve-ignore.resolv.conf", ""),
            ],
            &Orders {
                settings: Settings {
                    hostname: "web".to_owned(),
                    servers: vec!["1.1.1.1".to_owned()],
                    names: true,
                    ..Settings::default()
                },
                moment: Moment::Start,
            },
        );
        done.unwrap();
        assert_eq!(fs_err::read_to_string(dir.path().join("etc/hosts")).unwrap(), "mine\n");
        assert!(!dir.path().join("etc/resolv.conf").exists());
        assert_eq!(fs_err::read_to_string(dir.path().join("etc/hostname")).unwrap(), "web\n");
    }
}
