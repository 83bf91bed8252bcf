//! What a container costs: our monitor alone and our daemon over HTTP beside `crun run`, all with the
//! same bundle of `/bin/true`, interleaved round by round on one machine.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{Client, Content, Daemon, NODE, binary, eventually, form, processes_of, rootfs};

use crate::report::{Budget, memory, mib, quantile, rounded};

/// Times by what they are of, in milliseconds.
type Times = BTreeMap<&'static str, Vec<f64>>;

const CRUN: &str = "crun run, whole life";
const MONITOR_RUNNING: &str = "lxcri-monitor, to RUNNING";
const MONITOR_LIFE: &str = "lxcri-monitor, whole life";
const HTTP_CREATE: &str = "HTTP create, to the task's end";
const HTTP_ANSWER: &str = "HTTP POST start, to the answer";
const HTTP_START: &str = "HTTP POST start, to RUNNING";
const HTTP_DELETE: &str = "HTTP delete, to the task's end";
const HTTP_READ: &str = "HTTP GET status/current";

pub(crate) fn measure() -> Value {
    let rounds = std::env::var("LXCRI_ROUNDS").map_or(60, |text| text.parse().unwrap());
    let daemon = Daemon::start();
    rootfs(&daemon.templates(), "busybox.tar.gz", &Content::default());
    let api = &mut Api::new(&daemon);
    let fresh = memory(daemon.pid());

    // CT 100 gives crun its bundle, which is there while it runs; then the monitor alone runs it.
    api.create(100, "/bin/sleep 1000");
    api.start(100);
    let bundle = bundle(&daemon, 100);
    api.task("POST", &format!("/nodes/{NODE}/lxc/100/status/stop"), "");
    api.call("PUT", &format!("/nodes/{NODE}/lxc/100/config"), "entrypoint=/bin/true");

    let mut times = Times::new();
    for round in 0..rounds + 5 {
        let mut now = Times::new();
        settle();
        now.entry(CRUN).or_default().push(crun(&bundle));
        settle();
        let (running, life) = monitor(&daemon, 100);
        now.entry(MONITOR_RUNNING).or_default().push(running);
        now.entry(MONITOR_LIFE).or_default().push(life);
        now.entry(HTTP_CREATE).or_default().push(api.create(101, "/bin/true"));
        settle();
        let (answer, start) = api.start(101);
        now.entry(HTTP_ANSWER).or_default().push(answer);
        now.entry(HTTP_START).or_default().push(start);
        api.wait_stopped(101);
        now.entry(HTTP_READ).or_default().push(milliseconds(|| drop(api.status(101))));
        now.entry(HTTP_DELETE).or_default().push(api.delete(101));
        // The first five warm the caches of everybody.
        if round >= 5 {
            now.into_iter().for_each(|(name, value)| times.entry(name).or_default().extend(value));
        }
    }
    std::thread::sleep(Duration::from_secs(2));
    let idle = memory(daemon.pid());

    api.create(102, "/bin/sleep 1000");
    api.start(102);
    let found = processes_of(daemon.root());
    let (pid, _) = found.iter().find(|(_, line)| line.contains("lxcri-monitor run")).unwrap();
    let of_monitor = memory(u32::try_from(*pid).unwrap());
    api.task("POST", &format!("/nodes/{NODE}/lxc/102/status/stop"), "");
    api.delete(102);
    api.delete(100);

    result(
        &times,
        rounds,
        [
            ("daemon, fresh", fresh),
            ("daemon, idle after the rounds", idle),
            ("monitor of a sleeping container", of_monitor),
        ],
    )
}

fn milliseconds(work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64() * 1000.0
}

/// The bundle as our monitor wrote it, on the same folder, for crun's own use.
fn bundle(daemon: &Daemon, vmid: u32) -> tempfile::TempDir {
    let written = daemon.root().join(format!("run/proxmox-lxcri/{vmid}/config.json"));
    let mut spec: Value = serde_json::from_slice(&fs_err::read(written).unwrap()).unwrap();
    let images = daemon.root().join(format!("var/lib/vz/images/{vmid}"));
    let volume = fs_err::read_dir(images).unwrap().next().unwrap().unwrap().path();
    spec["root"]["path"] = json!(volume);
    spec["process"]["terminal"] = json!(false);
    spec["process"]["args"] = json!(["/bin/true"]);
    spec["linux"]["cgroupsPath"] = json!("/lxcri-bench/crun");
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("config.json"), spec.to_string()).unwrap();
    folder
}

