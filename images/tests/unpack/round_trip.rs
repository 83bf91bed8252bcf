//! What was packed comes back: by our own reader, and by GNU tar.

use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use images::{Event, Excludes, Owners, Packer};

use crate::build::Target;

const ACL: &[u8] = b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x02\0\x04\0\xe9\x03\0\0\
    \x04\0\x05\0\xff\xff\xff\xff\x10\0\x05\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";

fn pack(tree: &Path, owners: Owners, excludes: &[&str]) -> Vec<u8> {
    let folder = fs_err::File::open(tree).unwrap();
    let mut tell = |event: Event<'_>| match event {
        Event::Progress(_) => {}
        Event::Warning(text) => panic!("{text}"),
    };
    let excludes = Excludes::new(excludes.iter().copied());
    let mut packer = Packer::new(Vec::new(), owners, excludes, &mut tell);
    packer.file("etc/vzdump/pct.conf", b"hostname: box\n", 1_700_000_000).unwrap();
    packer.tree(folder.as_fd(), b"").unwrap();
    packer.finish().unwrap().0
}

/// Everything that a backup has to keep.
fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs_err::create_dir_all(at("etc/deep/er")).unwrap();
    fs_err::create_dir(at("tmp")).unwrap();
    fs_err::set_permissions(at("tmp"), PermissionsExt::from_mode(0o1777)).unwrap();
    fs_err::write(at("tmp/scratch"), "gone").unwrap();
    fs_err::write(at("etc/motd"), "hello\n").unwrap();
    std::os::unix::fs::chown(at("etc/motd"), Some(101_000), Some(100_005)).unwrap();
    fs_err::set_permissions(at("etc/motd"), PermissionsExt::from_mode(0o4750)).unwrap();
    rustix::fs::setxattr(at("etc/motd"), "user.note", b"a\nb", rustix::fs::XattrFlags::empty())
        .unwrap();
    let time = rustix::fs::Timespec { tv_sec: 1_234_567_890, tv_nsec: 250_000_000 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, at("etc/motd"), &times, rustix::fs::AtFlags::empty())
        .unwrap();
    fs_err::hard_link(at("etc/motd"), at("etc/zz")).unwrap();
    symlink("../etc/motd", at("etc/link")).unwrap();
    let long = "n".repeat(150);
    fs_err::write(at("etc/deep/er").join(&long), "long").unwrap();
    let sparse = fs_err::File::create(at("image")).unwrap();
    sparse.set_len(4 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(sparse.file(), b"middle", 1 << 20).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    dir
}

#[track_caller]
fn check(at: impl Fn(&str) -> std::path::PathBuf) {
    let motd = fs_err::metadata(at("etc/motd")).unwrap();
    assert_eq!((motd.mode() & 0o7777, motd.uid(), motd.gid()), (0o4750, 1000, 5));
    assert_eq!((motd.mtime(), motd.mtime_nsec()), (1_234_567_890, 250_000_000));
    assert_eq!(motd.ino(), fs_err::metadata(at("etc/zz")).unwrap().ino());
    assert_eq!(fs_err::read_to_string(at("etc/motd")).unwrap(), "hello\n");
    assert_eq!(fs_err::read_link(at("etc/link")).unwrap(), Path::new("../etc/motd"));
    let long = format!("etc/deep/er/{}", "n".repeat(150));
    assert_eq!(fs_err::read_to_string(at(&long)).unwrap(), "long");
    let image = fs_err::metadata(at("image")).unwrap();
    assert!(image.len() == 4 << 20 && image.blocks() * 512 < 1 << 20, "{}", image.blocks());
    assert_eq!(&fs_err::read(at("image")).unwrap()[1 << 20..(1 << 20) + 6], b"middle");
    assert!(fs_err::symlink_metadata(at("fifo")).unwrap().file_type().is_fifo());
    assert_eq!(fs_err::metadata(at("tmp")).unwrap().mode() & 0o7777, 0o1777);
    assert!(!at("tmp/scratch").exists());
}

fn shifted() -> Owners {
    let map = vec![(100_000, 0, 65_536)];
    Owners { uids: map.clone(), gids: map }
}

