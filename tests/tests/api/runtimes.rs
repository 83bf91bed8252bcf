//! Which runtime a container has, who chose it, and what happens where it cannot be used. The
//! monitor and LXC are shell scripts here: nothing runs.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use rstest::rstest;
use serde_json::{Value, json};
use tests::{Builder, Daemon, StandIn, Task, binary};

use crate::{ANN, with_users};

const APPLICATION: &str = "arch: amd64\nentrypoint: /bin/app\nhostname: oci-web\nmemory: 64\n\
    ostype: unmanaged\nrootfs: local:100/vm-100-disk-0.raw\ntags: prod;crun-app\nunprivileged: 1\n";
const SYSTEM: &str = "arch: amd64\nhostname: box\nmemory: 64\nostype: debian\n\
    rootfs: local:101/vm-101-disk-0.raw\nunprivileged: 1\n";

/// Runs nothing, and says so as the real one does: `crun` is what it makes of libcrun.
const MONITOR: &str = "#!/bin/sh\ncase \"$*\" in\n\
    *--probe*) echo '{\"usable\": CRUN, \"version\": \"1\", \"missing\": [{\"what\": \"cgroup\", \
    \"why\": \"hybrid\", \"package\": null}]}';;\n\
    run*) CRUN && echo RUNNING 1 || { echo cgroups in hybrid mode not supported >&2; exit 1; };;\n\
    esac\n";

/// The other one, which runs what LXC does.
const LXC_MONITOR: &str = "#!/bin/sh\ncase \"$*\" in\n\
    *--probe*) echo '{\"usable\": true, \"version\": \"1\", \"cgroup\": {\"mode\": \"v2\"}, \"missing\": []}';;\n\
    run*--lxc-start*) echo RUNNING 1;;\n\
    esac\n";

/// What the loader says of a program that lacks a library.
const UNLOADABLE: &str = "#!/bin/sh\necho \"$0: error while loading shared libraries: libseccomp.so.2: \
    cannot open shared object file: No such file or directory\" >&2\nexit 127\n";

/// Programs that stand in for the real ones.
struct Programs {
    folder: tempfile::TempDir,
}

impl Programs {
    fn new(crun: bool, lxc: bool) -> Self {
        let programs = Self { folder: tempfile::tempdir().unwrap() };
        programs.add("monitor", &MONITOR.replace("CRUN", if crun { "true" } else { "false" }));
        programs.add("lxc-monitor", LXC_MONITOR);
        if lxc {
            programs.add("lxc-start", "#!/bin/sh\necho 5.0.2\n");
        }
        programs
    }

