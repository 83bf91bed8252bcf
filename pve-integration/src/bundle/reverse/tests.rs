//! Somebody else's bundles by snapshot, our own there and back by property.

use std::path::PathBuf;
use std::sync::LazyLock;

use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::bundle::{Node, NodeKind};
use crate::shell_quote::shell_quote;

fn facts() -> HostFacts {
    HostFacts::for_tests()
}

fn made(text: &str) -> Reversed {
    reverse(text, &facts()).unwrap()
}

fn lines(made: &Reversed) -> String {
    let pairs = |pairs: &[(String, String)], prefix: &str| -> String {
        pairs.iter().map(|(key, value)| format!("{prefix}{key}: {value}\n")).collect()
    };
    let keys: Vec<_> =
        made.keys.iter().map(|(key, value)| (key.clone(), value.replace('\0', "\\0"))).collect();
    let said = |list: &[Warning], prefix: &str| -> String {
        list.iter().map(|said| format!("{prefix}{}: {}\n", said.key, said.reason)).collect()
    };
    let readonly = if made.readonly { "rootfs: ro=1\n" } else { "" };
    [
        pairs(&keys, ""),
        readonly.to_owned(),
        pairs(&made.raw, ""),
        pairs(&made.oci, "oci: "),
        said(&made.notes, "note: "),
        said(&made.warnings, "WARN: "),
    ]
    .concat()
}

#[rstest]
fn reads(#[files("tests/reverse/*.json")] path: PathBuf) {
    let text = fs_err::read_to_string(&path).unwrap();

    let made = made(&text);

    let name = path.file_stem().unwrap().to_string_lossy();
    insta::with_settings!({ snapshot_suffix => name, omit_expression => true }, {
        insta::assert_snapshot!(lines(&made));
    });
}

/// The least that is a bundle, and something more in it.
fn least(more: Value) -> String {
    let mut document = json!({
        "ociVersion": "1.0.2", "root": { "path": "rootfs" },
        "process": { "user": { "uid": 0, "gid": 0 }, "args": ["/bin/app"], "cwd": "/" },
    });
    merge(&mut document, more);
    document.to_string()
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            more.into_iter().for_each(|(key, value)| {
                merge(into.entry(key).or_insert(Value::Null), value);
            });
        }
        (into, more) => *into = more,
    }
}

#[rstest]
#[case::no_json("{", "this is no config.json of an OCI bundle: ")]
#[case::other_type("{\"ociVersion\": 1}", "this is no config.json of an OCI bundle: ")]
#[case::no_program(&least(json!({"process": {"args": []}})), "process.args: names no program")]
#[case::second_line(
    &least(json!({"process": {"args": ["sh", "-c", "a\nb"]}})),
    "process.args: holds a control character"
)]
#[case::relative(&least(json!({"process": {"cwd": "srv"}})), "process.cwd: is no absolute path")]
#[case::no_root(
    &least(json!({"linux": {
        "uidMappings": [{"containerID": 1, "hostID": 5, "size": 1}],
        "gidMappings": [{"containerID": 0, "hostID": 5, "size": 1}],
    }})),
    "unable to parse value of 'lxc.idmap'"
)]
fn refuses(#[case] text: &str, #[case] reason: &str) {
    let err = reverse(text, &facts()).unwrap_err().to_string();
    assert!(err.starts_with(reason), "{err}");
}

#[rstest]
#[case::hook(json!({"hooks": {"prestart": [{"path": "/bin/x"}]}}), "hooks.prestart")]
#[case::kernel(json!({"linux": {"resources": {"memory": {"reservation": 5}}}}),
    "linux.resources.memory.reservation")]
#[case::label(json!({"process": {"apparmorProfile": "x"}}), "process.apparmorProfile")]
#[case::made_at_its_start(json!({"process": {"apparmorProfile": "lxcri-100"}}), "process.apparmorProfile")]
#[case::score(json!({"process": {"oomScoreAdj": 100}}), "process.oomScoreAdj")]
#[case::domain(json!({"domainname": "x"}), "domainname")]
#[case::later(json!({"linux": {"brandNew": {"a": 1}}}), "linux.brandNew.a")]
#[case::joined(json!({"linux": {"namespaces": [{"type": "network", "path": "/proc/1/ns/net"}]}}),
    "linux.namespaces")]
