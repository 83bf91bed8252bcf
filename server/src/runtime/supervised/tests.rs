use std::os::unix::fs::PermissionsExt;

use openapi::AuthId;
use rstest::rstest;

use super::*;
use crate::programs::Programs;
use crate::tasks::{TaskState, Tasks};

/// A root, and a shell script in the place of the monitor.
struct World {
    dir: tempfile::TempDir,
    supervised: Supervised,
    tasks: Tasks,
}

fn vmid() -> Vmid {
    "101".parse().unwrap()
}

impl World {
    fn new(script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path()).unwrap();
        let program = dir.path().join("monitor");
        fs_err::write(&program, format!("#!/bin/sh\ncd {}\n{script}", dir.path().display()))
            .unwrap();
        fs_err::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let node: openapi::NodeName = "pve1".parse().unwrap();
        let monitors = Monitors::new(Programs::both(program), &root, &node);
        let tasks = Tasks::new(&root, node);
        Self { supervised: Supervised::new(monitors, root, false), tasks, dir }
    }

    fn begin_start(&self) -> openapi::Upid {
        let supervised = self.supervised.clone();
        let who: AuthId = "root@pam".parse().unwrap();
        let start = move |log: TaskLog, cancel| async move {
            supervised.start(vmid(), &How::default(), &log, &cancel).await
        };
        self.tasks.spawn("vzstart", "101", &who, start).unwrap()
    }

    /// The task's end and its log.
    async fn end(&self, upid: &openapi::Upid) -> (String, String) {
        assert!(self.tasks.wait(upid, Duration::from_secs(20)).await, "the task does not end");
        let TaskState::Stopped(status) = self.tasks.status(upid).unwrap() else {
            panic!("it runs")
        };
        let lines: Vec<_> =
            self.tasks.log(upid, 0, 0).lines.into_iter().map(|line| line.t).collect();
        (status, lines.join("\n"))
    }

    async fn start(script: &str) -> (String, String) {
        let world = Self::new(script);
        let upid = world.begin_start();
        world.end(&upid).await
    }

    fn has(&self, file: &str) -> bool {
        self.dir.path().join(file).exists()
    }
}

#[tokio::test]
async fn a_start_ends_when_the_container_runs() {
    let (status, log) = World::start(
        "echo 'WARN: net0: not mapped yet' >&2; echo RUNNING 4711; exec >&-; sleep 0.2",
    )
    .await;

    assert_eq!(status, "WARNINGS: 1");
    assert!(log.contains("WARN: net0: not mapped yet"), "{log}");
}

#[tokio::test]
async fn the_monitors_last_words_are_the_tasks_error() {
    let (status, log) =
        World::start("echo mounting >&2; echo \"no such bridge 'vmbr7'\" >&2; exit 1").await;

    assert_eq!(status, "no such bridge 'vmbr7'");
    assert!(log.ends_with("TASK ERROR: no such bridge 'vmbr7'"), "{log}");
}

#[tokio::test]
async fn a_killed_monitor_says_so() {
    let (status, _) = World::start("kill -9 $$").await;

    assert_eq!(status, "the container's monitor was killed by signal 9");
}

#[tokio::test]
async fn the_monitor_is_told_where_and_who() {
    let (status, _) = World::start("echo \"$1 $2 $4 $5 $6 ${HOME-none}\" >&2; exit 1").await;

    assert_eq!(status, "run --root --node pve1 101 none", "and nothing of our environment");
}

#[tokio::test]
async fn an_aborted_start_leaves_no_monitor() {
    let world = World::new(
        "case $1 in run) echo $$ > pid; exec sleep 60;; cleanup) touch cleaned;; esac\n",
    );
    let upid = world.begin_start();
    while fs_err::read_to_string(world.dir.path().join("pid")).unwrap_or_default().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    world.tasks.abort(&upid).await.unwrap();

    let (status, _) = world.end(&upid).await;
    assert_eq!(status, "received interrupt");
    assert!(world.has("cleaned"));
    let pid = fs_err::read_to_string(world.dir.path().join("pid")).unwrap();
    assert!(!std::path::Path::new("/proc").join(pid.trim()).exists());
}

#[tokio::test]
async fn sweeps_only_what_a_dead_monitor_left() {
    let world = World::new("echo $1 >> calls; rm -r run/proxmox-lxcri/libcrun/101\n");
    world.supervised.sweep(vmid()).await.unwrap();
    assert!(!world.has("calls"), "nothing is left of it");

    fs_err::create_dir_all(world.supervised.0.root.libcrun_state().join("101")).unwrap();
    world.supervised.sweep(vmid()).await.unwrap();
    world.supervised.sweep(vmid()).await.unwrap();

    let calls = fs_err::read_to_string(world.dir.path().join("calls")).unwrap();
    assert_eq!(calls, "cleanup\n");
}

#[tokio::test]
async fn a_container_that_is_cleaned_up_after_is_known_as_such() {
    let world =
        World::new("while [ ! -e go ]; do sleep 0.01; done; rm -r run/proxmox-lxcri/libcrun/101\n");
    fs_err::create_dir_all(world.supervised.0.root.libcrun_state().join("101")).unwrap();
    let sweeping = tokio::spawn({
        let supervised = world.supervised.clone();
        async move { supervised.sweep(vmid()).await }
    });
    while !world.supervised.is_cleaning(vmid()) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    fs_err::write(world.dir.path().join("go"), "").unwrap();

    sweeping.await.unwrap().unwrap();
    assert!(!world.supervised.is_cleaning(vmid()));
}

