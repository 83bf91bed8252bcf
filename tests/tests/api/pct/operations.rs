//! Making, changing, copying and removing containers that are PVE's.

use rstest::rstest;
use serde_json::json;
use tests::{Daemon, Task, eventually};

use super::{Pct, SYSTEM, run};
use crate::ANN;

const STORAGES: &str = "dir: local\n\tpath /var/lib/vz\n\tcontent vztmpl,rootdir,backup\n\n\
    zfspool: tank\n\tpool tank\n\tcontent rootdir\n\n\
    zfspool: fast\n\tpool fast\n\tcontent rootdir\n";
const TEMPLATE: &str = "local:vztmpl/debian.tar.zst";

fn node(pct: &Pct) -> Daemon {
    pct.builder()
        .file("etc/pve/storage.cfg", STORAGES)
        .file("var/lib/vz/template/cache/debian.tar.zst", "an archive that nobody here opens")
        .start()
}

fn create(daemon: &Daemon, parameters: &[(&str, &str)]) -> tests::Reply {
    let given = [("vmid", "101"), ("ostemplate", TEMPLATE)];
    daemon.post("/nodes/pve1/lxc", &[&given, parameters].concat())
}

fn config(daemon: &Daemon, vmid: u32) -> String {
    fs_err::read_to_string(daemon.config_path(vmid)).unwrap()
}

#[test]
fn a_create_hands_everything_on_but_no_secret() {
    let pct = Pct::new();
    let daemon = node(&pct);
    // Of a container that PVE removed without a word to us.
    let stale = daemon.root().join("etc/pve/nodes/pve1/oci/101.conf");
    fs_err::create_dir_all(stale.parent().unwrap()).unwrap();
    fs_err::write(&stale, "runtime: crun\nruntime-by: request\n").unwrap();
    let keys =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDbSTVTV9xHFbSAx5zFgzYcoDgzHNR1rdRpPyUyVzSHx a@b";

    let created = create(
        &daemon,
        &[
            ("hostname", "box"),
            ("rootfs", "tank:8"),
            ("password", "topsecret"),
            ("ssh-public-keys", keys),
            ("start", "1"),
            ("net0", "name=eth0,bridge=vmbr0"),
        ],
    );
    daemon.task(&created).ok();

    let lines = pct.lines();
    let run = daemon.root().join("run/proxmox-lxcri");
    let expected = format!(
        "create 101 {TEMPLATE} --hostname=box --net0=name=eth0,bridge=vmbr0 --rootfs=tank:8 \
         --start=1 --ssh-public-keys={}/101.ssh-public-keys --password",
        run.display()
    );
    assert_eq!(lines, [expected]);
    let call = &pct.calls()[0];
    assert_eq!(call["stdin"], "topsecret\ntopsecret\n");
    assert_eq!(call["keys"], json!(keys));
    assert!(!run.join("101.ssh-public-keys").exists(), "the file has served");
    assert!(!stale.exists());
    assert_eq!(daemon.guest(101).oci()["runtime"], "lxc");
    assert!(config(&daemon, 101).contains("hostname: box\n"));
}

#[test]
fn several_variables_are_set_once_the_container_is_there() {
    let pct = Pct::new();
    let daemon = node(&pct);

    let env = [("env", "A=1\0B=2"), ("start", "1"), ("rootfs", "tank:8")];
    daemon.task(&create(&daemon, &env)).ok();

    assert_eq!(
        pct.lines(),
        [format!("create 101 {TEMPLATE} --rootfs=tank:8"), "start 101".to_owned()]
    );
    let env = "lxc.environment.runtime: A=1\nlxc.environment.runtime: B=2\n";
    assert!(config(&daemon, 101).contains(env), "{}", config(&daemon, 101));
}

#[test]
fn what_is_made_for_crun_never_gets_to_pct() {
    let pct = Pct::new();
    let daemon = node(&pct);

    let own = create(&daemon, &[("entrypoint", "/bin/app"), ("rootfs", "local:1")]);
    // The archive is none, and it is our own unpacking that finds out.
    daemon.task(&own).failed();
    assert_eq!(pct.lines(), [] as [String; 0]);

    // Where crun could not run it, PVE can.
    daemon.task(&create(&daemon, &[("entrypoint", "/bin/app"), ("rootfs", "tank:1")])).ok();
    assert_eq!(pct.lines().len(), 1);
}

