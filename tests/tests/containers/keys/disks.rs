//! `rootfs` and `mpN`, beyond what [`super`] sees of them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rstest::rstest;
use tests::{Content, Daemon, Guest, rootfs};

use super::{guest, has_lines};
use crate::{BUSYBOX, PATIENT, PRIVILEGED, RAW, SMALL, SUBVOL, UNPRIVILEGED, daemon, sh};

/// The template, with something to mount an application's names on.
const NAMED: &str = "named.tar.gz";

fn named(daemon: &Daemon) {
    let files = ["etc/hosts", "etc/hostname", "etc/resolv.conf"];
    let content = files.iter().fold(Content::default(), |all, file| all.file(file, 0o644, ""));
    rootfs(&daemon.templates(), NAMED, &content);
}

fn application<'d>(daemon: &'d Daemon, volume: (&str, &str), script: &str) -> Guest<'d> {
    named(daemon);
    let script = sh(script);
    daemon.create(100, NAMED, &[volume, SMALL, UNPRIVILEGED, ("entrypoint", &script)])
}

/// What a line of the config says of `key`, with `more` appended to it.
fn extend(daemon: &Daemon, key: &str, more: &str) {
    let path = daemon.config_path(100);
    let text = fs_err::read_to_string(&path).unwrap();
    let mut found = false;
    let lines = text.lines().map(|line| {
        let ours = line.starts_with(&format!("{key}: "));
        found |= ours;
        if ours { format!("{line},{more}\n") } else { format!("{line}\n") }
    });
    let text: String = lines.collect();
    assert!(found, "no {key} in:\n{text}");
    fs_err::write(&path, text).unwrap();
}

/// The options of what is mounted at `place`, of the mount and of its file system.
fn options(output: &str, place: &str) -> Vec<String> {
    let line = output.lines().find(|line| line.split(' ').nth(1) == Some(place));
    let line = line.unwrap_or_else(|| panic!("nothing is mounted at {place}:\n{output}"));
    line.split(' ').nth(3).unwrap().split(',').map(str::to_owned).collect()
}

pub(super) fn run(program: &str, arguments: &[&Path]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}");
}

#[rstest]
#[case::folder(SUBVOL)]
#[case::image(RAW)]
fn the_root_is_read_only_if_it_is_to_be(#[case] volume: (&str, &str)) {
    let script = "touch /x 2>/dev/null || echo read-only; echo 1 >/dev/shm/x && echo but memory; \
        cat /proc/mounts";
    let daemon = daemon();
    let guest = application(&daemon, volume, script);
    extend(&daemon, "rootfs", "ro=1");
    let output = guest.ends_well();
    has_lines(&output, &["read-only", "but memory"]);
    assert!(options(&output, "/").contains(&"ro".to_owned()), "{output}");
    guest.destroy();
}

#[test]
fn the_root_has_its_options() {
    let script = "cat /proc/mounts; cp /bin/busybox /ls && /ls / >/dev/null || echo no programs";
    let daemon = daemon();
    let guest = guest(&daemon, &[RAW, UNPRIVILEGED], &sh(script), "");
    extend(&daemon, "rootfs", "mountoptions=noatime;nodev;nosuid,acl=0");
    let task = guest.task("start", &[]);
    guest.wait();
    let output = guest.output();
    let acls = task.log.contains("acl=0 is ignored: this kernel mounts no ext4 without them");
    assert_ne!(acls, options(&output, "/").contains(&"noacl".to_owned()), "{}", task.log);
    let options = options(&output, "/");
    for option in ["noatime", "nodev", "nosuid"] {
        assert!(options.iter().any(|found| found == option), "no {option}: {options:?}");
    }
    assert!(!output.contains("no programs"), "{output}");
    guest.destroy();
}

/// As PVE's, what is not to be executed is not.
#[test]
fn a_mount_point_has_its_options() {
    let script = "cp /bin/busybox /data/ls; chmod 4755 /data/ls; /data/ls 2>/dev/null || echo no programs; \
        cat /proc/mounts";
    let data = ("mp0", "local:0.0625,mp=/data,mountoptions=noexec;nosuid;nodev;lazytime");
    let daemon = daemon();
    let guest = guest(&daemon, &[SUBVOL, UNPRIVILEGED, data], &sh(script), "");
    let output = guest.ends_well();
    has_lines(&output, &["no programs"]);
    let options = options(&output, "/data");
    for option in ["noexec", "nosuid", "nodev", "lazytime"] {
        assert!(options.iter().any(|found| found == option), "no {option}: {options:?}");
    }
    guest.destroy();
}

