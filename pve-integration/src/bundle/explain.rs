//! Which key of a container put what into its bundle. Found out by leaving the key away: what is then
//! another value is that key's doing, so this cannot say anything else than what a start does.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::id_map::RANGE;
use super::{Bundle, BundleError, Guest, LimitKey, keys, spec};
use crate::ct_config::{ContainerConfig, ValueError};
use crate::host::HostFacts;
use crate::oci_config::OciConfig;
use crate::policy::Policy;

/// The key of what no key asked for.
const DEFAULT: &str = "default";
const ROOTFS: &str = "rootfs";
/// What the monitor does besides the bundle.
const BESIDE: [&str; 8] = [
    "mp[n]",
    "net[n]",
    "debug",
    "lxc.signal.halt",
    "nameserver",
    "ostype",
    "searchdomain",
    "timezone",
];
/// A list of more than these is counted and not shown.
const MOST_ROWS: usize = 8;

/// One thing that a key does.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    pub key: String,
    /// Where in the bundle: `process.env`, `mounts[/sys].options`, or a file of the cgroup above the
    /// container's own, `cgroup/memory.max`. `None` if the key is not in the bundle.
    pub path: Option<String>,
    /// What stands there. `None` also for what would stand there without the key.
    pub value: Option<Value>,
    pub why: String,
}

/// Each key of the config at least once, then what is said of it, and at last what is every
/// container's.
pub fn explain(guest: &Guest<'_>, facts: &HostFacts) -> Result<Vec<Explained>, BundleError> {
    let bundle = spec(guest, facts)?;
    let whole = shape(&bundle);
    let mut rows = Vec::new();
    for (key, without) in variants(guest) {
        let found = match without.bundle(guest, facts) {
            Ok(other) => differences(&whole, &shape(&other)),
            Err(err) => {
                let why = format!("without it there is no bundle: {err}");
                rows.push(Explained { key, path: None, value: None, why });
                continue;
            }
        };
        let why = Some(keys::note(&key)).filter(|note| !note.is_empty());
        let why = why.unwrap_or_else(|| "the key says so".to_owned());
        let said = bundle.warnings.iter().any(|warning| warning.key == key);
        if found.is_empty() && !said && key != ROOTFS {
            rows.push(Explained { why: idle(&key), key, path: None, value: None });
            continue;
        }
        rows.extend(found.into_iter().map(|(path, value)| Explained {
            key: key.clone(),
            path: Some(path),
            value,
            why: why.clone(),
        }));
    }
    if let Some(root) = bundle.spec.root() {
        let value = Some(root.path().to_string_lossy().into());
        let why = "where the monitor mounts it".to_owned();
        rows.push(Explained {
            key: ROOTFS.to_owned(),
            path: Some("root.path".to_owned()),
            value,
            why,
        });
    }
    rows.extend(bundle.warnings.iter().map(|warning| Explained {
        key: warning.key.clone(),
        path: None,
        value: None,
        why: warning.reason.clone(),
    }));
    let told: BTreeSet<_> = rows.iter().filter_map(|row| row.path.clone()).collect();
    let rest = differences(&whole, &Value::Null);
    rows.extend(rest.into_iter().filter(|(path, _)| !told.contains(path)).map(|(path, value)| {
        let why = "no key of this container says otherwise".to_owned();
        Explained { key: DEFAULT.to_owned(), path: Some(path), value, why }
    }));
    Ok(rows)
}

/// What a key that changes nothing is there for.
fn idle(key: &str) -> String {
    let note = keys::note(key);
    let word = match keys::is_for_starts(key) {
        false => "no matter of a start",
        true if BESIDE.iter().any(|name| keys::names(name, key)) => "applied beside the bundle",
        true => "the same as without it",
    };
    if note.is_empty() { word.to_owned() } else { format!("{word}: {note}") }
}

/// The container without one of its keys.
struct Without {
    config: ContainerConfig,
    oci: OciConfig,
    policy: Policy,
}

impl Without {
    fn bundle(&self, guest: &Guest<'_>, facts: &HostFacts) -> Result<Bundle, BundleError> {
        let there = |key: &str| self.config.get(key).is_some();
        let of_key = |node: &&super::Node| {
            node.source.file_name().and_then(|name| name.to_str()).is_some_and(there)
        };
        let nodes: Vec<_> = guest.nodes.iter().filter(of_key).cloned().collect();
        let ttys = terminals(&self.config, guest.ttys)?;
        let guest = Guest {
            config: &self.config,
            oci: &self.oci,
            policy: &self.policy,
            nodes: &nodes,
            ttys: &ttys,
            terminal: self.config.has_terminal(),
            ..guest.clone()
        };
        spec(&guest, facts)
    }
}

/// As many as the config asks for: those that there are, and more.
fn terminals(config: &ContainerConfig, there: &[String]) -> Result<Vec<String>, ValueError> {
    let count = config.ttys()? as usize;
    let more = (there.len()..).map(|number| format!("/dev/pts/{number}"));
    Ok(there.iter().cloned().chain(more).take(count).collect())
}