#[test]
fn a_create_that_fails_says_what_pct_said() {
    let pct = Pct::new();
    let daemon = node(&pct);
    let words = "unable to create CT 101 - zfs error: no such pool 'tank'";
    pct.does(&json!({ "create": { "lines": ["extracting archive"], "fail": words } }));

    let task = daemon.task(&create(&daemon, &[("rootfs", "tank:8")]));

    assert!(task.log.contains("extracting archive\n"), "{}", task.log);
    assert_eq!(task.failed(), words);
    let unknown = create(&daemon, &[("rootfs", "none:8")]).line();
    assert_eq!(unknown, "500 storage 'none' does not exist");
}

#[rstest]
#[case("POST", "snapshot", &[("snapname", "s1"), ("description", "--force")], "snapshot 100 s1 --description=--force")]
#[case("DELETE", "snapshot/s1", &[("force", "1")], "delsnapshot 100 s1 --force=1")]
#[case("POST", "snapshot/s1/rollback", &[("start", "1")], "rollback 100 s1 --start=1")]
#[case("PUT", "resize", &[("disk", "rootfs"), ("size", "+1G")], "resize 100 rootfs +1073741824")]
#[case("POST", "clone", &[("newid", "200"), ("full", "0"), ("hostname", "twin")], "clone 100 200 --full=0 --hostname=twin")]
#[case("POST", "clone", &[("newid", "200"), ("storage", "fast"), ("bwlimit", "9")], "clone 100 200 --bwlimit=9 --storage=fast")]
#[case("POST", "move_volume", &[("volume", "rootfs"), ("storage", "fast"), ("delete", "1")], "move-volume 100 rootfs fast --delete=1")]
#[case("DELETE", "", &[("force", "1"), ("purge", "1"), ("destroy-unreferenced-disks", "1")], "destroy 100 --force=1 --destroy-unreferenced-disks=1 --purge=1")]
fn each_operation_is_one_call(
    #[case] method: &str,
    #[case] path: &str,
    #[case] parameters: &[(&str, &str)],
    #[case] line: &str,
) {
    let pct = Pct::new();
    let daemon = node(&pct);
    let path = format!("/nodes/pve1/lxc/100/{path}");

    daemon.task(&daemon.request(method, path.trim_end_matches('/'), parameters)).ok();

    assert_eq!(pct.lines(), [line]);
}

#[test]
fn a_volume_is_handed_over_and_a_template_made() {
    let pct = Pct::new();
    let with_data = format!("{SYSTEM}mp0: tank:subvol-100-disk-1,mp=/data,size=1G\n");
    let daemon = pct
        .builder()
        .file("etc/pve/storage.cfg", STORAGES)
        .file("etc/pve/nodes/pve1/lxc/100.conf", &with_data)
        .file("etc/pve/nodes/pve1/lxc/101.conf", SYSTEM)
        .start();

    let to = [("volume", "mp0"), ("target-vmid", "101"), ("target-volume", "mp4")];
    daemon.post("/nodes/pve1/lxc/100/move_volume", &to).data();
    // The task's name has a character that no path has, so it is not asked for.
    let handed_over = "move-volume 100 mp0 --target-vmid=101 --target-volume=mp4";
    eventually(20, "the call", || (pct.lines() == [handed_over]).then_some(()));
    assert_eq!(daemon.post("/nodes/pve1/lxc/100/template", &[]).line(), "200 OK");

    assert_eq!(pct.lines(), [handed_over, "template 100"]);
}

#[test]
fn after_a_destroy_nothing_of_it_is_left_here() {
    let pct = Pct::new();
    let oci = "etc/pve/nodes/pve1/oci/100.conf";
    let daemon = pct.builder().file(oci, "runtime: lxc\nruntime-by: request\n").start();

    daemon.task(&daemon.guest(100).delete()).ok();

    assert!(!daemon.config_path(100).exists() && !daemon.root().join(oci).exists());
}