/// What is mounted looks as the folder of the template does.
#[rstest]
#[case::kept("keepattrs=1", "1711 5:6")]
#[case::its_own("backup=0", "755 0:0")]
fn a_mount_point_has_the_attributes_of_its_folder(#[case] option: &str, #[case] expected: &str) {
    let daemon = daemon();
    let content = Content::default().file("srv/data/file", 0o644, "hidden\n");
    rootfs(&daemon.templates(), "folder.tar.gz", &content);
    let script = sh("stat -c \"%a %u:%g\" /srv/data; test -e /srv/data/file || echo mounted");
    let options = [SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", script.as_str())];
    let guest = daemon.create(100, "folder.tar.gz", &options);
    let folder = daemon.root().join("var/lib/vz/images/100/subvol-100-disk-0.subvol/srv/data");
    std::os::unix::fs::chown(&folder, Some(100_005), Some(100_006)).unwrap();
    fs_err::set_permissions(&folder, PermissionsExt::from_mode(0o1711)).unwrap();
    // Made beside, so that nobody copies what the template has there.
    let other = daemon.create(101, BUSYBOX, &[RAW, SMALL, UNPRIVILEGED]);
    let images = daemon.root().join("var/lib/vz/images");
    let own = images.join("100/vm-100-disk-1.raw");
    fs_err::copy(images.join("101/vm-101-disk-0.raw"), &own).unwrap();
    other.destroy();
    guest.add_lines(&format!("mp0: local:100/vm-100-disk-1.raw,mp=/srv/data,{option}\n"));
    let mounted = tempfile::tempdir().unwrap();
    run("mount", &[&own, mounted.path()]);
    std::os::unix::fs::chown(mounted.path(), Some(100_000), Some(100_000)).unwrap();
    fs_err::set_permissions(mounted.path(), PermissionsExt::from_mode(0o755)).unwrap();
    run("umount", &[mounted.path()]);

    has_lines(&guest.ends_well(), &[expected, "mounted"]);
    guest.destroy();
}

/// Its own tools switch them on by the device, which they find in the list of mounts.
#[rstest]
#[case::root("rootfs", "/")]
#[case::mount_point("mp0", "/data")]
fn a_user_stores_no_more_than_the_quota(#[case] key: &str, #[case] place: &str) {
    let daemon = daemon();
    let script = format!(
        "#!/bin/sh\nset -- $(grep ' {place} ext4 .*usrjquota=aquota.user,grpjquota=aquota.group' /proc/mounts)\n\
        ls -l $1\n/bin/quota $1 {place}\nhead -c 1 $1 >/dev/null && echo readable\n\
        (echo >$1) 2>/dev/null || echo not writable\n"
    );
    let quota = fs_err::read(env!("LXCRI_QUOTA")).unwrap();
    let content = Content::default().file("sbin/init", 0o755, script.as_str()).file(
        "bin/quota",
        0o755,
        quota,
    );
    rootfs(&daemon.templates(), NAMED, &content);
    let data = ("mp0", "local:0.0625,mp=/data");
    let guest = daemon.create(100, NAMED, &[RAW, SMALL, PRIVILEGED, data]);
    extend(&daemon, key, "quota=1");

    let output = guest.ends_well();

    let stored = output.lines().find_map(|line| line.trim().strip_prefix("stored "));
    assert_eq!(stored, Some("64 KiB: EDQUOT"), "{output}");
    assert!(output.contains("br--------"), "{output}");
    has_lines(&output, &["readable", "not writable"]);
    guest.destroy();
}

/// PVE mounts such a one all the same.
#[test]
fn a_quota_that_cannot_be_is_named() {
    let daemon = daemon();
    let data = ("mp0", "local:0.0625,mp=/data,quota=1,ro=1");
    let guest =
        daemon.create(100, BUSYBOX, &[SUBVOL, SMALL, PRIVILEGED, data, ("entrypoint", PATIENT)]);
    extend(&daemon, "rootfs", "quota=1");

    let log = guest.task("start", &[]).log;

    for reason in ["a folder has no blocks of its own", "nothing is written there", "CAP_SYS_ADMIN"]
    {
        assert!(log.contains(reason), "{log}");
    }
    guest.stop();
    guest.destroy();
}

#[test]
fn a_block_device_of_the_host_is_mounted() {
    let daemon = daemon();
    let guest = guest(
        &daemon,
        &[SUBVOL, UNPRIVILEGED],
        &sh("cat /data/file; touch /data/x 2>/dev/null || echo read-only"),
        "",
    );
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("disk");
    fs_err::File::create(&image).unwrap().set_len(16 << 20).unwrap();
    run("mkfs.ext4", &[Path::new("-q"), &image]);
    let attached = Command::new("losetup").args(["-f", "--show"]).arg(&image).output().unwrap();
    let device = String::from_utf8(attached.stdout).unwrap().trim().to_owned();
    let place = folder.path().join("place");
    fs_err::create_dir(&place).unwrap();
    run("mount", &[Path::new(&device), &place]);
    fs_err::write(place.join("file"), "of the device\n").unwrap();
    run("umount", &[&place]);
    guest.add_lines(&format!("mp0: {device},mp=/data,ro=1\n"));

    let output = guest.ends_well();

    run("losetup", &[Path::new("-d"), Path::new(&device)]);
    has_lines(&output, &["of the device", "read-only"]);
    guest.destroy();
}

/// The disk's ids are the host's, and the container's users are who they say.
#[test]
fn ids_of_the_root_are_mapped() {
    let daemon = daemon();
    // The image has no names of its own; what they are mounted on is made for them.
    let script = "stat -c \"%n %u:%g\" /bin/busybox; touch /x; cat /etc/hostname; echo end";
    let options = [RAW, UNPRIVILEGED, ("hostname", "mapped")];
    let guest = guest(&daemon, &options, &sh(script), "");
    let image = daemon.root().join("var/lib/vz/images/100/vm-100-disk-0.raw");
    let mounted = tempfile::tempdir().unwrap();
    // As on a disk that a privileged container wrote.
    run("mount", &[&image, mounted.path()]);
    run("chown", &[Path::new("-R"), Path::new("0:0"), mounted.path()]);
    run("umount", &[mounted.path()]);
    extend(&daemon, "rootfs", "idmap=passthrough");

    has_lines(&guest.ends_well(), &["/bin/busybox 0:0", "mapped", "end"]);

    run("mount", &[&image, mounted.path()]);
    let made =
        std::os::unix::fs::MetadataExt::uid(&fs_err::metadata(mounted.path().join("x")).unwrap());
    run("umount", &[mounted.path()]);
    assert_eq!(made, 0);
    guest.destroy();
}

/// Whoever may write above a folder does not say what is mounted.
#[rstest]
#[case::itself("link")]
#[case::on_the_way("link/inner")]
fn no_link_leads_to_what_is_mounted(#[case] source: &str) {
    let daemon = daemon();
    let guest = guest(&daemon, &[SUBVOL, UNPRIVILEGED], PATIENT, "");
    let shared = tempfile::tempdir_in("/run").unwrap();
    let secret = tempfile::tempdir_in("/run").unwrap();
    fs_err::create_dir(secret.path().join("inner")).unwrap();
    std::os::unix::fs::symlink(secret.path(), shared.path().join("link")).unwrap();
    let line = format!("{},mp=/data", shared.path().join(source).display());
    let config = fs_err::read_to_string(daemon.config_path(100)).unwrap();
    guest.add_lines(&format!("mp0: {line}\n"));
    let failed = guest.task("start", &[]).failed();
    assert!(failed.contains("it is, or lies below, a symbolic link"), "{failed}");

    fs_err::write(daemon.config_path(100), config).unwrap();
    guest.start();
    guest.wait_for_output("ready");
    let added = Command::new(tests::binary("lxcri-lxc-monitor"))
        .args(["mount", "--node", tests::NODE, "--root"])
        .arg(daemon.root())
        .args(["100", "--key", "mp0", "--value", &line])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&added.stderr);
    assert!(said.contains("it is, or lies below, a symbolic link"), "{said}");
    guest.stop();
    guest.destroy();
}
