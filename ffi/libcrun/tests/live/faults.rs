//! What fails, and how a caller can tell.

use std::path::Path;
use std::time::Duration;

use fs_err as fs;
use libcrun::{Error, Kind, Operation, Stdio};
use nix::sys::stat::Mode;
use rustix::process::{WaitOptions, wait};
use serde_json::{Value, json};

use crate::Case;
use crate::machine::{Machine, wait_exit};

pub(crate) const CASES: &[Case] = &[
    ("names_a_missing_or_unusable_program", names_a_missing_or_unusable_program),
    ("names_a_missing_root_filesystem", names_a_missing_root_filesystem),
    ("names_a_missing_or_broken_bundle", names_a_missing_or_broken_bundle),
    ("refuses_a_second_container_of_that_id", refuses_a_second_container_of_that_id),
    ("knows_no_such_container", knows_no_such_container),
    ("deletes_a_running_one_only_by_force", deletes_a_running_one_only_by_force),
    ("finds_no_process_to_kill_after_exit", finds_no_process_to_kill_after_exit),
    ("keeps_the_reason_of_a_failed_execution", keeps_the_reason_of_a_failed_execution),
    ("tells_of_a_failed_hook", tells_of_a_failed_hook),
    ("tells_of_a_killed_worker", tells_of_a_killed_worker),
    ("kills_a_worker_that_hangs", kills_a_worker_that_hangs),
];

fn create(machine: &Machine, config: &Value) -> Error {
    machine.runtime.create("a", &machine.bundle("a", config), &Stdio::default()).unwrap_err()
}

fn names_a_missing_or_unusable_program() {
    let machine = Machine::new();
    for (program, text) in [
        ("/no", "create: executable file `/no` not found: No such file or directory"),
        ("no", "create: executable file `no` not found in $PATH: No such file or directory"),
        (
            "/etc/plain",
            "create: the path `/etc/plain` exists but it is not executable: Operation not permitted",
        ),
    ] {
        let err = create(&machine, &machine.config("a", &[program]));
        assert_eq!((err.kind(), err.to_string().as_str()), (Kind::Executable, text));
    }
    let init = machine.sleeper("b");
    let err =
        machine.runtime.exec("b", &machine.process_file(&["/no"]), &Stdio::default()).unwrap_err();
    assert_eq!((err.operation, err.kind()), (Operation::Exec, Kind::Executable), "{err}");
    machine.remove("b", &init);
}

fn names_a_missing_root_filesystem() {
    let machine = Machine::new();
    let mut config = machine.config("a", &["/bin/sh"]);
    config["root"]["path"] = json!(machine.path("absent"));
    let err = create(&machine, &config);
    assert_eq!(err.kind(), Kind::RootFilesystem, "{err:?}");
    assert_eq!(err.to_string(), "create: the root filesystem: No such file or directory");
}

fn names_a_missing_or_broken_bundle() {
    let machine = Machine::new();
    let err = machine.runtime.create("a", &machine.path("absent"), &Stdio::default()).unwrap_err();
    assert_eq!((err.kind(), err.status), (Kind::Worker, 2));
    assert!(err.message.ends_with("/absent"), "{err}");
    fs::create_dir_all(machine.path("empty")).unwrap();
    let err = machine.runtime.create("a", &machine.path("empty"), &Stdio::default()).unwrap_err();
    assert_eq!(err.kind(), Kind::Config, "{err}");
    fs::write(machine.path("empty/config.json"), "{").unwrap();
    let err = machine.runtime.create("a", &machine.path("empty"), &Stdio::default()).unwrap_err();
    assert_eq!(err.kind(), Kind::Config, "{err}");
}

fn refuses_a_second_container_of_that_id() {
    let machine = Machine::new();
    let init = machine.sleeper("a");
    let err = machine.runtime.create("a", &machine.path("a"), &Stdio::default()).unwrap_err();
    assert_eq!(err.kind(), Kind::AlreadyExists, "{err}");
    machine.remove("a", &init);
}