#[test]
fn a_change_is_pcts_and_so_are_its_refusals() {
    let pct = Pct::new();
    let daemon = node(&pct);
    let guest = daemon.guest(100);

    let digest = guest.config()["digest"].as_str().unwrap().to_owned();
    let change = [("memory", "128"), ("delete", "hostname"), ("digest", digest.as_str())];
    assert_eq!(guest.put_config(&change).line(), "200 OK");
    assert_eq!(pct.lines(), [format!("set 100 --memory=128 --delete=hostname --digest={digest}")]);
    assert_eq!(guest.config()["memory"], 128);

    let stale = guest.put_config(&[("memory", "64"), ("digest", digest.as_str())]).line();
    assert!(stale.starts_with("500 detected modified configuration"), "{stale}");

    let words = "400 Parameter verification failed.\nmp0: unable to hotplug mp0: no such pool\n\
        pct set <vmid> [OPTIONS]";
    pct.does(&json!({ "set": { "fail": words } }));
    let refused = guest.put_config(&[("mp0", "tank:1,mp=/data")]);
    assert_eq!(refused.errors(), json!({ "mp0": "unable to hotplug mp0: no such pool" }));

    pct.does(&json!({ "set": { "fail": "unable to open file - Permission denied" } }));
    let failed = guest.put_config(&[("memory", "256")]).line();
    assert_eq!(failed, "500 unable to open file - Permission denied");
}

#[test]
fn several_variables_are_set_without_pct() {
    let pct = Pct::new();
    let daemon = node(&pct);

    let change = [("env", "A=1\0B=2"), ("memory", "128")];
    assert_eq!(daemon.guest(100).put_config(&change).line(), "200 OK");

    assert_eq!(pct.lines(), ["set 100 --memory=128"]);
    let text = config(&daemon, 100);
    assert!(
        text.contains("lxc.environment.runtime: B=2\n") && text.contains("memory: 128\n"),
        "{text}"
    );
}

#[test]
fn rights_are_asked_for_before_root_runs_it() {
    let pct = Pct::new();
    let daemon = node(&pct);
    let ann = |method, path: &str, parameters: &[(&str, &str)]| {
        let path = format!("/nodes/pve1/lxc/100{path}");
        daemon.request_as(&[("Authorization", ANN)], method, &path, parameters).status
    };

    assert_eq!(ann("PUT", "/config", &[("memory", "128")]), 403);
    assert_eq!(ann("DELETE", "", &[]), 403);
    assert_eq!(ann("POST", "/snapshot", &[("snapname", "s1")]), 403);
    assert_eq!(ann("POST", "/clone", &[("newid", "200")]), 403);
    assert_eq!(ann("PUT", "/resize", &[("disk", "rootfs"), ("size", "+1G")]), 403);
    assert_eq!(ann("POST", "/move_volume", &[("volume", "rootfs"), ("storage", "fast")]), 403);

    assert_eq!(pct.lines(), [] as [String; 0]);
}

#[test]
fn off_to_a_node_that_there_is() {
    let pct = Pct::new();
    let daemon = pct.builder().file("etc/pve/nodes/pve2/lrm_status", "{}").start();
    let path = "/nodes/pve1/lxc/100/migrate";

    let gone = daemon.post(path, &[("target", "pve9")]).line();
    assert_eq!(gone, "500 no such cluster node 'pve9'");
    daemon
        .task(&daemon.post(path, &[("target", "pve2"), ("restart", "1"), ("timeout", "30")]))
        .ok();

    assert_eq!(pct.lines(), ["migrate 100 pve2 --restart=1 --timeout=30"]);
}

#[test]
fn a_container_that_crun_has_stays_out_of_pcts_hands() {
    let pct = Pct::new();
    let daemon = pct
        .builder()
        .file("etc/pve/nodes/pve1/oci/100.conf", "runtime: crun\nruntime-by: request\n")
        .start();

    assert_eq!(daemon.guest(100).put_config(&[("memory", "128")]).line(), "200 OK");
    run(daemon.guest(100), "start").failed();
    daemon.task(&daemon.guest(100).delete());

    assert_eq!(pct.lines(), [] as [String; 0]);
}

