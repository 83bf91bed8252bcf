//! The terminals beside the console, `/dev/tty1` and so on: a pseudo-terminal of the host's each, whose
//! other end goes to whoever asks for it (`lxc-console`, the daemon), one at a time, as with LXC.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use pve_integration::bundle::IdMaps;
use rustix::fs::{Gid, Mode, Uid, fchmod, fchown};
use rustix::io::Errno;
use rustix::pty::OpenptFlags;

use crate::error::{During, Result};

/// The group that owns terminals in every distribution.
const GROUP: u32 = 5;

#[derive(Debug)]
pub(crate) struct Ttys(Vec<Tty>);

#[derive(Debug)]
struct Tty {
    master: OwnedFd,
    /// While it is open, a login that ends does not end the terminal.
    _slave: OwnedFd,
    path: String,
}

impl Ttys {
    pub(crate) fn open(count: u32, maps: &IdMaps) -> Result<Self> {
        let ttys = (0..count).map(|_| Tty::open(maps)).collect::<rustix::io::Result<_>>();
        ttys.map(Self).during("cannot make the container's terminals")
    }

    /// In our own mount namespace.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.0.iter().map(|tty| tty.path.clone()).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one with this number, or the first that is free. LXC says the same of one that is not there
    /// and of one that somebody has.
    pub(crate) fn find(
        &self,
        wanted: Option<i32>,
        is_busy: impl Fn(i32) -> bool,
    ) -> std::result::Result<(i32, BorrowedFd<'_>), Errno> {
        let mut free = (1..).zip(&self.0).filter(|(number, _)| !is_busy(*number));
        let found = free.find(|(number, _)| wanted.is_none_or(|wanted| *number == wanted));
        found.map(|(number, tty)| (number, tty.master.as_fd())).ok_or(Errno::BADF)
    }
}

impl Tty {
    fn open(maps: &IdMaps) -> rustix::io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags)?;
        rustix::pty::unlockpt(&master)?;
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
        let path = rustix::pty::ptsname(&master, Vec::new())?.into_string();
        fchown(
            &slave,
            maps.host_uid(0).map(Uid::from_raw),
            maps.host_gid(GROUP).map(Gid::from_raw),
        )?;
        fchmod(&slave, Mode::RUSR | Mode::WUSR | Mode::WGRP)?;
        Ok(Self { master, _slave: slave, path: path.map_err(|_| Errno::INVAL)? })
    }
}

#[cfg(test)]
mod tests {
    use pve_integration::ct_config::ContainerConfig;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::first_free(None, &[1], Ok(2))]
    #[case::all_busy(None, &[1, 2], Err(Errno::BADF))]
    #[case::by_number(Some(1), &[2], Ok(1))]
    #[case::somebody_has_it(Some(2), &[2], Err(Errno::BADF))]
    #[case::none_such(Some(3), &[], Err(Errno::BADF))]
    fn gives_each_to_one(
        #[case] wanted: Option<i32>,
        #[case] busy: &[i32],
        #[case] found: std::result::Result<i32, Errno>,
    ) {
        let maps = IdMaps::on_disk(&ContainerConfig::parse(b"unprivileged: 0\n")).unwrap();
        let ttys = Ttys::open(2, &maps).unwrap();
        assert!(ttys.paths().iter().all(|path| path.starts_with("/dev/pts/")));
        let number = ttys.find(wanted, |number| busy.contains(&number)).map(|(number, _)| number);
        assert_eq!(number, found);
    }
}