    fn add(&self, name: &str, script: &str) {
        let path = self.path(name);
        fs_err::write(&path, script).unwrap();
        fs_err::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn builder(&self, rules: &str) -> Builder {
        let lxc = self.path("lxc-start");
        let settings = format!("[runtime]\nlxc-start = \"{}\"\n{rules}", lxc.display());
        with_users()
            .option("--monitor")
            .option(self.path("monitor").to_str().unwrap())
            .option("--lxc-monitor")
            .option(self.path("lxc-monitor").to_str().unwrap())
            .file("etc/proxmox-lxcri/config.toml", &settings)
            .file("etc/pve/nodes/pve1/lxc/100.conf", APPLICATION)
            .file("etc/pve/nodes/pve1/lxc/101.conf", SYSTEM)
    }
}

fn rule(pattern: &str, runtime: &str) -> String {
    format!("[[runtime.rule]]\n{pattern}\nruntime = \"{runtime}\"\n")
}

fn chosen(daemon: &Daemon, vmid: u32) -> (Value, Value) {
    let oci = daemon.guest(vmid).oci();
    (oci["runtime"].clone(), oci["runtime-by"].clone())
}

fn put(daemon: &Daemon, vmid: u32, runtime: &str) -> String {
    let path = format!("/nodes/pve1/oci/containers/{vmid}");
    daemon.put(&path, &[("runtime", runtime)]).line()
}

#[test]
fn what_suits_a_container_depends_on_what_it_is_and_what_is_there() {
    let programs = Programs::new(true, true);
    let daemon = programs.builder("").start();

    assert_eq!(chosen(&daemon, 100), (json!("crun"), json!("auto")));
    assert_eq!(chosen(&daemon, 101), (json!("lxc"), json!("auto")));

    fs_err::remove_file(programs.path("lxc-start")).unwrap();
    assert_eq!(chosen(&daemon, 101), (json!("crun"), json!("auto")));
}

#[rstest]
#[case::hostname("hostname = \"oci-*\"")]
#[case::number("vmid = \"^1.0$\"")]
#[case::tag("tag = \"crun-*\"")]
fn a_rule_wins_over_what_suits(#[case] pattern: &str) {
    let programs = Programs::new(true, true);
    let rules = [rule("vmid = \"200\"", "crun"), rule(pattern, "lxc")].concat();
    let daemon = programs.builder(&rules).start();

    assert_eq!(chosen(&daemon, 100), (json!("lxc"), json!("rule")));
    assert_eq!(chosen(&daemon, 101), (json!("lxc"), json!("auto")));
}

#[test]
fn a_request_wins_over_a_rule_and_is_recorded() {
    let programs = Programs::new(true, true);
    let daemon = programs.builder(&rule("vmid = \"*\"", "lxc")).start();
    let file = daemon.root().join("etc/pve/nodes/pve1/oci/100.conf");

    assert_eq!(put(&daemon, 100, "crun"), "200 OK");
    assert_eq!(chosen(&daemon, 100), (json!("crun"), json!("request")));
    assert_eq!(fs_err::read_to_string(&file).unwrap(), "runtime: crun\nruntime-by: request\n");

    assert_eq!(put(&daemon, 100, "auto"), "200 OK");
    assert_eq!(chosen(&daemon, 100), (json!("lxc"), json!("rule")));
    assert_eq!(fs_err::read_to_string(&file).unwrap(), "runtime: lxc\nruntime-by: rule\n");
}

#[test]
fn a_record_wins_over_a_rule_that_is_younger() {
    let programs = Programs::new(true, true);
    let daemon = programs
        .builder(&rule("vmid = \"*\"", "lxc"))
        .file("etc/pve/nodes/pve1/oci/100.conf", "runtime: crun\nhealth: none\n")
        .file("etc/pve/nodes/pve1/oci/101.conf", "runtime: runc\n")
        .start();

    assert_eq!(chosen(&daemon, 100), (json!("crun"), json!("auto")));
    let line = daemon.get("/nodes/pve1/oci/containers/101").line();
    assert_eq!(line, "500 CT 101: oci file: there is no runtime 'runc'; there are crun and lxc");
}

#[test]
fn a_runtime_is_not_changed_while_it_is_used() {
    let programs = Programs::new(true, true);
    let locked = format!("{SYSTEM}lock: backup\n");
    let daemon = programs.builder("").file("etc/pve/nodes/pve1/lxc/102.conf", &locked).start();
    let running = StandIn::start(daemon.root(), 100, "lxc/100");

    let refused = "500 unable to change the runtime of CT 100 - container is running";
    assert_eq!(put(&daemon, 100, "lxc"), refused);
    assert_eq!(put(&daemon, 102, "lxc"), "500 CT is locked (backup)");
    drop(running);
    assert_eq!(put(&daemon, 100, "lxc"), "200 OK");

    let path = "/nodes/pve1/oci/containers/100";
    let wrong = daemon.put(path, &[("runtime", "runc")]);
    assert_eq!(wrong.line(), "400 Parameter verification failed.");
    let words = "value 'runc' does not have a value in the enumeration 'auto, crun, lxc'";
    assert_eq!(wrong.errors()["runtime"], words);
    assert_eq!(
        daemon.put(path, &[]).errors()["runtime"],
        "property is missing and it is not optional"
    );
    let ann = daemon.request_as(&[("Authorization", ANN)], "PUT", path, &[("runtime", "lxc")]);
    assert_eq!(ann.line(), "403 Permission check failed (/vms/100, VM.Config.Options)");
    let missing = "500 Configuration file 'nodes/pve1/lxc/109.conf' does not exist";
    assert_eq!(put(&daemon, 109, "lxc"), missing);
}

#[test]
fn both_runtimes_say_what_they_find() {
    let programs = Programs::new(true, true);
    let daemon = programs.builder("").start();

    let all = daemon.get("/nodes/pve1/oci/runtimes").data();

    let names: Vec<_> = all["runtimes"].as_array().unwrap().iter().map(|r| &r["name"]).collect();
    assert_eq!(names, ["crun", "lxc"]);
    let lxc = &all["runtimes"][1];
    assert_eq!(lxc["probe"]["version"], "5.0.2", "{lxc}");
    assert_eq!(lxc["probe"]["cgroup"]["mode"], "v2");
}

#[test]
fn a_runtime_that_is_missing_names_its_package() {
    let programs = Programs::new(false, false);
    let daemon = programs.builder("").start();

    let all = daemon.get("/nodes/pve1/oci/runtimes").data();

    assert_eq!(all["runtimes"][0]["reason"], "cgroup: hybrid");
    let lxc = all["runtimes"][1]["reason"].as_str().unwrap();
    assert!(lxc.ends_with("lxc-start' does not exist; install the package lxc"), "{lxc}");
    assert_eq!(all["runtimes"][1]["usable"], false);
    assert_eq!(all["runtimes"][1]["probe"]["missing"][0]["package"], "lxc");
}

fn start(daemon: &Daemon, vmid: u32) -> Task {
    daemon.guest(vmid).task("start", &[])
}

#[test]
fn where_crun_cannot_be_used_lxc_takes_over_and_the_task_says_why() {
    let programs = Programs::new(false, true);
    let daemon = programs.builder(&rule("vmid = \"101\"", "crun")).start();

    for vmid in [100, 101] {
        let task = start(&daemon, vmid);

        assert_eq!(task.exitstatus, "WARNINGS: 1", "{}", task.log);
        let warning = "WARN: crun cannot be used, starting under lxc: cgroup: hybrid";
        assert!(task.log.contains(warning), "{}", task.log);
    }
}

#[test]
fn crun_that_was_asked_for_is_not_replaced() {
    let programs = Programs::new(false, true);
    let daemon = programs.builder("").start();
    assert_eq!(put(&daemon, 100, "crun"), "200 OK");

    assert_eq!(start(&daemon, 100).failed(), "cgroup: hybrid");
}

#[test]
fn where_neither_can_be_used_both_packages_are_named() {
    let programs = Programs::new(false, false);
    let daemon = programs.builder("").start();

    let error = start(&daemon, 100).failed();

    assert!(error.starts_with("no runtime can be used here: crun: cgroup: hybrid; "), "{error}");
    assert!(error.contains("package proxmox-lxcri"), "{error}");
    assert!(error.ends_with("lxc-start' does not exist; install the package lxc"), "{error}");
}

#[rstest]
#[case::missing(None, "monitor", "the container runtime is missing: ", "proxmox-lxcri")]
#[case::not_loadable(
    Some(UNLOADABLE),
    "libseccomp.so.2",
    "the container runtime cannot be loaded: libseccomp.so.2 is missing",
    "libseccomp2"
)]
fn without_its_monitor_crun_cannot_be_used_and_lxc_can(
    #[case] script: Option<&str>,
    #[case] what: &str,
    #[case] why: &str,
    #[case] package: &str,
) {
    let programs = Programs::new(true, true);
    match script {
        Some(script) => programs.add("monitor", script),
        None => fs_err::remove_file(programs.path("monitor")).unwrap(),
    }
    let daemon = programs.builder("").start();
    let advice = format!("; install the package {package}");

    let crun = &daemon.get("/nodes/pve1/oci/runtimes").data()["runtimes"][0];
    assert_eq!(crun["usable"], false);
    let missing = &crun["probe"]["missing"][0];
    assert_eq!((&missing["what"], &missing["package"]), (&what.into(), &package.into()));
    assert!(missing["why"].as_str().unwrap().starts_with(why), "{missing}");

    let task = start(&daemon, 100);
    assert_eq!(task.exitstatus, "WARNINGS: 1", "{}", task.log);
    assert!(task.log.contains(&format!("starting under lxc: {why}")), "{}", task.log);
    assert!(task.log.contains(&advice), "{}", task.log);

    assert_eq!(put(&daemon, 100, "crun"), "200 OK");
    let error = start(&daemon, 100).failed();
    assert!(error.starts_with(why) && error.ends_with(&advice), "{error}");
}