fn knows_no_such_container() {
    let machine = Machine::new();
    let runtime = &machine.runtime;
    let calls = [
        runtime.state("x").map(drop),
        runtime.start("x"),
        runtime.kill("x", 15),
        runtime.pause("x"),
        runtime.resume("x"),
        runtime.update("x", "{}"),
        runtime.pids("x").map(drop),
        runtime.exec("x", Path::new("/absent"), &Stdio::default()).map(drop),
    ];
    for call in calls {
        let err = call.unwrap_err();
        assert_eq!((err.kind(), err.status), (Kind::NotFound, 2), "{err}");
    }
    runtime.delete("x", true).unwrap();
    runtime.delete("x", false).unwrap_err();
    runtime.state("x\0y").unwrap_err();
}

fn deletes_a_running_one_only_by_force() {
    let machine = Machine::new();
    let init = machine.sleeper("a");
    assert_eq!(machine.runtime.delete("a", false).unwrap_err().kind(), Kind::StillRunning);
    machine.runtime.delete("a", true).unwrap();
    assert_eq!(wait_exit(&init), None);
    assert_eq!(machine.runtime.state("a").unwrap_err().kind(), Kind::NotFound);
}

fn finds_no_process_to_kill_after_exit() {
    let machine = Machine::new();
    let init = machine
        .runtime
        .create_and_start("a", &machine.shell("a", "true"), &Stdio::default())
        .unwrap();
    wait_exit(&init);
    assert_eq!(machine.runtime.kill("a", 15).unwrap_err().kind(), Kind::NotRunning);
    let second = machine.process_file(&["/bin/sh"]);
    assert_eq!(
        machine.runtime.exec("a", &second, &Stdio::default()).unwrap_err().kind(),
        Kind::NotRunning
    );
}

/// Only the kernel sees that this is no program for it, and by then `start` has succeeded.
fn keeps_the_reason_of_a_failed_execution() {
    let machine = Machine::new();
    let bundle = machine.bundle("a", &machine.config("a", &["/bin/foreign"]));
    let init = machine.runtime.create_and_start("a", &bundle, &Stdio::default()).unwrap();
    assert_eq!(wait_exit(&init), Some(1));
    assert!(init.log().contains("Exec format error"), "{:?}", init.log());
}

fn hook(script: &str) -> Value {
    json!({"createRuntime": [{"path": "/bin/busybox", "args": ["busybox", "sh", "-c", script]}]})
}

fn tells_of_a_failed_hook() {
    let machine = Machine::new();
    let mut config = machine.config("a", &["/bin/sh"]);
    config["hooks"] = hook("exit 4");
    let err = create(&machine, &config);
    assert!(err.message.contains("/bin/busybox"), "{err:?}");
    assert_eq!((err.status, err.kind()), (0, Kind::Failed));
}

fn tells_of_a_killed_worker() {
    let machine = Machine::new();
    let mut config = machine.config("a", &["/bin/sh"]);
    config["hooks"] = hook("kill -9 $PPID");
    let err = create(&machine, &config);
    assert_eq!(err.kind(), Kind::Died);
    assert!(err.message.starts_with("the worker was killed by signal 9"), "{err}");
    machine.runtime.delete("a", true).unwrap();
    while let Ok(Some(_)) = wait(WaitOptions::empty()) {} // the hook and what was to be init
}

fn kills_a_worker_that_hangs() {
    let mut machine = Machine::new();
    machine.runtime.timeout = Duration::from_millis(200);
    let bundle = machine.path("a");
    fs::create_dir_all(&bundle).unwrap();
    nix::unistd::mkfifo(&bundle.join("config.json"), Mode::S_IRUSR).unwrap(); // nobody will ever write
    let err = machine.runtime.create("a", &bundle, &Stdio::default()).unwrap_err();
    assert_eq!(err.kind(), Kind::TimedOut, "{err}");
    assert_eq!(wait(WaitOptions::NOHANG).unwrap_err(), rustix::io::Errno::CHILD);
}
