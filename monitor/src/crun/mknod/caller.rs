//! The caller as /proc shows it: all of it is opened at once, and good if the call still waits after that.

use std::ffi::{CStr, CString};
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Gid, Mode, OFlags, Uid, fstat, openat};
use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use super::call::{Base, Node};

/// The kernel's PATH_MAX, with the NUL.
const LONGEST_PATH: usize = 4096;

pub(super) struct Caller {
    pub(super) root: OwnedFd,
    /// What its path begins at, unless that is absolute.
    pub(super) base: OwnedFd,
    pub(super) mounts: OwnedFd,
    pub(super) users: OwnedFd,
    pub(super) path: CString,
    pub(super) credentials: Credentials,
}

/// What is looked at from here.
#[derive(Debug)]
pub(super) struct Host {
    proc: OwnedFd,
    /// Our own user namespace.
    users: OwnedFd,
}

impl Host {
    pub(super) fn open() -> rustix::io::Result<Self> {
        let proc = open(CWD, "/proc", OFlags::PATH | OFlags::DIRECTORY)?;
        Ok(Self { users: open(&proc, "self/ns/user", OFlags::RDONLY)?, proc })
    }

    pub(super) fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.proc.as_fd(), self.users.as_fd()]
    }

    /// Whether it is a container's, and not one that was made inside: who makes one has all capabilities
    /// in there, whatever the container was given.
    fn is_above(&self, users: &OwnedFd) -> bool {
        let place = |fd: &OwnedFd| fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
        let above = seccomp_notify::parent(users).and_then(|above| place(&above));
        above.is_ok_and(|above| place(&self.users) == Ok(above))
    }
}

impl Caller {
    pub(super) fn open(host: &Host, thread: u32, node: &Node) -> rustix::io::Result<Self> {
        if thread == 0 {
            return Err(Errno::PERM);
        }
        // Whatever is opened below this one is of the same thread, or cannot be opened.
        let folder = open(&host.proc, &thread.to_string(), OFlags::PATH | OFlags::DIRECTORY)?;
        let users = open(&folder, "ns/user", OFlags::RDONLY)?;
        let mut credentials = Credentials::read(open(&folder, "status", OFlags::RDONLY)?)?;
        if !host.is_above(&users) {
            credentials.capabilities = CapabilitySet::empty();
        }
        let path = read_path(open(&folder, "mem", OFlags::RDONLY)?, node.path)?;
        let place = OFlags::PATH | OFlags::DIRECTORY;
        let base = match node.base {
            // Not looked at by the kernel either.
            _ if path.as_bytes().starts_with(b"/") => open(&folder, "root", place)?,
            Base::WorkingFolder => open(&folder, "cwd", place)?,
            Base::Descriptor(number) => {
                let opened = open(&folder, &format!("fd/{number}"), place);
                opened.map_err(|err| if err == Errno::NOENT { Errno::BADF } else { err })?
            }
        };
        Ok(Self {
            root: open(&folder, "root", place)?,
            base,
            mounts: open(&folder, "ns/mnt", OFlags::RDONLY)?,
            users,
            path,
            credentials,
        })
    }
}

fn open(folder: impl AsFd, name: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    openat(folder, name, flags | OFlags::CLOEXEC, Mode::empty())
}

/// Once: the caller's other threads may write there meanwhile.
fn read_path(memory: impl AsFd, address: u64) -> rustix::io::Result<CString> {
    let mut bytes = [0; LONGEST_PATH];
    let count = rustix::io::pread(memory, &mut bytes, address).map_err(|_| Errno::FAULT)?;
    match CStr::from_bytes_until_nul(&bytes[..count]) {
        Ok(path) if path.is_empty() => Err(Errno::NOENT),
        Ok(path) => Ok(path.to_owned()),
        Err(_) if count == LONGEST_PATH => Err(Errno::NAMETOOLONG),
        Err(_) => Err(Errno::FAULT),
    }
}

/// What its access to files is judged by. Ids are the host's; capabilities are in its user namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    pub(super) groups: Vec<Gid>,
    pub(super) capabilities: CapabilitySet,
    pub(super) umask: Mode,
}

impl Credentials {
    fn read(status: OwnedFd) -> rustix::io::Result<Self> {
        let mut text = String::new();
        std::fs::File::from(status).read_to_string(&mut text).map_err(|_| Errno::IO)?;
        Self::parse(&text).ok_or(Errno::IO)
    }