#[case::of_the_host(json!({"linux": {"sysctl": {"vm.swappiness": "1"}}}), "linux.sysctl")]
#[case::out(json!({"mounts": [{"destination": "/../x", "type": "tmpfs"}]}), "mounts[/../x]")]
#[case::in_the_bundle(
    json!({"mounts": [{"destination": "/x", "source": "x", "options": ["bind"]}]}),
    "mounts[/x]"
)]
#[case::masked(
    json!({"linux": {"maskedPaths": ["/proc/mine"], "readonlyPaths": []}}),
    "linux.maskedPaths"
)]
fn names_what_gets_lost(#[case] more: Value, #[case] path: &str) {
    let made = made(&least(more));
    assert!(made.warnings.iter().any(|warning| warning.key == path), "{:?}", made.warnings);
}

#[rstest]
#[case::nothing(json!({"process": {"capabilities": {"bounding": ["CAP_CHOWN"]}}}), &[])]
#[case::more(
    json!({"process": {"capabilities": {"bounding": ["CAP_SYS_ADMIN"]}}}),
    &["lxc.cap.keep"]
)]
#[case::host(
    json!({"mounts": [{"destination": "/x", "source": "/etc", "options": ["bind"]}]}),
    &["lxc.cap.keep", "lxc.mount.entry"]
)]
#[case::limit(
    json!({"process": {
        "capabilities": {"bounding": ["CAP_CHOWN"]},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}, {"type": "RLIMIT_NICE", "soft": 1, "hard": 2}],
    }}),
    &["lxc.prlimit.nice"]
)]
fn what_gives_is_for_root(#[case] more: Value, #[case] keys: &[&str]) {
    let made = made(&least(more));
    let mut found: Vec<_> = made.for_root().collect();
    found.sort_unstable();
    assert_eq!(found, keys);
}

/// A config, and the lines of its OCI file.
#[derive(Clone, Debug)]
struct Container {
    config: ContainerConfig,
    oci: Vec<(String, String)>,
}

static POLICY: LazyLock<Policy> = LazyLock::new(Policy::default);

impl Container {
    fn bundle(&self) -> Bundle {
        let config = &self.config;
        let mut oci = OciConfig::default();
        self.oci.iter().for_each(|(key, value)| oci.add(key, value));
        let node = |(key, device): (&str, Result<crate::ct_config::Device, _>)| {
            let device = device.unwrap();
            Node {
                source: format!("/run/lxc-100-devices/{key}").into(),
                path: device.path,
                kind: NodeKind::Character,
                major: 10,
                minor: 200,
                access: if device.deny_write { "r" } else { "rw" },
            }
        };
        let nodes: Vec<_> = config.devices().into_iter().map(node).collect();
        let ttys: Vec<_> = (0..config.ttys().unwrap()).map(|n| format!("/dev/pts/{n}")).collect();
        let guest = Guest {
            oci: &oci,
            nodes: &nodes,
            ttys: &ttys,
            terminal: config.has_terminal(),
            policy: &POLICY,
            ..Guest::for_tests(config)
        };
        spec(&guest, &facts()).unwrap()
    }

    fn without(&self, key: &str) -> Self {
        let mut other = self.clone();
        if key == "rootfs" {
            other.config.set("rootfs", "none:0");
        } else {
            other.config.remove(key);
        }
        other
    }