const BACKUP: &str = "local:backup/vzdump-lxc-101-2026_01_01-00_00_00.tar";
const JOE: &str = "PVEAPIToken=joe@pve!all=11111111-2222-3333-4444-666666666666";

/// As one who may everything but is not root.
fn restore_as_joe(pct: &Pct, backed_up: &str) -> Task {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(backed_up.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, "./etc/vzdump/pct.conf", backed_up.as_bytes()).unwrap();
    let daemon = pct
        .builder()
        .file("etc/pve/storage.cfg", STORAGES)
        .file(
            "etc/pve/user.cfg",
            "user:root@pam:1:0:::::\nuser:joe@pve:1:0:::::\ntoken:root@pam!test:0:0::\n\
             token:joe@pve!all:0:0::\n\n\n\nacl:1:/:joe@pve:Administrator:\n",
        )
        .file(
            "etc/pve/priv/token.cfg",
            "joe@pve!all 11111111-2222-3333-4444-666666666666\n\
             root@pam!test 11111111-2222-3333-4444-777777777777\n",
        )
        .start();
    let folder = daemon.root().join("var/lib/vz/dump");
    fs_err::create_dir_all(&folder).unwrap();
    let path = folder.join("vzdump-lxc-101-2026_01_01-00_00_00.tar");
    fs_err::write(path, archive.into_inner().unwrap()).unwrap();
    let parameters =
        [("vmid", "101"), ("ostemplate", BACKUP), ("restore", "1"), ("storage", "tank")];
    let reply =
        daemon.request_as(&[("Authorization", JOE)], "POST", "/nodes/pve1/lxc", &parameters);
    daemon.task(&reply)
}

#[test]
fn a_backup_is_restored_by_pct() {
    let pct = Pct::new();

    restore_as_joe(&pct, SYSTEM).ok();

    assert_eq!(pct.lines(), [format!("restore 101 {BACKUP} --storage=tank")]);
}

#[rstest]
#[case("lxc.cap.drop: sys_admin\n", "the backup has custom lxc options: only root may restore it")]
#[case("mp0: /srv,mp=/srv\n", "restoring 'mp0' to bind mount is only possible for root")]
fn what_pve_would_leave_out_for_others_root_does_not_restore_for_them(
    #[case] line: &str,
    #[case] error: &str,
) {
    let pct = Pct::new();

    let task = restore_as_joe(&pct, &format!("{SYSTEM}{line}"));

    assert_eq!(task.failed(), error);
    assert_eq!(pct.lines(), [] as [String; 0]);
}

/// What says that it cannot run anything here.
const BROKEN: &str = "#!/bin/sh\ncase $1 in --probe) echo '{\"usable\": false, \"missing\": [{\"what\": \
    \"cgroup\", \"why\": \"hybrid\", \"package\": null}]}';; *) echo no cgroup >&2; exit 1;; esac\n";

#[test]
fn where_crun_cannot_be_used_pct_takes_over_but_never_the_other_way_round() {
    let pct = Pct::new();
    let monitor = pct.add("monitor", BROKEN);
    let daemon = pct
        .builder()
        .option("--monitor")
        .option(monitor.to_str().unwrap())
        .file("etc/pve/nodes/pve1/oci/100.conf", "runtime: crun\nruntime-by: auto\n")
        .file("etc/pve/nodes/pve1/lxc/101.conf", SYSTEM)
        .start();

    let task = run(daemon.guest(100), "start");
    assert_eq!(task.exitstatus, "WARNINGS: 1", "{}", task.log);
    assert!(task.log.contains("starting under lxc: cgroup: hybrid"), "{}", task.log);
    assert_eq!(pct.lines(), ["start 100"]);

    fs_err::remove_file(pct.program()).unwrap();
    let error = run(daemon.guest(101), "start").failed();
    assert!(error.ends_with("install the package pve-container"), "{error}");
    let error = run(daemon.guest(100), "start").failed();
    assert!(error.starts_with("no runtime can be used here: crun: cgroup: hybrid"), "{error}");
}
