//! Every operation, used as meant.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use fs_err as fs;
use libcrun::{Kind, State, Stdio};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::json;

use crate::Case;
use crate::machine::{Machine, await_state, wait, wait_exit};

pub(crate) const CASES: &[Case] = &[
    ("runs_a_program_to_its_exit_code", runs_a_program_to_its_exit_code),
    ("waits_with_the_program_until_start", waits_with_the_program_until_start),
    ("does_what_it_is_told_before_the_program_runs", does_what_it_is_told_before_the_program_runs),
    ("kills", kills),
    ("runs_a_second_process", runs_a_second_process),
    ("pauses_and_resumes", pauses_and_resumes),
    ("updates_limits", updates_limits),
    ("lists_containers_and_their_processes", lists_containers_and_their_processes),
    ("hands_over_a_console", hands_over_a_console),
    ("tells_the_linked_version", tells_the_linked_version),
];

fn runs_a_program_to_its_exit_code() {
    let machine = Machine::new();
    let (io, output) = machine.output();
    let bundle = machine.shell("a", "echo hello; exit 7");
    let process = machine.runtime.create_and_start("a", &bundle, &io).unwrap();
    assert_eq!(wait_exit(&process), Some(7));
    assert_eq!(output(), "hello\n");
    machine.runtime.delete("a", false).unwrap();
    assert_eq!(machine.cgroup_files("a", "cgroup.procs"), Vec::<std::path::PathBuf>::new());
}

fn waits_with_the_program_until_start() {
    let machine = Machine::new();
    let bundle = machine.shell("a", "exit 3");
    let process = machine.runtime.create("a", &bundle, &Stdio::default()).unwrap();
    let status = machine.runtime.state("a").unwrap();
    assert_eq!(status.state, State::Created);
    assert_eq!(status.pid, Some(process.pid.as_raw_nonzero().get()));
    assert_eq!(status.bundle, bundle);
    assert!(status.cgroup.unwrap().ends_with("/a"));
    machine.runtime.start("a").unwrap();
    assert_eq!(wait_exit(&process), Some(3));
    let status = machine.runtime.state("a").unwrap();
    assert_eq!((status.state, status.pid), (State::Stopped, None));
}

fn does_what_it_is_told_before_the_program_runs() {
    let machine = Machine::new();
    let mark = machine.path("rootfs/mark");
    let bundle = machine.shell("a", "busybox test -e /mark");
    let between = |_| {
        // What the worker does to itself stays with it.
        rustix::process::chdir("/proc").map_err(|err| err.to_string())?;
        fs::write(&mark, "").map_err(|err| err.to_string())
    };
    let process =
        machine.runtime.create_and_start_with("a", &bundle, &Stdio::default(), between).unwrap();
    assert_eq!(wait_exit(&process), Some(0));
    assert_ne!(std::env::current_dir().unwrap(), std::path::Path::new("/proc"));

    let bundle = machine.shell("b", "busybox touch /ran");
    let failing = |_| Err("no luck".to_owned());
    let err = machine.runtime.create_and_start_with("b", &bundle, &Stdio::default(), failing);
    let err = err.unwrap_err();
    assert_eq!((err.kind(), err.message.as_str()), (Kind::Caller, "no luck"));
    assert_eq!(machine.runtime.state("b").unwrap().state, State::Created);
    machine.runtime.delete("b", true).unwrap();
    assert!(!machine.path("rootfs/ran").exists());
}

fn kills() {
    let machine = Machine::new();
    let process = machine.sleeper("a");
    assert_eq!(machine.runtime.state("a").unwrap().state, State::Running);
    machine.runtime.kill("a", 9).unwrap();
    assert_eq!(wait(process.pid).terminating_signal(), Some(9));
    machine.runtime.delete("a", false).unwrap();
}

