//! What honest archives hold arrives as it was.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::process::Command;

use rstest::rstest;
use tar::EntryType;

use crate::build::{Tar, Target, gzip, header, xz, zst};

fn small() -> Vec<u8> {
    Tar::default().folder("./").folder("./etc/").file("./etc/hostname", "box\n").end()
}

#[rstest]
#[case::plain(small())]
#[case::gz(gzip(&small()))]
#[case::two_gz_members([gzip(&small()[..1024]), gzip(&small()[1024..])].concat())]
#[case::xz(xz(&small()))]
#[case::zst(zst(&small()))]
fn unpacks_each_compression(#[case] archive: Vec<u8>) {
    let target = Target::new();
    let summary = target.unpack(&archive).unwrap();
    assert_eq!(target.read("etc/hostname"), "box\n");
    assert_eq!((summary.entries, summary.bytes), (3, 4));
    assert_eq!(summary.archive_bytes, archive.len() as u64);
}

#[test]
fn keeps_owner_mode_and_times() {
    let target = Target::new();
    let mut su = header(EntryType::Regular, "bin/su", "", 2);
    su.set_mode(0o4755);
    su.set_uid(1234);
    su.set_gid(2_500_000); // too large for octal
    su.set_cksum();
    let mut folder = header(EntryType::Directory, "bin/", "", 0);
    folder.set_mode(0o1777);
    folder.set_mtime(5);
    folder.set_cksum();
    target.unpack(&Tar::default().data(&folder, b"").data(&su, b"su").end()).unwrap();

    let su = fs_err::metadata(target.path("bin/su")).unwrap();
    assert_eq!((su.mode(), su.mtime()), (0o104_755, 1_700_000_000));
    assert_eq!((su.uid(), su.gid()), (1234, 2_500_000));
    let folder = fs_err::metadata(target.path("bin")).unwrap();
    assert_eq!((folder.mode(), folder.mtime()), (0o041_777, 5));
}

#[test]
fn keeps_a_file_capability_with_a_newline_in_it() {
    // cap_net_raw+ep of revision 2; 0x0a in it cuts records in readers that split at newlines.
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\x0a\0\0\0\0\0\0\0";
    let target = Target::new();
    let archive = Tar::default()
        .pax(&[("SCHILY.xattr.security.capability", capability), ("mtime", b"7.5")])
        .file("ping", "")
        .end();
    let summary = target.unpack(&archive).unwrap();
    assert_eq!(summary.skipped_attributes, 0);
    let mut value = [0; 64];
    let length =
        rustix::fs::getxattr(target.path("ping"), "security.capability", value.as_mut_slice())
            .unwrap();
    assert_eq!(&value[..length], capability);
    assert_eq!(fs_err::metadata(target.path("ping")).unwrap().mtime_nsec(), 500_000_000);
}

#[test]
fn follows_a_linked_folder_within_the_root() {
    let target = Target::new();
    let archive = Tar::default()
        .folder("usr/")
        .folder("usr/lib/")
        .symlink("lib", "usr/lib")
        .symlink("lib64", "/usr/lib")
        .file("lib/a.so", "a")
        .file("lib64/b.so", "b")
        .hard_link("c.so", "lib/a.so")
        .end();
    target.unpack(&archive).unwrap();
    assert_eq!(target.read("usr/lib/a.so") + &target.read("usr/lib/b.so"), "ab");
    assert_eq!(fs_err::metadata(target.path("c.so")).unwrap().nlink(), 2);
}

#[test]
fn a_later_entry_replaces_an_earlier_one() {
    let target = Target::new();
    let archive = Tar::default()
        .file("f", "old")
        .hard_link("g", "f")
        .file("f", "new")
        .symlink("d", "elsewhere")
        .folder("d/")
        .folder("e/")
        .file("e", "a file now")
        .end();
    target.unpack(&archive).unwrap();
    assert_eq!((target.read("f"), target.read("g")), ("new".into(), "old".into()));
    assert!(fs_err::symlink_metadata(target.path("d")).unwrap().is_dir());
    assert_eq!(target.read("e"), "a file now");
}

