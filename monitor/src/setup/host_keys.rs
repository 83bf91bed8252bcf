//! The keys of a container's SSH server. A template's own would be shared by all made from it, so
//! each gets new ones, made on the host: in the container there may be no entropy and no program.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::process::Command;

use fs_err as fs;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use serde::{Deserialize, Serialize};

use crate::error::{During, Result};
use crate::guest::{Guest, warn};

const KINDS: &[&str] = &["rsa", "ecdsa", "ed25519"];

#[derive(Serialize, Deserialize)]
pub(super) struct HostKey {
    /// Below `/etc/ssh`.
    pub(super) name: String,
    pub(super) private: String,
    pub(super) public: String,
}

/// None for a container without `/etc/ssh`.
pub(super) fn make(guest: &Guest, rootfs: &Path, hostname: &str) -> Result<Vec<HostKey>> {
    if !has_server(rootfs) {
        return Ok(Vec::new());
    }
    let run = guest.root.guest_run(guest.vmid);
    fs::create_dir_all(&run)?;
    let folder = run.join("host-keys");
    tolerate_missing(fs::remove_dir_all(&folder))?; // of an earlier one that was killed
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&folder)
        .during("cannot make a folder for SSH host keys")?;
    let made = KINDS.iter().map(|kind| generate(&folder, kind, hostname)).collect();
    fs::remove_dir_all(&folder)?;
    match made {
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            warn("ssh", "no host keys made: the program 'ssh-keygen' is not installed");
            Ok(Vec::new())
        }
        made => made.during("cannot make SSH host keys"),
    }
}

fn has_server(rootfs: &Path) -> bool {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(root) = openat(CWD, rootfs, flags, Mode::empty()) else { return false };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    openat2(root, "etc/ssh", flags, Mode::empty(), resolve).is_ok()
}

fn generate(folder: &Path, kind: &str, hostname: &str) -> io::Result<HostKey> {
    let name = format!("ssh_host_{kind}_key");
    let file = folder.join(&name);
    let short = hostname.split('.').next().unwrap_or_default();
    say(&format!("Creating SSH host key '{name}' - this may take some time ..."))?;
    let output = Command::new("ssh-keygen")
        .args(["-q", "-t", kind, "-N", "", "-C", &format!("root@{short}"), "-f"])
        .arg(&file)
        .output()?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("ssh-keygen: {}", words.trim())));
    }
    let public = fs::read_to_string(file.with_extension("pub"))?;
    Ok(HostKey { private: fs::read_to_string(&file)?, public, name })
}

fn say(line: &str) -> io::Result<()> {
    io::Write::write_all(&mut io::stdout(), format!("{line}\n").as_bytes())
}

fn tolerate_missing(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
        Ok(()) | Err(_) => Ok(()),
    }
}
