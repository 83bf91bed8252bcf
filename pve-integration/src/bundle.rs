//! Container config and host facts to an OCI bundle: a pure function. Reads and writes no file;
//! mounting the rootfs and making the cgroup's parent are the monitor's.
//!
//! Each key of the config is applied, refused by name, or named in a warning. What PVE's generator
//! writes for LXC (pve-container's `PVE/LXC.pm`, lxc's `common.conf`) decides what a system
//! container gets; an application container, one with an entrypoint of its own, gets less.

mod apparmor;
mod auto_mounts;
mod capabilities;
mod confinement;
mod device_rules;
mod disk_ids;
mod explain;
mod hooks;
mod id_map;
pub(crate) mod keys;
mod limits;
mod mounts;
mod nodes;
mod own_limits;
mod portable;
mod process;
mod quota_disk;
mod raw_mounts;
mod resources;
mod reverse;
mod rlimits;
mod seccomp;
mod stop_signal;
mod sub_ids;
mod surroundings;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use oci_spec::runtime::Spec;
use openapi::Vmid;
use serde_json::{Value, json};

use crate::ct_config::{ContainerConfig, Features, ValueError};
use crate::host::HostFacts;
use crate::oci_config::OciConfig;
use crate::policy::{Feature, Policy};

pub use apparmor::Profile;
pub(crate) use capabilities::names as capability_names;
pub(crate) use confinement::{MASKED, READONLY};
pub use disk_ids::disk_ids;
pub use explain::{Explained, explain};
pub use id_map::{IdMap, IdMaps};
pub use keys::list as key_list;
pub use limits::{Setting, settings};
pub use nodes::{Node, NodeKind};
pub use own_limits::{DeviceNumber, LimitError, LimitKey, OwnLimits};
pub use quota_disk::QuotaDisk;
pub use reverse::{ReverseError, Reversed, reverse};
pub(crate) use rlimits::sysctl_namespace;
pub use seccomp::{Profile as SeccompProfile, ProfileError};
pub use stop_signal::stop_signal;
pub use sub_ids::SubIds;
pub use surroundings::{
    DeviceError, OwnedNode, Surroundings, SurroundingsError, device_nodes, rootfs_path,
};

/// The runtime spec's version that the keys used here belong to.
const OCI_VERSION: &str = "1.0.2";

/// One container as it is to be started.
#[derive(Clone, Debug)]
pub struct Guest<'a> {
    pub vmid: Vmid,
    pub config: &'a ContainerConfig,
    /// What PVE's config has no key for.
    pub oci: &'a OciConfig,
    /// Where the rootfs is mounted, absolute.
    pub rootfs: &'a Path,
    /// Below the cgroup mount, without a slash in front: `lxc/100/ns`.
    pub cgroup: String,
    /// What an AppArmor profile of the container's own is called.
    pub profile: String,
    /// Whether init gets a pseudo-terminal for its console.
    pub terminal: bool,
    /// What the host takes away.
    pub policy: &'a Policy,
    /// Of `devN`, ready to be bound.
    pub nodes: &'a [Node],
    /// Whether the host has such a path.
    pub exists: fn(&Path) -> bool,
    /// What becomes `/dev/tty1` and so on, unless the runtime makes them itself.
    pub ttys: &'a [String],
    /// Of `lxc.seccomp.profile`, read for a runtime that does not read it itself.
    pub seccomp: Option<&'a SeccompProfile>,
    /// Which ids root may give away, on a host that hands them out.
    pub sub_ids: Option<&'a SubIds>,
    /// The socket of whoever answers what the kernel asks about system calls.
    pub listener: &'a Path,
}

