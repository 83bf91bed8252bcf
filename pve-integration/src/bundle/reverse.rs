//! An OCI bundle to a container config: `spec` backwards, and pure as it is. What is understood is
//! taken out of the document; what is left in it at the end is what no key can say, and is named. So
//! nothing of a bundle gets lost without a word.

mod ids;
mod mounts;
mod process;
mod resources;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use oci_spec::runtime::Spec;
use serde_json::{Map, Value};

use super::{Bundle, BundleError, Guest, Warning, spec, to_value};
use crate::ct_config::ContainerConfig;
use crate::host::HostFacts;
use crate::oci_config::OciConfig;
use crate::policy::Policy;

/// What a container config is to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reversed {
    /// PVE's keys, as parameters have them.
    pub keys: BTreeMap<String, String>,
    /// `lxc.*` lines.
    pub raw: Vec<(String, String)>,
    /// Lines of the OCI file.
    pub oci: Vec<(String, String)>,
    /// Of the rootfs, whose volume no bundle knows.
    pub readonly: bool,
    /// Parts of the bundle that this host decides otherwise, to no harm.
    pub notes: Vec<Warning>,
    /// Parts that get lost.
    pub warnings: Vec<Warning>,
}

#[derive(Debug, thiserror::Error)]
pub enum ReverseError {
    #[error("this is no config.json of an OCI bundle: {0}")]
    Syntax(#[from] serde_json::Error),
    /// By its path in the bundle.
    #[error("{path}: {reason}")]
    Value { path: &'static str, reason: String },
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

fn wrong(path: &'static str, reason: impl Into<String>) -> ReverseError {
    ReverseError::Value { path, reason: reason.into() }
}

/// Raw keys that take away, or say who runs and where. Others are for root@pam to set, as they would
/// be in a config.
const HARMLESS: [&str; 7] = [
    "lxc.cap.drop",
    "lxc.init.cwd",
    "lxc.init.gid",
    "lxc.init.groups",
    "lxc.init.uid",
    "lxc.pty.max",
    "lxc.signal.halt",
];
/// Limits with which a container harms itself alone.
const HARMLESS_LIMITS: [&str; 9] =
    ["as", "core", "cpu", "data", "fsize", "nofile", "nproc", "rss", "stack"];

impl Reversed {
    /// The raw keys that only root@pam may have set.
    pub fn for_root(&self) -> impl Iterator<Item = &str> {
        let harmless = |key: &str| {
            let limit = key.strip_prefix("lxc.prlimit.");
            // None but the container's own come so far.
            HARMLESS.contains(&key)
                || key.starts_with("lxc.sysctl.")
                || limit.is_some_and(|limit| HARMLESS_LIMITS.contains(&limit))
        };
        self.raw.iter().map(|(key, _)| key.as_str()).filter(move |key| !harmless(key))
    }

    fn set(&mut self, key: &str, value: impl Into<String>) {
        self.keys.insert(key.to_owned(), value.into());
    }

    fn raw(&mut self, key: &str, value: impl Into<String>) {
        self.raw.push((key.to_owned(), value.into()));
    }

    fn note(&mut self, path: &str, reason: impl Into<String>) {
        self.notes.push(Warning::new(path, reason));
    }

    fn warn(&mut self, path: &str, reason: impl Into<String>) {
        self.warnings.push(Warning::new(path, reason));
    }

    fn feature(&mut self, name: &str) {
        let set = self.keys.entry("features".to_owned()).or_default();
        *set = if set.is_empty() { format!("{name}=1") } else { format!("{set},{name}=1") };
    }

    /// Into a config that has what was asked for besides.
    pub fn add_raw(&self, config: &mut ContainerConfig) {
        let mut raw = config.current().lxc().to_vec();
        raw.extend(self.raw.iter().cloned());
        config.current_mut().set_lxc(raw);
    }

    /// The config on its own, with a rootfs that is nowhere.
    fn config(&self) -> ContainerConfig {
        let mut config = ContainerConfig::default();
        for (key, value) in &self.keys {
            config.set(key, value.as_str());
        }
        let ro = if self.readonly { ",ro=1" } else { "" };
        config.set("rootfs", format!("none:0{ro}"));
        self.add_raw(&mut config);
        config
    }

    /// What a start would make of it as it is so far.
    fn bundle(&self, facts: &HostFacts) -> Result<Bundle, BundleError> {
        let (config, policy) = (self.config(), Policy::default());
        let mut oci = OciConfig::default();
        self.oci.iter().for_each(|(key, value)| oci.add(key, value));
        let guest = Guest {
            vmid: "100".parse().expect("a number that a guest may have"),
            config: &config,
            oci: &oci,
            rootfs: Path::new("/"),
            profile: String::new(),
            cgroup: String::new(),
            terminal: config.has_terminal(),
            policy: &policy,
            nodes: &[],
            exists: |_| true,
            ttys: &[],
            seccomp: None,
            sub_ids: None,
            listener: Path::new("/"),
        };
        spec(&guest, facts)
    }
}

/// What is left of a bundle.
struct Document(Value);

impl Document {
    /// Nothing where there is a null.
    fn take(&mut self, path: &str) -> Option<Value> {
        let (parent, name) = path.rsplit_once('/')?;
        let parent = self.0.pointer_mut(parent)?.as_object_mut()?;
        parent.remove(name).filter(|value| !value.is_null())
    }

    fn text(&mut self, path: &str) -> Option<String> {
        self.take(path)?.as_str().map(str::to_owned)
    }

    fn list(&mut self, path: &str) -> Option<Vec<Value>> {
        if let Value::Array(list) = self.take(path)? { Some(list) } else { None }
    }

    /// The texts of a list.
    fn texts(&mut self, path: &str) -> Option<Vec<String>> {
        let list = self.list(path)?;
        Some(list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    /// Whatever says something, by its path.
    fn rest(&self) -> Vec<String> {
        let mut found = Vec::new();
        collect("", &self.0, &mut found);
        found
    }
}

/// A document of somebody else's must not make a list that is much longer than itself.
const MOST_PATHS: usize = 100;
const LONGEST_PATH: usize = 200;

fn collect(path: &str, value: &Value, found: &mut Vec<String>) {
    if found.len() >= MOST_PATHS {
        return;
    }
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            let below: String = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let below: String = below.chars().take(LONGEST_PATH).collect();
            collect(&below, value, found);
        }),
        // OCI's false is what is not there.
        Value::Null | Value::Bool(false) => {}
        Value::Array(list) if list.is_empty() => {}
        Value::String(text) if text.is_empty() => {}
        Value::Array(_) | Value::Bool(true) | Value::Number(_) | Value::String(_) => {
            found.push(path.to_owned());
        }
    }
}

/// Why a part has no key, where that is not just so.
const REASONS: [(&str, &str); 7] = [
    ("hooks", "run programs of the host: only `lxc.hook.*` in the config's own file can say them"),
    ("linux.mountLabel", "is not applied by the crun runtime yet"),
    ("linux.intelRdt", "is not applied by the crun runtime yet"),
    ("process.user.username", "is for Windows"),
    ("vm", "is for machines, and this will be a container"),
    ("windows", "is for Windows"),
    ("solaris", "is for Solaris"),
];

fn reason(path: &str) -> &'static str {
    let found = REASONS.iter().find(|(start, _)| {
        path.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    });
    found.map_or("cannot be said by a container's config", |(_, reason)| reason)
}

/// The config that says what the bundle says, on a host with these `facts`.
pub fn reverse(text: &str, facts: &HostFacts) -> Result<Reversed, ReverseError> {
    let typed = to_value(&serde_json::from_str::<Spec>(text)?);
    let mut document = Document(serde_json::from_str(text)?);
    let mut made = Reversed::default();
    document.take("/ociVersion");
    hostname(&mut document, &mut made);
    root(&mut document, &mut made);
    annotations(&mut document, &mut made);
    ids::of(&mut document, &mut made)?;
    process::of(&mut document, &mut made)?;
    personality(&mut document, facts, &mut made);
    resources::of(&mut document, facts, &mut made);
    let nodes = mounts::nodes(&mut document, &mut made);
    covered(&mut document, facts, &mut made)?;
    apparmor(&mut document, facts, &mut made)?;
    mounts::of(&mut document, facts, &mut made)?;
    process::capabilities(&mut document, facts, &mut made)?;
    seccomp(&mut document, &typed, facts, &mut made)?;
    resources::devices(&typed, &mut document, &nodes, facts, &mut made)?;
    if document.text("/linux/cgroupsPath").is_some() {
        made.note("linux.cgroupsPath", "is where each container of this host has its own");
    }
    for path in document.rest() {
        let reason = reason(&path);
        made.warn(&path, reason);
    }
    // What a start would refuse is better refused now.
    made.bundle(facts)?;
    Ok(made)
}

/// As a request would be checked.
fn is_value(key: &str, text: &str) -> bool {
    openapi::check::config_value(key, text).is_ok()
}

fn hostname(document: &mut Document, made: &mut Reversed) {
    let Some(name) = document.text("/hostname").filter(|name| !name.is_empty()) else { return };
    if is_value("hostname", &name) {
        made.set("hostname", name);
    } else {
        made.warn("hostname", format!("'{}' is no name that PVE takes", name.escape_default()));
    }
}

fn root(document: &mut Document, made: &mut Reversed) {
    made.readonly = document.take("/root/readonly").is_some_and(|on| on == true);
    if let Some(path) = document.text("/root/path") {
        let path = path.escape_default();
        made.note("root.path", format!("'{path}' is not read: the template is what is unpacked"));
    }
}

/// Podman's and Docker's word for the signal that ends a container.
const STOP_SIGNAL: &str = "org.opencontainers.image.stopSignal";

fn annotations(document: &mut Document, made: &mut Reversed) {
    let Some(Value::Object(mut all)) = document.take("/annotations") else { return };
    if let Some(signal) = all.remove(STOP_SIGNAL).as_ref().and_then(Value::as_str) {
        made.raw("lxc.signal.halt", signal);
    }
    if !all.is_empty() {
        let names: Vec<_> = all.keys().map(|name| name.escape_default().to_string()).collect();
        let names = names.join(", ");
        made.note("annotations", format!("are read by nobody here: {names}"));
    }
}

fn personality(document: &mut Document, facts: &HostFacts, made: &mut Reversed) {
    use crate::ct_config::Arch::{Amd64, Arm64, Armhf, I386, Riscv32, Riscv64};

    match document.text("/linux/personality/domain").as_deref() {
        Some("LINUX32") => {
            let arch = match facts.arch {
                Amd64 | I386 => I386,
                Arm64 | Armhf => Armhf,
                Riscv64 | Riscv32 => Riscv32,
            };
            made.set("arch", arch.as_str());
        }
        Some("LINUX") | None => {}
        Some(other) => {
            let reason = format!("'{}' is no personality of Linux", other.escape_default());
            made.warn("linux.personality", reason);
        }
    }
}

/// `maskedPaths` and `readonlyPaths`: this host has its own lists, and features that change them.
fn covered(
    document: &mut Document,
    facts: &HostFacts,
    made: &mut Reversed,
) -> Result<(), ReverseError> {
    let given =
        ["maskedPaths", "readonlyPaths"].map(|name| document.texts(&format!("/linux/{name}")));
    let [Some(masked), Some(readonly)] = given.clone().map(|list| list.map(as_set)) else {
        for (name, list) in ["linux.maskedPaths", "linux.readonlyPaths"].into_iter().zip(given) {
            compare_paths(name, list.unwrap_or_default(), facts, made)?;
        }
        return Ok(());
    };
    for (nesting, auto) in
        [(false, None), (true, None), (false, Some("proc:rw")), (false, Some("proc:mixed"))]
    {
        let mut tried = made.clone();
        if nesting {
            tried.feature("nesting");
        }
        if let Some(auto) = auto {
            tried.raw("lxc.mount.auto", auto);
        }
        let ours = to_value(&tried.bundle(facts)?.spec);
        let list = |name: &str| as_set(strings(&ours["linux"][name]));
        if list("maskedPaths") == masked && list("readonlyPaths") == readonly {
            *made = tried;
            return Ok(());
        }
    }
    compare_paths("linux.maskedPaths", masked.into_iter().collect(), facts, made)?;
    compare_paths("linux.readonlyPaths", readonly.into_iter().collect(), facts, made)
}

fn compare_paths(
    path: &str,
    theirs: Vec<String>,
    facts: &HostFacts,
    made: &mut Reversed,
) -> Result<(), ReverseError> {
    let ours = to_value(&made.bundle(facts)?.spec);
    let name = path.strip_prefix("linux.").unwrap_or(path);
    let (ours, theirs) = (as_set(strings(&ours["linux"][name])), as_set(theirs));
    let join = |left: &BTreeSet<String>, right: &BTreeSet<String>| {
        left.difference(right)
            .map(|path| path.escape_default().to_string())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let (lost, more) = (join(&theirs, &ours), join(&ours, &theirs));
    if !lost.is_empty() {
        made.warn(path, format!("this host has a list of its own, without {lost}"));
    }
    if !more.is_empty() {
        made.note(path, format!("this host has a list of its own, also with {more}"));
    }
    Ok(())
}

fn strings(list: &Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn as_set(list: Vec<String>) -> BTreeSet<String> {
    list.into_iter().collect()
}

/// The profile, where it is another than such a container has anyway.
fn apparmor(
    document: &mut Document,
    facts: &HostFacts,
    made: &mut Reversed,
) -> Result<(), ReverseError> {
    const PATH: &str = "process.apparmorProfile";

    let theirs = document.text("/process/apparmorProfile").filter(|name| !name.is_empty());
    let ours = to_value(&made.bundle(facts)?.spec);
    let ours = ours["process"]["apparmorProfile"].as_str();
    let Some(theirs) = theirs.filter(|theirs| Some(theirs.as_str()) != ours) else {
        return Ok(());
    };
    if super::apparmor::is_one(&theirs) {
        made.warn(PATH, "was made for one container: `features: mount=...` says what it may mount");
        return Ok(());
    }
    let mut named = made.clone();
    named.raw("lxc.apparmor.profile", theirs.as_str());
    if facts.apparmor.is_some() && named.bundle(facts).is_ok() {
        *made = named;
    } else {
        made.warn(PATH, format!("this host has no profile '{}'", theirs.escape_default()));
    }
    Ok(())
}

/// This host's own filter, which no bundle replaces; some features show in it.
fn seccomp(
    document: &mut Document,
    typed: &Value,
    facts: &HostFacts,
    made: &mut Reversed,
) -> Result<(), ReverseError> {
    // Whoever starts it listens where it likes.
    let place = |mut rules: Value| {
        if let Some(path) = rules.get_mut("listenerPath") {
            path.take();
        }
        rules
    };
    let theirs = document.take("/linux/seccomp").map(|_| place(typed["linux"]["seccomp"].clone()));
    for features in [&[][..], &["keyctl"], &["mknod"], &["keyctl", "mknod"]] {
        let mut tried = made.clone();
        features.iter().for_each(|name| tried.feature(name));
        let ours = to_value(&tried.bundle(facts)?.spec);
        if *theirs.as_ref().unwrap_or(&Value::Null) == place(ours["linux"]["seccomp"].clone()) {
            *made = tried;
            return Ok(());
        }
    }
    match theirs {
        Some(_) => made.warn("linux.seccomp", "this host filters system calls by lists of its own"),
        None => made.note("linux.seccomp", "this host filters system calls by lists of its own"),
    }
    Ok(())
}

/// The fields of an element that nobody took.
fn unknown_fields(path: &str, element: &Map<String, Value>, known: &[&str], made: &mut Reversed) {
    let mut found = Vec::new();
    for (key, value) in element.iter().filter(|(key, _)| !known.contains(&key.as_str())) {
        collect(&format!("{path}.{key}"), value, &mut found);
    }
    for path in found {
        made.warn(&path, "cannot be said by a container's config");
    }
}