#[test]
fn without_its_monitor_lxc_cannot_be_used_and_crun_can() {
    let programs = Programs::new(true, true);
    let daemon = programs.builder("").start();
    fs_err::remove_file(programs.path("lxc-monitor")).unwrap();

    let lxc = &daemon.get("/nodes/pve1/oci/runtimes").data()["runtimes"][1];
    assert_eq!(lxc["probe"]["missing"][0]["package"], "proxmox-lxcri", "{lxc}");
    assert_eq!(start(&daemon, 101).exitstatus, "WARNINGS: 1");

    fs_err::remove_file(programs.path("monitor")).unwrap();
    let error = start(&daemon, 100).failed();
    assert!(error.starts_with("no runtime can be used here: "), "{error}");
    assert!(error.contains("crun (proxmox-lxcri): ") && error.contains("lxc (lxc): "), "{error}");
}

#[test]
fn a_failure_that_is_not_the_runtimes_is_shown_as_it_is() {
    let programs = Programs::new(true, true);
    programs.add(
        "monitor",
        "#!/bin/sh\ncase $1 in --probe) echo '{\"usable\": true}';; *) echo \"no such bridge\" >&2; exit 1;; esac\n",
    );
    let daemon = programs.builder("").start();

    assert_eq!(start(&daemon, 100).failed(), "no such bridge");
}

