//! The verbs of an OCI runtime, on a bundle, without a daemon.

mod bundle;
mod crun;
mod lxc;

use std::io::{IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use fs_err as fs;
use rstest::rstest;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde_json::{Value, json};

use bundle::{Bundle, Runtime, process};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[rstest]
#[case::crun(Runtime::Crun)]
#[case::lxc(Runtime::Lxc(tests::LXC))]
#[case::newer_lxc(Runtime::Lxc("trixie"))]
fn a_bundle_lives_from_create_to_delete(#[case] runtime: Runtime) {
    let bundle = Bundle::under(runtime);
    let pid_file = bundle.path("pid");
    bundle.done(&["create", "--pid-file", pid_file.to_str().unwrap(), "c1"]);
    let state = bundle.state("c1");
    let pid = fs::read_to_string(&pid_file).unwrap().parse::<i64>().unwrap();
    assert_eq!((&state["status"], &state["pid"]), (&json!("created"), &json!(pid)));
    assert_eq!(state["bundle"], json!(bundle.folder.path()));
    assert_eq!(state["annotations"], json!({"org.example": "yes"}));

    bundle.done(&["start", "c1"]);
    assert_eq!(bundle.state("c1")["status"], "running");
    let listed: Value = serde_json::from_str(&bundle.done(&["list", "-f", "json"])).unwrap();
    assert_eq!((&listed[0]["id"], &listed[0]["pid"]), (&json!("c1"), &json!(pid)));
    assert_eq!(bundle.done(&["list", "-q"]), "c1\n");
    let pids: Value = serde_json::from_str(&bundle.done(&["ps", "--format=json", "c1"])).unwrap();
    assert_eq!(pids, json!([pid]));
    assert_eq!(bundle.done(&["ps", "c1"]), format!("PID\n{pid}\n"));

    bundle.done(&["pause", "c1"]);
    bundle.await_state("c1", "paused");
    bundle.fails(&["exec", "c1", "true"], "is paused");
    bundle.done(&["resume", "c1"]);
    bundle.await_state("c1", "running");

    bundle.fails(&["create", "c1"], "container `c1` already exists");
    bundle.fails(&["start", "c1"], bundle.words("exec.fifo", "is not in `created` state"));
    bundle.fails(&["delete", "c1"], "is not in `created` or `stopped` state");
    bundle.kill("c1");
    assert_eq!(bundle.state("c1")["pid"], 0);
    bundle.fails(&["kill", "c1"], "No such process");
    bundle.fails(&["exec", "c1", "true"], "is not running");
    bundle.done(&["delete", "c1"]);
    bundle.fails(&["delete", "c1"], "No such file or directory");
    bundle.fails(&["state", "c1"], "container `c1` does not exist");
    bundle.fails(&["start", "c1"], "container `c1` does not exist");
    bundle.done(&["delete", "--force", "c1"]);
}

#[rstest]
#[case::crun(Runtime::Crun)]
#[case::lxc(Runtime::Lxc(tests::LXC))]
fn run_waits_for_the_end_and_tells_it(#[case] runtime: Runtime) {
    let bundle = Bundle::under(runtime);
    bundle.arguments(&["sh", "-c", "hostname; cat; exit 7"]);
    let mut child = bundle
        .command(&["run", "c1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"typed\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("inside\ntyped\n", Some(7)));
    bundle.fails(&["state", "c1"], "does not exist");

    // A pid namespace's first process cannot be killed from inside.
    bundle.config(|config| {
        config["process"] = process(&["sh", "-c", "kill -9 $$"]);
        config["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "uts"}]);
    });
    assert_eq!(bundle.call(&["run", "--keep", "c1"]).status.code(), Some(137));
    assert_eq!(bundle.state("c1")["status"], "stopped");
    bundle.done(&["delete", "c1"]);

    // Signals go to the container, and the code is a shell's.
    bundle.arguments(&[
        "sh",
        "-c",
        "trap 'echo told; exit 3' TERM; echo ready; while :; do sleep 0.05; done",
    ]);
    let mut child = running(&bundle, "c1");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3));
    bundle.arguments(&["sleep", "1000"]);
    bundle.done(&["run", "--detach", "c2"]);
    assert_eq!(bundle.state("c2")["status"], "running");
    bundle.kill("c2");
    bundle.done(&["delete", "c2"]);
}

/// One in the foreground that has said that it is ready.
fn running(bundle: &Bundle, id: &str) -> Child {
    let mut child =
        bundle.command(&["run", id]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut word = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut word).unwrap();
    assert_eq!(&word, b"ready\n");
    child
}

#[rstest]
#[case::crun(Runtime::Crun)]
#[case::lxc(Runtime::Lxc(tests::LXC))]
#[case::newer_lxc(Runtime::Lxc("trixie"))]
fn exec_runs_another_program(#[case] runtime: Runtime) {
    let bundle = Bundle::under(runtime);
    bundle.sleeper("c1");

    let script = "echo $A $B; id -u; id -G; exit 4";
    let output = bundle
        .call(&["exec", "-e", "B=2", "--user", "5:6", "--cwd", "/tmp", "c1", "sh", "-c", script]);
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("1 2\n5\n6\n", Some(4)));

    let file = bundle.path("process.json");
    fs::write(&file, process(&["sh", "-c", "echo by file; exit 5"]).to_string()).unwrap();
    let output = bundle.call(&["exec", "--process", file.to_str().unwrap(), "c1"]);
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("by file\n", Some(5)));

    let output = bundle.call(&["exec", "-t", "c1", "tty"]);
    let shown = lines(&output.stdout);
    assert_eq!((shown.as_str(), output.status.code()), ("/dev/pts/0\r\n", Some(0)));

    let pid_file = bundle.path("pid");
    bundle.done(&[
        "exec",
        "--detach",
        "--pid-file",
        pid_file.to_str().unwrap(),
        "c1",
        "sleep",
        "500",
    ]);
    let pid = fs::read_to_string(pid_file).unwrap();
    let pids: Vec<i32> = serde_json::from_str(&bundle.done(&["ps", "-f", "json", "c1"])).unwrap();
    assert!(pids.contains(&pid.parse().unwrap()), "{pid} is not in {pids:?}");

    bundle.fails(
        &["exec", "c1", "nothing"],
        "executable file `nothing` not found in $PATH: No such file",
    );
    bundle.fails(&["exec", "c1", "/etc/plain"], "ermi");
    bundle.fails(&["exec", "--process", "/nowhere.json", "c1"], "/nowhere.json");
    fs::write(&file, r#"{"args":"ls"}"#).unwrap();
    bundle.fails(&["exec", "--process", file.to_str().unwrap(), "c1"], "`process.args` is no list");
    bundle.fails(&["exec", "c2", "true"], "container `c2` does not exist");
    bundle.kill("c1");
    bundle.done(&["delete", "c1"]);
}

