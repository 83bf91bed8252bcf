use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::journal::Journal;
use super::note::Note as _;
use super::*;
use crate::programs::Programs;
use crate::tasks::TaskState;

pub(super) struct World {
    pub(super) dir: tempfile::TempDir,
    pub(super) root: Root,
    pub(super) guests: Guests,
    tasks: Tasks,
}

const CONFIG: &str = "hostname: web\nmemory: 512\nrootfs: local:100/vm-100-disk-0.raw,size=4G\n";

impl World {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path()).unwrap();
        let node: NodeName = "pve1".parse().unwrap();
        fs_err::create_dir_all(root.lxc_configs(&node)).unwrap();
        let tasks = Tasks::new(&root, node.clone());
        let guests = Guests::new(
            root.clone(),
            node,
            tasks.clone(),
            Programs::both(dir.path().join("no-monitor")),
            Settings::default(),
        );
        Self { dir, root, guests, tasks }
    }

    /// Another daemon's, on the same root.
    pub(super) fn another(&self) -> Guests {
        let node: NodeName = "pve1".parse().unwrap();
        let tasks = Tasks::new(&self.root, node.clone());
        let programs = Programs::both(self.dir.path().join("no-monitor"));
        Guests::new(self.root.clone(), node, tasks, programs, Settings::default())
    }

    pub(super) fn write(&self, path: impl AsRef<Path>, text: &str) {
        let path = self.dir.path().join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    pub(super) fn config(&self, vmid: u32, text: &str) {
        self.write(format!("etc/pve/nodes/pve1/lxc/{vmid}.conf"), text);
    }

    pub(super) fn read_config(&self, vmid: u32) -> Option<String> {
        let path = self.dir.path().join(format!("etc/pve/nodes/pve1/lxc/{vmid}.conf"));
        fs_err::read_to_string(path).ok()
    }

    pub(super) async fn end(&self, upid: &Upid) -> String {
        assert!(self.tasks.wait(upid, Duration::from_secs(20)).await, "the task does not end");
        match self.tasks.status(upid).unwrap() {
            TaskState::Stopped(status) => status,
            TaskState::Running => panic!("it runs"),
        }
    }
}

pub(super) fn vmid(number: u32) -> Vmid {
    number.to_string().parse().unwrap()
}

fn root_user() -> AuthId {
    "root@pam".parse().unwrap()
}

fn plan(number: u32) -> Plan {
    let params = json!({"vmid": number, "ostemplate": "local:vztmpl/x.tar.gz"});
    Plan::new(params.as_object().unwrap(), true).unwrap()
}

#[tokio::test]
async fn a_create_that_fails_leaves_nothing() {
    let world = World::new();

    let upid = world.guests.create(plan(200), &root_user()).await.unwrap();

    assert_eq!(
        world.end(&upid).await,
        "unable to create CT 200 - volume 'local:vztmpl/x.tar.gz' does not exist"
    );
    assert_eq!(world.read_config(200), None);
    assert_eq!(Journal::all(&world.root).unwrap(), []);
}

#[tokio::test]
async fn a_number_is_taken_once_over_all_nodes_and_kinds() {
    let world = World::new();
    world.config(100, CONFIG);
    world.write("etc/pve/nodes/pve2/qemu-server/300.conf", "");

    let refused =
        async |number| world.guests.require_unused(vmid(number)).await.unwrap_err().to_string();

    assert_eq!(refused(100).await, "CT 100 already exists on node 'pve1'");
    assert_eq!(refused(300).await, "VM 300 already exists on node 'pve2'");
    world.guests.require_unused(vmid(200)).await.unwrap();
    let taken = world.guests.vmids().await.unwrap();
    assert_eq!(taken.into_iter().collect::<Vec<_>>(), [vmid(100), vmid(300)]);
}

