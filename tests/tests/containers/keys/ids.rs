//! `id-range` of the OCI file: a container that shares its ids with no other.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rstest::rstest;
use tests::{Content, Daemon, Guest, eventually, rootfs};

use super::disks::run;
use super::{has_lines, is_no_start};
use crate::runtimes::daemon as daemon_of;
use crate::{BUSYBOX, PATIENT, PRIVILEGED, RAW, SMALL, SUBVOL, UNPRIVILEGED, daemon, sh};

const RANGE: &str = "id-range: 300000:65536\n";

fn guest<'d>(daemon: &'d Daemon, options: &[(&str, &str)], entrypoint: &str) -> Guest<'d> {
    let all = [&[SMALL, ("entrypoint", entrypoint)], options].concat();
    let guest = daemon.create(100, BUSYBOX, &all);
    guest.add_oci_lines(RANGE);
    guest
}

/// Owner of a file on the disk that nobody uses by now.
fn owner_on_disk(image: &Path, file: &str) -> (u32, u32) {
    let mounted = tempfile::tempdir().unwrap();
    run("mount", &[image, mounted.path()]);
    let found = fs_err::metadata(mounted.path().join(file)).map(|meta| (meta.uid(), meta.gid()));
    run("umount", &[mounted.path()]);
    found.unwrap()
}

fn image(daemon: &Daemon, number: u32) -> std::path::PathBuf {
    daemon.root().join(format!("var/lib/vz/images/100/vm-100-disk-{number}.raw"))
}

/// On the disk its files are as those of any other, so that whatever copies them need not know.
#[rstest]
#[case::crun("crun")]
#[case::lxc("lxc")]
fn a_container_runs_with_ids_of_its_own(#[case] runtime: &str) {
    let script = "echo uids $(cat /proc/self/uid_map); echo gids $(cat /proc/self/gid_map); \
        for at in / /data; do stat -c \"$at %u:%g\" $at; touch $at/x; chown 7:8 $at/x; \
        stat -c \"$at/x %u:%g\" $at/x; done; cat /etc/hostname 2>/dev/null || hostname; echo end";
    let daemon = daemon_of(runtime);
    let disk = ("mp0", "local:0.0625,mp=/data");
    let guest = guest(&daemon, &[RAW, UNPRIVILEGED, ("hostname", "apart"), disk], &sh(script));
    let task = guest.task("start", &[]);
    assert!(!task.log.contains("WARN"), "{}", task.log);
    guest.wait();
    let output = guest.output();
    has_lines(
        &output,
        &[
            "uids 0 300000 65536",
            "gids 0 300000 65536",
            "/ 0:0",
            "//x 7:8",
            "/data 0:0",
            "/data/x 7:8",
            "apart",
            "end",
        ],
    );
    for number in [0, 1] {
        assert_eq!(owner_on_disk(&image(&daemon, number), "x"), (100_007, 100_008), "{output}");
    }
    // Another life may have another range, or none.
    guest.add_oci_lines("id-range: 500000:1000\n");
    has_lines(&guest.ends_well(), &["uids 0 500000 1000", "//x 7:8", "/data/x 7:8", "end"]);
    guest.destroy();
}

#[test]
fn the_host_sees_its_own_ids_and_a_new_mount_point_has_them() {
    let daemon = daemon();
    let guest = guest(&daemon, &[RAW, UNPRIVILEGED], PATIENT);
    guest.start();
    let pid = guest.current()["pid"].as_u64().unwrap();
    assert_eq!(fs_err::metadata(format!("/proc/{pid}")).unwrap().uid(), 300_000);
    // Whatever the file says by now, the container that runs has what it began with.
    guest.add_oci_lines("id-range: 500000:65536\n");
    assert_eq!(guest.put_config(&[("mp0", "local:0.0625,mp=/new/data")]).line(), "200 OK");
    let inside = Path::new("/proc").join(pid.to_string()).join("root");
    for made in ["new", "new/data"] {
        let found = fs_err::metadata(inside.join(made)).unwrap();
        assert_eq!((found.uid(), found.gid()), (300_000, 300_000), "{made}");
    }
    guest.stop();
    assert_eq!(owner_on_disk(&image(&daemon, 0), "new/data"), (100_000, 100_000));
    guest.destroy();
}