#[rstest]
#[case::crun(Runtime::Crun)]
#[case::lxc(Runtime::Lxc(tests::LXC))]
fn a_terminal_goes_to_whoever_listens(#[case] runtime: Runtime) {
    let bundle = Bundle::under(runtime);
    bundle.config(|config| {
        config["process"] = process(&["sh", "-c", "tty; read line; echo got $line"]);
        config["process"]["terminal"] = json!(true);
    });
    bundle.fails(&["create", "c1"], "--console-socket");
    bundle.fails(&["run", "--detach", "c1"], "--console-socket");

    let path = bundle.path("console");
    let socket = UnixListener::bind(&path).unwrap();
    bundle.done(&["create", "--console-socket", path.to_str().unwrap(), "c1"]);
    let master = receive(&socket);
    bundle.done(&["start", "c1"]);
    let mut seen = until(&master, "/dev/pts/0\r\n");
    rustix::io::write(&master, b"word\n").unwrap();
    seen += &until(&master, "got word\r\n");
    bundle.await_state("c1", "stopped");
    bundle.done(&["delete", "c1"]);

    // Without a socket, `run` shows it on its own output.
    let mut child = bundle
        .command(&["run", "c1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.as_mut().unwrap().write_all(b"again\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let shown = lines(&output.stdout);
    assert!(
        output.status.success()
            && shown.contains("/dev/pts/0\r\n")
            && shown.ends_with("got again\r\n"),
        "{shown:?}"
    );
}

/// LXC has the terminal between ours and the one inside add a carriage return of its own.
fn lines(shown: &[u8]) -> String {
    text(shown).replace("\r\r\n", "\r\n")
}

fn receive(socket: &UnixListener) -> OwnedFd {
    let (peer, _) = socket.accept().unwrap();
    let mut byte = [0; 16];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    rustix::net::recvmsg(
        &peer,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )
    .unwrap();
    let fds = control.drain().filter_map(|part| {
        if let RecvAncillaryMessage::ScmRights(fds) = part { Some(fds) } else { None }
    });
    fds.flatten().next().expect("one descriptor comes with the byte")
}

fn until(master: &OwnedFd, end: &str) -> String {
    let mut seen = String::new();
    let mut bytes = [0; 256];
    while !lines(seen.as_bytes()).ends_with(end) {
        let count = rustix::io::read(master, &mut bytes).unwrap();
        seen += &text(&bytes[..count]);
    }
    seen
}

#[rstest]
#[case::crun(Runtime::Crun)]
#[case::lxc(Runtime::Lxc(tests::LXC))]
fn descriptors_are_passed_on_when_asked_and_never_else(#[case] runtime: Runtime) {
    let bundle = Bundle::under(runtime);
    bundle.arguments(&["sh", "-c", "cat <&3; ls /proc/self/fd"]);
    let file = bundle.path("file");
    fs::write(&file, "from outside\n").unwrap();
    // Debian's sh opens it as 3, which is inherited.
    let through_shell = |options: &str| {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!(
            "exec \"$0\" --root \"$1\" {} run {options} c1 3<\"$2\"",
            bundle.options().join(" ")
        ));
        command.arg(&bundle.program).arg(bundle.path("state")).arg(&file);
        command.env("PATH", bundle.search_path());
        command.current_dir(bundle.folder.path()).stdin(Stdio::null()).output().unwrap()
    };
    let output = through_shell("--preserve-fds 1");
    assert_eq!(text(&output.stdout), "from outside\n0\n1\n2\n3\n4\n", "{}", text(&output.stderr)); // 4 is ls's own
    let output = through_shell("");
    assert_eq!(text(&output.stdout), "0\n1\n2\n3\n", "{}", text(&output.stderr));
    bundle.fails(
        &["run", "--preserve-fds", "3", "c1"],
        "descriptor 3 is to be preserved, but it is not open",
    );
}

#[rstest]
#[case::crun(Runtime::Crun)]
#[case::lxc(Runtime::Lxc(tests::LXC))]
fn limits_are_changed_while_it_runs(#[case] runtime: Runtime) {
    let bundle = Bundle::under(runtime);
    bundle.sleeper("c1");
    let limit = |name: &str| {
        let path = Path::new("/sys/fs/cgroup").join(bundle.cgroup()).join(name);
        fs::read_to_string(path).unwrap().trim().to_owned()
    };
    bundle.done(&["update", "--memory", "64m", "--pids-limit", "20", "c1"]);
    assert_eq!((limit("memory.max"), limit("pids.max")), ("67108864".into(), "20".into()));

    let mut child = bundle
        .command(&["update", "--resources", "-", "c1"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(br#"{"pids":{"limit":30}}"#).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(limit("pids.max"), "30");

    let file = bundle.path("resources");
    fs::write(&file, r#"{"pids":{"limit":"40"}}"#).unwrap();
    bundle.fails(
        &["update", "--resources", file.to_str().unwrap(), "c1"],
        "cannot parse the resources",
    );
    assert_eq!(limit("pids.max"), "30");
    bundle.kill("c1");
    bundle.done(&["delete", "c1"]);
}

#[rstest]
#[case::crun(Runtime::Crun)]
#[case::lxc(Runtime::Lxc(tests::LXC))]
fn what_is_missing_is_named_and_nothing_stays(#[case] runtime: Runtime) {
    let bundle = Bundle::under(runtime);
    bundle.fails(&["create", "--bundle", "/nowhere", "c1"], "/nowhere");
    bundle.fails(&["create", "--config", "other.json", "c1"], "other.json");
    bundle.fails(&["--systemd-cgroup", "create", "c1"], "--cgroup-manager=cgroupfs");
    bundle.fails(&["create", "--pid-file", "/nowhere/pid", "c1"], "/nowhere/pid");
    bundle.fails(&["state", "c1"], "does not exist");

    bundle.config(|config| config["process"]["args"] = json!("ls"));
    bundle.fails(&["create", "c1"], "`process.args` is no list");
    bundle.arguments(&["nothing"]);
    bundle.fails(&["run", "c1"], "executable file `nothing` not found");
    bundle.config(|config| config["linux"]["namespaces"] = json!([{"type": "nothing"}]));
    bundle.fails(&["create", "c1"], "nothing");
    fs::write(bundle.path("config.json"), "{").unwrap();
    bundle.fails(&["create", "c1"], "config.json");
    let cgroup = Path::new("/sys/fs/cgroup").join(bundle.cgroup());
    assert!(!cgroup.exists(), "libcrun's empty cgroup was left");
}

#[test]
fn errors_go_into_the_log_as_podman_reads_it() {
    let bundle = Bundle::new();
    let log = bundle.path("log");
    let name = log.to_str().unwrap();
    bundle.fails(&["--log", name, "--log-format=json", "start", "c1"], "does not exist");
    let entry: Value = serde_json::from_str(fs::read_to_string(&log).unwrap().trim()).unwrap();
    assert_eq!(entry["level"], "error");
    assert!(entry["msg"].as_str().unwrap().starts_with("container `c1` does not exist"), "{entry}");
    assert!(entry["time"].as_str().unwrap().ends_with('Z'), "{entry}");

    fs::remove_file(&log).unwrap();
    bundle.fails(&["--log", name, "start", "c1"], "does not exist");
    assert!(fs::read_to_string(&log).unwrap().starts_with("container `c1`"));

    let output = bundle.call(&["-v", "start", "c1"]);
    assert!(text(&output.stderr).lines().count() > 1, "{}", text(&output.stderr));
}
