//! What an archive may ask for, and what happens when the disk has no more.

use std::os::fd::AsFd;

use images::{Limits, UnpackError};
use rstest::rstest;
use tar::EntryType;

use crate::build::{Tar, Target, chain, gzip, header};

fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

#[rstest]
#[case::entries(limits(|l| l.entries = 2), "more than 2 entries")]
#[case::bytes(limits(|l| l.bytes = 5), "more than 5 bytes, in entry 'b'")]
#[case::path(limits(|l| l.path = 3), "refused entry 'a/long/path': its path is longer than 3 bytes")]
fn stops_at(#[case] limits: Limits, #[case] want: &str) {
    let archive = Tar::default().file("a", "1234").file("b", "1234").file("a/long/path", "").end();
    let archive =
        if want.contains("path") { Tar::default().file("a/long/path", "").end() } else { archive };
    let err = Target::new().unpack_within(&archive, &limits).unwrap_err();
    assert!(err.to_string().contains(want), "{err}");
}

#[test]
fn a_size_beyond_the_limit_is_refused_before_it_is_read() {
    let claim = header(EntryType::Regular, "huge", "", 1 << 60);
    let err = Target::new().unpack(claim.as_bytes()).unwrap_err();
    assert!(matches!(err, UnpackError::TooLarge { .. }), "{err}");
}

#[test]
fn a_huge_extended_header_is_not_read_into_memory() {
    let claim = header(EntryType::XHeader, "pax", "", 1 << 40);
    let err = Target::new().unpack(claim.as_bytes()).unwrap_err();
    assert!(err.to_string().contains("extended header is larger than"), "{err}");
}

#[rstest]
#[case::in_a_file(true)]
#[case::behind_the_end(false)]
fn stops_a_bomb(#[case] in_a_file: bool) {
    let zeros = "\0".repeat(8 << 20);
    let archive = match in_a_file {
        true => Tar::default().file("bomb", &zeros).end(),
        false => [Tar::default().file("small", "x").end(), zeros.into_bytes()].concat(),
    };
    let limits = limits(|l| (l.ratio, l.ratio_from) = (100, 1 << 20));
    let err = Target::new().unpack_within(&gzip(&archive), &limits).unwrap_err();
    assert!(matches!(err, UnpackError::Bomb { ratio: 100, .. }), "{err}");
}

/// In a mount namespace of this thread, which other tests do not see.
#[test]
fn a_full_disk_names_the_entry_and_says_so() {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    let none = None::<&str>;
    let folder = tempfile::tempdir().unwrap();
    unshare(CloneFlags::CLONE_NEWNS).expect("root may have its own mounts");
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some("tmpfs"), folder.path(), Some("tmpfs"), MsFlags::empty(), Some("size=64k")).unwrap();

    let root = fs_err::File::open(folder.path()).unwrap();
    let archive = Tar::default().file("small", "x").file("usr/big", &"x".repeat(1 << 20)).end();
    let err = images::unpack(root.as_fd(), archive.as_slice(), &Limits::default(), &mut |_| {})
        .unwrap_err();
    assert_eq!(chain(&err), "cannot write 'usr/big': No space left on device (os error 28)");
}