/// In a thread with mounts of its own: where cgroups are hybrid crun refuses to run unless it sees a
/// pure layout. That is made before the clock starts and goes with the thread.
fn crun(bundle: &tempfile::TempDir) -> f64 {
    let bundle = bundle.path();
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                show_pure_cgroups();
                let mut command = Command::new("crun");
                command.args(["--root", "/run/lxcri-bench-crun", "run", "--bundle"]).arg(bundle);
                command.arg("lxcri-bench").stdin(Stdio::null());
                let mut out = None;
                let time = milliseconds(|| out = Some(command.output().unwrap()));
                let out = out.unwrap();
                let said = String::from_utf8_lossy(&out.stderr);
                assert!(out.status.success(), "crun run failed: {said}");
                time
            })
            .join()
            .unwrap()
    })
}

fn show_pure_cgroups() {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    let unified = "/sys/fs/cgroup/unified";
    if !Path::new(unified).join("cgroup.procs").exists() {
        return;
    }
    let none = None::<&str>;
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    umount2(unified, MntFlags::MNT_DETACH).unwrap();
    // crun takes the bare folder for one more controller and would leave files in it.
    mount(Some("tmpfs"), unified, Some("tmpfs"), MsFlags::empty(), none).unwrap();
}

/// Time to the line RUNNING, and to the end of the process.
/// The kernel moves a process into a cgroup at once if another was moved shortly before, and after a
/// grace period of RCU, some 10 ms, if not. Whoever came second would only profit from the first.
fn settle() {
    std::thread::sleep(Duration::from_millis(150));
}

