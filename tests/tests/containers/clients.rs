//! Clients that others wrote, unchanged, against the running daemon.

use std::path::Path;
use std::process::Command;

use rstest::rstest;
use tests::{Content, Daemon, rootfs};

use crate::BUSYBOX;

/// `proxmoxer` from PyPI: log in, create, start, read, stop, delete.
#[rstest]
#[case::with_a_ticket("ticket")]
#[case::with_a_token("token")]
fn proxmoxer(#[case] how: &str) {
    tests::require_machine();
    // bcrypt of "secret-word", as PVE's own realm stores it.
    let daemon = Daemon::builder()
        .file("etc/pve/user.cfg", "user:root@pam:1:0:::::\ntoken:root@pam!test:0:0::\nuser:joe@pve:1:0:::::\n\n\n\n\nacl:1:/:joe@pve:Administrator:\n")
        .file("etc/pve/priv/shadow.cfg", &format!("joe:{}:\n", tests::BCRYPT_OF_SECRET_WORD))
        .file("etc/pve/priv/token.cfg", "root@pam!test 11111111-2222-3333-4444-777777777777\n")
        .token("root@pam!test=11111111-2222-3333-4444-777777777777")
        .tls()
        .start();
    rootfs(&daemon.templates(), BUSYBOX, &Content::default());

    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = here.join("../.cache/venv/bin/python");
    assert!(python.exists(), "no {}; scripts/deps.sh test installs proxmoxer", python.display());
    let out = Command::new(python)
        .arg("-B")
        .arg(here.join("clients/proxmoxer_basic.py"))
        .args([how, &daemon.address().port().to_string(), daemon.token()])
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    assert!(said.contains("proxmoxer: all done"), "{said}");
}