    /// Of proc_pid_status(5). Names of programs cannot make lines in there.
    fn parse(status: &str) -> Option<Self> {
        let field = |name: &str| {
            status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"))
        };
        // Real, effective, saved, and for files.
        let for_files = |name| field(name)?.split('\t').nth(3)?.parse().ok();
        let groups = field("Groups")?.split_whitespace();
        let groups = groups.map(|id| Some(Gid::from_raw(id.parse().ok()?)));
        let capabilities = u64::from_str_radix(field("CapEff")?, 16).ok()?;
        Some(Self {
            uid: Uid::from_raw(for_files("Uid")?),
            gid: Gid::from_raw(for_files("Gid")?),
            groups: groups.collect::<Option<_>>()?,
            capabilities: CapabilitySet::from_bits_retain(capabilities),
            umask: Mode::from_bits_retain(u32::from_str_radix(field("Umask")?, 8).ok()? & 0o777),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustix::process::{getegid, geteuid, getpid};

    use super::super::call;
    use super::*;

    fn node(path: &CStr, base: Base) -> Node {
        let path = path.as_ptr().addr() as u64;
        Node { base, path, mode: Mode::RUSR, major: 1, minor: 3 }
    }

    fn of_this_process(node: &Node) -> rustix::io::Result<Caller> {
        let host = Host::open().unwrap();
        let pid = getpid().as_raw_nonzero().get().cast_unsigned();
        Caller::open(&host, pid, node)
    }

    #[test]
    fn reads_who_we_are_and_what_we_said() {
        let caller = of_this_process(&node(c"a/b", Base::WorkingFolder)).unwrap();
        assert_eq!(&*caller.path, c"a/b");
        assert_eq!(caller.credentials.uid, geteuid());
        assert_eq!(caller.credentials.gid, getegid());
        // Its user namespace is none below ours.
        assert_eq!(caller.credentials.capabilities, CapabilitySet::empty());
        let (base, here) = (rustix::fs::fstat(&caller.base), rustix::fs::stat("."));
        assert_eq!(base.unwrap().st_ino, here.unwrap().st_ino);
    }

    #[test]
    fn what_is_wrong_with_an_argument_is_what_the_kernel_says() {
        let long = CString::new(vec![b'x'; 5000]).unwrap();
        let fault = call::Node { path: 8, ..node(c"", Base::WorkingFolder) };
        let file = fs_err::File::open("/proc/self/status").unwrap();
        let file = std::os::fd::AsRawFd::as_raw_fd(&file);
        for (node, expected) in [
            (node(c"", Base::WorkingFolder), Errno::NOENT),
            (node(&long, Base::WorkingFolder), Errno::NAMETOOLONG),
            (fault, Errno::FAULT),
            (node(c"x", Base::Descriptor(99_999)), Errno::BADF),
            (node(c"x", Base::Descriptor(-1)), Errno::BADF),
            (node(c"x", Base::Descriptor(file)), Errno::NOTDIR),
        ] {
            assert_eq!(of_this_process(&node).err(), Some(expected), "{node:?}");
        }
        assert!(of_this_process(&node(c"/x", Base::Descriptor(-1))).is_ok());
    }

    const STATUS: &str = "Name:\tx\\nUid:\t0\t0\t0\t0\nUmask:\t0027\nUid:\t1\t2\t3\t100004\n\
        Gid:\t5\t6\t7\t4294967294\nGroups:\t8 4294967293 \nCapEff:\t0000000008000002\n";

    #[test]
    fn takes_the_ids_for_files() {
        let read = Credentials::parse(STATUS).unwrap();
        assert_eq!(read.uid.as_raw(), 100_004);
        assert_eq!(read.gid.as_raw(), 4_294_967_294);
        assert_eq!(read.groups.len(), 2);
        assert_eq!(read.capabilities, CapabilitySet::MKNOD | CapabilitySet::DAC_OVERRIDE);
        assert_eq!(read.umask, Mode::WGRP | Mode::RWXO);
        assert_eq!(Credentials::parse(&STATUS.replace("8 4294967293", "")).unwrap().groups, []);
    }

    proptest! {
        /// Of what is no such text nothing is made up.
        #[test]
        fn another_text_is_refused(text: String, cut in 0..STATUS.len()) {
            prop_assert_eq!(Credentials::parse(&text), None);
            if let Some(read) = Credentials::parse(&STATUS[..cut]) {
                prop_assert_eq!(read.uid.as_raw(), 100_004);
            }
        }
    }
}