/// What is mounted has the ids of the life before.
#[rstest]
#[case::crun("crun")]
#[case::lxc("lxc")]
fn another_range_is_in_force_after_a_reboot_from_inside(#[case] runtime: &str) {
    let init = "#!/bin/sh\n[ -e /again ] || until [ -e /told ]; do sleep 0.1; done\n\
        [ -e /again ] && exec sleep 1000\ntouch /again; exec busybox reboot -f\n";
    let daemon = daemon_of(runtime);
    let content = Content::default().file("sbin/init", 0o755, init);
    rootfs(&daemon.templates(), "init.tar.gz", &content);
    let guest = daemon.create(100, "init.tar.gz", &[RAW, UNPRIVILEGED, SMALL]);
    guest.start();
    let pid = || guest.oci()["pid"].as_u64();
    let first = pid().unwrap();
    guest.add_oci_lines(RANGE);
    fs_err::write(format!("/proc/{first}/root/told"), "").unwrap();
    let second = eventually(30, "another life", || pid().filter(|pid| *pid != first));
    assert_eq!(fs_err::metadata(format!("/proc/{second}")).unwrap().uid(), 300_000);
    let again = fs_err::metadata(format!("/proc/{second}/root/again")).unwrap();
    assert_eq!((again.uid(), again.gid()), (300_000, 300_000));
    guest.stop();
    guest.destroy();
}

/// A backup of it is one of any container, and so is what is restored.
#[test]
fn a_backup_does_not_know() {
    let script = "[ -e /x ] && stat -c again.%u /x || { touch /x; chown 7 /x; }; echo end";
    let daemon = daemon();
    let guest = guest(&daemon, &[RAW, UNPRIVILEGED], &sh(script));
    guest.ends_well();
    let task = daemon
        .post("/nodes/pve1/vzdump", &[("vmid", "100"), ("storage", "local"), ("mode", "stop")]);
    daemon.task(&task).ok();
    let backups = daemon.root().join("var/lib/vz/dump");
    let mut names = fs_err::read_dir(&backups).unwrap().map(|entry| entry.unwrap().file_name());
    let name = names.find(|name| name.to_string_lossy().contains(".tar")).unwrap();
    let archive = format!("local:backup/{}", name.to_string_lossy());
    let restored = daemon.post(
        "/nodes/pve1/lxc",
        &[("vmid", "101"), ("ostemplate", &archive), ("restore", "1"), ("storage", "local")],
    );
    daemon.task(&restored).ok();
    has_lines(&daemon.guest(101).ends_well(), &["again.7", "end"]);
    daemon.guest(101).destroy();
    guest.destroy();
}

#[test]
fn a_range_that_cannot_be_is_named() {
    let daemon = daemon();
    let guest = guest(&daemon, &[SUBVOL, UNPRIVILEGED], PATIENT);
    // Of the file systems here that one alone knows no such mounts.
    let volume = guest.subvol();
    run("mount", &[Path::new("-tramfs"), Path::new("none"), &volume]);
    is_no_start(
        &daemon,
        &guest,
        &[(
            "",
            "rootfs: the ids of volume 'local:100/subvol-100-disk-0.subvol' cannot be mapped: ",
        )],
    );
    run("umount", &[&volume]);
    for (range, reason) in [
        ("some", "'oci: id-range' - 'some' is not 'FIRST:COUNT'"),
        ("0:65536", "'oci: id-range' - it must begin at 65536 or above"),
        ("300000:65537", "'oci: id-range' - 65537 ids"),
    ] {
        guest.add_oci_lines(&format!("id-range: {range}\n"));
        is_no_start(&daemon, &guest, &[("", reason)]);
    }
    guest.destroy();
}

