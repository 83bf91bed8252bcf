//! One life cycle under each runtime: the same answers, the same task texts, the same states. A
//! scenario writes down what a client sees; what it wrote under libcrun and under LXC is compared.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rstest::rstest;
use rustix::process::{Pid, Signal, kill_process};
use tests::{Builder, Content, Daemon, Guest, Task, binary, eventually, processes_of, rootfs};

use crate::limits::in_force;
use crate::{BUSYBOX, PATIENT, PRIVILEGED, RAW, SMALL, SUBVOL, UNPRIVILEGED, sh};

/// What a client sees, a line each.
struct Seen<'d> {
    daemon: &'d Daemon,
    lines: Vec<String>,
}

impl Seen<'_> {
    fn note(&mut self, what: &str, value: impl std::fmt::Display) {
        // Each daemon has a root of its own.
        let root = self.daemon.root().display().to_string();
        self.lines.push(format!("{what}: {}", value.to_string().replace(&root, "ROOT")));
    }

    /// A verb that opens a task, or is refused at once.
    fn act(&mut self, guest: &Guest<'_>, verb: &str, parameters: &[(&str, &str)]) {
        let reply = guest.post(verb, parameters);
        if reply.status == 200 {
            let task = self.daemon.task(&reply);
            self.task(verb, &task);
        } else {
            self.note(verb, reply.line());
        }
        self.note("status", guest.status());
    }

    fn task(&mut self, what: &str, task: &Task) {
        self.note(what, &task.exitstatus);
        self.note("log", &task.log);
    }

    fn exit(&mut self, guest: &Guest<'_>) {
        let exit = guest.wait();
        for key in ["exit_code", "signal", "oom_killed", "error"] {
            self.note(key, &exit[key]);
        }
        self.note("status", guest.status());
    }
}

pub(crate) fn daemon(runtime: &str) -> Daemon {
    daemon_with(runtime, tests::LXC)
}

/// `release` is whose LXC it is.
pub(crate) fn daemon_with(runtime: &str, release: &str) -> Daemon {
    tests::require_machine();
    let rule = format!("[[runtime.rule]]\nvmid = \"*\"\nruntime = \"{runtime}\"\n");
    start(Daemon::builder(), &tests::lxc(release, "lxc-start"), &rule)
}

fn start(builder: Builder, lxc_start: &Path, rules: &str) -> Daemon {
    let settings = format!("[runtime]\nlxc-start = {lxc_start:?}\n{rules}");
    let daemon = builder.file("etc/proxmox-lxcri/config.toml", &settings).start();
    rootfs(&daemon.templates(), BUSYBOX, &Content::default());
    daemon
}

