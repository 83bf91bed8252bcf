//! On a PVE node: what is done to an LXC container is done by `pct`, played by a program that knows
//! the command lines which `pct` takes.

mod operations;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rstest::rstest;
use serde_json::{Value, json};
use tests::{Builder, Daemon, Guest, StandIn, Task, binary, eventually};

use crate::{ANN, with_users};

const SYSTEM: &str = "arch: amd64\nhostname: box\nmemory: 64\nostype: debian\n\
    rootfs: tank:subvol-100-disk-0,size=4G\nunprivileged: 1\n";
const DPKG: &str = "Package: pve-container\nStatus: install ok installed\nVersion: 6.1.10\n\n";

/// The program, what it is to do, and how it was called.
struct Pct(tempfile::TempDir);

impl Pct {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn program(&self) -> PathBuf {
        self.0.path().join("pct")
    }

    /// A node with CT 100, which is an ordinary one of PVE's.
    fn builder(&self) -> Builder {
        let settings = format!("[runtime]\npct = \"{}\"\n", self.program().display());
        let builder = with_users()
            .file("etc/proxmox-lxcri/config.toml", &settings)
            .file("etc/pve/nodes/pve1/lxc/100.conf", SYSTEM)
            .file("var/lib/dpkg/status", DPKG);
        let script = format!(
            "#!/bin/sh\nexec {} {} {} \"$@\"\n",
            binary("pct-stand-in").display(),
            self.0.path().display(),
            builder.root().display(),
        );
        self.add("pct", &script);
        builder
    }

    fn add(&self, name: &str, script: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs_err::write(&path, script).unwrap();
        fs_err::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path
    }

    fn start(&self) -> Daemon {
        self.builder().start()
    }

    /// By command.
    fn does(&self, plan: &Value) {
        fs_err::write(self.0.path().join("control.json"), plan.to_string()).unwrap();
    }