#[test]
fn makes_pipes_and_devices_but_not_those_of_dev() {
    let target = Target::new();
    let archive = Tar::default()
        .entry(EntryType::Fifo, "run/pipe", "")
        .entry(EntryType::Char, "./dev/null", "")
        .entry(EntryType::Char, "srv/null", "")
        .end();
    let summary = target.unpack(&archive).unwrap();
    assert_eq!(summary.skipped_devices, 1);
    assert!(fs_err::metadata(target.path("run/pipe")).unwrap().file_type().is_fifo());
    let null = fs_err::metadata(target.path("srv/null")).unwrap();
    assert!(null.file_type().is_char_device());
    assert_eq!(null.rdev(), rustix::fs::makedev(1, 3));
}

/// GNU tar's three ways to write a file with holes, read back from the tool itself.
#[rstest]
#[case::gnu(&["--format=gnu"])]
#[case::pax_1_0(&["--format=pax", "--xattrs"])]
fn keeps_holes(#[case] options: &[&str]) {
    let source = tempfile::tempdir().unwrap();
    let file = fs_err::File::create(source.path().join("disk")).unwrap();
    let file = file.into_parts().0;
    let mut want = vec![0; 3 << 20];
    for at in (0..3 << 20).step_by(64 << 10) {
        // Enough pieces that the old map needs blocks of its own after the header.
        std::os::unix::fs::FileExt::write_all_at(&file, b"data", at).unwrap();
        let at = usize::try_from(at).unwrap();
        want[at..at + 4].copy_from_slice(b"data");
    }
    rustix::fs::ftruncate(&file, 3 << 20).unwrap();
    let out = Command::new("tar")
        .args(options)
        .args(["--sparse", "-cf", "-", "-C"])
        .arg(source.path())
        .args(["disk", "."])
        .output()
        .unwrap();
    assert!(out.status.success());

    let target = Target::new();
    let summary = target.unpack(&out.stdout).unwrap();
    assert_eq!(fs_err::read(target.path("disk")).unwrap(), want);
    assert!(summary.bytes < 1 << 20, "{summary:?}");
    let blocks = fs_err::metadata(target.path("disk")).unwrap().blocks();
    assert!(blocks * 512 < 1 << 20, "{blocks} blocks: the holes were filled");
}

#[test]
fn takes_long_names_of_gnu_and_pax() {
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    let other = format!("{}/{}", "e".repeat(120), "g".repeat(200));
    let name = format!("{long}\0");
    let archive = Tar::default()
        .data(
            &header(EntryType::GNULongName, "././@LongLink", "", name.len() as u64),
            name.as_bytes(),
        )
        .file("short", "gnu")
        .pax(&[("path", other.as_bytes())])
        .file("short", "pax")
        .end();
    let target = Target::new();
    target.unpack(&archive).unwrap();
    assert_eq!((target.read(&long), target.read(&other)), ("gnu".into(), "pax".into()));
    assert!(!target.path("short").exists());
}

#[test]
fn reports_progress_and_its_end() {
    let mut tar = Tar::default();
    for number in 0..4500 {
        tar = tar.file(&format!("f{number}"), "x");
    }
    let target = Target::new();
    let root = fs_err::File::open(target.path("")).unwrap();
    let mut seen = Vec::new();
    let archive = gzip(&tar.end());
    let fd = std::os::fd::AsFd::as_fd(&root);
    images::unpack(fd, archive.as_slice(), &images::Limits::default(), &mut |p| {
        seen.push((p.entries, p.archive_bytes));
    })
    .unwrap();
    let entries: Vec<_> = seen.iter().map(|(entries, _)| *entries).collect();
    assert_eq!(entries, [2000, 4000, 4500]);
    assert_eq!(seen[2].1, archive.len() as u64);
}
