//! Guests from the shell: `proxmox-lxcri ct`, `runtimes` and `task` ask the daemon, over its socket or by
//! URL, and tell what it says.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::{Builder, Daemon, NODE, StandIn, binary};

const PLAIN: &str = "hostname: web\nmemory: 512\nrootfs: local:100/vm-100-disk-0.raw,size=8G\n";

fn guests(builder: Builder, vmids: impl Iterator<Item = u32>) -> Builder {
    vmids.fold(builder, |builder, vmid| {
        builder.file(&format!("etc/pve/nodes/{NODE}/lxc/{vmid}.conf"), PLAIN)
    })
}

fn daemon() -> Daemon {
    guests(Daemon::builder(), [1000, 100].into_iter()).start()
}

/// By the socket of this daemon.
fn call(daemon: &Daemon, words: &[&str]) -> Output {
    let root = daemon.root().to_str().unwrap();
    program(&[&[words[0], "--root", root], &words[1..]].concat())
}

fn program(words: &[&str]) -> Output {
    Command::new(binary("proxmox-lxcri")).args(words).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[track_caller]
fn json(output: &Output) -> Value {
    serde_json::from_str(&done(output)).unwrap()
}

/// One line on stderr that tells why.
#[track_caller]
fn fails(output: &Output, code: i32, why: &str) {
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{err}");
    assert!(err.starts_with("proxmox-lxcri: ") && err.contains(why), "{why:?} is not in {err:?}");
    assert_eq!(err.lines().count(), 1, "{err:?}");
}

#[test]
fn lists_as_pct_does() {
    let daemon = daemon();
    let _running = StandIn::start(daemon.root(), 1000, "lxc/1000");
    assert_eq!(
        done(&call(&daemon, &["ct", "list"])),
        "VMID  Status   Lock  Name\n100   stopped        web\n1000  running        web\n"
    );
    let list = json(&call(&daemon, &["ct", "list", "--format", "json"]));
    assert_eq!((&list[0]["vmid"], &list[1]["vmid"]), (&100.into(), &1000.into()), "{list}");
    assert_eq!(list[1]["status"], "running");

    let status = done(&call(&daemon, &["ct", "status", "1000"]));
    assert!(status.lines().any(|line| line == "status: running"), "{status}");
}

#[test]
fn settings_are_shown_and_changed() {
    let daemon = daemon();
    assert_eq!(done(&call(&daemon, &["ct", "config", "100"])), PLAIN);
    let set = &["ct", "config", "100", "--memory", "256", "--description=a\nb", "-onboot"];
    assert_eq!(done(&call(&daemon, set)), "");
    done(&call(&daemon, &["ct", "config", "100", "--delete", "hostname"]));
    assert_eq!(
        done(&call(&daemon, &["ct", "config", "100"])),
        "description: a%0Ab%0A\nmemory: 256\nonboot: 1\n\
         rootfs: local:100/vm-100-disk-0.raw,size=8G\n"
    );
    let config = json(&call(&daemon, &["ct", "--format", "json", "config", "100"]));
    assert_eq!(config["memory"], 256);
    assert_eq!(config["description"], "a\nb\n");
}

#[test]
fn limits_are_shown_and_changed() {
    let daemon = daemon();
    let limits = |words: &[&str]| call(&daemon, &[&["ct", "limits", "100"], words].concat());
    assert_eq!(done(&limits(&[])), "");
    let set = ["--io-max", "8:16,riops=7", "--io-max=8:0,rbps=1048576", "-pids", "200"];
    assert_eq!(done(&limits(&set)), "");
    assert_eq!(done(&limits(&[])), "pids: 200\nio-max: 8:0,rbps=1048576\nio-max: 8:16,riops=7\n");
    let shown = json(&call(&daemon, &["ct", "--format", "json", "limits", "100"]));
    assert_eq!(shown, daemon.get("/nodes/pve1/oci/containers/100/limits").data());
    assert_eq!(done(&limits(&["--delete", "io-max"])), "");
    assert_eq!(done(&limits(&[])), "pids: 200\n");

    fails(&limits(&["--pids", "many"]), 1, "pids: type check ('integer') failed - got 'many'");
    fails(&limits(&["5"]), 2, "5");
    fails(&call(&daemon, &["ct", "limits", "101"]), 1, "101.conf' does not exist");
}

#[test]
fn a_bundle_is_shown_and_explained() {
    let daemon = daemon();
    let document = json(&call(&daemon, &["ct", "bundle", "100"]));
    assert_eq!(document, daemon.get("/nodes/pve1/oci/containers/100/bundle").data());
    assert_eq!(document["hostname"], "web");

    let table = done(&call(&daemon, &["ct", "bundle", "100", "--explain"]));
    let cells = |line: &str| {
        line.split("  ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(cells(table.lines().next().unwrap()), ["Key", "Path", "Value", "Why"]);
    let row = table.lines().map(cells).find(|row| row[0] == "hostname").unwrap();
    assert_eq!(row[..3], ["hostname", "hostname", "web"]);
    let rows = json(&call(&daemon, &["ct", "--format", "json", "bundle", "100", "--explain"]));
    assert!(rows.as_array().unwrap().iter().any(|row| row["path"] == "root.path"), "{rows}");

    fails(&call(&daemon, &["ct", "bundle", "101"]), 1, "101.conf' does not exist");
}

#[test]
fn a_bundle_is_what_a_container_is_made_of() {
    let daemon = daemon();
    let file = daemon.root().join("config.json");
    let create = |file: &std::path::Path| {
        let words =
            ["ct", "create", "--bundle", file.to_str().unwrap(), "101", "local:vztmpl/none.tar"];
        call(&daemon, &words)
    };
    fails(&create(&file), 1, "config.json");
    fs_err::write(&file, "{}").unwrap();
    fails(&create(&file), 1, "bundle: process.args: names no program");
    let document = r#"{"ociVersion": "1.0.2", "root": {"path": "rootfs"}, "domainname": "x",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["/bin/app"], "cwd": "/"}}"#;
    fs_err::write(&file, document).unwrap();
    let output = create(&file);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("bundle: domainname: "), "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("none.tar' does not exist"), "{}", text(&output.stderr));
}

#[test]
fn a_refusal_is_one_line_in_the_api_s_words() {
    let daemon = daemon();
    fails(
        &call(&daemon, &["ct", "config", "100", "--memory", "1", "--nonsense", "x"]),
        1,
        "Parameter verification failed",
    );
    let output = call(&daemon, &["ct", "config", "100", "--memory", "1", "--nonsense", "x"]);
    for word in ["memory: ", "nonsense: property is not defined"] {
        assert!(text(&output.stderr).contains(word), "{}", text(&output.stderr));
    }
    fails(&call(&daemon, &["ct", "status", "101"]), 1, "101.conf' does not exist");
    fails(&call(&daemon, &["ct", "config", "100", "memory", "5"]), 2, "'memory' is no setting");
    fails(&call(&daemon, &["ct", "exec", "100", "true"]), 1, "CT 100 is not running");
    assert_eq!(call(&daemon, &["ct", "start", "zero"]).status.code(), Some(2));
    assert_eq!(call(&daemon, &["ct"]).status.code(), Some(2));
}

#[test]
fn without_a_daemon_the_missing_socket_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    fails(&program(&["ct", "--root", root, "list"]), 1, "run/proxmox-lxcri/api.sock is not there");

    let mut daemon = daemon();
    daemon.kill();
    let output = call(&daemon, &["ct", "list", "-v"]);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("api.sock does not answer\n  because: "), "{err}");
    daemon.launch();
}

/// A monitor that can do all it is asked about, and then ends at once with this as its last words.
fn broken_monitor(folder: &std::path::Path) -> String {
    let path = folder.join("monitor");
    fs_err::write(
        &path,
        "#!/bin/sh\n\
         [ \"$1\" != --probe ] || echo '{\"usable\": true, \"missing\": []}'\n\
         [ \"$1\" = run ] || exit 0\n\
         echo 'no luck today' >&2\n\
         exit 1\n",
    )
    .unwrap();
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_task_is_waited_for_and_its_failure_is_ours() {
    let folder = tempfile::tempdir().unwrap();
    let builder = Daemon::builder().option("--monitor").option(&broken_monitor(folder.path()));
    let daemon = guests(builder, [100].into_iter()).start();
    fails(&call(&daemon, &["ct", "start", "100"]), 1, "no luck today");

    let upid = done(&call(&daemon, &["ct", "start", "--detach", "100"]));
    let upid = upid.trim();
    assert!(upid.starts_with(&format!("UPID:{NODE}:")) && upid.contains(":vzstart:100:"), "{upid}");
    fails(&call(&daemon, &["task", "wait", upid]), 1, "no luck today");
    let log = done(&call(&daemon, &["task", "log", upid]));
    assert!(log.lines().last().unwrap().starts_with("TASK ERROR: "), "{log}");
    done(&call(&daemon, &["task", "stop", upid]));

    let list = done(&call(&daemon, &["task", "list", "--vmid", "100", "--errors"]));
    assert_eq!(list.lines().count(), 3, "{list}");
    assert!(list.lines().nth(1).unwrap().contains("no luck today"), "{list}");
    let output = call(&daemon, &["task", "--format", "json", "wait", upid]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&told["upid"], output.status.code()), (&upid.into(), Some(1)));
    assert!(told["exitstatus"].as_str().unwrap().contains("no luck today"), "{told}");
}

#[test]
fn a_task_that_ends_well_is_zero() {
    let daemon = daemon();
    let told = done(&call(&daemon, &["ct", "destroy", "1000"]));
    assert!(told.ends_with("TASK OK\n"), "{told}");
    assert!(!daemon.config_path(1000).exists());
    // Not a terminal: no bar, no colour, nothing but lines.
    assert!(!told.contains('\u{1b}') && !told.contains('\r'), "{told:?}");
}

#[test]
fn a_terminal_shows_how_far_a_task_is() {
    let daemon = daemon();
    let words = ["ct", "--root", daemon.root().to_str().unwrap(), "destroy", "1000"];
    let line = format!("{} {}", binary("proxmox-lxcri").display(), words.join(" "));
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = done(&output);
    let lines: Vec<_> = told.lines().collect();
    // Drawn over again and again, and gone in the end; the log's lines stay.
    assert!(lines.iter().any(|line| line.contains("\u{1b}[2K")), "{told:?}");
    assert!(lines.iter().any(|line| line.ends_with("TASK OK")), "{told:?}");
}

#[test]
fn logs_are_what_the_container_wrote() {
    let daemon = daemon();
    let log = daemon.root().join("var/log/proxmox-lxcri/100.log");
    fs_err::create_dir_all(log.parent().unwrap()).unwrap();
    fs_err::write(log, "one\ntwo\nthree\n").unwrap();
    assert_eq!(done(&call(&daemon, &["ct", "logs", "100"])), "one\ntwo\nthree\n");
    assert_eq!(done(&call(&daemon, &["ct", "logs", "-n", "2", "100"])), "two\nthree\n");
}

#[test]
fn tells_what_can_run_containers() {
    let daemon = daemon();
    let text = done(&call(&daemon, &["runtimes"]));
    let head = text.lines().next().unwrap();
    assert_eq!(
        head.split_whitespace().collect::<Vec<_>>(),
        ["Runtime", "Usable", "Version", "Missing"]
    );
    assert!(text.lines().any(|line| line.starts_with("crun ")), "{text}");
    let runtimes = json(&call(&daemon, &["runtimes", "--format", "json"]));
    assert_eq!(runtimes["runtimes"][0]["name"], "crun");
}

#[test]
fn a_daemon_elsewhere_is_asked_with_a_token() {
    let daemon = guests(Daemon::builder().tls(), [100].into_iter()).start();
    let api = format!("https://{}", daemon.address());
    let token_file = daemon.root().join("root-token");
    let by_file = ["--api", &api, "--token-file", token_file.to_str().unwrap()];
    let cert = daemon.root().join(format!("etc/pve/nodes/{NODE}/pve-ssl.pem"));
    let known = ["--cacert", cert.to_str().unwrap()];

    let list = |more: &[&str]| program(&[&["ct", "list"], more].concat());
    assert!(done(&list(&[&by_file[..], &known].concat())).contains("100   stopped"));
    let by_word = ["--api", &api, "--token", daemon.token()];
    assert!(done(&list(&[&by_word[..], &known].concat())).contains("100   stopped"));

    fails(&list(&by_file), 1, "certificate");
    fails(&list(&[&["--api", &api], &known[..]].concat()), 2, "--token");
    fails(&list(&["--token", "a@pam!b=c"]), 2, "--api");
    let stranger = ["--api", &api, "--token", "root@pam!x=3b1c5f0e-7a52-4d0c-9d0b-5f2f6c1a9e77"];
    fails(&list(&[&stranger[..], &known].concat()), 1, "Authentication failed");
    let exec = ["ct", "exec", "--api", &api, "--token", daemon.token(), "100", "true"];
    fails(&program(&exec), 2, "own machine");
}

/// 50 ms is what it may take; this machine has other work too, so only far more is a failure here, and
/// the bench holds us to the figure.
#[test]
fn a_thousand_containers_are_listed_at_once() {
    let daemon = guests(Daemon::builder(), 100..1100).start();
    let list = || {
        let before = Instant::now();
        let told = done(&call(&daemon, &["ct", "list"]));
        assert_eq!(told.lines().count(), 1001);
        before.elapsed()
    };
    list();
    let best = (0..5).map(|_| list()).min().unwrap();
    assert!(best < Duration::from_millis(500), "{best:?}");
}