fn runs_a_second_process() {
    let machine = Machine::new();
    let init = machine.sleeper("a");
    let (io, output) = machine.output();
    let file = machine.process_file(&["/bin/sh", "-c", "echo $$; exit 5"]);
    let process = machine.runtime.exec("a", &file, &io).unwrap();
    assert_eq!(wait_exit(&process), Some(5));
    let pid_inside: i32 = output().trim().parse().unwrap();
    assert!((2..100).contains(&pid_inside), "{pid_inside} is no second process of a pid namespace");
    machine.remove("a", &init);
}

fn pauses_and_resumes() {
    let machine = Machine::new();
    let init = machine.sleeper("a");
    machine.runtime.pause("a").unwrap();
    await_state(&machine.runtime, "a", State::Paused);
    let file = machine.process_file(&["/bin/sh"]);
    assert_eq!(
        machine.runtime.exec("a", &file, &Stdio::default()).unwrap_err().kind(),
        Kind::Paused
    );
    machine.runtime.resume("a").unwrap();
    await_state(&machine.runtime, "a", State::Running);
    machine.remove("a", &init);
}

/// Where the pids controller is missing, libcrun has to say so.
fn updates_limits() {
    let machine = Machine::new();
    let init = machine.sleeper("a");
    let limits = machine.cgroup_files("a", "pids.max");
    let done = machine.runtime.update("a", &json!({"pids": {"limit": 123}}).to_string());
    match limits.first() {
        Some(file) => {
            done.unwrap();
            assert_eq!(fs::read_to_string(file).unwrap(), "123\n");
        }
        None => assert!(done.is_err()),
    }
    machine.remove("a", &init);
}

fn lists_containers_and_their_processes() {
    let machine = Machine::new();
    let (a, b) = (machine.sleeper("a"), machine.sleeper("b"));
    let mut ids: Vec<_> =
        machine.runtime.list().unwrap().into_iter().map(|status| status.id).collect();
    ids.sort();
    assert_eq!(ids, ["a", "b"]);
    assert_eq!(machine.runtime.pids("a").unwrap(), [a.pid.as_raw_nonzero().get()]);
    machine.remove("a", &a);
    machine.remove("b", &b);
}

fn hands_over_a_console() {
    let machine = Machine::new();
    let mut config = machine.config("a", &["/bin/sh", "-c", "test -t 1 && echo a terminal"]);
    config["process"]["terminal"] = json!(true);
    let options = ["newinstance", "ptmxmode=0666", "mode=0620"];
    let devpts = json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": options});
    config["mounts"].as_array_mut().unwrap().push(devpts);
    let socket = machine.path("console");
    let listener = UnixListener::bind(&socket).unwrap();
    let io = Stdio { console_socket: Some(socket), ..Stdio::default() };
    let process =
        machine.runtime.create_and_start("a", &machine.bundle("a", &config), &io).unwrap();

    let mut master = fs::File::from_parts(receive(&listener).into(), "console");
    assert_eq!(wait_exit(&process), Some(0));
    let (mut text, start) = (Vec::new(), Instant::now());
    while !text.ends_with(b"\n") && start.elapsed() < Duration::from_secs(5) {
        let mut part = [0; 64];
        let length = master.read(&mut part).unwrap();
        text.extend_from_slice(&part[..length]);
    }
    assert_eq!(text, b"a terminal\r\n");
}

fn receive(listener: &UnixListener) -> OwnedFd {
    let (stream, _) = listener.accept().unwrap();
    let mut byte = [0];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let buffers = &mut [std::io::IoSliceMut::new(&mut byte)];
    recvmsg(&stream, buffers, &mut ancillary, RecvFlags::CMSG_CLOEXEC).unwrap();
    let received = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        RecvAncillaryMessage::ScmCredentials(_) | _ => None,
    });
    received.expect("libcrun sends the master")
}

fn tells_the_linked_version() {
    let features = Machine::new().runtime.features().unwrap();
    assert_eq!(features.annotations.version, libcrun::version());
    assert!(features.linux.namespaces.contains(&"pid".to_owned()));
    assert!(features.mount_options.contains(&"rbind".to_owned()));
    assert!(features.linux.cgroup.v2 && !features.linux.cgroup.systemd);
}