impl<'a> Guest<'a> {
    /// CT 100 on a host that takes nothing away and has whatever is looked for.
    pub fn for_tests(config: &'a ContainerConfig) -> Self {
        static OCI: LazyLock<OciConfig> = LazyLock::new(OciConfig::default);
        static POLICY: LazyLock<Policy> = LazyLock::new(Policy::default);
        Self {
            vmid: "100".parse().expect("a number that a guest may have"),
            config,
            oci: &OCI,
            rootfs: Path::new("/var/lib/lxc/100/rootfs"),
            cgroup: "lxc/100/ns".to_owned(),
            profile: "lxcri-100".to_owned(),
            terminal: false,
            policy: &POLICY,
            nodes: &[],
            exists: |_| true,
            ttys: &[],
            seccomp: None,
            sub_ids: None,
            listener: Path::new("/run/proxmox-lxcri/100/mknod.sock"),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Bundle {
    pub spec: Spec,
    /// For the cgroup above the one that the spec names. Not in the spec: libcrun would set them on
    /// that one, where PVE does not look for them.
    pub limits: Vec<Setting>,
    /// The AppArmor profile that the spec names, if it is made for this container.
    pub profile: Option<Profile>,
    pub warnings: Vec<Warning>,
}

/// A key that is set and does not do what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub key: String,
    pub reason: String,
}

impl Warning {
    pub(crate) fn new(key: &str, reason: impl Into<String>) -> Self {
        Self { key: key.to_owned(), reason: reason.into() }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error(transparent)]
    Value(#[from] ValueError),
    #[error("the rootfs path '{0}' is not valid UTF-8, which an OCI bundle cannot hold")]
    RootfsPath(String),
    #[error("{key}: {what} is refused by this host's policy")]
    Policy { key: String, what: String },
    /// What the host has no place for; PVE's form.
    #[error("{key}: {reason}")]
    Host { key: String, reason: String },
    #[error("cannot put the container into an OCI bundle")]
    Spec(#[source] serde_json::Error),
}

pub(crate) fn wrong(key: &str, reason: impl Into<String>) -> BundleError {
    ValueError { key: key.to_owned(), reason: reason.into() }.into()
}

/// The bundle that starts `guest` on a host with these `facts`.
pub fn spec(guest: &Guest<'_>, facts: &HostFacts) -> Result<Bundle, BundleError> {
    decide(guest, facts, &keys::CRUN)
}

/// What the container gets, whoever gives it. What `reach` does not apply is named in a warning.
pub(crate) fn decide(
    guest: &Guest<'_>,
    facts: &HostFacts,
    reach: &keys::Reach,
) -> Result<Bundle, BundleError> {
    let config = guest.config.current();
    stop_signal::check(guest.config)?;
    let maps = IdMaps::of(guest.config, guest.oci)?;
    let features = config.features()?;
    let rootfs = config.rootfs()?;
    check_policy(guest, &maps, &features)?;
    let mut warnings = Vec::new();
    id_map::warn_of_range(guest.config, guest.oci, &mut warnings);
    if let Some(known) = guest.sub_ids {
        // LXC asks newuidmap, which makes no exception.
        known.check(guest.config, guest.oci, &maps, reach.raw, &mut warnings)?;
    }

    let root = guest.rootfs.to_str();
    let root =
        root.ok_or_else(|| BundleError::RootfsPath(guest.rootfs.to_string_lossy().into()))?;
    let mut kept = capabilities::of(config, &maps, facts, &mut warnings)?;
    kept.drop_all(&guest.policy.drop_capabilities);
    let readonly = rootfs.ro || (guest.policy.readonly_rootfs && config.is_application());
    let raw_name = config.lxc_values("lxc.uts.name").last().filter(|_| !reach.raw);
    let hostname = raw_name.or_else(|| config.hostname());
    let hostname = hostname.map_or_else(|| format!("CT{}", guest.vmid), str::to_owned);
    let asked = if reach.raw { auto_mounts::Asked::default() } else { auto_mounts::of(config)? };
    let limits = resources::of(guest, facts, reach, &mut warnings)?;
    let mut nodes = guest.nodes.to_vec();
    if features.fuse {
        let fuse = Node::fuse();
        if !(guest.exists)(&fuse.source) {
            return Err(wrong("features", "fuse: this host has no /dev/fuse"));
        }
        nodes.push(fuse);
    }
    let mut devices = device_rules::of(&nodes);
    let mut mounts = mounts::of(config, &features, &maps, asked)?;
    mounts.extend(nodes::mounts(&nodes));
    mounts.extend(mounts::terminals(guest.ttys));
    if !reach.raw {
        warnings.extend(nodes::given(guest.nodes));
        device_rules::raw(config, facts, &mut devices, &mut warnings)?;
        mounts.extend(mounts::from_lxcfs(facts, &features));
        mounts.extend(raw_mounts::of(guest, &mut warnings)?);
    }
    let mut linux = json!({
        "cgroupsPath": format!("/{}", guest.cgroup.trim_start_matches('/')),
        "namespaces": namespaces(&maps),
        "resources": { "devices": devices },
        "maskedPaths": confinement::masked(config, &features),
        "readonlyPaths": confinement::readonly(config, &features, asked.proc),
    });
    if !maps.is_empty() {
        linux["uidMappings"] = json!(maps.uids);
        linux["gidMappings"] = json!(maps.gids);
    }
    if config.arch()?.is_32bit() {
        linux["personality"] = json!({ "domain": "LINUX32" });
    }
    if facts.seccomp {
        linux["seccomp"] = seccomp::rules(guest, facts, &maps, &features, &kept, reach)?;
    } else {
        warnings.push(Warning::new("seccomp", "this kernel filters no system calls"));
    }
    if !reach.raw {
        let sysctls = rlimits::sysctls(config)?;
        if !sysctls.is_empty() {
            linux["sysctl"] = json!(sysctls);
        }
    }
    let mut document = json!({
        "ociVersion": OCI_VERSION,
        "hostname": hostname,
        "root": { "path": root, "readonly": readonly },
        "process": process::of(guest, &kept, reach, &mut warnings)?,
        "mounts": mounts,
        "linux": linux,
    });
    if !features.mount.is_empty() && !kept.has("SYS_ADMIN") {
        let reason = "mount: nothing is mounted without CAP_SYS_ADMIN, which it has not";
        warnings.push(Warning::new("features", reason));
    }
    if !kept.has("SYS_ADMIN") {
        warnings.extend(quota_disk::in_vain(config, &rootfs));
    }
    let confinement = apparmor::of(guest, facts, &features, reach, &mut warnings)?;
    if let Some(profile) = confinement.name {
        document["process"]["apparmorProfile"] = profile.into();
    }
    if !reach.raw
        && let Some(hooks) = hooks::of(guest)?
    {
        document["hooks"] = hooks;
    }
    warnings.extend(seccomp::mknod_warning(guest, &maps, &features, reach));
    keys::warn(config, &features, reach, &mut warnings);
    let spec = serde_json::from_value(document).map_err(BundleError::Spec)?;
    Ok(Bundle { spec, limits, profile: confinement.own, warnings })
}

/// What the host's policy refuses, by name.
fn check_policy(guest: &Guest<'_>, maps: &IdMaps, features: &Features) -> Result<(), BundleError> {
    let refuse = &guest.policy.refuse;
    let refused = |key: &str, what: &str| {
        Err(BundleError::Policy { key: key.to_owned(), what: what.to_owned() })
    };
    if refuse.privileged && maps.is_empty() {
        return refused("unprivileged", "a privileged container");
    }
    let asked = [
        ("force_rw_sys", Feature::ForceRwSys, features.force_rw_sys),
        ("fuse", Feature::Fuse, features.fuse),
        ("keyctl", Feature::Keyctl, features.keyctl),
        ("mknod", Feature::Mknod, features.mknod),
        ("mount", Feature::Mount, !features.mount.is_empty()),
        ("nesting", Feature::Nesting, features.nesting),
    ];
    for (name, feature, set) in asked {
        if set && refuse.features.contains(&feature) {
            return refused("features", name);
        }
    }
    let mut raw = guest.config.current().lxc().iter().map(|(key, _)| key);
    match raw.find(|key| guest.policy.refuses_raw(key)) {
        Some(key) => refused(key, "this key"),
        None => Ok(()),
    }
}

fn namespaces(maps: &IdMaps) -> Value {
    let mut kinds = vec!["mount", "pid", "uts", "ipc", "network", "cgroup"];
    if !maps.is_empty() {
        kinds.insert(0, "user");
    }
    kinds.into_iter().map(|kind| json!({ "type": kind })).collect()
}

/// The document as libcrun reads it, the same bytes for the same spec: the type keeps capabilities
/// and maps in hash tables, so objects are sorted here, and the lists whose order means nothing.
pub fn to_json(spec: &Spec) -> String {
    let mut text =
        serde_json::to_string_pretty(&to_value(spec)).expect("a JSON value can be written");
    text.push('\n');
    text
}

/// The same, to be looked into.
pub fn to_value(spec: &Spec) -> Value {
    sorted(serde_json::to_value(spec).expect("a spec has string keys and finite numbers"))
}

/// `serde_json::Map` may keep insertion order, if any crate in the build asks for that.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let map: BTreeMap<String, Value> = map
                .into_iter()
                .map(|(key, value)| {
                    let value = if key == "capabilities" { sorted_sets(value) } else { value };
                    (key, sorted(value))
                })
                .collect();
            Value::Object(map.into_iter().collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(sorted).collect()),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => other,
    }
}

fn sorted_sets(mut capabilities: Value) -> Value {
    let sets = capabilities.as_object_mut().into_iter().flat_map(|sets| sets.values_mut());
    for set in sets.filter_map(Value::as_array_mut) {
        set.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    }
    capabilities
}
