//! Many guests at once, as far as it goes without running any: the order, the words, who may.

use serde_json::json;
use tests::{Builder, Daemon};

use crate::{ANN, with_guest};

fn with(builder: Builder, vmid: u32, config: &str) -> Builder {
    builder.file(&format!("etc/pve/nodes/pve1/lxc/{vmid}.conf"), config)
}

/// CT 100 does not start with the host; of the others each cannot start.
fn with_guests() -> Daemon {
    let rootfs = "rootfs: local:none.raw,size=1G\nunprivileged: 1\n";
    let on = |more: &str| format!("onboot: 1\n{rootfs}{more}");
    let builder = with(with_guest(), 101, &on("startup: order=2\n"));
    let builder = with(builder, 102, &on("startup: 1,up=1\n"));
    let builder = with(builder, 103, &on("template: 1\n"));
    with(with(builder, 104, &on("")), 105, &on("lock: backup\nstartup: order=2\n")).start()
}

/// The lines that say what was begun.
fn begun<'l>(log: &'l str, verb: &str) -> Vec<&'l str> {
    log.lines().filter(|line| line.starts_with(verb) && !line.contains("failed")).collect()
}

#[test]
fn startall_keeps_to_the_order() {
    let daemon = with_guests();
    let log = daemon.task(&daemon.post("/nodes/pve1/startall", &[])).ok();
    assert_eq!(
        begun(&log, "Starting CT"),
        ["Starting CT 102", "Starting CT 101", "Starting CT 105", "Starting CT 104"]
    );
    assert!(log.contains("Starting CT 101 failed: "), "{log}");
    // Nobody backs up: the lock is one that was left over.
    assert!(log.starts_with("removed left over backup lock from '105'!"), "{log}");
    assert!(log.contains("Waiting for 1 seconds (startup delay)"), "{log}");
    let config = fs_err::read_to_string(daemon.config_path(105)).unwrap();
    assert!(!config.contains("lock"), "{config}");

    let forced = daemon.post("/nodes/pve1/startall", &[("force", "1"), ("vms", "100,104")]);
    let log = daemon.task(&forced).ok();
    assert_eq!(begun(&log, "Starting CT"), ["Starting CT 100", "Starting CT 104"]);
}

#[test]
fn what_does_not_run_is_not_stopped() {
    let daemon = with_guests();
    let log = daemon.task(&daemon.post("/nodes/pve1/stopall", &[])).ok();
    assert_eq!(log, "TASK OK");
    let stopped = daemon.post("/cluster/bulk-action/guest/shutdown", &[("vms", "100")]);
    let task = daemon.task(&stopped);
    assert_eq!(task.exitstatus, "WARNINGS: 1");
    assert!(
        task.log.starts_with("Shutting down guests: 100\nWARN: Skipping CT 100, not running."),
        "{}",
        task.log
    );
}

#[test]
fn a_bulk_start_names_those_that_failed() {
    let daemon = with_guests();
    let task = daemon.task(&daemon.post("/cluster/bulk-action/guest/start", &[]));
    assert!(task.log.starts_with("Starting all guests\n"), "{}", task.log);
    assert_eq!(task.failed(), "Some guests failed to start: 100, 101, 102, 104, 105");
}

#[test]
fn containers_are_not_suspended() {
    let daemon = with_guest().start();
    let all = daemon.task(&daemon.post("/nodes/pve1/suspendall", &[]));
    assert_eq!(all.exitstatus, "WARNINGS: 1");
    assert!(all.log.starts_with("WARN: skipping 100, only VMs can be suspended"), "{}", all.log);
    let bulk = daemon.task(&daemon.post("/cluster/bulk-action/guest/suspend", &[]));
    assert!(bulk.log.starts_with("Suspending all guests\nWARN: skipping 100, "), "{}", bulk.log);
}

#[test]
fn there_is_nowhere_to_go() {
    let daemon = with_guest().start();
    let post = |target: &str| daemon.post("/nodes/pve1/migrateall", &[("target", target)]);
    assert_eq!(post("pve1").errors(), json!({"target": "target is local node."}));
    assert_eq!(post("pve2").line(), "500 no such cluster node 'pve2'");
    let bulk = |target: &str| {
        daemon.task(&daemon.post("/cluster/bulk-action/guest/migrate", &[("target", target)]))
    };
    let here = bulk("pve1");
    assert!(here.log.contains("WARN: CT 100 already on pve1, skipping."), "{}", here.log);
    assert_eq!(bulk("pve2").failed(), "Some guests failed to migrate 100");
}

#[test]
fn asks_for_the_right_on_all_or_on_each() {
    let daemon = with_guest().start();
    let ann = |path: &str, parameters: &[(&str, &str)]| {
        daemon.request_as(&[("Authorization", ANN)], "POST", path, parameters).line()
    };
    let all = "403 Permission check failed (/, VM.PowerMgmt)";
    let one = "403 Permission check failed (/vms/100, VM.PowerMgmt)";
    for path in ["/nodes/pve1/startall", "/nodes/pve1/stopall", "/cluster/bulk-action/guest/start"]
    {
        assert_eq!(ann(path, &[]), all);
        assert_eq!(ann(path, &[("vms", "100")]), one);
    }
    assert_eq!(
        ann("/nodes/pve1/suspendall", &[]),
        "403 Permission check failed (/, VM.PowerMgmt && VM.Config.Disk)"
    );
}

#[test]
fn lists_what_there_is() {
    let daemon = with_guest().start();
    assert_eq!(daemon.get("/cluster/bulk-action").data(), json!([{"name": "guest"}]));
    let names = daemon.get("/cluster/bulk-action/guest").data();
    assert_eq!(
        names,
        json!([{"name": "start"}, {"name": "shutdown"}, {"name": "migrate"}, {"name": "suspend"}])
    );
}

#[test]
fn a_directory_is_no_machine() {
    let daemon = with_guest().start();
    for command in ["reboot", "shutdown"] {
        let reply = daemon.post("/nodes/pve1/status", &[("command", command)]);
        let refusal =
            format!("500 a node {command} is not available: this daemon serves the directory ");
        assert!(reply.line().starts_with(&refusal), "{}", reply.line());
    }
    for path in ["termproxy", "vncshell"] {
        let reply = daemon.post(&format!("/nodes/pve1/{path}"), &[]);
        assert!(reply.line().starts_with("500 a shell is not available: "), "{}", reply.line());
    }
    let syslog = daemon.get("/nodes/pve1/syslog").json();
    assert_eq!(syslog, json!({"data": [{"n": 1, "t": "no content"}], "total": 1}));
    let websocket = daemon.get("/nodes/pve1/vncwebsocket?port=5900&vncticket=PVEVNC:x");
    assert_eq!(websocket.line(), "401 permission denied - invalid PVEVNC ticket");
}
