//! Backups of containers that run, and what comes back from backups.

use rstest::rstest;
use serde_json::Value;
use tests::{Content, Daemon, NODE, Task, eventually, rootfs};

use crate::{BUSYBOX, RAW, SMALL, SUBVOL, UNPRIVILEGED, daemon, sh};

/// Keeps a file of its own on each volume at the first start, and tells of them at each later one.
const KEEPER: &str = "cd /root; if test -e kept; then echo found $(stat -c %u:%g:%a kept) $(cat kept /data/kept); \
    else echo precious >kept; cat kept >/data/kept; chown 7:8 kept; chmod 640 kept; fi; \
    trap \"exit 0\" TERM PWR; echo ready; while :; do sleep 0.1; done";
const DATA: (&str, &str) = ("mp0", "local:0.03125,mp=/data,backup=1");
const PATH: &str = "/nodes/pve1/lxc";

fn backup(daemon: &Daemon) -> String {
    let rows = daemon.get(&format!("/nodes/{NODE}/storage/local/content?content=backup")).data();
    rows[0]["volid"].as_str().unwrap().to_owned()
}

fn restore(daemon: &Daemon, vmid: &str, parameters: &[(&str, &str)]) -> Task {
    let volid = backup(daemon);
    let all = [&[("vmid", vmid), ("restore", "1"), ("ostemplate", volid.as_str())], parameters];
    daemon.task(&daemon.post(PATH, &all.concat()))
}

/// Without what is another's in a copy: the volumes' names, the digest of it all.
fn comparable(mut config: Value) -> Value {
    for key in ["rootfs", "mp0"] {
        let value = config[key].as_str().unwrap();
        let (_, options) = value.split_once(',').unwrap();
        config[key] = options.into();
    }
    config["digest"].take();
    config
}

#[rstest]
#[case::folder_frozen(SUBVOL, "snapshot", "zstd")]
#[case::image_frozen(RAW, "suspend", "gzip")]
#[case::image_stopped(RAW, "stop", "0")]
fn a_running_one_is_kept_and_comes_back(
    #[case] volume: (&str, &str),
    #[case] mode: &str,
    #[case] compress: &str,
) {
    let daemon = daemon();
    let script = sh(KEEPER);
    let options =
        [volume, DATA, SMALL, UNPRIVILEGED, ("entrypoint", &script), ("hostname", "keeper")];
    let guest = daemon.create(100, BUSYBOX, &options);
    guest.start();
    guest.wait_for_output("ready");

    let parameters = [("vmid", "100"), ("mode", mode), ("compress", compress)];
    let log = daemon.task(&daemon.post(&format!("/nodes/{NODE}/vzdump"), &parameters)).ok();

    assert!(log.contains("INFO: status = running"), "{log}");
    assert!(log.contains(&format!("INFO: backup mode: {mode}")), "{log}");
    assert!(log.contains("INFO: including mount point mp0 ('/data') in backup"), "{log}");
    assert!(log.contains("INFO: guest is online again after"), "{log}");
    assert_eq!(guest.status(), "running");
    let before = guest.config();
    assert!(before.get("lock").is_none(), "{before}");
    guest.stop();
    guest.destroy();

    let log = restore(&daemon, "101", &[]).ok();
    assert!(log.contains("recovering backed-up configuration from 'local:backup/vzdump-lxc-100-"));
    let copy = daemon.guest(101);
    assert_eq!(comparable(copy.config()), comparable(before));
    copy.start();
    copy.wait_for_output("found 7:8:640 precious precious");
    copy.stop();
    copy.destroy();
}

#[test]
fn a_restore_takes_the_place_of_what_was_there_or_leaves_it() {
    let daemon = daemon();
    let script = sh(KEEPER);
    let options = [SUBVOL, DATA, SMALL, UNPRIVILEGED, ("entrypoint", script.as_str())];
    let guest = daemon.create(100, BUSYBOX, &options);
    guest.start();
    guest.wait_for_output("ready");
    guest.stop();
    daemon.task(&daemon.post(&format!("/nodes/{NODE}/vzdump"), &[("vmid", "100")])).ok();
    guest.put_config(&[("hostname", "changed")]).data();
    let volid = backup(&daemon);
    let parameters = [("vmid", "100"), ("restore", "1"), ("ostemplate", volid.as_str())];
    let taken = daemon.post(PATH, &parameters);
    assert_eq!(taken.line(), "500 CT 100 already exists on node 'pve1'");

    // A damaged archive: what was there is still there, and starts.
    let archive = daemon.root().join("var/lib/vz/dump").join(volid.rsplit('/').next().unwrap());
    let whole = fs_err::read(&archive).unwrap();
    fs_err::write(&archive, &whole[..whole.len() / 2]).unwrap();
    let failed = restore(&daemon, "100", &[("force", "1")]).failed();
    assert!(failed.starts_with("unable to restore CT 100 - "), "{failed}");
    assert_eq!(guest.config()["hostname"], "changed");
    assert!(guest.config().get("lock").is_none());
    guest.start();
    guest.wait_for_output("found 7:8:640 precious precious");
    guest.stop();

    // As much as can be had of it.
    let log = restore(&daemon, "102", &[("ignore-unpack-errors", "1")]);
    assert_eq!(log.exitstatus, "WARNINGS: 1", "{}", log.log);
    daemon.guest(102).destroy();

    fs_err::write(&archive, &whole).unwrap();
    restore(&daemon, "100", &[("force", "1"), ("memory", "96")]).ok();
    let config = guest.config();
    assert_eq!((&config["hostname"], &config["memory"]), (&"CT100".into(), &96.into()));
    let content = format!("/nodes/{NODE}/storage/local/content?content=rootdir");
    let volumes = daemon.get(&content).data();
    assert_eq!(volumes.as_array().unwrap().len(), 2, "{volumes}");
    guest.start();
    guest.wait_for_output("found 7:8:640 precious precious");
    let running = daemon.post(PATH, &[&parameters[..], &[("force", "1")]].concat());
    assert_eq!(running.line(), "500 can't overwrite running container");
    guest.stop();
    guest.destroy();
}

