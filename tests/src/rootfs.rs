//! A root filesystem of one static binary, packed as a template. Its tools are the machine's own, so
//! that what we unpack was not packed by us.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What containers call in the tests.
pub const APPLETS: &[&str] = &[
    "cat", "chmod", "chown", "date", "dd", "df", "echo", "env", "false", "grep", "head",
    "hostname", "id", "kill", "ls", "mkdir", "mknod", "mount", "ps", "rm", "sed", "seq", "sh",
    "sleep", "stat", "sync", "tail", "test", "touch", "tr", "true", "umount", "uname", "wc",
];

/// Files beside busybox: path to content and mode.
#[derive(Default)]
pub struct Content(BTreeMap<String, (Vec<u8>, u32)>);

impl Content {
    pub fn file(mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) -> Self {
        self.0.insert(path.to_owned(), (content.into(), mode));
        self
    }
}

/// Write `name`, say `busybox.tar.gz`, into `folder`. The ending picks the compression.
pub fn rootfs(folder: &Path, name: &str, content: &Content) -> PathBuf {
    let staging = tempfile::tempdir().unwrap();
    let root = staging.path().join("root");
    for (path, mode) in [
        ("bin", 0o755),
        ("dev", 0o755),
        ("etc", 0o755),
        ("proc", 0o555),
        ("root", 0o700),
        ("run", 0o755),
        ("sbin", 0o755),
        ("sys", 0o555),
        ("tmp", 0o1777),
    ] {
        fs_err::create_dir_all(root.join(path)).unwrap();
        fs_err::set_permissions(root.join(path), PermissionsExt::from_mode(mode)).unwrap();
    }
    fs_err::copy(busybox(), root.join("bin/busybox")).unwrap();
    for applet in APPLETS {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    fs_err::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
    fs_err::write(root.join("etc/group"), "root:x:0:\n").unwrap();
    for (path, (bytes, mode)) in &content.0 {
        let path = root.join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, bytes).unwrap();
        fs_err::set_permissions(&path, PermissionsExt::from_mode(*mode)).unwrap();
    }

    fs_err::create_dir_all(folder).unwrap();
    let archive = folder.join(name);
    let status = Command::new("tar")
        .args(["--owner=0", "--group=0", "--numeric-owner", "--auto-compress", "-cf"])
        .arg(&archive)
        .arg("-C")
        .arg(&root)
        .arg(".")
        .status()
        .unwrap();
    assert!(status.success(), "tar cannot pack {name}");
    archive
}

fn busybox() -> &'static str {
    ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .expect("busybox-static is installed; scripts/deps.sh test does it")
}
