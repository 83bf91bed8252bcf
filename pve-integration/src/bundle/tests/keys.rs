//! Each key alone, and a few as people put them together: what it changes in the bundle of a plain
//! container, and what is to be done outside of it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use rstest::rstest;
use serde_json::Value;

use crate::bundle::{Bundle, Guest, IdMaps, Node, NodeKind, SeccompProfile, disk_ids, spec};
use crate::ct_config::{ContainerConfig, Section};
use crate::host::{CgroupVersion, HostFacts};
use crate::network::tests as network;
use crate::oci_config::OciConfig;

const PLAIN: &str = include_str!("../../../tests/keys/plain.conf");

#[rstest]
fn a_key_changes(#[files("tests/keys/*.conf")] path: PathBuf) {
    let text = fs_err::read_to_string(&path).unwrap();
    let config = ContainerConfig::parse(text.as_bytes());
    let (plain, bundle) = (convert(PLAIN), convert(&text));

    let mut seen = String::new();
    for warning in &bundle.warnings {
        writeln!(seen, "WARN: {}: {}", warning.key, warning.reason).unwrap();
    }
    for limit in &bundle.limits {
        writeln!(seen, "{} = {}", limit.file, limit.value).unwrap();
    }
    if let Some(profile) = &bundle.profile {
        let rules = profile.text.lines().filter(|line| line.starts_with("  "));
        rules.for_each(|rule| writeln!(seen, "{}: {}", profile.name, rule.trim()).unwrap());
    }
    write_mounts(&config, &mut seen);
    seen.push_str(&network::text(&network::started(&text, &network::facts()).unwrap()));
    let (before, after) = (lines(&plain), lines(&bundle));
    before.difference(&after).for_each(|line| writeln!(seen, "- {line}").unwrap());
    after.difference(&before).for_each(|line| writeln!(seen, "+ {line}").unwrap());

    let name = path.file_stem().unwrap().to_string_lossy();
    insta::with_settings!({ snapshot_suffix => name, omit_expression => true }, {
        insta::assert_snapshot!(seen);
    });
}

fn convert(text: &str) -> Bundle {
    let config = ContainerConfig::parse(text.as_bytes());
    let mut facts = HostFacts::for_tests();
    if text.contains("cgroup v1") {
        facts.cgroup.version = CgroupVersion::V1;
    }
    if text.contains("with lxcfs") {
        facts.lxcfs = vec!["/proc/meminfo", "/proc/uptime"];
    }
    let own: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("#oci ")).collect();
    // The file that a raw line names.
    let profile: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("#seccomp ")).collect();
    let profile = (!profile.is_empty())
        .then(|| SeccompProfile::parse(&profile.join("\n"), facts.arch).unwrap());
    let guest = Guest {
        oci: &OciConfig::parse(&own.join("\n")),
        nodes: &nodes(config.current()),
        exists: |path| !path.starts_with("/sys/fs/selinux"),
        seccomp: profile.as_ref(),
        ..Guest::for_tests(&config)
    };
    spec(&guest, &facts).unwrap()
}

/// As the monitor makes them.
fn nodes(config: &Section) -> Vec<Node> {
    let devices = config.devices().into_iter().map(|(key, device)| (key, device.unwrap()));
    let node = |(minor, (key, device)): (u32, (&str, crate::ct_config::Device))| Node {
        source: Path::new("/run/lxc-100-devices").join(key),
        path: device.path,
        kind: NodeKind::Character,
        major: 10,
        minor,
        access: if device.deny_write { "r" } else { "rw" },
    };
    (0..).zip(devices).map(node).collect()
}

/// What the monitor mounts before libcrun is called.
fn write_mounts(config: &ContainerConfig, seen: &mut String) {
    let maps = IdMaps::on_disk(config).unwrap();
    let points = config.mount_points().into_iter().map(|(key, point)| (key, point.unwrap()));
    for (key, point) in std::iter::once(("rootfs", config.rootfs().unwrap())).chain(points) {
        let (source, mp) = (&point.source, point.mp.display());
        writeln!(seen, "{key}: {source:?} on {mp}, ro: {}", point.ro).unwrap();
        if let Some(idmap) = point.idmap.as_deref().filter(|_| !maps.is_empty()) {
            for map in disk_ids(key, Some(idmap), &maps, &maps).unwrap().unwrap().uids {
                let (disk, host, count) = (map.container_id, map.host_id, map.size);
                writeln!(seen, "{key}: {count} users from {disk} on the disk are {host}").unwrap();
            }
        }
    }
}

/// `linux.namespaces[0].type = "user"`, a line for each value.
fn lines(bundle: &Bundle) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    let value = serde_json::from_str(&crate::bundle::to_json(&bundle.spec)).unwrap();
    flatten("", &value, &mut lines);
    lines
}

fn flatten(path: &str, value: &Value, lines: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            flatten(
                &format!("{path}{}{key}", if path.is_empty() { "" } else { "." }),
                value,
                lines,
            );
        }),
        // An order is said by numbers, but for what is only a set.
        Value::Array(list) if list.iter().all(Value::is_string) && !path.ends_with("args") => {
            lines.extend(list.iter().map(|value| format!("{path}[] = {value}")));
        }
        Value::Array(list) if list.iter().any(|entry| entry.get("destination").is_some()) => {
            lines.extend(list.iter().map(|value| format!("{path}[] = {value}")));
        }
        Value::Array(list) => list.iter().enumerate().for_each(|(at, value)| {
            flatten(&format!("{path}[{at}]"), value, lines);
        }),
        leaf @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
            lines.insert(format!("{path} = {leaf}"));
        }
    }
}
