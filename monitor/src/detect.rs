//! What an unpacked root file system is: its distribution and the machine it is for. Its paths are
//! a stranger's, so each is resolved beneath it, whatever its links say.

use std::path::Path;

use pve_integration::accounts::read_inside;
use pve_integration::setup::ostype_of;
use rustix::fs::{CWD, Mode, OFlags, openat};

/// An os-release is some hundred bytes, an ELF header 64.
const MOST: u64 = 64 << 10;

/// What cannot be told is left out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Detected {
    /// PVE's name.
    pub(crate) ostype: Option<&'static str>,
    /// PVE's name.
    pub(crate) arch: Option<&'static str>,
}

pub(crate) fn detect(rootfs: &Path) -> Detected {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(root) = openat(CWD, rootfs, flags, Mode::empty()) else { return Detected::default() };
    let release = ["etc/os-release", "usr/lib/os-release"]
        .iter()
        .find_map(|path| read_inside(&root, path, MOST));
    let release = release.unwrap_or_default();
    let shell = read_inside(&root, "bin/sh", MOST).unwrap_or_default();
    Detected { ostype: ostype(&String::from_utf8_lossy(&release)), arch: arch(&shell) }
}

fn ostype(os_release: &str) -> Option<&'static str> {
    let id = os_release.lines().find_map(|line| line.trim().strip_prefix("ID="))?;
    let id = id.trim_matches(['"', '\'']);
    ostype_of(id)
}

/// By the ELF header: class at 4, byte order at 5, machine at 18.
fn arch(program: &[u8]) -> Option<&'static str> {
    let header = program.get(..20).filter(|header| header.starts_with(b"\x7fELF"))?;
    let machine = match header[5] {
        1 => u16::from_le_bytes([header[18], header[19]]),
        _ => return None, // PVE has no big-endian machine
    };
    match (machine, header[4]) {
        (0x03, _) => Some("i386"),
        (0x3e, _) => Some("amd64"),
        (0x28, _) => Some("armhf"),
        (0xb7, _) => Some("arm64"),
        (0xf3, 1) => Some("riscv32"),
        (0xf3, 2) => Some("riscv64"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rstest::rstest;

    use super::*;

    fn rootfs() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["etc", "usr/lib", "bin"] {
            fs_err::create_dir_all(dir.path().join(folder)).unwrap();
        }
        dir
    }

    #[test]
    fn follows_links_inside_the_rootfs() {
        let dir = rootfs();
        fs_err::write(dir.path().join("usr/lib/os-release"), "NAME=x\nID=\"alpine\"\n").unwrap();
        symlink("/usr/lib/os-release", dir.path().join("etc/os-release")).unwrap();
        fs_err::write(dir.path().join("bin/busybox"), elf(2, 0xb7)).unwrap();
        symlink("/bin/busybox", dir.path().join("bin/sh")).unwrap();

        let found = detect(dir.path());

        assert_eq!(found, Detected { ostype: Some("alpine"), arch: Some("arm64") });
    }

    #[test]
    fn reads_nothing_outside_the_rootfs() {
        let outside = tempfile::tempdir().unwrap();
        let secret = outside.path().join("os-release");
        fs_err::write(&secret, "ID=debian\n").unwrap();
        let dir = rootfs();
        symlink(&secret, dir.path().join("etc/os-release")).unwrap();
        rustix::fs::mkfifoat(CWD, dir.path().join("bin/sh"), Mode::RUSR).unwrap();

        assert_eq!(detect(dir.path()), Detected::default());
    }

    fn elf(class: u8, machine: u16) -> Vec<u8> {
        let mut header = b"\x7fELF".to_vec();
        header.extend([class, 1, 1]);
        header.resize(18, 0);
        header.extend(machine.to_le_bytes());
        header
    }

    #[rstest]
    #[case::amd64(elf(2, 0x3e), Some("amd64"))]
    #[case::i386(elf(1, 0x03), Some("i386"))]
    #[case::riscv(elf(2, 0xf3), Some("riscv64"))]
    #[case::unknown(elf(2, 0x16), None)]
    #[case::script(b"#!/bin/busybox sh -e\n".to_vec(), None)]
    #[case::short(b"\x7fELF".to_vec(), None)]
    fn tells_the_machine(#[case] program: Vec<u8>, #[case] expected: Option<&str>) {
        assert_eq!(arch(&program), expected);
    }

    #[rstest]
    #[case("ID=debian\n", Some("debian"))]
    #[case("ID=\"rocky\"\n", Some("centos"))]
    #[case("ID=haiku\n", None)]
    #[case("VERSION_ID=1\n", None)]
    fn tells_the_distribution(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(ostype(text), expected);
    }
}