#[tokio::test]
async fn the_next_daemon_removes_what_a_killed_one_was_making() {
    let world = World::new();
    world.config(200, "lock: create\n");
    world.write("var/lib/vz/images/200/vm-200-disk-0.raw", "older than the create");
    world.write("var/lib/vz/images/200/vm-200-disk-1.raw", "half made");
    let before = vec!["local:200/vm-200-disk-0.raw".to_owned()];
    let journal = Journal { storages: vec!["local".to_owned()], before, ..Journal::default() };
    journal.write(&world.root, vmid(200)).unwrap();

    world.guests.recover().await;

    assert_eq!(world.read_config(200), None);
    let images = world.root.below("/var/lib/vz/images/200");
    assert!(
        images.join("vm-200-disk-0.raw").exists() && !images.join("vm-200-disk-1.raw").exists()
    );
    assert_eq!(Journal::all(&world.root).unwrap(), []);
}

#[tokio::test]
async fn a_finished_container_survives_its_journal() {
    let world = World::new();
    world.config(200, "hostname: web\nrootfs: local:200/vm-200-disk-0.raw\n");
    world.write("var/lib/vz/images/200/vm-200-disk-0.raw", "");
    let journal = Journal { storages: vec!["local".to_owned()], ..Journal::default() };
    journal.write(&world.root, vmid(200)).unwrap();

    world.guests.recover().await;

    assert!(world.read_config(200).is_some());
    assert!(world.root.below("/var/lib/vz/images/200/vm-200-disk-0.raw").exists());
    assert_eq!(Journal::all(&world.root).unwrap(), []);
}

#[tokio::test]
async fn destroy_removes_what_is_the_containers_own() {
    let world = World::new();
    world.config(100, CONFIG);
    world.write("etc/pve/nodes/pve1/oci/100.conf", "runtime: crun\n");
    world.write("var/lib/vz/images/100/vm-100-disk-0.raw", "");
    world.write("var/lib/lxc/100/config", "");
    world.write("run/proxmox-lxcri/100/exit.json", "{}");
    world.write("var/log/proxmox-lxcri/100.log", "hello\n");

    let upid = world.guests.destroy(vmid(100), Destroy::default(), &root_user()).await.unwrap();

    assert_eq!(world.end(&upid).await, "OK");
    for gone in [
        "etc/pve/nodes/pve1/lxc/100.conf",
        "etc/pve/nodes/pve1/oci/100.conf",
        "var/lib/vz/images/100",
        "var/lib/lxc/100",
        "run/proxmox-lxcri/100",
        "var/log/proxmox-lxcri/100.log",
    ] {
        assert!(!world.dir.path().join(gone).exists(), "{gone} is left");
    }
}

#[tokio::test]
async fn a_start_without_the_monitor_names_the_package() {
    let world = World::new();
    world.config(100, CONFIG);

    let upid = world.guests.start(vmid(100), Start::default(), &root_user()).await.unwrap();

    let status = world.end(&upid).await;
    // Where no LXC is installed either, its package is named behind.
    assert!(status.contains("install the package proxmox-lxcri"), "{status}");
}

#[tokio::test]
async fn a_start_applies_what_was_pending() {
    let world = World::new();
    world.config(100, &format!("{CONFIG}\n[pve:pending]\nmemory: 1024\n"));

    let upid = world.guests.start(vmid(100), Start::default(), &root_user()).await.unwrap();
    world.end(&upid).await;

    assert!(world.read_config(100).unwrap().contains("memory: 1024\n"));
    assert!(!world.read_config(100).unwrap().contains("pending"));
}

#[tokio::test]
async fn a_template_and_a_locked_container_fail_inside_the_task() {
    let world = World::new();
    world.config(104, "template: 1\n");
    world.config(101, "lock: backup\n");
    let status = async |number| {
        let start = world.guests.start(vmid(number), Start::default(), &root_user()).await;
        world.end(&start.unwrap()).await
    };

    assert_eq!(status(104).await, "you can't start a CT if it's a template");
    assert_eq!(status(101).await, "CT is locked (backup)");
    assert_eq!(status(999).await, "Configuration file 'nodes/pve1/lxc/999.conf' does not exist");
}

