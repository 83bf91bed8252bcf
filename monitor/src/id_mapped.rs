//! Mounts whose ids on the disk are others than the container's.

use std::io::{self, BufRead as _, BufReader};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use idmap::Extent;
use nix::sched::CloneFlags;
use pve_integration::bundle::IdMaps;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount};

use crate::confined::give_ids;

/// The hidden verb of the child that lends its user namespace.
pub(crate) const CHILD: &str = "user-namespace-child";

/// Put in the place of the mount on `spot` one of the same with these ids. `again` names the place
/// once more, when nothing of ours is on it.
pub(crate) fn remount(
    ids: &IdMaps,
    extent: Extent,
    spot: &Path,
    again: impl FnOnce() -> crate::error::Result<crate::target::Spot>,
) -> crate::error::Result<io::Result<()>> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let flags = match extent {
        Extent::Mount => flags,
        Extent::Tree => flags | OpenTreeFlags::AT_RECURSIVE,
    };
    let mapped = (|| {
        let tree = open_tree(CWD, spot, flags)?;
        idmap::map(std::os::fd::AsFd::as_fd(&tree), extent, &user_namespace(ids)?)?;
        unmount(spot, UnmountFlags::DETACH)?;
        Ok::<OwnedFd, io::Error>(tree)
    })();
    let tree = match mapped {
        Ok(tree) => tree,
        Err(err) if err.kind() == io::ErrorKind::InvalidInput => {
            return Ok(Err(io::Error::other("this kernel maps no ids on that file system")));
        }
        Err(err) => return Ok(Err(err)),
    };
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    let place = again()?;
    Ok(move_mount(&tree, "", CWD, &place.path, flags).map_err(io::Error::from))
}

/// One that maps `ids`. It lives as long as the descriptor, or what was mapped by it.
fn user_namespace(ids: &IdMaps) -> io::Result<OwnedFd> {
    let mut child = Command::new("/proc/self/exe")
        .arg(CHILD)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let made = (|| {
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        if line.is_empty() {
            return Err(io::Error::other("cannot make a user namespace"));
        }
        let pid = child.id();
        give_ids(pid, ids)?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(rustix::fs::open(format!("/proc/{pid}/ns/user"), flags, Mode::empty())?)
    })();
    drop(child.stdin.take()); // it waits for this
    child.wait()?;
    made
}

/// The child.
pub(crate) fn lend_here() -> io::Result<()> {
    nix::sched::unshare(CloneFlags::CLONE_NEWUSER)?;
    io::Write::write_all(&mut io::stdout(), b"ready\n")?;
    io::stdin().read_line(&mut String::new()).map(drop)
}
