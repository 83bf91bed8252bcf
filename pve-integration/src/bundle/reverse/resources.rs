//! `linux.resources`: limits, and which devices may be opened.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::nodes::GIVEN;
use super::super::own_limits::MOST_PIDS;
use super::super::portable::THROTTLES;
use super::super::resources::{MIB, PERIOD, high, quota};
use super::mounts::BoundNode;
use super::{Document, ReverseError, Reversed, collect, to_value};
use crate::ct_config::Device;
use crate::host::{CgroupVersion, HostFacts};

const LEAST_MEMORY: u64 = 16;

pub(super) fn of(document: &mut Document, facts: &HostFacts, made: &mut Reversed) {
    let v2 = facts.cgroup.version == CgroupVersion::V2;
    memory(document, made);
    cpu(document, v2, made);
    pids(document, made);
    block(document, made);
    huge_pages(document, made);
    unified(document, made);
}

fn number(document: &mut Document, path: &str) -> Option<i64> {
    document.take(&format!("/linux/resources/{path}"))?.as_i64()
}

fn memory(document: &mut Document, made: &mut Reversed) {
    const LIMIT: &str = "linux.resources.memory.limit";
    const SWAP: &str = "linux.resources.memory.swap";
    let (limit, total) = (number(document, "memory/limit"), number(document, "memory/swap"));
    let Some(limit) = limit else {
        if total.is_some() {
            made.warn(SWAP, "counts together with memory.limit, which is not there");
        }
        return;
    };
    let Ok(limit) = u64::try_from(limit) else {
        made.warn(LIMIT, "every container has a limit");
        return;
    };
    let mib = limit.div_ceil(MIB);
    if mib < LEAST_MEMORY {
        made.warn(LIMIT, format!("{LEAST_MEMORY} MiB are the least that a container has"));
    } else if !limit.is_multiple_of(MIB) {
        made.note(LIMIT, format!("{mib} MiB are the next whole ones"));
    }
    made.set("memory", mib.max(LEAST_MEMORY).to_string());
    match total.map(|total| u64::try_from(total).map(|total| total.checked_sub(limit))) {
        None => {}
        Some(Ok(Some(swap))) => made.set("swap", swap.div_ceil(MIB).to_string()),
        Some(Ok(None)) => made.warn(SWAP, "is less than memory.limit, with which it counts"),
        Some(Err(_)) => made.warn(SWAP, "every container has a limit"),
    }
}

fn cpu(document: &mut Document, v2: bool, made: &mut Reversed) {
    let period = number(document, "cpu/period").filter(|period| *period > 0);
    if let Some(time) = number(document, "cpu/quota").filter(|time| *time > 0) {
        limit_cpu(time, period.unwrap_or(i64::try_from(PERIOD).unwrap_or(i64::MAX)), made);
    }
    if let Some(shares) = number(document, "cpu/shares").and_then(|n| u64::try_from(n).ok()) {
        // As runtimes make weights of shares.
        let units =
            if v2 { 1 + shares.saturating_sub(2).min(262_142) * 9_999 / 262_142 } else { shares };
        if shares > 0 {
            made.set("cpuunits", units.to_string());
        }
    }
    if let Some(list) = document.text("/linux/resources/cpu/cpus").filter(|list| !list.is_empty()) {
        cores(&list, made);
    }
}

/// As few decimals as say the same.
fn limit_cpu(time: i64, period: i64, made: &mut Reversed) {
    #[expect(clippy::cast_precision_loss, reason = "microseconds, and rounded below")]
    let limit = time as f64 / period as f64;
    if limit > 8192.0 {
        made.warn("linux.resources.cpu.quota", "8192 CPUs are the most");
        return;
    }
    let wanted = if u64::try_from(period) == Ok(PERIOD) { time } else { quota(limit) };
    let same = |text: &String| text.parse().is_ok_and(|parsed: f64| quota(parsed) == wanted);
    let short = (0..=6_usize).map(|digits| format!("{limit:.digits$}")).find(same);
    let text = short.unwrap_or_else(|| limit.to_string());
    made.set("cpulimit", text);
}

