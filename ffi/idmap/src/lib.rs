//! Id-mapped mounts: the ids of a file system are shown as others, in one mount of it alone.
#![expect(unsafe_code, reason = "no crate has mount_setattr(2)")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// What is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// One mount.
    Mount,
    /// It and whatever is mounted below it.
    Tree,
}

/// Map the ids of `mount` by `user_namespace`: its inner ids are those on the disk, its outer ids
/// what is seen. The mount must be detached, as from `open_tree` with a clone, and have no map yet.
pub fn map(mount: BorrowedFd<'_>, extent: Extent, user_namespace: impl AsFd) -> io::Result<()> {
    let namespace = user_namespace.as_fd().as_raw_fd();
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::try_from(namespace).map_err(io::Error::other)?,
    };
    let flags = match extent {
        Extent::Mount => libc::AT_EMPTY_PATH,
        Extent::Tree => libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
    };
    let size = size_of::<libc::mount_attr>();
    // SAFETY: the path is an empty C string and `attributes` a struct of `size` bytes; both live
    // longer than the call, and the kernel only reads them. Both descriptors are open during it.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size,
        )
    };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use fs_err::File;

    use super::*;

    #[test]
    fn says_what_is_no_mount() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, namespace) =
            (File::open(dir.path()).unwrap(), File::open("/proc/self/ns/user").unwrap());
        let err = map(folder.as_fd(), Extent::Mount, namespace.as_fd()).unwrap_err();
        // Whether the right or the kind is missing depends on who runs this.
        let errors = [libc::EINVAL, libc::EPERM, libc::ENOSYS];
        assert!(errors.contains(&err.raw_os_error().unwrap()), "{err}");
    }
}
