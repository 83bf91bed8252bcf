//! Clients that others wrote, unchanged, against the running daemon and real containers: what they
//! check is in `tests/clients/`.

use std::path::{Path, PathBuf};
use std::process::Command;

use rstest::rstest;
use tests::{BCRYPT_OF_SECRET_WORD, Content, Daemon, NODE, rootfs};

use crate::{BUSYBOX, SMALL, SUBVOL, UNPRIVILEGED};

const PASSWORD: &[&str] = &["--user", "joe@pve", "--password", "secret-word"];
const TOKEN: &[&str] = &["--token", ROOT_TOKEN];
const ROOT_TOKEN: &str = "root@pam!test=11111111-2222-3333-4444-777777777777";
const TEMPLATE: &str = "local:vztmpl/busybox.tar.gz";

/// What a system's own init does, as far as the clients can tell: it ends when it is told to.
const INIT: &str = "#!/bin/sh\ntrap 'exit 0' PWR TERM\nwhile :; do sleep 1000 & wait $!; done\n";

/// Two storages, a user with a password and root's token.
fn world() -> Daemon {
    tests::require_machine();
    let storage = |name: &str, content: &str| {
        format!("dir: {name}\n\tpath /var/lib/{name}\n\tcontent {content}\n\n")
    };
    let storages = storage("vz", "iso,vztmpl,backup,snippets,rootdir,images")
        .replacen("vz", "local", 1)
        + &storage("second", "rootdir,images");
    let daemon = Daemon::builder()
        .file("etc/pve/storage.cfg", &storages)
        .file(
            "etc/pve/user.cfg",
            "user:root@pam:1:0:::::\ntoken:root@pam!test:0:0::\nuser:joe@pve:1:0:::::\n\n\n\n\n\
             acl:1:/:joe@pve:Administrator:\n",
        )
        .file("etc/pve/priv/shadow.cfg", &format!("joe:{BCRYPT_OF_SECRET_WORD}:\n"))
        .file("etc/pve/priv/token.cfg", &ROOT_TOKEN.replacen('=', " ", 1))
        .file("etc/proxmox-lxcri/config.toml", crate::CRUN)
        .token(ROOT_TOKEN)
        .start();
    rootfs(&daemon.templates(), BUSYBOX, &Content::default().file("sbin/init", 0o755, INIT));
    daemon
}

/// A file that scripts/deps.sh installs.
fn venv(name: &str) -> PathBuf {
    let path = here("../.cache/venv/bin").join(name);
    assert!(path.exists(), "{} is missing; scripts/deps.sh test installs it", path.display());
    path
}

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Runs a program of the virtual environment, for so many seconds at most, and shows what it said
/// if it failed.
#[track_caller]
fn run(program: &str, seconds: u32, arguments: &[&str]) -> String {
    let home = tempfile::tempdir().unwrap();
    let out = Command::new("timeout")
        .args(["--kill-after=10", &seconds.to_string()])
        .arg(venv(program))
        .args(arguments)
        .env("HOME", home.path())
        .env("LC_ALL", "C.UTF-8")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("ANSIBLE_NOCOLOR", "1")
        .env("ANSIBLE_PIPELINING", "1")
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{program} {arguments:?}: {}\n{said}", out.status);
    said
}

/// A life from create to destroy through `proxmoxer`.
#[rstest]
#[case::with_a_password(PASSWORD)]
#[case::with_a_token(TOKEN)]
fn proxmoxer(#[case] who: &[&str]) {
    let mut daemon = world();
    daemon.relaunch(true);
    let port = daemon.address().port().to_string();
    let options = ["--ostemplate", TEMPLATE, "--storage", "local", "--storage2", "second"];
    let said = python(
        "proxmoxer_lifecycle.py",
        240,
        &[&["--port", &port, "--vmid", "9100"], &options[..], who].concat(),
    );
    assert!(said.contains(" 0 failed"), "{said}");
}

/// What `prometheus-pve-exporter` reads of a container that runs.
#[rstest]
#[case::with_a_password(PASSWORD)]
#[case::with_a_token(TOKEN)]
fn prometheus_exporter(#[case] who: &[&str]) {
    let mut daemon = world();
    let guest = daemon.create(9300, BUSYBOX, &[SUBVOL, SMALL, UNPRIVILEGED]);
    guest.start();
    daemon.relaunch(true);
    let port = daemon.address().port().to_string();
    let said =
        python("pve_exporter_check.py", 120, &[&["--port", &port, "--vmid", "9300"], who].concat());
    assert!(said.contains(" 0 failed"), "{said}");
    daemon.relaunch(false);
    daemon.guest(9300).stop();
}

/// A life from create to destroy through Ansible's collection `community.proxmox`.
#[test]
fn ansible() {
    let mut daemon = world();
    daemon.relaunch(true);
    let settings = format!(
        "api_host=127.0.0.1 api_port={} api_user=joe@pve api_password=secret-word node={NODE} \
         ostemplate={TEMPLATE} storage=local vmid=9200",
        daemon.address().port()
    );
    let play = here("clients/ansible_lifecycle.yml");
    let options = ["-i", "localhost,", "-e", &settings, play.to_str().unwrap()];
    let said = run("ansible-playbook", 600, &options);
    assert!(said.contains("failed=0"), "{said}");
}

#[track_caller]
fn python(script: &str, seconds: u32, arguments: &[&str]) -> String {
    let script = here("clients").join(script);
    let common = [script.to_str().unwrap(), "--host", "127.0.0.1", "--node", NODE];
    run("python", seconds, &[&common[..], arguments].concat())
}