    /// The keys that make a difference to the bundle: those that both sides know.
    fn known(&self) -> Vec<(String, String)> {
        let whole = self.bundle().with_limits();
        let keys = self.config.current().iter();
        let known = keys.filter(|(key, _)| self.without(key).bundle().with_limits() != whole);
        known.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    /// The features that do.
    fn features(&self) -> BTreeSet<String> {
        let whole = self.bundle().with_limits();
        let all = self.config.get("features").unwrap_or_default().to_owned();
        let parts: Vec<_> = all.split(',').filter(|part| !part.is_empty()).collect();
        let matters = |part: &&&str| {
            let left: Vec<_> = parts.iter().filter(|other| other != part).copied().collect();
            let mut other = self.clone();
            other.config.set("features", left.join(","));
            other.bundle().with_limits() != whole
        };
        parts.iter().filter(matters).map(|part| (*part).to_owned()).collect()
    }
}

/// OCI has no word for `max`, which is no limit anyway.
#[test]
fn limits_of_several_devices_are_all_in_the_bundle() {
    let mut config = ContainerConfig::default();
    config.set("rootfs", "none:0");
    let lines = ["8:0 rbps=max wiops=5", "8:16 rbps=max riops=7"];
    let oci = lines.map(|line| ("io-max".to_owned(), line.to_owned())).into();
    let document = Container { config, oci }.bundle().with_limits();
    let resources = &document["linux"]["resources"];
    let expected = json!({
        "throttleReadIOPSDevice": [{ "major": 8, "minor": 16, "rate": 7 }],
        "throttleWriteIOPSDevice": [{ "major": 8, "minor": 0, "rate": 5 }],
    });
    assert_eq!(resources["blockIO"], expected, "{resources}");
    assert_eq!(resources["unified"].get("io.max"), None, "{resources}");
}

#[test]
fn what_is_no_limit_becomes_none() {
    let made = made(&least(json!({ "linux": { "resources": {
        "pids": { "limit": 9_223_372_036_854_775_807_i64 },
        "blockIO": { "throttleReadBpsDevice": [
            { "major": 8, "minor": 0, "rate": 0 }, { "major": 8, "minor": 16, "rate": 5 },
        ] },
    } } })));
    assert_eq!(made.oci, [("io-max".to_owned(), "8:16 rbps=5".to_owned())]);
}

fn text(pattern: &'static str) -> impl Strategy<Value = Option<String>> {
    option::of(pattern.prop_map(|text| text))
}

fn number(range: std::ops::RangeInclusive<u32>) -> impl Strategy<Value = Option<String>> {
    option::of(range.prop_map(|number| number.to_string()))
}

fn entrypoint() -> impl Strategy<Value = Option<String>> {
    let arguments = proptest::collection::vec("[ -~]{0,8}", 0..3);
    option::of(("/bin/[a-z]{1,6}", arguments).prop_map(|(program, arguments)| {
        let all = std::iter::once(&program).chain(&arguments);
        all.map(|word| shell_quote(word)).collect::<Vec<_>>().join(" ")
    }))
}

fn env() -> impl Strategy<Value = Option<String>> {
    let names = subsequence(vec!["PATH", "LANG", "A_1", "B"], 1..4);
    option::of((names, "[!-~][ -~]{0,6}[!-~]").prop_map(|(names, value)| {
        names.iter().map(|name| format!("{name}={value}")).collect::<Vec<_>>().join("\0")
    }))
}

fn keys() -> impl Strategy<Value = Vec<(&'static str, Option<String>)>> {
    let features =
        subsequence(vec!["nesting=1", "keyctl=1", "fuse=1", "force_rw_sys=1", "mknod=1"], 0..6);
    let limits = (
        number(16..=100_000),
        number(0..=5_000),
        number(1..=3),
        option::of(
            (1_u32..=819_200).prop_map(|hundredths| (f64::from(hundredths) / 100.0).to_string()),
        ),
        number(1..=10_000),
    );
    let rest = (
        text("[a-z][a-z0-9]{0,8}"),
        entrypoint(),
        env(),
        select(vec![None, Some("1".to_owned())]),
        number(0..=6),
        select(vec![None, Some("0".to_owned())]),
        select(vec![None, Some("i386".to_owned())]),
        features,
        select(vec![
            None,
            Some("/dev/net/tun".to_owned()),
            Some("/dev/net/tun,deny-write=1".to_owned()),
        ]),
    );
    (limits, rest).prop_map(|((memory, swap, cores, cpulimit, cpuunits), rest)| {
        let (hostname, entrypoint, env, unprivileged, tty, console, arch, features, dev3) = rest;
        let features = Some(features.join(",")).filter(|features| !features.is_empty());
        vec![
            ("memory", memory),
            ("swap", swap),
            ("cores", cores),
            ("cpulimit", cpulimit),
            ("cpuunits", cpuunits),
            ("hostname", hostname),
            ("entrypoint", entrypoint),
            ("env", env),
            ("unprivileged", unprivileged),
            ("tty", tty),
            ("console", console),
            ("arch", arch),
            ("features", features),
            ("dev3", dev3),
        ]
    })
}

const RAW: [&str; 12] = [
    "lxc.init.uid: 1000",
    "lxc.init.gid: 33",
    "lxc.init.groups: 27,44",
    "lxc.init.cwd: /srv/a b",
    "lxc.prlimit.nofile: 1024:unlimited",
    "lxc.sysctl.net.ipv4.ip_forward: 1",
    "lxc.selinux.context: system_u:system_r:lxc_t:s0",
    "lxc.pty.max: 12",
    "lxc.mount.entry: tmpfs data tmpfs size=1m,nosuid 0 0",
    "lxc.mount.entry: /srv/a\\040b mnt/y none rbind,ro 0 0",
    "lxc.cgroup2.devices.allow: c 10:229 rwm",
    "lxc.cgroup2.memory.low: 1048576",
];

/// Of which the same comes back in other words.
const REWORDED: [&str; 6] = [
    "lxc.cap.drop: sys_admin net_raw mknod",
    "lxc.cap.keep: chown sys_admin sys_time",
    "lxc.cap.keep: none",
    "lxc.mount.auto: cgroup:ro",
    "lxc.mount.auto: cgroup:rw sys:rw",
    "lxc.idmap: u 0 200000 1000\nlxc.idmap: g 0 300000 1000",
];

fn container() -> impl Strategy<Value = Container> {
    let raw = (subsequence(RAW.to_vec(), 0..RAW.len()), subsequence(REWORDED.to_vec(), 0..3));
    let oci = subsequence(
        vec![
            ("pids", "100"),
            ("io-weight", "250"),
            ("io-max", "8:0 rbps=1048576 wiops=100"),
            ("io-max", "8:16 rbps=max riops=7"),
            ("io-max", "8:32 riops=max"),
            ("hugepages", "2M=64"),
        ],
        0..6,
    );
    (keys(), raw, oci, any::<bool>()).prop_map(|(keys, (raw, reworded), oci, readonly)| {
        let text: String = raw.iter().chain(&reworded).map(|line| format!("{line}\n")).collect();
        let mut config = ContainerConfig::parse(text.as_bytes());
        config.set("rootfs", if readonly { "none:0,ro=1" } else { "none:0" });
        for (key, value) in keys {
            if let Some(value) = value {
                config.set(key, value);
            }
        }
        let oci = oci.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Container { config, oci }
    })
}

proptest! {
    #[test]
    fn there_and_back_is_the_same(before in container()) {
        let document = before.bundle().with_limits();

        let made = made(&document.to_string());

        let config = made.config();
        let after = Container { config: config.clone(), oci: made.oci.clone() };
        prop_assert_eq!(after.bundle().with_limits(), document, "{:?}", &made);
        prop_assert_eq!(after.bundle().limits, before.bundle().limits);
        prop_assert_eq!(&made.warnings, &Vec::new());
        for (key, value) in before.known() {
            match key.as_str() {
                // `lxc.mount.auto` may come back as one more.
                "features" => prop_assert!(before.features().is_subset(&after.features())),
                // In the bundle's order.
                "env" => {
                    let set = |text: &str| as_set(text.split('\0').map(str::to_owned).collect());
                    prop_assert_eq!(set(config.get("env").unwrap_or_default()), set(&value));
                }
                _ => prop_assert_eq!(config.get(&key), Some(value.as_str()), "{}", &key),
            }
        }
        for (key, value) in before.config.current().lxc() {
            let line = format!("{key}: {value}");
            if RAW.contains(&line.as_str()) {
                prop_assert!(made.raw.contains(&(key.clone(), value.clone())), "{} {:?}", line, &made);
            }
        }
    }

    /// Whatever somebody calls a bundle.
    #[test]
    fn never_panics(text in "\\PC{0,60}", at in 0_usize..9, words in proptest::collection::vec("[ -~]{0,12}", 0..4)) {
        let _result = reverse(&text, &facts());
        let list = json!(words);
        let more = match at {
            0 => json!({"process": {"args": list}}),
            1 => json!({"process": {"env": list}}),
            2 => json!({"linux": {"maskedPaths": list, "readonlyPaths": []}}),
            3 => json!({"mounts": [{"destination": text, "source": text, "options": list}]}),
            4 => json!({"linux": {"sysctl": {text.as_str(): text}}}),
            5 => json!({"annotations": {text.as_str(): text}}),
            6 => json!({"linux": {"resources": {"unified": {text.as_str(): text}}}}),
            7 => json!({"linux": {"resources": {"cpu": {"cpus": text}}}}),
            _ => json!({"hostname": text, "process": {"cwd": text}}),
        };
        let _result = reverse(&least(more), &facts());
    }
}
