//! What passes between caller and container, and what must not.

use std::fs::read_dir;

use libcrun::{Kind, Stdio};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use rustix::io::Errno;
use rustix::process::{WaitOptions, wait};

use crate::Case;
use crate::machine::{Machine, wait_exit};

pub(crate) const CASES: &[Case] = &[
    ("gives_the_program_default_signals_and_three_descriptors", gives_defaults),
    ("leaves_the_caller_as_it_was", leaves_the_caller_as_it_was),
    ("refuses_a_caller_with_threads", refuses_a_caller_with_threads),
    ("twenty_cycles_leak_no_descriptor_and_no_child", twenty_cycles_leak_nothing),
];

/// Rust ignores SIGPIPE and the monitor blocks SIGCHLD: a container's program must see neither.
fn gives_defaults() {
    const SCRIPT: &str =
        "busybox grep -E '^Sig(Blk|Ign)' /proc/self/status; busybox ls /proc/self/fd";
    const SEEN: &str = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n0\n1\n2\n3\n"; // 3 is ls's own
    let machine = Machine::new();
    let blocked = SigSet::from(Signal::SIGCHLD);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&blocked), None).unwrap();

    let (io, output) = machine.output();
    let init = machine.runtime.create_and_start("a", &machine.shell("a", SCRIPT), &io).unwrap();
    assert_eq!(wait_exit(&init), Some(0));
    assert_eq!(output(), SEEN);

    let sleeper = machine.sleeper("b");
    let (io, output) = machine.output();
    let second = machine.process_file(&["/bin/sh", "-c", SCRIPT]);
    let second = machine.runtime.exec("b", &second, &io).unwrap();
    assert_eq!(wait_exit(&second), Some(0));
    assert_eq!(output(), SEEN);
    machine.remove("b", &sleeper);
    sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&blocked), None).unwrap();
}

fn leaves_the_caller_as_it_was() {
    // Masks, umask, dumpability and limits, of which libcrun changes all in its own process.
    let own = || {
        let status = fs_err::read_to_string("/proc/self/status").unwrap();
        let kept = ["Umask", "SigBlk", "SigIgn", "SigCgt", "NoNewPrivs", "CapEff"];
        let status: Vec<_> =
            status.lines().filter(|line| kept.iter().any(|key| line.starts_with(key))).collect();
        let rest = ["limits", "oom_score_adj", "cgroup"]
            .map(|file| fs_err::read_to_string(format!("/proc/self/{file}")).unwrap());
        (status.join("\n"), rest, std::env::current_dir().unwrap())
    };
    let machine = Machine::new();
    let before = own();
    let init = machine.sleeper("a");
    let second = machine.process_file(&["/bin/sh", "-c", "true"]);
    let second = machine.runtime.exec("a", &second, &Stdio::default()).unwrap();
    wait_exit(&second);
    machine.remove("a", &init);
    assert_eq!(own(), before);
}

fn refuses_a_caller_with_threads() {
    let machine = Machine::new();
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || held.recv());
    assert_eq!(machine.runtime.list().unwrap_err().kind(), Kind::Threads);
    drop(hold);
    thread.join().unwrap().unwrap_err();
}

fn twenty_cycles_leak_nothing() {
    let descriptors = || read_dir("/proc/self/fd").unwrap().count();
    let machine = Machine::new();
    let before = descriptors();
    for _ in 0..20 {
        let init = machine.sleeper("a");
        machine.runtime.create("a", &machine.path("a"), &Stdio::default()).unwrap_err();
        machine.remove("a", &init);
    }
    assert_eq!(descriptors(), before);
    assert_eq!(wait(WaitOptions::NOHANG).unwrap_err(), Errno::CHILD);
    assert_eq!(
        read_dir(machine.path("state"))
            .unwrap()
            .flatten()
            .filter(|entry| entry.file_name() == "a")
            .count(),
        0
    );
}
