//! One call: two processes that end with it, as each gives up what it does not need for its part.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, makedev, mknodat, openat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::{Signal, chroot, fchdir, getpid, umask};
use rustix::thread::{
    CapabilitySet, CapabilitySets, LinkNameSpaceType, move_into_link_name_space, set_capabilities,
    set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use seccomp_notify::{Answer, Call, Listener, in_child};

use super::call::Node;
use super::caller::{Caller, Credentials, Host};
use crate::lease::confine::end_with;

/// The first process: answers the call, as the caller has it, in the host's user namespace.
pub(super) fn answer(server: i32, host: &Host, listener: &Listener, call: &Call, node: &Node) {
    let answer = match make(server, host, listener, call, node) {
        Ok(()) => Answer::Done,
        Err(errno) => Answer::Failed(errno),
    };
    // A caller that is gone needs none.
    listener.answer(call.id, answer).ok();
}

fn make(
    server: i32,
    host: &Host,
    listener: &Listener,
    call: &Call,
    node: &Node,
) -> rustix::io::Result<()> {
    let parent = getpid().as_raw_nonzero().get();
    let caller = Caller::open(host, call.thread, node)?;
    if !listener.is_waiting(call.id) {
        // What was opened may be somebody else's.
        return Err(Errno::SRCH);
    }
    let may = caller.credentials.capabilities;
    if !may.contains(CapabilitySet::MKNOD) {
        return Err(Errno::PERM);
    }
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let keep = [&caller.root, &caller.base, &caller.mounts, &caller.users, &theirs];
    in_child(&keep.map(AsFd::as_fd), || {
        let tried = within(&caller, parent).and_then(|()| attempt(&caller, node));
        // If nobody hears it, nobody waits for it.
        tell(&theirs, &tried).ok();
    })
    .map_err(|_| Errno::IO)?;
    drop(theirs);
    // That the caller may write there was found out; by which right is not asked again.
    let kept = CapabilitySet::MKNOD | (may & CapabilitySet::DAC_OVERRIDE);
    become_it(&caller.credentials, kept)?;
    end_with(server, Signal::KILL).map_err(|_| Errno::IO)?;
    let (Some(folder), Some((_, name))) = (hear(&ours)?, split(caller.path.as_bytes())) else {
        return Ok(());
    };
    create(&folder, name, node)
}

/// The second process: below the caller's root, in its namespaces, with its rights.
fn within(caller: &Caller, parent: i32) -> rustix::io::Result<()> {
    move_into_link_name_space(caller.mounts.as_fd(), Some(LinkNameSpaceType::Mount))?;
    fchdir(&caller.root)?;
    chroot(".")?;
    // Ids of the host, so before they have other numbers.
    become_it(&caller.credentials, CapabilitySet::SYS_ADMIN)?;
    // Gives all capabilities there.
    move_into_link_name_space(caller.users.as_fd(), Some(LinkNameSpaceType::User))?;
    have(caller.credentials.capabilities)?;
    end_with(parent, Signal::KILL).map_err(|_| Errno::IO)
}

/// As the caller would do it. The folder if all that it lacks is the right to make devices, which the
/// kernel looks at after everything else.
fn attempt(caller: &Caller, node: &Node) -> rustix::io::Result<Option<OwnedFd>> {
    let path = caller.path.as_bytes();
    let Some((folder, name)) = split(path) else {
        // No name for a new file; the kernel says what it is.
        return create(&caller.base, path, node).map(|()| None);
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = openat(&caller.base, folder, flags, Mode::empty())?;
    match create(&folder, name, node) {
        Ok(()) => Ok(None),
        Err(Errno::PERM) => Ok(Some(folder)),
        Err(err) => Err(err),
    }
}

fn create(folder: &OwnedFd, name: &[u8], node: &Node) -> rustix::io::Result<()> {
    let device = makedev(node.major, node.minor);
    mknodat(folder, name, FileType::CharacterDevice, node.mode, device)
}

/// The folder and the name in it, if the path ends with a name.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let slash = path.iter().rposition(|byte| *byte == b'/');
    let (folder, name) = match slash {
        None => (&b"."[..], path),
        Some(at) => (&path[..=at], &path[at + 1..]),
    };
    let is_name = !matches!(name, b"" | b"." | b"..");
    is_name.then_some((folder, name))
}

/// Its ids, in this process's user namespace, and these capabilities.
fn become_it(credentials: &Credentials, kept: CapabilitySet) -> rustix::io::Result<()> {
    let Credentials { uid, gid, groups, .. } = credentials;
    umask(credentials.umask);
    set_thread_groups(groups)?;
    // Else they would go with the change of the user.
    set_keep_capabilities(true)?;
    set_thread_res_gid(*gid, *gid, *gid)?;
    set_thread_res_uid(*uid, *uid, *uid)?;
    have(kept)
}

fn have(kept: CapabilitySet) -> rustix::io::Result<()> {
    let inheritable = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable })
}

/// An errno, or 0 and perhaps a folder.
fn tell(peer: &OwnedFd, tried: &rustix::io::Result<Option<OwnedFd>>) -> rustix::io::Result<()> {
    let errno = tried.as_ref().map_or_else(|err| err.raw_os_error(), |_| 0).to_ne_bytes();
    let folder: Vec<_> = tried.iter().flatten().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !folder.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&folder));
    }
    let iov = [io::IoSlice::new(&errno)];
    sendmsg(peer, &iov, &mut control, SendFlags::NOSIGNAL).map(drop)
}

fn hear(peer: &OwnedFd) -> rustix::io::Result<Option<OwnedFd>> {
    let mut errno = [0; 4];
    let mut iov = [io::IoSliceMut::new(&mut errno)];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let read = recvmsg(peer, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut folder = None;
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = part {
            folder = fds.next();
        }
    }
    match (read.bytes, i32::from_ne_bytes(errno)) {
        (4, 0) => Ok(folder),
        (4, errno) => Err(Errno::from_raw_os_error(errno)),
        // It was killed.
        _ => Err(Errno::IO),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("null", Some((".", "null")))]
    #[case("/null", Some(("/", "null")))]
    #[case("a/b//null", Some(("a/b//", "null")))]
    #[case("a/..null", Some(("a/", "..null")))]
    #[case("/", None)]
    #[case("a/", None)]
    #[case("a/.", None)]
    #[case("..", None)]
    fn a_path_has_a_folder_and_a_name(#[case] path: &str, #[case] expected: Option<(&str, &str)>) {
        let expected = expected.map(|(folder, name)| (folder.as_bytes(), name.as_bytes()));
        assert_eq!(split(path.as_bytes()), expected);
    }

    #[test]
    fn what_was_tried_comes_through() {
        let said = |tried: rustix::io::Result<Option<OwnedFd>>| {
            let (ours, theirs) =
                socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                    .unwrap();
            tell(&theirs, &tried).unwrap();
            hear(&ours).map(|folder| folder.is_some())
        };
        let folder = fs_err::File::open("/").unwrap().into_file();
        assert_eq!(said(Ok(Some(folder.into()))), Ok(true));
        assert_eq!(said(Ok(None)), Ok(false));
        assert_eq!(said(Err(Errno::ROFS)), Err(Errno::ROFS));
    }
}
