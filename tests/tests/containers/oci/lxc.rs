//! What is LXC's alone: both runtimes beside each other, what a bundle asks of it, and what it refuses.

use std::process::Stdio;

use fs_err as fs;
use rstest::rstest;
use serde_json::{Value, json};

use super::bundle::{Bundle, Runtime, process};
use super::text;

fn bundle() -> Bundle {
    Bundle::under(Runtime::Lxc(tests::LXC))
}

#[test]
fn later_verbs_know_who_runs_a_container() {
    let bundle = bundle();
    bundle.done(&["create", "a"]);
    bundle
        .config(|config| config["linux"]["cgroupsPath"] = json!(format!("/{}.b", bundle.cgroup())));
    bundle.done(&["--runtime", "crun", "create", "b"]);

    let listed: Value =
        serde_json::from_str(&bundle.done(&["--runtime", "auto", "list", "-f", "json"])).unwrap();
    let names: Vec<_> = listed.as_array().unwrap().iter().map(|row| &row["id"]).collect();
    assert_eq!(names, ["a", "b"]);
    for runtime in ["crun", "lxc"] {
        for id in ["a", "b"] {
            let words = ["--runtime", runtime, "create", id];
            bundle.fails(&words, &format!("container `{id}` already exists"));
        }
    }
    for id in ["a", "b"] {
        bundle.done(&["--runtime", "crun", "start", id]);
        assert_eq!(bundle.state(id)["status"], "running");
        bundle.done(&["delete", "--force", id]);
    }

    let features: Value = serde_json::from_str(&bundle.done(&["features"])).unwrap();
    assert_eq!(features["hooks"], json!(["prestart", "createRuntime", "poststart", "poststop"]));
}

#[test]
fn a_container_that_is_killed_before_its_start_is_stopped() {
    let bundle = bundle();
    bundle.done(&["create", "c1"]);
    bundle.done(&["pause", "c1"]);
    bundle.await_state("c1", "paused");
    bundle.done(&["resume", "c1"]);
    bundle.await_state("c1", "created");
    bundle.fails(&["exec", "c1", "true"], "is not running");
    bundle.kill("c1");
    bundle.fails(&["start", "c1"], "is not in `created` state");
    bundle.done(&["delete", "c1"]);

    bundle.done(&["create", "c1"]);
    bundle.done(&["delete", "c1"]);
}

/// At the end of a container all in its cgroup is killed.
#[test]
fn a_cgroup_that_is_somebody_s_is_not_taken() {
    let bundle = bundle();
    bundle.done(&["create", "a"]);
    bundle.done(&["start", "a"]);

    bundle.fails(&["create", "b"], "is there already: linux.cgroupsPath");

    assert_eq!(bundle.state("a")["status"], "running");
    bundle.done(&["delete", "--force", "a"]);
}

/// Neither is the one that `lxc-start` would be in.
#[test]
fn a_cgroup_beside_that_is_somebody_s_is_not_taken() {
    let bundle = bundle();
    let parent = std::path::Path::new("/sys/fs/cgroup").join(bundle.cgroup());
    fs::create_dir_all(parent.join("c1.monitor")).unwrap();
    let own = format!("/{}/c1", bundle.cgroup());
    bundle.config(|config| config["linux"]["cgroupsPath"] = json!(own));

    bundle.fails(&["create", "c1"], "c1.monitor' is there already: linux.cgroupsPath");

    fs::remove_dir(parent.join("c1.monitor")).unwrap();
    fs::remove_dir(parent).unwrap();
}

#[rstest]
#[case::of_the_image("/opt/secret")]
#[case::by_a_detour("/proc/../opt/secret")]
fn what_it_cannot_cover_it_does_not_start(#[case] path: &str) {
    let bundle = bundle();
    bundle.config(|config| config["linux"]["maskedPaths"] = json!([path]));
    bundle.fails(&["create", "c1"], "linux.maskedPaths");
}

