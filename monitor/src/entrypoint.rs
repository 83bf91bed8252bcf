//! Whether the entrypoint is there to be run. libcrun looks by itself; `lxc-start` finds out when the
//! container already runs, so it is looked for before, and the words are libcrun's.

use std::os::fd::{AsFd, BorrowedFd};

use oci_spec::runtime::Process;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};

pub(crate) fn check(rootfs: BorrowedFd<'_>, process: &Process) -> Result<()> {
    find(rootfs, process).map_err(|refused| Error::Entrypoint(refused.what))
}

/// What is wrong with a program, and as which error of the kernel's that counts.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) what: String,
    pub(crate) errno: Errno,
}

pub(crate) fn find(rootfs: BorrowedFd<'_>, process: &Process) -> std::result::Result<(), Refused> {
    let Some(program) = process.args().as_ref().and_then(|args| args.first()) else {
        return Ok(());
    };
    let found = if program.contains('/') {
        Some(look(rootfs, &process.cwd().join(program).to_string_lossy()))
    } else {
        let path = process.env().iter().flatten().find_map(|line| line.strip_prefix("PATH="));
        let mut places = path.unwrap_or_default().split(':').filter(|folder| !folder.is_empty());
        let at = |folder: &str| look(rootfs, &format!("{folder}/{program}"));
        places.find_map(|folder| Some(at(folder)).filter(|found| *found == Found::Program))
    }
    .unwrap_or(Found::Nothing);
    let (what, errno) = match found {
        Found::Program => return Ok(()),
        Found::Other => {
            (format!("the path `{program}` exists but it is not executable"), Errno::ACCESS)
        }
        Found::Special => (format!("the path `{program}` is not a regular file"), Errno::ACCESS),
        Found::Nothing => {
            let where_to = if program.contains('/') { "" } else { " in $PATH" };
            (format!("executable file `{program}` not found{where_to}"), Errno::NOENT)
        }
    };
    Err(Refused { what, errno })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Program,
    Other,
    Special,
    Nothing,
}

/// Links are the container's: they lead no further than its root.
fn look(rootfs: BorrowedFd<'_>, path: &str) -> Found {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let opened =
        rustix::fs::openat2(rootfs.as_fd(), path, flags, Mode::empty(), ResolveFlags::IN_ROOT);
    let stat = match opened.and_then(|file| rustix::fs::fstat(&file)) {
        Ok(stat) => stat,
        // Something is there that leads nowhere; the kernel will say what.
        Err(Errno::LOOP | Errno::ACCESS) => return Found::Other,
        Err(_) => return Found::Nothing,
    };
    let any = Mode::XUSR | Mode::XGRP | Mode::XOTH;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        Found::Special
    } else if Mode::from_raw_mode(stat.st_mode).intersects(any) {
        Found::Program
    } else {
        Found::Other
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use fs_err as fs;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::there("/bin/sh", None)]
    #[case::in_path("sh", None)]
    #[case::through_an_absolute_link("/sbin/init", None)]
    #[case::relative("./sh", None)]
    #[case::missing("/bin/no", Some("executable file `/bin/no` not found"))]
    #[case::not_in_path("no", Some("executable file `no` not found in $PATH"))]
    #[case::plain_file(
        "/etc/passwd",
        Some("the path `/etc/passwd` exists but it is not executable")
    )]
    #[case::folder("/etc", Some("the path `/etc` is not a regular file"))]
    fn says_what_is_wrong_as_libcrun_does(#[case] program: &str, #[case] wrong: Option<&str>) {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["bin", "etc", "sbin"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        fs::write(dir.path().join("etc/passwd"), "").unwrap();
        fs::set_permissions(dir.path().join("etc/passwd"), PermissionsExt::from_mode(0o644))
            .unwrap();
        fs::write(dir.path().join("bin/sh"), "").unwrap();
        fs::set_permissions(dir.path().join("bin/sh"), PermissionsExt::from_mode(0o755)).unwrap();
        symlink("/bin/sh", dir.path().join("sbin/init")).unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let root = rustix::fs::open(dir.path(), flags, Mode::empty()).unwrap();
        let mut process = Process::default();
        process.set_args(Some(vec![program.to_owned()]));
        process.set_env(Some(vec!["PATH=/sbin:/bin".to_owned()]));
        process.set_cwd("/bin".into());

        let text = check(root.as_fd(), &process).err().map(|err| err.to_string());

        assert_eq!(text, wrong.map(|wrong| format!("cannot run the entrypoint: {wrong}")));
    }
}