    fn calls(&self) -> Vec<Value> {
        let text = fs_err::read_to_string(self.0.path().join("calls")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The command lines so far.
    fn lines(&self) -> Vec<String> {
        let line = |call: &Value| {
            let words = call["argv"].as_array().unwrap().iter();
            words.map(|word| word.as_str().unwrap()).collect::<Vec<_>>().join(" ")
        };
        self.calls().iter().map(line).collect()
    }

    /// Once it has begun to print.
    fn wait_for_line(&self, daemon: &Daemon, upid: &str, text: &str) {
        eventually(20, &format!("{text:?} in the log"), || {
            log(daemon, upid).contains(text).then_some(())
        });
    }
}

fn log(daemon: &Daemon, upid: &str) -> String {
    daemon.get(&format!("/nodes/pve1/tasks/{upid}/log?limit=0")).text()
}

fn run(guest: Guest<'_>, verb: &str) -> Task {
    guest.task(verb, &[])
}

#[test]
fn a_start_is_pcts_and_its_output_the_tasks() {
    let pct = Pct::new();
    let daemon = pct.start();
    pct.does(&json!({"start": {"lines": ["explicitly configured", "done"], "sleep_ms": 300}}));

    let log = run(daemon.guest(100), "start").ok();

    assert!(log.contains("explicitly configured\n") && log.contains("done\n"), "{log}");
    assert!(log.contains("pct works as UPID:pve1:"), "{log}");
    assert_eq!(pct.lines(), ["start 100"]);
    let call = &pct.calls()[0];
    // The shell around the stand-in adds the folder.
    assert_eq!(call["environment"], json!(["PATH", "PWD"]), "{call}");
    assert_eq!(call["stdin"]["is"], "/dev/null", "{call}");
    assert_eq!(call["own_group"], true, "{call}");
}

#[rstest]
#[case("stop", &[], "stop 100")]
#[case("shutdown", &[("timeout", "7"), ("forceStop", "1")], "shutdown 100 --forceStop=1 --timeout=7")]
#[case("shutdown", &[], "shutdown 100")]
#[case("reboot", &[("timeout", "9")], "reboot 100 --timeout=9")]
#[case("suspend", &[], "suspend 100")]
fn what_runs_for_pve_is_handled_by_pct(
    #[case] verb: &str,
    #[case] parameters: &[(&str, &str)],
    #[case] line: &str,
) {
    let pct = Pct::new();
    let daemon = pct.start();
    let _running = StandIn::start(daemon.root(), 100, "lxc/100");

    let oci = daemon.guest(100).oci();
    assert_eq!((&oci["runtime"], &oci["runs-under"]), (&json!("lxc"), &json!("lxc")), "{oci}");
    daemon.guest(100).task(verb, parameters).ok();

    assert_eq!(pct.lines(), [line]);
}

#[test]
fn root_may_skip_locks_and_a_checkpoint_is_brought_back() {
    let pct = Pct::new();
    let daemon = pct.start();

    let started =
        daemon.request_local("POST", "/nodes/pve1/lxc/100/status/start", &[("skiplock", "1")]);
    daemon.task(&started).ok();
    run(daemon.guest(100), "resume").ok();

    assert_eq!(pct.lines(), ["start 100 --skiplock=1", "resume 100"]);
}

#[test]
fn what_pve_refuses_before_a_task_never_gets_to_pct() {
    let pct = Pct::new();
    let daemon = pct.start();

    for verb in ["stop", "shutdown", "suspend"] {
        assert_eq!(daemon.guest(100).post(verb, &[]).line(), "500 CT 100 not running", "{verb}");
    }
    assert_eq!(daemon.guest(100).post("reboot", &[]).line(), "500 VM 100 not running");
    let path = "/nodes/pve1/lxc/100/status/start";
    let ann = daemon.request_as(&[("Authorization", ANN)], "POST", path, &[]);
    assert_eq!(ann.line(), "403 Permission check failed (/vms/100, VM.PowerMgmt)");
    let _running = StandIn::start(daemon.root(), 100, "lxc/100");
    assert_eq!(daemon.guest(100).post("start", &[]).line(), "500 CT 100 already running");

    assert_eq!(pct.lines(), [] as [String; 0]);
}

#[test]
fn the_error_is_the_last_that_it_said() {
    let pct = Pct::new();
    let daemon = pct.start();
    pct.does(&json!({"start": {
        "lines": ["mounting"], "fail": "unable to open lock\nstartup for container '100' failed",
    }}));

    let task = run(daemon.guest(100), "start");

    assert!(task.log.contains("mounting\n"), "{}", task.log);
    assert_eq!(task.failed(), "startup for container '100' failed");
}

#[rstest]
#[case::of_the_task(json!({"lines": ["WARN: no bridge", "WARN: old AppArmor", "started"]}), "WARNINGS: 2")]
#[case::and_an_error(json!({"lines": ["WARN: no bridge"], "fail": "no"}), "no")]
fn warnings_are_counted(#[case] plan: Value, #[case] status: &str) {
    let pct = Pct::new();
    let daemon = pct.start();
    pct.does(&json!({ "start": plan }));

    let task = run(daemon.guest(100), "start");

    assert_eq!(task.exitstatus, status, "{}", task.log);
    assert!(task.log.contains("WARN: no bridge\n"), "{}", task.log);
}

#[test]
fn what_pct_does_not_know_is_an_error_of_its_own() {
    let pct = Pct::new();
    let daemon = pct.start();
    let script = format!(
        "#!/bin/sh\nexec {} {} {} \"$@\" --frobnicate=1\n",
        binary("pct-stand-in").display(),
        pct.0.path().display(),
        daemon.root().display()
    );
    fs_err::write(pct.program(), script).unwrap();

    assert_eq!(run(daemon.guest(100), "start").failed(), "unable to parse option");
}

/// Begin a start that takes ten seconds, and wait until it works.
fn begin_slow_start(pct: &Pct, daemon: &Daemon, stubborn: bool) -> String {
    pct.does(&json!({"start": {
        "lines": ["one"], "sleep_ms": 10_000, "after_sleep": "two", "stubborn": stubborn,
    }}));
    let upid = daemon.guest(100).post("start", &[]).data().as_str().unwrap().to_owned();
    pct.wait_for_line(daemon, &upid, "pct works as");
    upid
}

fn worker_of(daemon: &Daemon, upid: &str) -> String {
    let log = log(daemon, upid);
    let from = log.find("pct works as ").expect("it says so") + "pct works as ".len();
    log[from..].split('"').next().unwrap().to_owned()
}

/// Its log gets its last line after its worker is gone.
fn wait_for_end(daemon: &Daemon, upid: &str, status: &str) {
    eventually(20, &format!("the end of {upid}"), || {
        let now = daemon.get(&format!("/nodes/pve1/tasks/{upid}/status")).data();
        (now["status"] == "stopped" && now["exitstatus"] == status).then_some(())
    });
}

fn is_running(daemon: &Daemon, upid: &str) -> bool {
    daemon.get(&format!("/nodes/pve1/tasks/{upid}/status")).data()["status"] == "running"
}

#[rstest]
#[case::polite(false)]
#[case::stubborn(true)]
fn an_abort_ends_pct_and_its_worker(#[case] stubborn: bool) {
    let pct = Pct::new();
    let daemon = pct.start();
    let upid = begin_slow_start(&pct, &daemon, stubborn);
    let worker = worker_of(&daemon, &upid);
    assert!(is_running(&daemon, &worker));

    assert_eq!(daemon.delete(&format!("/nodes/pve1/tasks/{upid}")).status, 200);

    let task = daemon.task_of(&upid);
    assert_eq!(task.exitstatus, "received interrupt", "{}", task.log);
    assert!(task.log.contains("one\n") && !task.log.contains("two"), "{}", task.log);
    assert!(!is_running(&daemon, &worker));
}

#[test]
fn a_killed_daemon_leaves_pct_at_work_and_the_next_can_end_it() {
    let pct = Pct::new();
    let mut daemon = pct.start();
    let upid = begin_slow_start(&pct, &daemon, false);
    let worker = worker_of(&daemon, &upid);

    daemon.kill();
    daemon.launch();

    assert_eq!(daemon.task_of(&upid).exitstatus, "unexpected status");
    assert!(is_running(&daemon, &worker));
    let active = daemon.get("/nodes/pve1/tasks?source=active").text();
    assert!(active.contains(&worker), "{active}");
    assert_eq!(daemon.delete(&format!("/nodes/pve1/tasks/{worker}")).status, 200);
    wait_for_end(&daemon, &worker, "received interrupt");
}

#[test]
fn a_killed_daemon_does_not_end_what_it_began() {
    let pct = Pct::new();
    let mut daemon = pct.start();
    pct.does(&json!({"start": {"lines": ["one"], "sleep_ms": 1500, "after_sleep": "two"}}));
    let upid = daemon.guest(100).post("start", &[]).data().as_str().unwrap().to_owned();
    pct.wait_for_line(&daemon, &upid, "pct works as");
    let worker = worker_of(&daemon, &upid);

    daemon.kill();
    daemon.launch();

    wait_for_end(&daemon, &worker, "OK");
    assert!(daemon.task_of(&worker).log.ends_with("one\ntwo\nTASK OK"));
}

#[test]
fn two_at_once_do_not_get_into_each_others_way() {
    let pct = Pct::new();
    let daemon = pct.builder().file("etc/pve/nodes/pve1/lxc/101.conf", SYSTEM).start();
    pct.does(&json!({
        "start": {"lines": ["a start"], "sleep_ms": 700},
        "resume": {"lines": ["a resume"], "sleep_ms": 700},
    }));

    let first = daemon.guest(100).post("start", &[]);
    let second = daemon.guest(101).post("resume", &[]);

    let (first, second) = (daemon.task(&first).ok(), daemon.task(&second).ok());
    assert!(first.contains("a start") && !first.contains("a resume"), "{first}");
    assert!(second.contains("a resume") && !second.contains("a start"), "{second}");
    let mut lines = pct.lines();
    lines.sort();
    assert_eq!(lines, ["resume 101", "start 100"]);
}

#[test]
fn without_pct_the_package_is_named_and_nothing_else_takes_the_container() {
    let pct = Pct::new();
    let daemon = pct.start();
    fs_err::remove_file(pct.program()).unwrap();

    let error = run(daemon.guest(100), "start").failed();

    assert!(error.starts_with("pct is missing: '"), "{error}");
    assert!(error.ends_with("does not exist; install the package pve-container"), "{error}");
    let all = daemon.get("/nodes/pve1/oci/runtimes").data();
    assert_eq!(all["runtimes"][1]["usable"], false, "{all}");
    assert_eq!(all["runtimes"][1]["reason"], json!(error), "{all}");
}

#[test]
fn lxc_is_pct_and_the_version_that_of_its_package() {
    let pct = Pct::new();
    let daemon = pct.start();

    let lxc = daemon.get("/nodes/pve1/oci/runtimes").data()["runtimes"][1].clone();

    assert_eq!((&lxc["name"], &lxc["usable"]), (&json!("lxc"), &json!(true)), "{lxc}");
    assert_eq!(lxc["probe"]["version"], "6.1.10", "{lxc}");
    assert_eq!(lxc["probe"]["package"], "pve-container", "{lxc}");
    assert_eq!(lxc["probe"]["pct"], json!(pct.program()), "{lxc}");
    assert_eq!(pct.lines(), [] as [String; 0], "no Perl is run for it");
}

#[test]
fn no_rule_takes_a_container_from_pve_but_a_request_does() {
    let pct = Pct::new();
    let builder = pct.builder();
    let settings = format!(
        "[runtime]\npct = \"{}\"\n[[runtime.rule]]\nvmid = \"*\"\nruntime = \"crun\"\n",
        pct.program().display()
    );
    let application = format!("{SYSTEM}entrypoint: /bin/app\n");
    let daemon = builder
        .file("etc/proxmox-lxcri/config.toml", &settings)
        .file("etc/pve/nodes/pve1/lxc/101.conf", &application)
        .start();

    for vmid in [100, 101] {
        let oci = daemon.guest(vmid).oci();
        assert_eq!((&oci["runtime"], &oci["runtime-by"]), (&json!("lxc"), &json!("auto")), "{oci}");
    }
    let path = "/nodes/pve1/oci/containers/101";
    assert_eq!(daemon.put(path, &[("runtime", "crun")]).line(), "200 OK");
    assert_eq!(daemon.guest(101).oci()["runtime"], "crun");
    let limits = |vmid: u32, limits: &[(&str, &str)]| {
        daemon.put(&format!("/nodes/pve1/oci/containers/{vmid}/limits"), limits)
    };
    assert_eq!(limits(101, &[("pids", "5")]).line(), "200 OK");
    let refused = limits(100, &[("pids", "5"), ("delete", "io-max")]);
    assert_eq!(refused.errors()["pids"], "is not applied to a container that PVE runs");
    // A file of ours would make it ours.
    assert_eq!(limits(100, &[("delete", "pids")]).line(), "200 OK");
    assert_eq!(daemon.guest(100).oci()["runtime"], "lxc");
    // Nothing mounts its rootfs here; that it is not pct's is what counts.
    run(daemon.guest(101), "start").failed();
    assert_eq!(pct.lines(), [] as [String; 0]);
}
