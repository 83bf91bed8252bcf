//! A snapshot for each bundle in the corpus, and what is refused.

use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;

fn host() -> Host {
    let look = |path: &Path| match path.to_str()? {
        "/srv/bundle/data" | "/proc/acpi" | "/proc/bus" | "/proc/sys" | "/sys/firmware" => {
            Some(Kind::Folder)
        }
        "/proc/not-there" | "/nowhere" => None,
        _ => Some(Kind::Other),
    };
    Host { cgroup2: true, apparmor: true, selinux: true, seccomp: true, look }
}

fn convert_on(spec: &Value, host: &Host) -> Result<FromBundle, BundleError> {
    let spec: Spec = serde_json::from_value(spec.clone()).unwrap();
    let place = Place {
        id: "c1",
        bundle: Path::new("/srv/bundle"),
        seccomp: Path::new("/run/oci/c1/seccomp"),
        log: Path::new("/run/oci/c1/log"),
        devices: Path::new("/run/oci/c1/dev"),
        gate: "sh -c 'read word </run/oci/c1/go'",
        new_keyring: true,
    };
    config(&spec, &place, host)
}

fn convert(spec: &Value) -> Result<FromBundle, BundleError> {
    convert_on(spec, &host())
}

fn minimal() -> Value {
    json!({
        "ociVersion": "1.0.0",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["sh"], "cwd": "/"},
        "root": {"path": "rootfs"},
        "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]},
    })
}

/// The minimal one with `value` at a pointer of JSON's.
fn with(pointer: &str, value: Value) -> Value {
    let mut spec = minimal();
    let mut at = &mut spec;
    for name in pointer.split('/').skip(1) {
        at = at.as_object_mut().unwrap().entry(name).or_insert_with(|| json!({}));
    }
    *at = value;
    spec
}

#[rstest]
fn converts(#[files("tests/from_bundle/*.json")] path: PathBuf) {
    let text = fs_err::read_to_string(&path).unwrap();

    let made = convert(&serde_json::from_str(&text).unwrap()).unwrap();

    let name = path.file_stem().unwrap().to_string_lossy();
    let warnings: Vec<_> =
        made.warnings.iter().map(|w| format!("WARN: {}: {}\n", w.key, w.reason)).collect();
    let nodes: Vec<_> = made.nodes.iter().map(|node| format!("{node:?}\n")).collect();
    let command = format!("command: {:?}\n", made.command);
    let seccomp = made.seccomp.map(|profile| format!("--- seccomp\n{profile}"));
    let all = [warnings.concat(), command, nodes.concat(), made.text, seccomp.unwrap_or_default()];
    insta::with_settings!({ snapshot_suffix => name, omit_expression => true }, {
        insta::assert_snapshot!(all.concat());
    });
}

#[rstest]
#[case::vm("/vm", json!({"kernel": {"path": "/k"}}), "vm: LXC runs no machines; use --runtime crun")]
#[case::hook("/hooks", json!({"startContainer": [{"path": "/x"}]}), "hooks.startContainer: LXC")]
#[case::time("/linux/namespaces", json!([{"type": "time"}]), "linux.namespaces: LXC")]
#[case::hostname("/hostname", json!("x"), "hostname: needs a UTS namespace")]
#[case::systemd("/linux/cgroupsPath", json!("a.slice:b:c"), "linux.cgroupsPath: is systemd's")]
#[case::up("/linux/cgroupsPath", json!("/a/../b"), "linux.cgroupsPath: 'a/../b' is not plain")]
#[case::hosts_sysctl("/linux/sysctl", json!({"kernel.panic": "1"}), "linux.sysctl.kernel.panic: is the host's own")]
#[case::shared_sysctl("/linux/sysctl", json!({"net.core.somaxconn": "1"}), "needs a namespace of its own")]
#[case::umask("/process/user", json!({"uid": 0, "gid": 0, "umask": 63}), "process.user.umask: LXC")]
#[case::listener("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x"}), "linux.seccomp.listenerPath: LXC")]
#[case::notify("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_NOTIFY"}), "has no default")]
#[case::out("/mounts", json!([{"destination": "/../x", "type": "tmpfs"}]), "leads out of the container")]
#[case::root("/mounts", json!([{"destination": "/", "type": "tmpfs"}]), "nothing over the root")]
#[case::recursive("/mounts", json!([{"destination": "/x", "type": "bind", "source": "/s", "options": ["rro"]}]), "knows no option 'rro'")]
#[case::data("/mounts", json!([{"destination": "/x", "type": "bind", "source": "/s", "options": ["bind", "z"]}]), "knows no option 'z' of a bind mount")]
#[case::source("/mounts", json!([{"destination": "/x", "type": "bind", "source": "/nowhere"}]), "'/nowhere' does not exist")]
#[case::fifo("/linux/devices", json!([{"path": "/dev/x", "type": "p", "major": 0, "minor": 0}]), "linux.devices /dev/x: LXC")]
#[case::line("/process/env", json!(["A=b\nlxc.hook.start = /x"]), "holds a line break")]
#[case::part(
    "/linux/resources",
    json!({"devices": [
        {"allow": true, "type": "c", "major": 10, "access": "rwm"},
        {"allow": false, "type": "c", "major": 10, "minor": 229, "access": "w"}
    ]}),
    "cannot take back a part"
)]
fn refuses(#[case] pointer: &str, #[case] value: Value, #[case] reason: &str) {
    let said = convert(&with(pointer, value)).unwrap_err().to_string();

    assert!(said.contains(reason), "{said}");
}