fn cores(list: &str, made: &mut Reversed) {
    const CPUS: &str = "linux.resources.cpu.cpus";
    let count = |range: &str| -> Option<u32> {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    let counts: Option<Vec<u32>> = list.split(',').map(count).collect();
    match counts.and_then(|counts| counts.into_iter().try_fold(0_u32, u32::checked_add)) {
        Some(cores @ 1..=8192) => {
            made.set("cores", cores.to_string());
            made.note(CPUS, "a container has so many, and this host chooses which");
        }
        Some(_) | None => {
            made.warn(CPUS, format!("'{}' is no list of CPUs", list.escape_default()))
        }
    }
}

fn pids(document: &mut Document, made: &mut Reversed) {
    // Zero and less are no limit, and so is none, and what no kernel can reach.
    let limit = number(document, "pids/limit");
    if let Some(limit) = limit.filter(|limit| (1..=i64::from(MOST_PIDS)).contains(limit)) {
        made.oci.push(("pids".to_owned(), limit.to_string()));
    }
}

fn block(document: &mut Document, made: &mut Reversed) {
    if let Some(weight) = number(document, "blockIO/weight") {
        // As runtimes make it cgroup v2's.
        let weight = 1 + (weight.clamp(10, 1000) - 10) * 9_999 / 990;
        made.oci.push(("io-weight".to_owned(), weight.to_string()));
    }
    let mut limits: BTreeMap<(u64, u64), Vec<String>> = BTreeMap::new();
    for (name, list) in THROTTLES {
        for limit in document.list(&format!("/linux/resources/blockIO/{list}")).unwrap_or_default()
        {
            let of = |field: &str| limit.get(field).and_then(Value::as_u64).unwrap_or_default();
            // To cgroup v1 it is no limit, to v2 an error.
            if of("rate") == 0 {
                continue;
            }
            let words = limits.entry((of("major"), of("minor"))).or_default();
            words.push(format!("{name}={}", of("rate")));
        }
    }
    for ((major, minor), words) in limits {
        made.oci.push(("io-max".to_owned(), format!("{major}:{minor} {}", words.join(" "))));
    }
}

fn huge_pages(document: &mut Document, made: &mut Reversed) {
    const PATH: &str = "linux.resources.hugepageLimits";
    for limit in document.list("/linux/resources/hugepageLimits").unwrap_or_default() {
        let size = limit.get("pageSize").and_then(Value::as_str).unwrap_or_default();
        let bytes = limit.get("limit").and_then(Value::as_u64).unwrap_or_default();
        let page = size.strip_suffix('B').filter(|page| page.ends_with(['K', 'M', 'G']));
        let Some(page) = page.filter(|_| bytes.is_multiple_of(MIB)) else {
            made.warn(
                PATH,
                format!("{bytes} bytes of '{}' are not said in MiB", size.escape_default()),
            );
            continue;
        };
        made.oci.push(("hugepages".to_owned(), format!("{page}={}", bytes / MIB)));
    }
}

/// Files of cgroup v2 by name; they say more than the other words do.
fn unified(document: &mut Document, made: &mut Reversed) {
    let Some(Value::Object(files)) = document.take("/linux/resources/unified") else { return };
    let memory = made.keys.get("memory").and_then(|memory| memory.parse::<u64>().ok());
    let files: BTreeMap<String, Value> = files.into_iter().collect();
    for (file, value) in files {
        let value = value.as_str().unwrap_or_default();
        let is_number = value.parse::<u64>().is_ok();
        match file.as_str() {
            // What `memory` brings along.
            "memory.high" if memory.is_some_and(|memory| high(memory).to_string() == value) => {}
            "cpu.weight" if is_number => made.set("cpuunits", value),
            "pids.max" if is_number => made.oci.push(("pids".to_owned(), value.to_owned())),
            "io.weight" if is_number => made.oci.push(("io-weight".to_owned(), value.to_owned())),
            "io.max" if !value.contains('\n') => {
                made.oci.push(("io-max".to_owned(), value.to_owned()));
            }
            _ => {
                let plain = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '_' | '-' | '.');
                if file.chars().all(plain) && !value.contains(|c: char| c.is_control()) {
                    made.raw(&format!("lxc.cgroup2.{file}"), value.trim());
                } else {
                    let file = file.escape_default().to_string();
                    made.warn(
                        "linux.resources.unified",
                        format!("'{file}' is no line of a config"),
                    );
                }
            }
        }
    }
}