fn variants(guest: &Guest<'_>) -> Vec<(String, Without)> {
    let (config, oci) = (guest.config, guest.oci);
    let with = |config: ContainerConfig, oci: OciConfig| Without {
        config,
        oci,
        policy: guest.policy.clone(),
    };
    let mut all = Vec::new();
    for (key, value) in config.current().iter() {
        let mut other = config.clone();
        if key == ROOTFS {
            // Without any there is no container; its options can be missed.
            other.set(key, value.split(',').next().unwrap_or_default());
        } else {
            other.remove(key);
        }
        all.push((key.to_owned(), with(other, oci.clone())));
    }
    let raw: BTreeSet<_> = config.current().lxc().iter().map(|(key, _)| key).collect();
    for key in raw {
        let mut other = config.clone();
        let left = config.current().lxc().iter().filter(|(name, _)| name != key).cloned();
        other.current_mut().set_lxc(left.collect());
        all.push((key.clone(), with(other, oci.clone())));
    }
    // Lines of the OCI file that have a part in a bundle.
    let limits = LimitKey::ALL.map(LimitKey::as_str);
    for key in limits.into_iter().chain([RANGE]).filter(|key| oci.get(key).is_some()) {
        all.push((format!("oci: {key}"), with(config.clone(), oci.without(key))));
    }
    if *guest.policy != Policy::default() {
        let without = Without { policy: Policy::default(), ..with(config.clone(), oci.clone()) };
        all.push((keys::POLICY.to_owned(), without));
    }
    all
}

/// The bundle, and the limits that are not in it.
fn shape(bundle: &Bundle) -> Value {
    let mut whole = super::to_value(&bundle.spec);
    let mut files = Map::new();
    for limit in &bundle.limits {
        let lines = files.entry(limit.file.to_string()).or_insert_with(|| String::new().into());
        let text = lines.as_str().unwrap_or_default();
        let text =
            if text.is_empty() { limit.value.clone() } else { format!("{text}; {}", limit.value) };
        *lines = text.into();
    }
    whole[CGROUP] = Value::Object(files);
    whole
}

const CGROUP: &str = "cgroup";

type Row = (String, Option<Value>);

/// Where `with` is not as `without`, and what it has there.
fn differences(with: &Value, without: &Value) -> Vec<Row> {
    let mut rows = Vec::new();
    compare("", with, without, &mut rows);
    rows
}

fn compare(path: &str, with: &Value, without: &Value, rows: &mut Vec<Row>) {
    if with == without {
        return;
    }
    match (with, without) {
        (Value::Object(map), Value::Object(_) | Value::Null) => {
            for (key, value) in map {
                compare(&below(path, key), value, &without[key.as_str()], rows);
            }
            let gone = without.as_object().into_iter().flatten();
            let gone = gone.filter(|(key, _)| !map.contains_key(*key));
            rows.extend(gone.map(|(key, _)| (below(path, key), None)));
        }
        (Value::Array(list), Value::Array(_) | Value::Null) if holds_objects(list, without) => {
            let other = without.as_array().map_or(&[][..], Vec::as_slice);
            compare_lists(path, list, other, rows);
        }
        (Value::Null, _) => rows.push((path.to_owned(), None)),
        _ => rows.push((path.to_owned(), Some(with.clone()))),
    }
}

fn below(path: &str, key: &str) -> String {
    match path {
        "" => key.to_owned(),
        CGROUP => format!("{CGROUP}/{key}"),
        _ => format!("{path}.{key}"),
    }
}

fn holds_objects(list: &[Value], other: &Value) -> bool {
    list.iter().chain(other.as_array().into_iter().flatten()).any(Value::is_object)
}

/// What tells an element of its list from the others, if one of its fields does.
fn name<'v>(path: &str, element: &'v Value) -> Option<&'v str> {
    let field = match path {
        "mounts" => "destination",
        "linux.namespaces" | "process.rlimits" => "type",
        _ => return None,
    };
    element.get(field).and_then(Value::as_str)
}

/// Elements without a name are compared as they stand, wherever they stand.
fn compare_lists(path: &str, with: &[Value], without: &[Value], rows: &mut Vec<Row>) {
    let mut nameless = Vec::new();
    for (at, element) in with.iter().enumerate() {
        let name = name(path, element);
        let same = |other: &&Value| match name {
            Some(_) => self::name(path, other) == name,
            None => *other == element,
        };
        match (without.iter().find(same), name) {
            (Some(other), Some(name)) => compare(&format!("{path}[{name}]"), element, other, rows),
            (None, Some(name)) => rows.push((format!("{path}[{name}]"), Some(element.clone()))),
            (None, None) => nameless.push((format!("{path}[{at}]"), Some(element.clone()))),
            (Some(_), None) => {}
        }
    }
    for element in without {
        match name(path, element) {
            Some(name) if !with.iter().any(|other| self::name(path, other) == Some(name)) => {
                rows.push((format!("{path}[{name}]"), None));
            }
            None if !with.contains(element) => nameless.push((format!("{path}[]"), None)),
            Some(_) | None => {}
        }
    }
    if nameless.len() <= MOST_ROWS {
        return rows.extend(nameless);
    }
    rows.push((path.to_owned(), Some(format!("{} entries", with.len()).into())));
}

#[cfg(test)]
mod tests;