/// A hook of the bundle's that does not end keeps nobody from deleting the container.
#[test]
fn a_hook_that_hangs_is_ended_with_its_container() {
    let bundle = bundle();
    bundle.config(|config| {
        config["hooks"] =
            json!({"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "600"]}]});
    });
    let mut create = bundle.command(&["create", "c1"]);
    let mut create = create.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    tests::eventually(20, "c1 is being made", || {
        bundle.call(&["state", "c1"]).status.success().then_some(())
    });
    bundle.await_state("c1", "creating");

    bundle.done(&["delete", "--force", "c1"]);

    assert!(!create.wait().unwrap().success());
    bundle.fails(&["state", "c1"], "does not exist");
}

/// What it looks like from inside is what the bundle says.
#[test]
fn a_bundle_is_what_the_program_sees() {
    let bundle = bundle();
    let folder = bundle.path("data");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("file"), "bound\n").unwrap();
    let script = "id -u; id -g; echo $PWD; cat /data/file; touch /data/x || echo sealed; \
        grep -E 'Cap(Bnd|Eff)|NoNewPrivs|Seccomp:' /proc/self/status; ls /tmp | wc -l; \
        cat /proc/acpi-or-not 2>/dev/null; ulimit -n; cat /sys/fs/cgroup/pids.max; \
        echo x >/proc/sys/kernel/hostname || echo masked; cat /dev/full | head -c 1 | wc -c; \
        mkdir /tmp/d && mount -t tmpfs x /tmp/d || echo denied; exit 5";
    bundle.config(|config| {
        config["process"] = process(&["sh", "-c", script]);
        config["process"]["cwd"] = json!("/tmp");
        config["process"]["noNewPrivileges"] = json!(true);
        config["process"]["capabilities"] = json!({"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]});
        config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}]);
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.push(json!({"destination": "/data", "type": "bind", "source": "data", "options": ["rbind", "ro"]}));
        mounts.push(json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]}));
        mounts.push(json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro", "nosuid"]}));
        mounts.push(json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}));
        config["linux"]["namespaces"].as_array_mut().unwrap().extend([json!({"type": "network"}), json!({"type": "cgroup"})]);
        config["linux"]["readonlyPaths"] = json!(["/proc/sys"]);
        config["linux"]["resources"] = json!({"pids": {"limit": 33}, "memory": {"limit": 67_108_864}});
    });
    let seen = |runtime: &str| {
        let output = bundle.call(&["--runtime", runtime, "run", "c1"]);
        (output.status.code(), text(&output.stdout))
    };

    let (crun, lxc) = (seen("crun"), seen("lxc"));

    assert_eq!(lxc, crun);
    assert_eq!(lxc.0, Some(5), "{lxc:?}");
    assert!(lxc.1.contains("bound\nsealed\n") && lxc.1.contains("\n77\n33\n"), "{lxc:?}");
}

#[test]
fn hooks_of_the_host_s_are_told_the_state() {
    let bundle = bundle();
    let hook = |name: &str| {
        let out = bundle.path(name).to_str().unwrap().to_owned();
        // By the shell itself: while it makes a process its C library blocks all signals.
        let script = format!(
            "while read -r name mask; do [ $name != SigBlk: ] || echo $mask; done \
             </proc/$$/status >{out}.signals; cat >{out}"
        );
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}])
    };
    bundle.config(|config| {
        config["hooks"] = json!({"createRuntime": hook("made"), "poststart": hook("started"), "poststop": hook("stopped")});
    });
    let told = |name: &str| -> Value {
        serde_json::from_str(&fs::read_to_string(bundle.path(name)).unwrap()).unwrap()
    };

    bundle.sleeper("c1");
    let pid = bundle.state("c1")["pid"].clone();
    assert_eq!((&told("made")["status"], &told("made")["pid"]), (&json!("creating"), &pid));
    assert_eq!(
        (&told("started")["status"], &told("started")["id"]),
        (&json!("running"), &json!("c1"))
    );
    assert!(!bundle.path("stopped").exists());
    bundle.done(&["delete", "--force", "c1"]);
    assert_eq!(told("stopped")["status"], "stopped");
    // Or none could be ended by a signal.
    for name in ["made", "started", "stopped"] {
        let blocked = fs::read_to_string(bundle.path(&format!("{name}.signals"))).unwrap();
        assert_eq!(blocked, "0000000000000000\n", "{name}");
    }

    bundle.config(|config| {
        config["hooks"] = json!({"createRuntime": [{"path": "/bin/false"}]});
    });
    bundle.fails(&["create", "c1"], "hook '/bin/false' failed: exit status: 1");
    bundle.fails(&["state", "c1"], "does not exist");
}

#[rstest]
#[case::hook("/hooks", json!({"startContainer": [{"path": "/bin/true"}]}), "hooks.startContainer: LXC")]
#[case::mount("/mounts/0/options", json!(["rro"]), "knows no option 'rro'")]
#[case::sysctl("/linux/sysctl", json!({"kernel.panic": "1"}), "is the host's own")]
fn what_it_cannot_do_is_refused_by_name(
    #[case] at: &str,
    #[case] value: Value,
    #[case] reason: &str,
) {
    let bundle = bundle();
    bundle.config(|config| {
        let (parent, name) = at.rsplit_once('/').unwrap();
        config.pointer_mut(parent).unwrap()[name] = value;
    });

    bundle.fails(&["create", "c1"], reason);
    bundle.fails(&["state", "c1"], "does not exist");
}

#[test]
fn what_lxc_attach_cannot_do_is_refused_by_name() {
    let bundle = bundle();
    bundle.sleeper("c1");
    bundle.fails(&["exec", "--no-new-privs", "c1", "true"], "noNewPrivileges");
    bundle.fails(&["exec", "--cap", "CAP_KILL", "c1", "/etc/plain"], "not executable");
    bundle.fails(&["run", "--no-pivot", "c2"], "--no-pivot");

    let missing = bundle
        .command(&["create", "c2"])
        .env("PATH", "/nowhere")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = text(&missing.stderr);
    assert!(missing.status.success() || said.contains("install the package lxc"), "{said}");
    bundle.call(&["delete", "--force", "c2"]);
    bundle.done(&["delete", "--force", "c1"]);
}