/// `linux.devices`, what our own bundle binds, and the rules of both. After the features.
pub(super) fn devices(
    typed: &Value,
    document: &mut Document,
    nodes: &[BoundNode],
    facts: &HostFacts,
    made: &mut Reversed,
) -> Result<(), ReverseError> {
    document.take("/linux/resources/devices");
    let rules = typed["linux"]["resources"]["devices"].as_array().cloned().unwrap_or_default();
    // `features: fuse` has a rule there, and a node in `nodes`.
    let mut plain = made.clone();
    plain.keys.remove("features");
    let ours = to_value(&plain.bundle(facts)?.spec);
    let ours = ours["linux"]["resources"]["devices"].as_array().cloned().unwrap_or_default();
    let mut left = match rules.strip_prefix(ours.as_slice()) {
        Some(rest) => bound(nodes, rest, made),
        None => {
            bound(nodes, &[], made);
            let first = usize::from(rules.first().is_some_and(is_deny_all));
            let known = |rule: &Value| rule["allow"] == true && ours.contains(rule);
            rules.into_iter().skip(first).filter(|rule| !known(rule)).collect()
        }
    };
    for device in document.list("/linux/devices").unwrap_or_default() {
        if let Some(device) = device.as_object() {
            listed(device, &mut left, made);
        }
    }
    for rule in left.iter().flat_map(plain_rules) {
        let text = |field: &str| rule.get(field).and_then(Value::as_str);
        let id = |field: &str| match rule.get(field).and_then(Value::as_u64) {
            Some(id) => id.to_string(),
            None => "*".to_owned(),
        };
        let kind = text("type").unwrap_or("a");
        let access = text("access").unwrap_or("rwm");
        let allow = rule.get("allow").is_some_and(|allow| *allow == true);
        let key = if allow { "lxc.cgroup2.devices.allow" } else { "lxc.cgroup2.devices.deny" };
        made.raw(key, format!("{kind} {}:{} {access}", id("major"), id("minor")));
    }
    Ok(())
}

/// With which everybody's rules begin.
fn is_deny_all(rule: &Value) -> bool {
    let says = |field: &str, word: &str| rule.get(field).is_none_or(|value| value == word);
    let numbered = rule.get("major").is_some() || rule.get("minor").is_some();
    rule["allow"] == false && !numbered && says("type", "a") && says("access", "rwm")
}

/// In the words of a config, where `a` is every device whatever numbers follow.
fn plain_rules(rule: &Value) -> Vec<Value> {
    let as_kind = |kind: &str| {
        let mut rule = rule.clone();
        rule["type"] = kind.into();
        rule
    };
    let numbered = rule.get("major").is_some() || rule.get("minor").is_some();
    match rule.get("type").and_then(Value::as_str).unwrap_or("a") {
        "a" if numbered => vec![as_kind("b"), as_kind("c")],
        "u" => vec![as_kind("c")],
        // A fifo needs no leave.
        "p" => Vec::new(),
        _ => vec![rule.clone()],
    }
}

/// A rule each, in their order; what is left of the rules.
fn bound(nodes: &[BoundNode], rules: &[Value], made: &mut Reversed) -> Vec<Value> {
    for (at, node) in nodes.iter().enumerate() {
        let Some(key) = &node.key else { continue };
        let readonly = rules.get(at).is_some_and(|rule| rule["access"] == "r");
        let deny = if readonly { ",deny-write=1" } else { "" };
        set_device(key, &format!("{}{deny}", node.path), made);
    }
    rules.iter().skip(nodes.len()).cloned().collect()
}

/// Of somebody else's bundle. The number is the host's to know: its rule goes with it.
fn listed(device: &Map<String, Value>, rules: &mut Vec<Value>, made: &mut Reversed) {
    let text = |field: &str| device.get(field).and_then(Value::as_str).unwrap_or_default();
    let id = |field: &str| device.get(field).and_then(Value::as_u64);
    let path = text("path");
    let same = |rule: &Value| {
        rule["allow"] == true
            && rule["type"] == text("type")
            && rule.get("major").and_then(Value::as_u64) == id("major")
            && rule.get("minor").and_then(Value::as_u64) == id("minor")
    };
    rules.retain(|rule| !same(rule));
    if GIVEN.contains(&path) || path == "/dev/console" || path == "/dev/ptmx" {
        return;
    }
    if !matches!(text("type"), "b" | "c" | "u") {
        made.warn(
            "linux.devices",
            format!("'{}' is no device of this host", path.escape_default()),
        );
        return;
    }
    let mut value = path.to_owned();
    if let Some(mode) = id("fileMode") {
        value += &format!(",mode=0{:03o}", mode & 0o777);
    }
    for name in ["uid", "gid"] {
        if let Some(id) = id(name).filter(|id| *id != 0) {
            value += &format!(",{name}={id}");
        }
    }
    let mut free = (0..256).map(|number| format!("dev{number}"));
    if let Some(key) = free.find(|key| !made.keys.contains_key(key)) {
        set_device(&key, &value, made);
    } else {
        made.warn("linux.devices", format!("'{}' is one too many", path.escape_default()));
    }
    let mut more = Vec::new();
    let known = ["path", "type", "major", "minor", "fileMode", "uid", "gid"];
    for (name, value) in device.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
        collect(&format!("linux.devices.{name}"), value, &mut more);
    }
    more.iter().for_each(|path| made.warn(path, "cannot be said by a container's config"));
}

fn set_device(key: &str, value: &str, made: &mut Reversed) {
    match Device::parse(key, value) {
        Ok(_) => made.set(key, value),
        Err(err) => made.warn("linux.devices", err.reason),
    }
}