fn seen_under(runtime: &str, scenario: fn(&mut Seen<'_>)) -> Vec<String> {
    let daemon = daemon(runtime);
    let mut seen = Seen { daemon: &daemon, lines: Vec::new() };
    scenario(&mut seen);
    seen.lines
}

#[rstest]
#[case::exit_code_and_restart(exit_code_and_restart)]
#[case::stop_and_double_operations(stop_and_double_operations)]
#[case::shutdown(shutdown)]
#[case::freeze_and_thaw(freeze_and_thaw)]
#[case::limits(limits)]
#[case::limits_inside(limits_inside)]
#[case::out_of_memory(out_of_memory)]
#[case::exec(exec)]
#[case::inside(inside)]
#[case::inside_privileged(inside_privileged)]
#[case::user_and_environment(user_and_environment)]
#[case::volumes(volumes)]
#[case::reboot(reboot)]
#[case::missing_things(missing_things)]
fn it_makes_no_difference_who_runs_it(#[case] scenario: fn(&mut Seen<'_>)) {
    let crun = seen_under("crun", scenario);
    let lxc = seen_under("lxc", scenario);
    let other = crun.iter().zip(&lxc).position(|(crun, lxc)| crun != lxc);
    assert_eq!(other, None, "the first line that differs:\n{crun:#?}\n{lxc:#?}");
    assert_eq!(crun.len(), lxc.len());
}

fn exit_code_and_restart(seen: &mut Seen<'_>) {
    let script = sh("echo once more >>/root/runs; cat /root/runs; echo to stderr >&2; exit 7");
    for (vmid, volume) in [(100, SUBVOL), (101, RAW)] {
        let options = [volume, SMALL, UNPRIVILEGED, ("entrypoint", script.as_str())];
        let task = seen.daemon.try_create(vmid, BUSYBOX, &options);
        seen.note("create", task.exitstatus);
        let guest = seen.daemon.guest(vmid);
        for _ in 0..2 {
            let started = guest.post("start", &[]);
            let task = seen.daemon.task(&started);
            seen.task("start", &task);
            seen.exit(&guest);
        }
        seen.note("output", guest.output());
        let task = seen.daemon.task(&guest.delete());
        seen.task("destroy", &task);
    }
}

fn stop_and_double_operations(seen: &mut Seen<'_>) {
    let script = sh("trap \"\" TERM PWR INT HUP; echo ready; while :; do sleep 0.1; done");
    let options = [SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", script.as_str())];
    let guest = seen.daemon.create(100, BUSYBOX, &options);
    seen.act(&guest, "stop", &[]);
    seen.act(&guest, "start", &[]);
    guest.wait_for_output("ready");
    seen.act(&guest, "start", &[]);
    seen.note("delete", guest.delete().line());
    let current = guest.current();
    seen.note("maxmem", &current["maxmem"]);
    seen.note("has a pid", current["pid"].as_u64().is_some_and(|pid| pid > 1));
    seen.note("uses memory", current["mem"].as_u64().is_some_and(|mem| mem > 0));
    seen.act(&guest, "stop", &[]);
    seen.exit(&guest);
    seen.act(&guest, "stop", &[]);
    seen.act(&guest, "shutdown", &[]);
    let task = seen.daemon.task(&guest.delete());
    seen.task("destroy", &task);
    let task = guest.task("start", &[]);
    seen.task("start", &task);
}

fn shutdown(seen: &mut Seen<'_>) {
    let script =
        sh("trap \"echo told to end; exit 3\" TERM; echo ready; while :; do sleep 0.1; done");
    let options = [SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", script.as_str())];
    let guest = seen.daemon.create(100, BUSYBOX, &options);
    seen.act(&guest, "start", &[]);
    guest.wait_for_output("ready");
    seen.act(&guest, "shutdown", &[("timeout", "20")]);
    seen.exit(&guest);
    seen.note("output", guest.output());

    let deaf = sh("trap \"\" TERM PWR INT; echo deaf; while :; do sleep 0.1; done");
    seen.note("config", guest.put_config(&[("entrypoint", deaf.as_str())]).line());
    seen.act(&guest, "start", &[]);
    guest.wait_for_output("deaf");
    seen.act(&guest, "shutdown", &[("timeout", "1")]);
    seen.act(&guest, "shutdown", &[("timeout", "1"), ("forceStop", "1")]);
    seen.exit(&guest);
    guest.destroy();
}

fn freeze_and_thaw(seen: &mut Seen<'_>) {
    let script = sh("n=0; while :; do n=$((n+1)); echo tick $n; sleep 0.05; done");
    let options = [SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", script.as_str())];
    let guest = seen.daemon.create(100, BUSYBOX, &options);
    seen.act(&guest, "suspend", &[]);
    seen.act(&guest, "start", &[]);
    guest.wait_for_output("tick 2");
    seen.act(&guest, "resume", &[]);
    seen.act(&guest, "suspend", &[]);
    let before = guest.output();
    std::thread::sleep(std::time::Duration::from_millis(500));
    seen.note("stands still", guest.output() == before);
    seen.act(&guest, "resume", &[]);
    eventually(10, "output after resume", || (guest.output() != before).then_some(()));
    seen.act(&guest, "suspend", &[]);
    seen.act(&guest, "stop", &[]);
    seen.exit(&guest);
    guest.destroy();
}

fn limits(seen: &mut Seen<'_>) {
    let options = [
        SUBVOL,
        UNPRIVILEGED,
        ("entrypoint", PATIENT),
        ("memory", "48"),
        ("swap", "16"),
        ("cpulimit", "0.5"),
        ("cpuunits", "42"),
    ];
    let guest = seen.daemon.create(100, BUSYBOX, &options);
    seen.act(&guest, "start", &[]);
    guest.wait_for_output("ready");
    let files = [
        ("memory.max", "max"),
        ("memory.high", "max"),
        ("memory.swap.max", "max"),
        ("cpu.max", "max 100000"),
        ("cpu.weight", "100"),
    ];
    for (file, unset) in files {
        seen.note(file, in_force(&guest, file, unset));
    }
    // Changed while it runs.
    let changed = guest.put_config(&[("memory", "64"), ("cpulimit", "0.25")]);
    seen.note("config", changed.line());
    for (file, unset) in files {
        seen.note(file, in_force(&guest, file, unset));
    }
    seen.note("maxmem", &guest.current()["maxmem"]);
    seen.act(&guest, "stop", &[]);
    guest.destroy();
}

/// As a program in the container meets them.
fn limits_inside(seen: &mut Seen<'_>) {
    let script = sh("tail /dev/zero; echo tail $?; \
         head -c 9000000 /dev/zero | tail -c 9000000 >/dev/null; echo tail $?; \
         ulimit -n; ulimit -c; for n in 1 2 3 4 5 6 7 8; do sleep 3 & done 2>/dev/null; \
         cat /sys/fs/cgroup/cgroup.procs | wc -l; echo all");
    let options = [
        SUBVOL,
        UNPRIVILEGED,
        ("entrypoint", script.as_str()),
        ("memory", "48"),
        ("swap", "0"),
        ("cpulimit", "0.5"),
    ];
    let guest = seen.daemon.create(100, BUSYBOX, &options);
    guest.add_lines("lxc.prlimit.nofile: 77:99\nlxc.prlimit.core: 0\nlxc.cgroup2.pids.max: 6\n");
    let began = std::time::Instant::now();
    seen.act_unsettled(&guest);
    seen.exit(&guest);
    assert!(began.elapsed().as_secs() < 60, "the limits hold it, they do not hang it");
    seen.note("output", guest.output());
    guest.destroy();
}

/// `ct exec`: the program's own output and exit code, whoever runs the container.
fn exec(seen: &mut Seen<'_>) {
    let options = [SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", PATIENT), ("hostname", "own-name")];
    let guest = seen.daemon.create(100, BUSYBOX, &options);
    let call = |seen: &mut Seen<'_>, words: &[&str]| {
        let output = ct_exec(seen.daemon, words);
        seen.note(&words.join(" "), format!("{:?}", output.status.code()));
        seen.note("out", String::from_utf8_lossy(&output.stdout));
        seen.note("err", String::from_utf8_lossy(&output.stderr));
    };
    call(seen, &["100", "true"]);
    seen.act(&guest, "start", &[]);
    guest.wait_for_output("ready");
    call(seen, &["100", "sh", "-c", "hostname; id -u; id -g; echo $OUTSIDE; pwd"]);
    call(
        seen,
        &["-e", "A=b c", "-e", "D=", "100", "sh", "-c", "echo \"<$A>\" \"<$D>\" $#", "x", "y"],
    );
    call(seen, &["-u", "7:8", "-w", "/tmp", "100", "sh", "-c", "id -u; id -g; pwd"]);
    // Names are the container's own.
    let accounts = "echo web:x:33:34::/: >/etc/passwd; echo mail:x:12:web >/etc/group";
    call(seen, &["100", "sh", "-c", accounts]);
    for user in ["web", "33", "web:mail", "7:mail", "nobody", "web:none"] {
        call(seen, &["-u", user, "100", "sh", "-c", "id -u; id -g"]);
    }
    call(seen, &["100", "sh", "-c", "echo to stderr >&2; exit 9"]);
    call(seen, &["100", "sh", "-c", "kill -9 $$"]);
    // In each runtime's own words, and with its own code.
    for words in
        [&["100", "nothing-here"][..], &["100", "/etc/passwd"], &["-w", "/no", "100", "pwd"]]
    {
        let output = ct_exec(seen.daemon, words);
        assert!(!output.status.success() && !output.stderr.is_empty(), "{words:?}: {output:?}");
    }
    // lxc-attach has a cgroup for it below init's, libcrun puts it into init's.
    let inside = "grep -e Cap -e NoNewPrivs -e Seccomp: /proc/self/status; \
                  cat /proc/self/uid_map";
    call(seen, &["100", "sh", "-c", inside]);
    seen.act(&guest, "stop", &[]);
    call(seen, &["100", "true"]);
    guest.destroy();
}

fn ct_exec(daemon: &Daemon, words: &[&str]) -> Output {
    let mut command = Command::new(binary("proxmox-lxcri"));
    command.args(["ct", "--root"]).arg(daemon.root()).arg("exec").args(words);
    command.env("PATH", lxc_first()).env("OUTSIDE", "1");
    command.stdin(Stdio::null()).output().unwrap()
}

/// A shell's search path on which LXC's programs are found.
fn lxc_first() -> OsString {
    let tool = tests::lxc(tests::LXC, "lxc-attach");
    let folder = tool.parent().expect("a file lies in a folder").to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(folder).chain(std::env::split_paths(&path))).unwrap()
}

fn out_of_memory(seen: &mut Seen<'_>) {
    let script = sh("echo begin; exec head -c 200000000 /dev/zero | tail -c 200000000 >/dev/null");
    let options = [SUBVOL, UNPRIVILEGED, ("memory", "16"), ("swap", "0"), ("entrypoint", &script)];
    let guest = seen.daemon.create(100, BUSYBOX, &options);
    seen.act_unsettled(&guest);
    let exit = guest.wait();
    seen.note("oom_killed", &exit["oom_killed"]);
    guest.destroy();
}

impl Seen<'_> {
    /// A start of one that may end at any time.
    fn act_unsettled(&mut self, guest: &Guest<'_>) {
        let task = guest.task("start", &[]);
        self.task("start", &task);
    }
}

const LOOK: &str = "echo pid $$; echo host $(hostname); echo user $(id -u):$(id -g); pwd; \
    echo uids $(cat /proc/self/uid_map); echo gids $(cat /proc/self/gid_map); \
    grep -e Cap -e NoNewPrivs -e Seccomp: /proc/self/status; \
    echo 1 2>/dev/null >/proc/sys/kernel/panic || echo sysctl is not its; \
    echo x 2>/dev/null >/sys/kernel/uevent_helper || echo sys is not its; \
    mknod /tmp/sda b 8 0 2>/dev/null && head -c 1 /tmp/sda 2>/dev/null || echo no devices; \
    head -c 4 /dev/zero | wc -c; head -c 4 /dev/urandom | wc -c; test -c /dev/ptmx && echo ptmx; \
    head -c 4 /proc/kcore 2>/dev/null | wc -c; ls /proc/scsi | wc -l; \
    cat /proc/self/cgroup; grep -c . /proc/net/dev; stat -c %a /dev/shm; \
    mount -t tmpfs none /mnt 2>/dev/null || echo mounts nothing";

fn look_inside(seen: &mut Seen<'_>, kind: (&str, &str)) {
    let script = sh(LOOK);
    let options = [SUBVOL, SMALL, kind, ("entrypoint", script.as_str()), ("hostname", "own-name")];
    let guest = seen.daemon.create(100, BUSYBOX, &options);
    seen.act_unsettled(&guest);
    guest.wait();
    for line in guest.output().lines() {
        seen.note("inside", line);
    }
    guest.destroy();
}

fn inside(seen: &mut Seen<'_>) {
    look_inside(seen, UNPRIVILEGED);
}

fn inside_privileged(seen: &mut Seen<'_>) {
    look_inside(seen, PRIVILEGED);
}

fn user_and_environment(seen: &mut Seen<'_>) {
    let script = sh("id; pwd; echo \"<$ODD>\" \"$1\"; echo mine >/dev/stdout; env");
    let entrypoint = format!("{script} x 'it is \"quoted\"'");
    let env = "ODD= \"a\" b \0PATH=/bin:/sbin";
    let options = [SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", entrypoint.as_str()), ("env", env)];
    let guest = seen.daemon.create(100, BUSYBOX, &options);
    guest.add_lines("lxc.init.uid: 1000\nlxc.init.gid: 1000\nlxc.init.cwd: /tmp\n");
    seen.act_unsettled(&guest);
    seen.exit(&guest);
    let output = guest.output();
    let mut lines: Vec<_> = output.lines().collect();
    // LXC tells every container that it is one, libcrun only init systems; and libcrun looks up
    // the user's home, LXC does not.
    lines.retain(|line| *line != "container=lxc" && !line.starts_with("HOME="));
    lines[4..].sort_unstable();
    for line in lines {
        seen.note("inside", line);
    }
    guest.destroy();
}

fn volumes(seen: &mut Seen<'_>) {
    let script = sh("cat /srv/more/word; echo again >>/srv/more/word && wc -l </srv/more/word; \
         echo x 2>/dev/null >/srv/fixed/x || echo read-only; stat -c %u:%g /srv/more");
    let options = [
        SUBVOL,
        SMALL,
        UNPRIVILEGED,
        ("entrypoint", script.as_str()),
        ("mp0", "local:0.0625,mp=/srv/more"),
        ("mp1", "local:0,mp=/srv/fixed,ro=1"),
    ];
    let guest = seen.daemon.create(100, BUSYBOX, &options);
    for _ in 0..2 {
        seen.act_unsettled(&guest);
        seen.exit(&guest);
    }
    seen.note("output", guest.output());
    guest.destroy();
}

fn reboot(seen: &mut Seen<'_>) {
    let options = [SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", PATIENT)];
    let guest = seen.daemon.create(100, BUSYBOX, &options);
    seen.note("reboot", guest.post("reboot", &[]).line());
    seen.act(&guest, "start", &[]);
    guest.wait_for_output("ready");
    let before = guest.oci()["pid"].clone();
    seen.act(&guest, "reboot", &[("timeout", "20")]);
    seen.note("another", guest.oci()["pid"] != before);
    seen.act(&guest, "stop", &[]);
    guest.destroy();
}

fn missing_things(seen: &mut Seen<'_>) {
    let options = [SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", "/bin/true")];
    let guest = seen.daemon.create(100, BUSYBOX, &options);
    let path = seen.daemon.config_path(100);
    let good = fs_err::read_to_string(&path).unwrap();
    for entrypoint in
        ["/bin/nothing-here", "nothing-here --now", "/etc/passwd", "/etc", "/sbin/init"]
    {
        let text = good.replace("entrypoint: /bin/true", &format!("entrypoint: {entrypoint}"));
        fs_err::write(&path, text).unwrap();
        seen.act(&guest, "start", &[]);
    }
    for line in ["net0: name=eth0,bridge=vmbr9,type=veth", "mp0: /nowhere/at/all,mp=/mnt"] {
        fs_err::write(&path, format!("{good}{line}\n")).unwrap();
        seen.act(&guest, "start", &[]);
    }
    let away = seen.daemon.root().join("away");
    let volumes = seen.daemon.root().join("var/lib/vz/images/100");
    fs_err::write(&path, &good).unwrap();
    fs_err::rename(&volumes, &away).unwrap();
    seen.act(&guest, "start", &[]);
    fs_err::rename(&away, &volumes).unwrap();
    seen.act_unsettled(&guest);
    seen.exit(&guest);
    guest.destroy();
}

/// An init system of a few lines.
const INIT: &[u8] = b"#!/bin/sh\ntrap 'echo going down; exit 0' PWR\n\
    echo init is up; n=$(cat /runs 2>/dev/null); echo $((n+1)) >/runs; echo run $((n+1))\n\
    test -e /reboots && rm /reboots && exec /bin/busybox reboot -f\n\
    while :; do read -r line && echo \"you said $line\"; sleep 0.1; done\n";

fn with_init(daemon: &Daemon) {
    rootfs(&daemon.templates(), BUSYBOX, &Content::default().file("sbin/init", 0o755, INIT));
}

#[rstest]
#[case::unprivileged(UNPRIVILEGED)]
#[case::privileged(PRIVILEGED)]
fn a_system_container_ends_when_told(#[case] kind: (&str, &str)) {
    let daemon = daemon("lxc");
    with_init(&daemon);
    let guest = daemon.create(100, BUSYBOX, &[SUBVOL, SMALL, kind]);
    guest.start();
    assert_eq!(guest.oci()["runs-under"], "lxc");
    guest.wait_for_output("run 1");
    guest.task("shutdown", &[("timeout", "30")]).ok();
    assert_eq!(guest.wait()["exit_code"], 0);
    assert!(guest.output().contains("going down"), "{}", guest.output());
    guest.destroy();
}

#[test]
fn a_reboot_from_inside_begins_a_new_life() {
    let daemon = daemon("lxc");
    let content = Content::default().file("sbin/init", 0o755, INIT).file("reboots", 0o644, "");
    rootfs(&daemon.templates(), BUSYBOX, &content);
    let guest = daemon.create(100, BUSYBOX, &[SUBVOL, SMALL, UNPRIVILEGED]);
    guest.start();
    guest.wait_for_output("run 2");
    assert_eq!(guest.status(), "running");
    guest.stop();
    assert_eq!(guest.wait()["signal"], 9);
    guest.destroy();
}

/// Of the processes that name the root on their command line.
fn pid_of(daemon: &Daemon, part: &str) -> Pid {
    let found = processes_of(daemon.root());
    let process = found.iter().find(|(_, line)| line.contains(part));
    let (pid, _) = process.unwrap_or_else(|| panic!("no {part} among {found:?}"));
    Pid::from_raw(*pid).unwrap()
}

#[rstest]
#[case::the_monitor("lxcri-lxc-monitor run", SUBVOL)]
#[case::the_monitor_of_an_image("lxcri-lxc-monitor run", RAW)]
#[case::lxc_start("lxc-start", SUBVOL)]
fn who_watches_is_killed(#[case] who: &str, #[case] volume: (&str, &str)) {
    let daemon = daemon("lxc");
    let options = [volume, SMALL, UNPRIVILEGED, ("entrypoint", PATIENT)];
    let guest = daemon.create(100, BUSYBOX, &options);
    guest.start();
    guest.wait_for_output("ready");
    let init = guest.oci()["pid"].as_u64().unwrap();
    kill_process(pid_of(&daemon, who), Signal::KILL).unwrap();
    eventually(20, "it is shown as stopped", || (guest.status() == "stopped").then_some(()));
    eventually(20, "it is gone", || (!Path::new(&format!("/proc/{init}")).exists()).then_some(()));
    // The next start finds nothing in its way.
    guest.start();
    guest.wait_for_output("ready");
    guest.stop();
    guest.destroy();
}

#[test]
fn the_daemon_is_killed_and_finds_it_again() {
    let mut daemon = daemon("lxc");
    daemon.create(100, BUSYBOX, &[RAW, SMALL, UNPRIVILEGED, ("entrypoint", PATIENT)]).start();
    daemon.guest(100).wait_for_output("ready");
    let init = daemon.guest(100).oci()["pid"].clone();
    daemon.kill();
    daemon.launch();
    let guest = daemon.guest(100);
    assert_eq!((guest.status().as_str(), &guest.oci()["pid"]), ("running", &init));
    guest.task("shutdown", &[("timeout", "20")]).ok();
    assert_eq!(guest.wait()["exit_code"], 0);
    guest.destroy();
}

#[rstest]
#[case("crun")]
#[case("lxc")]
fn a_start_tells_all_it_is_asked_for(#[case] runtime: &str) {
    let daemon = daemon(runtime);
    let parameters = [SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", PATIENT)];
    let guest = daemon.create(100, BUSYBOX, &parameters);
    let told = |parameters: &[(&str, &str)]| {
        let log = guest.task("start", parameters).ok();
        guest.stop();
        log.lines().filter(|line| line.starts_with("DEBUG: ")).count()
    };
    assert_eq!(told(&[]), 0);
    assert!(told(&[("debug", "1")]) > 0);
    assert_eq!(told(&[("debug", "0")]), 0);
    assert_eq!(guest.put_config(&[("debug", "1")]).status, 200);
    assert!(told(&[]) > 0);
    guest.destroy();
}

/// Programs that a test may spoil.
struct Programs(tempfile::TempDir);

impl Programs {
    fn new() -> Self {
        let programs = Self(tempfile::tempdir().unwrap());
        for name in ["lxcri-monitor", "lxcri-lxc-monitor"] {
            fs_err::copy(binary(name), programs.path(name)).unwrap();
        }
        let lxc = tests::lxc(tests::LXC, "lxc-start");
        fs_err::os::unix::fs::symlink(lxc, programs.path("lxc-start")).unwrap();
        programs
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn daemon(&self) -> Daemon {
        let options = [("--monitor", "lxcri-monitor"), ("--lxc-monitor", "lxcri-lxc-monitor")];
        let builder = options.iter().fold(Daemon::builder(), |builder, (option, name)| {
            builder.option(option).option(self.path(name).to_str().unwrap())
        });
        start(builder, &self.path("lxc-start"), "")
    }

    /// Other bytes of the same length in the monitor of libcrun's, wherever `at` says so of what follows.
    fn patch(&self, old: &[u8], new: &[u8], at: fn(Option<&u8>) -> bool) {
        let mut bytes = fs_err::read(self.path("lxcri-monitor")).unwrap();
        let all = bytes.windows(old.len()).enumerate().filter(|(_, window)| *window == old);
        let places: Vec<usize> = all.map(|(place, _)| place).collect();
        let places: Vec<usize> =
            places.into_iter().filter(|place| at(bytes.get(place + old.len()))).collect();
        assert!(!places.is_empty(), "there is no {}", String::from_utf8_lossy(old));
        for place in places {
            bytes[place..place + new.len()].copy_from_slice(new);
        }
        fs_err::write(self.path("lxcri-monitor"), bytes).unwrap();
    }
}

/// A host as systemd made it before it knew of cgroup v2 alone: v1 and v2 side by side, over the machine's
/// own for as long as this lives.
struct Hybrid;

const TOP: &str = "/sys/fs/cgroup";
/// Those that v1 has, besides systemd's, which has none.
const V1: [&str; 3] = ["devices", "freezer", "memory"];

impl Hybrid {
    fn new() -> Self {
        // Free for v1: nothing runs now, but what earlier tests left may still be on its way.
        remove_cgroups(TOP);
        fs_err::write(format!("{TOP}/cgroup.subtree_control"), "-memory").unwrap();
        mount("tmpfs", "mode=755", TOP);
        for name in V1 {
            eventually(20, "v1 has its controller", || {
                drop_caches();
                mounts("cgroup", name, &format!("{TOP}/{name}")).then_some(())
            });
        }
        mount("cgroup", "none,name=systemd", &format!("{TOP}/systemd"));
        mount("cgroup2", "rw", &format!("{TOP}/unified"));
        Self
    }
}

impl Drop for Hybrid {
    fn drop(&mut self) {
        for name in V1.iter().chain(&["systemd", "unified"]) {
            let mounted = format!("{TOP}/{name}");
            if *name != "unified" {
                remove_cgroups(&mounted);
            }
            run("umount", &[&mounted]);
        }
        run("umount", &[TOP]);
        let place = tempfile::tempdir().unwrap();
        let place = place.path().to_str().unwrap();
        eventually(20, "no v1 is left", || {
            drop_caches();
            let left = hierarchies_of_v1();
            // One that was unmounted before the last of its cgroups had gone stays until it is once more;
            // and then the kernel takes a moment.
            for options in &left {
                if mounts("cgroup", options, place) {
                    run("umount", &[place]);
                    std::thread::sleep(std::time::Duration::from_secs(1));
                }
            }
            left.is_empty().then_some(())
        });
        fs_err::write(format!("{TOP}/cgroup.subtree_control"), "+memory").unwrap();
    }
}

/// As mount(8) is told of them.
fn hierarchies_of_v1() -> Vec<String> {
    let own = fs_err::read_to_string("/proc/self/cgroup").unwrap();
    let of_v1 = own.lines().filter(|line| !line.starts_with("0:"));
    let controllers = of_v1.map(|line| line.split(':').nth(1).unwrap());
    let options = |name: &str| {
        if name.starts_with("name=") { format!("none,{name}") } else { name.to_owned() }
    };
    controllers.map(options).collect()
}

/// The folders that hold containers stay for the next one, and hold controllers.
fn remove_cgroups(top: &str) {
    run("find", &[top, "-mindepth", "1", "-depth", "-type", "d", "-delete"]);
}

/// Pages of a container's files hold its cgroup, and that holds controllers.
fn drop_caches() {
    fs_err::write("/proc/sys/vm/drop_caches", "3").unwrap();
}

fn mounts(kind: &str, options: &str, place: &str) -> bool {
    fs_err::create_dir_all(place).unwrap();
    let arguments = ["-t", kind, "-o", options, kind, place];
    Command::new("mount").args(arguments).status().unwrap().success()
}

fn mount(kind: &str, options: &str, place: &str) {
    assert!(mounts(kind, options, place), "cannot mount {place}");
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}: {status}");
}

fn monitor_is_gone(programs: &Programs) -> Option<Hybrid> {
    fs_err::remove_file(programs.path("lxcri-monitor")).unwrap();
    None
}

/// The loader looks for a library that no system has.
fn library_is_gone(programs: &Programs) -> Option<Hybrid> {
    programs.patch(b"libseccomp.so.2", b"libseccomp.so.9", |next| next == Some(&0));
    None
}

/// A host that libcrun refuses, and a monitor that looks elsewhere for the half that it has to hide. That
/// text is Rust's, which ends in no zero; libcrun's own stays.
fn host_is_hybrid(programs: &Programs) -> Option<Hybrid> {
    let (old, new) = (b"/sys/fs/cgroup/unified", b"/sys/fs/cgroup/elsewhe");
    programs.patch(old, new, |next| next != Some(&0));
    Some(Hybrid::new())
}

#[rstest]
#[case::without_the_monitor(
    monitor_is_gone,
    "the container runtime is missing: 'FOLDER/lxcri-monitor' does not exist; install the package \
     proxmox-lxcri",
    Some("proxmox-lxcri")
)]
#[case::without_its_library(
    library_is_gone,
    "the container runtime cannot be loaded: libseccomp.so.9 is missing; install the package libseccomp2",
    Some("libseccomp2")
)]
#[case::with_hybrid_cgroups(
    host_is_hybrid,
    "cgroup: libcrun runs nothing where v1 and v2 are mounted side by side",
    None
)]
fn what_libcrun_cannot_run_lxc_does(
    #[case] spoil: fn(&Programs) -> Option<Hybrid>,
    #[case] reason: &str,
    #[case] package: Option<&str>,
) {
    tests::require_machine();
    let programs = Programs::new();
    let _host = spoil(&programs);
    let daemon = programs.daemon();
    let reason = reason.replace("FOLDER", programs.0.path().to_str().unwrap());
    let crun = &daemon.get("/nodes/pve1/oci/runtimes").data()["runtimes"][0];
    assert_eq!((crun["name"].as_str(), crun["usable"].as_bool()), (Some("crun"), Some(false)));
    assert_eq!(crun["reason"], reason);
    assert_eq!(crun["probe"]["missing"][0]["package"].as_str(), package);

    let options = [SUBVOL, UNPRIVILEGED, ("entrypoint", PATIENT)];
    let guest = daemon.create(100, BUSYBOX, &options);
    let task = guest.task("start", &[]);
    assert_eq!(task.exitstatus, "WARNINGS: 1", "{}", task.log);
    let warning = format!("WARN: crun cannot be used, starting under lxc: {reason}");
    assert!(task.log.contains(&warning), "{}", task.log);
    guest.wait_for_output("ready");
    assert_eq!(guest.oci()["runs-under"], "lxc");
    guest.stop();

    let choose = |runtime: &str| {
        let path = "/nodes/pve1/oci/containers/100";
        assert_eq!(daemon.put(path, &[("runtime", runtime)]).line(), "200 OK");
    };
    choose("crun");
    assert_eq!(guest.task("start", &[]).failed(), reason);

    choose("auto");
    fs_err::remove_file(programs.path("lxc-start")).unwrap();
    let error = guest.task("start", &[]).failed();
    assert!(error.starts_with("no runtime can be used here: crun"), "{error}");
    assert!(error.contains(&reason) && error.contains("proxmox-lxcri"), "{error}");
    assert!(error.ends_with("lxc-start' does not exist; install the package lxc"), "{error}");
    guest.destroy();
}