#[rstest]
#[case::privileged(
    PRIVILEGED,
    "",
    "a privileged container has the host's own ids",
    "0 0 4294967295"
)]
#[case::raw(
    UNPRIVILEGED,
    "lxc.idmap: b 0 100000 5000\n",
    "the lines of lxc.idmap say",
    "0 100000 5000"
)]
fn a_range_without_use_is_named(
    #[case] kind: (&str, &str),
    #[case] lines: &str,
    #[case] reason: &str,
    #[case] map: &str,
) {
    let daemon = daemon();
    let guest = guest(&daemon, &[SUBVOL, kind], &sh("echo uids $(cat /proc/self/uid_map)"));
    guest.add_lines(lines);
    let log = guest.task("start", &[]).log;
    assert!(log.contains("oci: id-range: ignored: ") && log.contains(reason), "{log}");
    guest.wait();
    has_lines(&guest.output(), &[&format!("uids {map}")]);
    guest.destroy();
}

/// A folder of the machine's to which files can be added until this goes. Tests follow on each other.
struct Cover {
    folder: &'static str,
    _place: tempfile::TempDir,
}

impl Cover {
    fn over(folder: &'static str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let [upper, work] = ["upper", "work"].map(|name| place.path().join(name));
        [&upper, &work].iter().for_each(|folder| fs_err::create_dir(folder).unwrap());
        let options =
            format!("lowerdir={folder},upperdir={},workdir={}", upper.display(), work.display());
        let words = ["-t", "overlay", "-o", &options, "overlay", folder];
        assert!(std::process::Command::new("mount").args(words).status().unwrap().success());
        Self { folder, _place: place }
    }

    fn file(&self, name: &str, text: &str) {
        fs_err::write(Path::new(self.folder).join(name), text).unwrap();
    }
}

impl Drop for Cover {
    fn drop(&mut self) {
        let lazy = ["--lazy", self.folder];
        assert!(std::process::Command::new("umount").args(lazy).status().unwrap().success());
    }
}

/// As newuidmap(1) would: root may give away what the host gave to root.
#[test]
fn a_range_is_root_s_to_give() {
    let (programs, etc) = (Cover::over("/usr/bin"), Cover::over("/etc"));
    for name in ["newuidmap", "newgidmap"] {
        programs.file(name, "#!/bin/false\n");
    }
    let default = "root:100000:65536\n";
    let files = |uids: &str, gids: &str| {
        etc.file("subuid", &format!("{default}{uids}"));
        etc.file("subgid", &format!("{default}{gids}"));
    };
    let daemon = daemon();
    let entrypoint = sh("echo uids $(cat /proc/self/uid_map)");
    let guest = guest(&daemon, &[RAW, UNPRIVILEGED], &entrypoint);
    let line = "root:300000:65536\n";
    for (uids, gids, file) in [("", line, "subuid"), (line, "alice:300000:65536\n", "subgid")] {
        files(uids, gids);
        let reason = format!(
            "oci: id-range: /etc/{file} does not give root the ids 300000 to 365535: \
             the line 'root:300000:65536' is missing"
        );
        is_no_start(&daemon, &guest, &[("", &reason)]);
    }
    files(line, line);
    has_lines(&guest.ends_well(), &["uids 0 300000 65536"]);
    guest.destroy();

    // What every unprivileged container has is no reason to start none, but one for a word.
    etc.file("subuid", "alice:100000:65536\n");
    let guest =
        daemon.create(100, BUSYBOX, &[SMALL, RAW, UNPRIVILEGED, ("entrypoint", &entrypoint)]);
    let log = guest.task("start", &[]).log;
    assert!(log.contains("/etc/subuid gives ids of 100000 to 165535 to 'alice', too"), "{log}");
    guest.wait();
    has_lines(&guest.output(), &["uids 0 100000 65536"]);
    guest.destroy();
}

/// Whoever makes the node has to have the container's ids, too.
#[test]
fn a_device_node_is_made_with_its_ids() {
    let daemon = daemon();
    let script = "mknod /null c 1 3 && echo x >/null && stat -c \"%n %u:%g %t:%T\" /null; \
        mknod /mem c 1 1 2>/dev/null || echo no other";
    let guest = guest(&daemon, &[RAW, UNPRIVILEGED], &sh(script));
    guest.add_lines("features: mknod=1\n");
    has_lines(&guest.ends_well(), &["/null 0:0 1:3", "no other"]);
    assert_eq!(owner_on_disk(&image(&daemon, 0), "null"), (100_000, 100_000));
    guest.destroy();
}
