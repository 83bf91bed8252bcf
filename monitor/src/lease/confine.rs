//! What a process gives up before it listens to anybody.

use std::io;
use std::os::fd::BorrowedFd;

use nix::unistd::{Gid, Uid};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen,
};
use rustix::process::{Signal, chroot, fchdir};
use rustix::thread::{
    CapabilitySet, CapabilitySets, ThreadNameSpaceType, capability_is_in_bounding_set,
    move_into_thread_name_spaces, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
};

use crate::error::{During, Result};

pub(super) fn join_network(process: BorrowedFd<'_>) -> Result<()> {
    move_into_thread_name_spaces(process, ThreadNameSpaceType::NETWORK)
        .during("cannot enter the container's network namespace")
}

/// All is open by now. What is left is an empty root, the container's user namespace, and the right to
/// set addresses in it.
pub(super) fn confine(process: BorrowedFd<'_>, parent: i32) -> Result<()> {
    empty_root().during("cannot take an empty root")?;
    join_user(process).during("cannot enter the container's user namespace")?;
    keep_only(CapabilitySet::NET_ADMIN)?;
    end_with(parent, Signal::TERM)
}

/// Ask for the signal when the parent ends, unless it has.
pub(crate) fn end_with(parent: i32, signal: Signal) -> Result<()> {
    // A change of credentials takes this away, so it comes last.
    rustix::process::set_parent_process_death_signal(Some(signal))
        .during("cannot end with the monitor")?;
    let now = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    if now == parent {
        Ok(())
    } else {
        Err(io::Error::other("it has ended")).during("cannot end with the monitor")
    }
}

/// A `/` without anything in it.
pub(crate) fn empty_root() -> rustix::io::Result<()> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "mode", "0555")?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV;
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    fchdir(&mount)?;
    chroot(".")
}

fn join_user(process: BorrowedFd<'_>) -> io::Result<()> {
    // Inside, that may be forbidden.
    nix::unistd::setgroups(&[])?;
    match move_into_thread_name_spaces(process, ThreadNameSpaceType::USER) {
        Ok(()) => {
            // Its root, whom the host knows as nobody in particular.
            nix::unistd::setresgid(Gid::from_raw(0), Gid::from_raw(0), Gid::from_raw(0))?;
            nix::unistd::setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0))?;
            Ok(())
        }
        // It has none of its own.
        Err(Errno::INVAL) => Ok(()),
        Err(err) => Err(err.into()),
    }
}

/// Whatever is executed cannot get others back.
pub(crate) fn keep_only(kept: CapabilitySet) -> Result<()> {
    drop_others(kept).during("cannot give up capabilities")?;
    set_no_new_privs(true).during("cannot give up new privileges")
}

fn drop_others(kept: CapabilitySet) -> rustix::io::Result<()> {
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        // Past the last one that the kernel knows it says that there is none.
        match capability_is_in_bounding_set(capability) {
            Ok(true) => remove_capability_from_bounding_set(capability)?,
            Ok(false) => {}
            Err(Errno::INVAL) => break,
            Err(err) => return Err(err),
        }
    }
    let sets =
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets)
}