fn monitor(daemon: &Daemon, vmid: u32) -> (f64, f64) {
    let begun = Instant::now();
    let mut child = Command::new(binary("lxcri-monitor"))
        .args(["run", "--node", NODE, "--root"])
        .arg(daemon.root())
        .arg(vmid.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let running = begun.elapsed().as_secs_f64() * 1000.0;
    let status = child.wait().unwrap();
    let life = begun.elapsed().as_secs_f64() * 1000.0;
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(status.success() && line.starts_with("RUNNING "), "{status}: {line}{said}");
    (running, life)
}

/// One kept connection, as clients keep it.
struct Api {
    client: Client,
    authorization: String,
    tasks: PathBuf,
}

impl Api {
    fn new(daemon: &Daemon) -> Self {
        let authorization = format!("PVEAPIToken={}", daemon.token());
        let tasks = daemon.root().join("var/log/pve/tasks");
        Self { client: Client::new(daemon.address()), authorization, tasks }
    }

    fn call(&mut self, method: &str, path: &str, body: &str) -> Value {
        let mut headers = vec![("Authorization", self.authorization.as_str())];
        if !body.is_empty() {
            headers.push(("Content-Type", "application/x-www-form-urlencoded"));
        }
        self.client.request(&format!("{method} /api2/json{path}"), &headers, body.as_bytes()).data()
    }

    /// Time to the answer and to the task's end.
    fn task(&mut self, method: &str, path: &str, body: &str) -> (f64, f64) {
        let begun = Instant::now();
        let upid = self.call(method, path, body).as_str().unwrap().to_owned();
        let answer = begun.elapsed().as_secs_f64() * 1000.0;
        let watch = self.wait_closed(&upid);
        let end = begun.elapsed().as_secs_f64() * 1000.0;
        // Closed behind the clock: the kernel takes a grace period of RCU to forget a watch.
        drop(watch);
        let status = format!("/nodes/{NODE}/tasks/{upid}/status");
        let status = eventually(10, "a task whose log is closed has ended", || {
            let now = self.call("GET", &status, "");
            (now["status"] == "stopped").then_some(now)
        });
        let good = status["exitstatus"].as_str().unwrap();
        assert!(good == "OK" || good.starts_with("WARNINGS"), "{upid}: {good}");
        (answer, end)
    }

    /// Until the task has closed its log, without asking: who polls takes from the daemon and the
    /// monitor one of two CPUs, which would be counted as theirs.
    fn wait_closed(&self, upid: &str) -> OwnedFd {
        use rustix::fs::inotify;

        // PVE's folders are named by the last digit of the start time.
        let folder = upid.split(':').nth(4).unwrap().chars().last().unwrap();
        let log = self.tasks.join(folder.to_string()).join(upid);
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
        inotify::add_watch(&watch, &log, inotify::WatchFlags::CLOSE_WRITE).unwrap();
        let ended = fs_err::read_to_string(&log).unwrap().lines().any(|l| l.starts_with("TASK "));
        if !ended {
            let mut room = [std::mem::MaybeUninit::uninit(); 512];
            inotify::Reader::new(&watch, &mut room).next().unwrap();
        }
        watch
    }

    fn create(&mut self, vmid: u32, entrypoint: &str) -> f64 {
        let body = form(&[
            ("vmid", &vmid.to_string()),
            ("ostemplate", "local:vztmpl/busybox.tar.gz"),
            ("rootfs", "local:0"),
            ("memory", "64"),
            ("swap", "0"),
            ("unprivileged", "1"),
            ("entrypoint", entrypoint),
        ]);
        self.task("POST", &format!("/nodes/{NODE}/lxc"), &body).1
    }

    /// The task of a start ends when the container runs.
    fn start(&mut self, vmid: u32) -> (f64, f64) {
        self.task("POST", &format!("/nodes/{NODE}/lxc/{vmid}/status/start"), "")
    }

    fn delete(&mut self, vmid: u32) -> f64 {
        self.task("DELETE", &format!("/nodes/{NODE}/lxc/{vmid}"), "").1
    }

    fn status(&mut self, vmid: u32) -> Value {
        self.call("GET", &format!("/nodes/{NODE}/lxc/{vmid}/status/current"), "")
    }

    fn wait_stopped(&mut self, vmid: u32) {
        eventually(10, "the end of /bin/true", || {
            (self.status(vmid)["status"] == "stopped").then_some(())
        });
    }
}

fn result(times: &Times, rounds: u32, memory: [(&str, (u64, u64)); 3]) -> Value {
    let order = [
        CRUN,
        MONITOR_RUNNING,
        MONITOR_LIFE,
        HTTP_START,
        HTTP_ANSWER,
        HTTP_CREATE,
        HTTP_DELETE,
        HTTP_READ,
    ];
    let mut median = BTreeMap::new();
    let rows: Vec<_> = order
        .iter()
        .map(|name| {
            let mut sorted = times[name].clone();
            sorted.sort_by(f64::total_cmp);
            let [half, most] = [0.5, 0.99].map(|share| quantile(&sorted, share));
            median.insert(*name, half);
            json!({"what": name, "median_ms": rounded(half), "p99_ms": rounded(most)})
        })
        .collect();
    let sizes: Vec<_> = memory
        .iter()
        .map(|(name, (rss, pss))| json!({"what": name, "rss_kib": rss, "pss_kib": pss}))
        .collect();
    let most = |what: &str, value, limit, unit| Budget::most(what.to_owned(), value, limit, unit);
    let budgets = [
        most(
            "start over HTTP within 1.5 x crun + 15 ms",
            median[HTTP_START],
            1.5 * median[CRUN] + 15.0,
            "ms",
        ),
        most(
            "start over HTTP above the monitor alone",
            median[HTTP_START] - median[MONITOR_RUNNING],
            5.0,
            "ms",
        ),
        most("create over HTTP 20 times faster than 2 s", median[HTTP_CREATE], 100.0, "ms"),
        most("monitor's proportional memory", mib(memory[2].1.1), 4.0, "MiB"),
        most("idle daemon's resident memory", mib(memory[1].1.0), 25.0, "MiB"),
    ];
    json!({ "rounds": rounds, "times": rows, "memory": sizes, "budgets": Budget::json(&budgets) })
}