#[test]
fn our_own_reader_finds_all_of_it() {
    let archive = pack(tree().path(), shifted(), &["/tmp/?*"]);
    let target = Target::new();

    target.unpack(&archive).unwrap();

    check(|name| target.path(name));
    let mut value = [0; 16];
    let length =
        rustix::fs::getxattr(target.path("etc/motd"), "user.note", value.as_mut_slice()).unwrap();
    assert_eq!(&value[..length], b"a\nb");
}

#[test]
fn gnu_tar_finds_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, target) = (dir.path().join("a.tar"), dir.path().join("target"));
    fs_err::write(&archive, pack(tree().path(), shifted(), &["/tmp/?*"])).unwrap();
    fs_err::create_dir(&target).unwrap();

    let listed = Command::new("tar").arg("-tf").arg(&archive).output().unwrap();
    let names = String::from_utf8(listed.stdout).unwrap();
    assert!(names.starts_with("./etc/vzdump/pct.conf\n./\n./fifo\n./image\n./etc/\n"), "{names}");
    let done = Command::new("tar")
        .args(["-xpf"])
        .arg(&archive)
        .args(["--numeric-owner", "--xattrs", "--xattrs-include=user.*", "-C"])
        .arg(&target)
        .output()
        .unwrap();
    assert!(done.status.success() && done.stderr.is_empty(), "{:?}", done.stderr);

    check(|name| target.join(name));
}

#[test]
fn an_acl_comes_back_with_the_containers_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("shared");
    fs_err::write(&file, "x").unwrap();
    let mut outside = ACL.to_vec();
    outside[16..20].copy_from_slice(&101_001_u32.to_le_bytes());
    let flags = rustix::fs::XattrFlags::empty();
    if rustix::fs::setxattr(&file, "system.posix_acl_access", &outside, flags)
        == Err(rustix::io::Errno::OPNOTSUPP)
    {
        return; // this filesystem has none
    }

    let target = Target::new();
    let summary = target.unpack(&pack(dir.path(), shifted(), &[])).unwrap();

    assert_eq!(summary.skipped_attributes, 0);
    let mut value = [0; 64];
    let length = rustix::fs::getxattr(
        target.path("shared"),
        "system.posix_acl_access",
        value.as_mut_slice(),
    )
    .unwrap();
    assert_eq!(&value[..length], ACL);
}

#[test]
fn a_config_is_found_and_no_other_file() {
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(dir.path().join("pct.conf"), "no").unwrap();
    let archive = pack(dir.path(), Owners::default(), &[]);

    let find = |paths: &[&str]| images::find(archive.as_slice(), paths, 1 << 20).unwrap();
    assert_eq!(
        find(&["etc/vzdump/vps.conf", "etc/vzdump/pct.conf"]),
        Some(("etc/vzdump/pct.conf".to_owned(), b"hostname: box\n".to_vec()))
    );
    assert_eq!(find(&["etc/pct.conf"]), None);
    assert!(images::find(archive.as_slice(), &["pct.conf"], 1).is_err());
}

#[test]
fn what_another_tree_brings_is_left_to_it() {
    let dir = tempfile::tempdir().unwrap();
    fs_err::create_dir_all(dir.path().join("data/covered")).unwrap();
    let data = tempfile::tempdir().unwrap();
    fs_err::write(data.path().join("motd"), "volume").unwrap();
    let [root, volume] = [&dir, &data].map(|dir| fs_err::File::open(dir.path()).unwrap());
    let mut tell = |_: Event<'_>| {};
    let mut packer = Packer::new(Vec::new(), Owners::default(), Excludes::default(), &mut tell);
    packer.leave_to_others([b"data".to_vec()]);
    packer.tree(root.as_fd(), b"").unwrap();
    packer.tree(volume.as_fd(), b"data").unwrap();
    let archive = packer.finish().unwrap().0;

    let target = Target::new();
    assert_eq!(target.unpack(&archive).unwrap().entries, 3);
    assert_eq!(target.read("data/motd"), "volume");
    assert!(!target.path("data/covered").exists());
}