#[tokio::test]
async fn what_does_not_run_cannot_be_stopped() {
    let world = World::new();
    world.config(100, CONFIG);
    let (guests, who) = (&world.guests, root_user());
    let text = |done: Result<Upid, GuestError>| done.unwrap_err().to_string();

    assert_eq!(text(guests.stop(vmid(100), Stop::default(), &who).await), "CT 100 not running");
    assert_eq!(text(guests.shutdown(vmid(100), None, false, &who).await), "CT 100 not running");
    assert_eq!(text(guests.reboot(vmid(100), None, &who).await), "VM 100 not running");
    assert_eq!(text(guests.suspend(vmid(100), &who).await), "CT 100 not running");
}

#[tokio::test]
async fn a_hookscript_is_there_and_can_run() {
    let world = World::new();
    world.config(100, CONFIG);
    let snippets = world.root.below("/var/lib/vz/snippets");
    fs_err::create_dir_all(&snippets).unwrap();
    fs_err::write(snippets.join("text"), "no program").unwrap();
    let refusal = async |script: &str| {
        let change = Change {
            set: [("hookscript".to_owned(), script.to_owned())].into(),
            ..Change::default()
        };
        world.guests.change(vmid(100), change, None).await.unwrap_err().to_string()
    };

    let none = refusal("local:snippets/none").await;
    assert_eq!(none, "script 'local:snippets/none' does not exist");
    let text = refusal("local:snippets/text").await;
    assert_eq!(text, "script 'local:snippets/text' is not executable");
    let image = refusal("local:iso/x.iso").await;
    assert_eq!(image, "'local:iso/x.iso' is not in the snippets directory");
}

#[tokio::test]
async fn a_listening_supervisor_makes_it_running() {
    let world = World::new();
    world.config(100, CONFIG);
    let listener = lxc_protocol::server::Listener::bind(&world.root.lxc_path(), "100").unwrap();
    let who = root_user();

    let err = world.guests.start(vmid(100), Start::default(), &who).await.unwrap_err();
    assert_eq!(err.to_string(), "CT 100 already running");
    let err = world.guests.destroy(vmid(100), Destroy::default(), &who).await.unwrap_err();
    assert_eq!(err.to_string(), "unable to destroy CT 100 - container is running");

    let change = json!({"memory": 1024, "tty": 3, "hostname": "new"});
    let change = Change::from_params(change.as_object().unwrap());
    world.guests.change(vmid(100), change, None).await.unwrap();
    let text = world.read_config(100).unwrap();
    assert!(
        text.contains("hostname: new\nmemory: 1024\n") && text.ends_with("\ntty: 3\n"),
        "{text}"
    );
    drop(listener);
}

#[tokio::test]
async fn a_change_with_an_old_digest_changes_nothing() {
    let world = World::new();
    world.config(100, CONFIG);
    let change = Change::from_params(json!({"cores": 1}).as_object().unwrap());
    let digest = "0".repeat(40);

    let err = world.guests.change(vmid(100), change, Some(digest)).await.unwrap_err();

    assert_eq!(
        err.to_string(),
        "detected modified configuration - file changed by other user? Try again."
    );
    assert_eq!(world.read_config(100).unwrap(), CONFIG);
}

#[test]
fn a_start_says_what_nobody_enforces() {
    let world = World::new();
    world.config(100, "net0: name=eth0,firewall=1\nnet1: name=eth1\n");
    world.write("etc/pve/firewall/100.fw", "[OPTIONS]\nenable: 0\n");

    let warnings = world.guests.unenforced(vmid(100)).unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("net0: firewall=1 has no effect"), "{warnings:?}");

    world.write("etc/pve/firewall/100.fw", "[OPTIONS]\nenable: 1\n");
    assert_eq!(world.guests.unenforced(vmid(100)).unwrap().len(), 2);
}