#[tokio::test]
async fn never_sweeps_a_container_that_somebody_supervises() {
    let world = World::new("touch cleaned\n");
    let root = &world.supervised.0.root;
    fs_err::create_dir_all(root.libcrun_state().join("101")).unwrap();
    let listener = lxc_protocol::server::Listener::bind(&root.lxc_path(), "101").unwrap();

    world.supervised.sweep(vmid()).await.unwrap();
    assert!(!world.has("cleaned"));

    drop(listener);
    world.supervised.sweep(vmid()).await.unwrap();
    assert!(world.has("cleaned"));
}

#[tokio::test]
async fn an_adopted_monitor_is_cleaned_up_after_at_once() {
    let world = World::new("rm -r run/proxmox-lxcri/libcrun/101; touch cleaned\n");
    let root = &world.supervised.0.root;
    let listener = lxc_protocol::server::Listener::bind(&root.lxc_path(), "101").unwrap();
    fs_err::create_dir_all(root.libcrun_state().join("101")).unwrap();
    world.supervised.adopt(vmid());
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!world.has("cleaned"));

    drop(listener);

    let cleaned = async {
        while !world.has("cleaned") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), cleaned).await.unwrap();
}

#[tokio::test]
async fn a_monitor_is_told_of_lxc() {
    let world = World::new("echo \"$1 $6 $7 $8 $9\" >&2; exit 1");
    let who: AuthId = "root@pam".parse().unwrap();
    let supervised = world.supervised.clone();
    let start = move |log: TaskLog, cancel| async move {
        let how = How { lxc_start: Some("/usr/bin/lxc-start".into()), debug: true };
        supervised.start(vmid(), &how, &log, &cancel).await
    };

    let upid = world.tasks.spawn("vzstart", "101", &who, start).unwrap();

    assert_eq!(world.end(&upid).await.0, "run 101 --lxc-start /usr/bin/lxc-start --debug");
}

#[tokio::test]
async fn a_start_waits_for_the_one_that_still_cleans_up() {
    let world = World::new("echo RUNNING 1; exec >&-; sleep 0.2");
    let root = world.supervised.0.root.clone();
    let guard = lxc_protocol::server::Listener::bind_guard(&root.lxc_path(), "101").unwrap();
    assert_eq!(world.supervised.runtime_of(vmid()), RuntimeKind::Lxc);

    let upid = world.begin_start();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(matches!(world.tasks.status(&upid).unwrap(), TaskState::Running));
    drop(guard);

    assert_eq!(world.end(&upid).await.0, "OK");
    let command = lxc_protocol::server::Listener::bind(&root.lxc_path(), "101").unwrap();
    let upid = world.begin_start();
    assert_eq!(world.end(&upid).await.0, "CT 101 already running");
    drop(command);
}

#[rstest]
#[case::ours(false, false, true)]
#[case::pves(true, false, false)]
#[case::ours_beside_pve(true, true, true)]
fn on_a_pve_node_only_what_libcrun_knows_is_left_over(
    #[case] on_pve: bool,
    #[case] libcrun_knows: bool,
    #[case] left_over: bool,
) {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::new(dir.path()).unwrap();
    let cgroup = dir.path().join("sys/fs/cgroup").join(root.cgroup_parent()).join("101");
    fs_err::create_dir_all(cgroup).unwrap();
    if libcrun_knows {
        fs_err::create_dir_all(root.libcrun_state().join("101")).unwrap();
    }
    let monitors = Monitors::new(Programs::both("/bin/false"), &root, &"pve1".parse().unwrap());

    let supervised = Supervised::new(monitors, root, on_pve);

    assert_eq!(supervised.has_leftovers(vmid()), left_over);
}

#[test]
fn who_answers_beside_our_monitors_is_pves() {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixListener};

    let dir = tempfile::tempdir().unwrap();
    let root = Root::new(dir.path()).unwrap();
    let monitors = Monitors::new(Programs::both("/bin/false"), &root, &"pve1".parse().unwrap());
    let supervised = Supervised::new(monitors.clone(), root.clone(), true);
    assert!(!supervised.runs_for_pve(vmid()), "nobody answers");

    let name = lxc_protocol::socket_name(&root.lxc_path(), "101");
    let _socket = UnixListener::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap();

    assert!(supervised.runs_for_pve(vmid()));
    assert_eq!(supervised.runtime_of(vmid()), RuntimeKind::Lxc);
    let elsewhere = Supervised::new(monitors, root.clone(), false);
    assert_eq!(elsewhere.runtime_of(vmid()), RuntimeKind::Crun);
    fs_err::create_dir_all(root.libcrun_state().join("101")).unwrap();
    assert!(!supervised.runs_for_pve(vmid()), "it is our monitor's");
    assert_eq!(supervised.runtime_of(vmid()), RuntimeKind::Crun);
}
