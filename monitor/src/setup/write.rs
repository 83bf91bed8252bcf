//! The child: the plan is its standard input, the rootfs its `/`.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use pve_integration::setup::{
    Where, home_of, hosts_section, resolv_conf, with_password, with_section,
};

use super::tree::Tree;
use super::{Plan, Timezone};
use crate::error::{During, Result};
use crate::guest::warn;
use crate::unpack::enter;

const PASSWD: &str = "/etc/passwd";
const SHADOW: &str = "/etc/shadow";
/// For an account that nobody logs in to by password.
const LOCKED: &str = "*";

pub(crate) fn setup_here(rootfs: &Path, shifted: bool) -> Result<()> {
    let plan: Plan = serde_json::from_reader(io::stdin().lock())
        .map_err(io::Error::from)
        .during("cannot read what the new rootfs is to get")?;
    let tree = Tree::new(enter(rootfs, shifted)?);
    apply(&tree, &plan)
}

fn apply(tree: &Tree, plan: &Plan) -> Result<()> {
    clear_machine_id(tree).during("cannot clear the machine id")?;
    let hash = plan.secrets.password_hash.as_deref();
    set_password(tree, hash.unwrap_or(LOCKED)).during("cannot set root's password")?;
    if let Some(keys) = &plan.secrets.ssh_public_keys {
        authorize(tree, keys).during("cannot set root's SSH keys")?;
    }
    set_hostname(tree, plan).during("cannot set the host name")?;
    if tree.is_folder("/etc") {
        let data = resolv_conf(&plan.search, &plan.servers);
        edit(tree, "/etc/resolv.conf", &data, Where::Replace, None)
            .during("cannot write /etc/resolv.conf")?;
    }
    if let Some(zone) = &plan.timezone {
        set_timezone(tree, zone).during("cannot set the time zone")?;
    }
    for key in &plan.host_keys {
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
    edit(tree, &format!("{folder}/authorized_keys"), keys, Where::Append, Some(0o600))
}

fn set_hostname(tree: &Tree, plan: &Plan) -> io::Result<()> {
    if !tree.is_folder("/etc") {
        return Ok(());
    }
    let hosts = "/etc/hosts";
    let old = tree.read_text(hosts)?;
    let section =
        hosts_section(old.as_deref(), plan.address.as_deref(), &plan.hostname, &plan.search);
    edit(tree, hosts, &section, Where::Append, None)?;
    let short = plan.hostname.split('.').next().unwrap_or_default();
    tree.write("/etc/hostname", format!("{short}\n").as_bytes(), Some(0o644))
}

fn edit(tree: &Tree, path: &str, data: &str, place: Where, mode: Option<u32>) -> io::Result<()> {
    let old = tree.read_text(path)?;
    match with_section(old.as_deref(), data, place) {
        Some(new) => tree.write(path, new.as_bytes(), mode),
        None => Ok(()),
    }
}

fn set_timezone(tree: &Tree, zone: &Timezone) -> io::Result<()> {
    if !tree.is_file(&zone.file) {
        let file = &zone.file;
        warn("timezone", &format!("container does not have {file}, timezone can not be modified"));
        return Ok(());
    }
    tree.link(&zone.file, "/etc/localtime")?;
    if tree.is_file("/etc/timezone") {
        tree.write("/etc/timezone", format!("{}\n", zone.name).as_bytes(), None)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use pve_integration::setup::Secrets;
    use rustix::fs::{CWD, Mode, OFlags, openat};

    use super::*;

    fn set_up(files: &[(&str, &str)], plan: &Plan) -> (tempfile::TempDir, Result<()>) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        let root =
            openat(CWD, dir.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let done = apply(&Tree::new(root), plan);
        (dir, done)
    }

    #[test]
    fn a_distribution_gets_all_of_it() {
        let secrets = Secrets {
            password_hash: Some("$6$salt$hash".to_owned()),
            ssh_public_keys: Some("ssh-ed25519 AAAA me".to_owned()),
        };
        let zone = Timezone { file: "/usr/share/zoneinfo/UTC".to_owned(), name: "UTC".to_owned() };
        let plan = Plan {
            secrets,
            hostname: "web.lan".to_owned(),
            servers: vec!["1.1.1.1".to_owned()],
            timezone: Some(zone),
            ..Plan::default()
        };
        let files = [
            ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
            ("etc/shadow", "root:*:1:0:99999:7:::\n"),
            ("etc/machine-id", "abc\n"),
            ("etc/timezone", "Etc/X\n"),
            ("usr/share/zoneinfo/UTC", ""),
            ("root/.profile", ""),
        ];

        let (dir, done) = set_up(&files, &plan);

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
        let (dir, done) = set_up(&files, &Plan { hostname: "a".to_owned(), ..Plan::default() });
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

        let plan = Plan { secrets, ..Plan::default() };
        let err = apply(&Tree::new(root), &plan).unwrap_err();

        assert_eq!(err.to_string(), "cannot set root's SSH keys");
        assert_eq!(fs_err::read_dir(outside.path()).unwrap().count(), 0);
    }
}