#[test]
fn lxc_that_went_away_is_replaced_but_not_where_it_was_asked_for() {
    let programs = Programs::new(true, true);
    let daemon = programs
        .builder("")
        .file("etc/pve/nodes/pve1/oci/101.conf", "runtime: lxc\nruntime-by: auto\n")
        .file("etc/pve/nodes/pve1/oci/100.conf", "runtime: lxc\nruntime-by: request\n")
        .start();
    fs_err::remove_file(programs.path("lxc-start")).unwrap();

    let task = start(&daemon, 101);
    assert_eq!(task.exitstatus, "WARNINGS: 1", "{}", task.log);
    let error = start(&daemon, 100).failed();
    assert!(error.ends_with("install the package lxc"), "{error}");
}

#[rstest]
#[case::expression(
    "hostname = \"^(x$\"",
    "line 4: '^(x$' is no regular expression: unclosed group"
)]
#[case::runtime("vmid = \"1\"\nruntime = \"runc\" #", "line 5: there is no runtime 'runc'")]
#[case::nothing("", "line 3: a rule needs one of hostname, vmid, tag and image")]
#[case::misspelt("hostnmae = \"x\"", "line 4: unknown field `hostnmae`")]
fn a_bad_rule_stops_the_daemon_with_its_line(#[case] pattern: &str, #[case] words: &str) {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("etc/proxmox-lxcri");
    fs_err::create_dir_all(&folder).unwrap();
    let text = format!("# settings\n\n{}", rule(pattern, "lxc"));
    let text = text.replace(" #\nruntime = \"lxc\"", "");
    fs_err::write(folder.join("config.toml"), text).unwrap();

    let output = Command::new(binary("proxmox-lxcri"))
        .args(["serve", "--node", "pve1", "--plain-http", "--listen", "127.0.0.1:0", "--root"])
        .arg(root.path())
        .output()
        .unwrap();

    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("config.toml: ") && said.contains(words), "{said}");
}