#[rstest]
#[case::apparmor("/process/apparmorProfile", json!("x"), "process.apparmorProfile: this host has no AppArmor")]
#[case::seccomp("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW"}), "linux.seccomp: this kernel")]
#[case::limits("/linux/resources", json!({"pids": {"limit": 1}}), "linux.resources: LXC")]
fn a_host_that_cannot_confine_is_no_reason_to_start(
    #[case] pointer: &str,
    #[case] value: Value,
    #[case] reason: &str,
) {
    let poor = Host { cgroup2: false, apparmor: false, seccomp: false, ..host() };

    let said = convert_on(&with(pointer, value), &poor).unwrap_err().to_string();

    assert!(said.contains(reason), "{said}");
}

#[test]
fn a_bundle_that_asks_for_no_capability_gets_none() {
    let text = convert(&minimal()).unwrap().text;

    assert!(text.contains("lxc.cap.keep = none\n"), "{text}");
    assert!(text.contains("lxc.cgroup2.devices.deny = a\n"), "{text}");
}

proptest! {
    /// A value of the bundle's never begins a line of its own, and each line is one that LXC reads.
    #[test]
    fn each_line_has_a_key_of_lxc_s(
        words in prop::collection::vec("[ -~\n\t\"']{0,20}", 8),
        destination in "/[ -~\n]{0,20}",
    ) {
        let mut spec = minimal();
        spec["hostname"] = json!(words[0]);
        spec["process"]["env"] = json!([words[1], words[2]]);
        spec["process"]["apparmorProfile"] = json!(words[3]);
        spec["linux"]["cgroupsPath"] = json!(words[4]);
        spec["linux"]["namespaces"] = json!([{"type": "uts"}, {"type": "network", "path": words[5]}]);
        spec["mounts"] = json!([
            {"destination": destination, "type": words[6], "source": words[7], "options": [words[0]]}
        ]);
        spec["linux"]["resources"] = json!({"unified": {"a.b": words[1]}});
        if let Ok(made) = convert(&spec) {
            for line in made.text.lines() {
                let (key, _) = line.split_once(" =").expect("a line is KEY = VALUE");
                prop_assert!(key.starts_with("lxc.") && !key.contains(' '), "{line}");
            }
        }
    }

    #[test]
    fn whoever_is_not_named_may_use_no_device(
        rules in prop::collection::vec((any::<bool>(), prop::option::of(0_i64..3), prop::option::of(0_i64..3)), 0..6),
    ) {
        let list: Vec<Value> = rules.iter().map(|(allow, major, minor)| {
            json!({"allow": allow, "type": "c", "major": major, "minor": minor, "access": "rw"})
        }).collect();
        let Ok(made) = convert(&with("/linux/resources", json!({"devices": list}))) else {
            return Ok(());
        };
        for (major, minor) in [(0, 0), (1, 1), (2, 0), (2, 2)] {
            let fits = |asked: Option<i64>, own: i64| asked.is_none_or(|asked| asked == own);
            let last = rules.iter().rev().find(|(_, a, b)| fits(*a, major) && fits(*b, minor));
            let granted = made.text.lines().any(|line| {
                let Some(rule) = line.strip_prefix("lxc.cgroup2.devices.allow = c ") else {
                    return false;
                };
                [format!("{major}:{minor} rw"), format!("{major}:* rw"), format!("*:{minor} rw"), "*:* rw".to_owned()]
                    .contains(&rule.to_owned())
            });
            prop_assert_eq!(granted, last.is_some_and(|(allow, ..)| *allow), "{}:{}", major, minor);
        }
    }
}