#[test]
fn a_restore_that_is_killed_leaves_what_was_there() {
    let mut daemon = daemon();
    let script = sh(KEEPER);
    let options = [SUBVOL, DATA, SMALL, UNPRIVILEGED, ("entrypoint", script.as_str())];
    let guest = daemon.create(100, BUSYBOX, &options);
    guest.start();
    guest.wait_for_output("ready");
    guest.stop();
    daemon.task(&daemon.post(&format!("/nodes/{NODE}/vzdump"), &[("vmid", "100")])).ok();
    let volid = backup(&daemon);

    // So slow that they are not done before the daemon is.
    for vmid in ["100", "101"] {
        let slow = [("force", "1"), ("bwlimit", "1"), ("vmid", vmid), ("restore", "1")];
        let reply = daemon.post(PATH, &[&slow[..], &[("ostemplate", volid.as_str())]].concat());
        let upid = reply.data().as_str().unwrap().to_owned();
        eventually(60, "the unpacking", || {
            let log = daemon.get(&format!("/nodes/{NODE}/tasks/{upid}/log")).text();
            let note = format!("var/lib/proxmox-lxcri/creating/{vmid}");
            let note = fs_err::read_to_string(daemon.root().join(note)).unwrap_or_default();
            (log.contains("extracting archive") && note.contains("\"pid\"")).then_some(())
        });
    }
    assert_eq!(daemon.guest(100).config()["lock"], "create");
    daemon.kill();
    daemon.launch();

    assert!(!daemon.config_path(101).exists());
    let guest = daemon.guest(100);
    assert!(guest.config().get("lock").is_none());
    let content = format!("/nodes/{NODE}/storage/local/content?content=rootdir");
    let volumes = daemon.get(&content).data();
    assert_eq!(volumes.as_array().unwrap().len(), 2, "{volumes}");
    guest.start();
    guest.wait_for_output("found 7:8:640 precious precious");
    guest.stop();
    guest.destroy();
}

/// As PVE's own vzdump lays it out, in a folder that is no storage.
fn foreign_backup(daemon: &Daemon, config: &str) -> String {
    let content = Content::default()
        .file("etc/vzdump/pct.conf", 0o644, config)
        .file("etc/vzdump/pct.fw", 0o644, "[OPTIONS]\n\nenable: 1\n")
        .file("root/theirs", 0o600, "brought along");
    let folder = daemon.root().join("srv");
    rootfs(&folder, "vzdump-lxc-7-2026_01_01-00_00_00.tar.gz", &content);
    "/srv/vzdump-lxc-7-2026_01_01-00_00_00.tar.gz".to_owned()
}

#[test]
fn root_restores_a_backup_from_elsewhere() {
    let daemon = daemon();
    let script = sh("cat /root/theirs; ls /etc/vzdump; echo done; exit 3");
    let archive = foreign_backup(
        &daemon,
        &format!(
            "#over there\narch: amd64\nentrypoint: {script}\nhostname: theirs\nmemory: 64\n\
             net0: name=eth0,hwaddr=BC:24:11:00:00:01,type=veth\nostype: unmanaged\n\
             rootfs: elsewhere:vm-7-disk-0,size=64M\nswap: 0\nunprivileged: 1\n\n\
             [before]\nrootfs: elsewhere:vm-7-disk-0,size=64M\n"
        ),
    );
    let parameters = [("vmid", "107"), ("restore", "1"), ("ostemplate", archive.as_str())];
    let more = [("unique", "1"), ("start", "1"), ("tags", "mine")];
    let reply = daemon.request_local("POST", PATH, &[&parameters[..], &more].concat());
    let task = daemon.task(&reply);
    assert!(!task.exitstatus.contains("ERROR"), "{}", task.log);

    let guest = daemon.guest(107);
    assert_eq!(guest.wait()["exit_code"], 3);
    let output = guest.output();
    assert!(output.contains("brought along") && !output.contains("pct"), "{output}");
    let config = guest.config();
    assert_eq!(config["rootfs"], "local:107/vm-107-disk-0.raw,size=64M");
    assert_eq!((&config["hostname"], &config["tags"]), (&"theirs".into(), &"mine".into()));
    assert_eq!(config["description"], "over there\n");
    assert!(!config["net0"].as_str().unwrap().contains("BC:24:11:00:00:01"), "{config}");
    let rules = fs_err::read_to_string(daemon.root().join("etc/pve/firewall/107.fw")).unwrap();
    assert!(rules.contains("enable: 1"), "{rules}");
    guest.destroy();
}

#[test]
fn a_template_comes_back_as_one() {
    let daemon = daemon();
    let config = "rootfs: elsewhere:base-7-disk-0,size=64M\ntemplate: 1\nunprivileged: 1\n";
    let archive = foreign_backup(&daemon, config);
    let parameters = [("vmid", "107"), ("restore", "1"), ("ostemplate", archive.as_str())];
    let log = daemon.task(&daemon.request_local("POST", PATH, &parameters)).ok();

    assert!(log.contains("Convert restored container to template..."), "{log}");
    let config = daemon.guest(107).config();
    assert_eq!(config["rootfs"], "local:107/base-107-disk-0.raw,size=64M");
    assert_eq!(config["template"], 1);
    daemon.guest(107).destroy();
}
