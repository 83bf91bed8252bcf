//! Limits. Written for cgroup v2 and v1 alike; what the host has no controller for is named.

use serde_json::{Map, Value, json};

use super::{BundleError, Guest, Warning, wrong};
use crate::ct_config::Section;
use crate::host::{CgroupVersion, HostFacts};

pub(super) const MIB: u64 = 1 << 20;
/// MiB; the API's minimum. Below it not even a shell starts.
const LEAST_MEMORY: u64 = 16;
/// Microseconds, the kernel's default.
pub(crate) const PERIOD: u64 = 100_000;

pub(super) fn of(
    guest: &Guest<'_>,
    facts: &HostFacts,
    warnings: &mut Vec<Warning>,
) -> Result<Value, BundleError> {
    let config = guest.config.current();
    let mut limits = Limits { facts, warnings, resources: Map::new(), unified: Map::new() };
    limits.resources.insert("devices".into(), devices());
    limits.memory(config)?;
    limits.cpu(config, guest.vmid.get())?;
    if !limits.unified.is_empty() {
        limits.resources.insert("unified".into(), Value::Object(limits.unified));
    }
    Ok(Value::Object(limits.resources))
}

struct Limits<'a> {
    facts: &'a HostFacts,
    warnings: &'a mut Vec<Warning>,
    resources: Map<String, Value>,
    unified: Map<String, Value>,
}

impl Limits<'_> {
    fn memory(&mut self, config: &Section) -> Result<(), BundleError> {
        let memory: u64 = config.integer("memory")?.unwrap_or(512);
        let swap: u64 = config.integer("swap")?.unwrap_or(0);
        if memory < LEAST_MEMORY {
            let reason = format!("value must have a minimum value of {LEAST_MEMORY}");
            return Err(wrong("memory", reason));
        }
        let bytes = |mib: u64, key: &str| {
            let sum = mib.checked_mul(MIB).and_then(|bytes| i64::try_from(bytes).ok());
            sum.ok_or_else(|| wrong(key, format!("{mib} MiB are too many")))
        };
        if !self.has("memory") {
            self.miss("memory", "memory");
            return Ok(());
        }
        let mut limits = json!({ "limit": bytes(memory, "memory")? });
        if self.facts.cgroup.swap {
            // OCI counts memory and swap together, PVE swap alone.
            let total = memory.saturating_add(swap);
            limits["swap"] = bytes(total, "swap")?.into();
        } else if swap > 0 && config.get("swap").is_some() {
            self.warnings.push(Warning::new("swap", "this host does not account for swap"));
        }
        self.resources.insert("memory".into(), limits);
        if self.is_v2() {
            self.unified.insert("memory.high".into(), high(memory).to_string().into());
        }
        Ok(())
    }

    fn cpu(&mut self, config: &Section, vmid: u32) -> Result<(), BundleError> {
        let mut cpu = Map::new();
        if let Some(limit) = config.number("cpulimit")?.filter(|limit| *limit != 0.0) {
            if !(0.0..=8192.0).contains(&limit) {
                return Err(wrong("cpulimit", "value must be from 0 to 8192"));
            }
            if self.has("cpu") {
                cpu.insert("quota".into(), quota(limit).into());
                cpu.insert("period".into(), PERIOD.into());
            } else {
                self.miss("cpulimit", "cpu");
            }
        }
        if let Some(units) = config.integer::<u64>("cpuunits")? {
            if !self.has("cpu") {
                self.miss("cpuunits", "cpu");
            } else if self.is_v2() {
                let weight = units.clamp(1, 10_000);
                self.unified.insert("cpu.weight".into(), weight.to_string().into());
            } else {
                cpu.insert("shares".into(), units.clamp(2, 262_144).into());
            }
        }
        match config.integer::<u32>("cores")? {
            Some(0) => return Err(wrong("cores", "value must have a minimum value of 1")),
            Some(cores) if cores < self.facts.cpus => {
                if self.has("cpuset") {
                    cpu.insert("cpus".into(), cpus(cores, self.facts.cpus, vmid).into());
                } else {
                    self.miss("cores", "cpuset");
                }
            }
            Some(_) | None => {}
        }
        if !cpu.is_empty() {
            self.resources.insert("cpu".into(), Value::Object(cpu));
        }
        Ok(())
    }

    fn is_v2(&self) -> bool {
        self.facts.cgroup.version == CgroupVersion::V2
    }

    fn has(&self, controller: &str) -> bool {
        self.facts.cgroup.controllers.contains(controller)
    }

    /// A limit that cannot be enforced is said, not dropped; the container starts all the same, as
    /// libcrun would fail on the missing file with a misleading text.
    fn miss(&mut self, key: &str, controller: &str) {
        let reason = format!("this host has no cgroup controller '{controller}'");
        self.warnings.push(Warning::new(key, reason));
    }
}

/// Of a memory limit in MiB. PVE/LXC/Config.pm: a little below the limit, at most 128 MiB, so that
/// reclaim comes first.
pub(super) fn high(memory: u64) -> u64 {
    if memory >= 16 * 1024 { (memory - 128).saturating_mul(MIB) } else { memory * 1024 * 1016 }
}

#[expect(clippy::cast_possible_truncation, reason = "at most 8192 * PERIOD, as the caller checked")]
pub(super) fn quota(limit: f64) -> i64 {
    (limit * 100_000.0) as i64
}

/// As many CPUs as `cores` says, from a place that depends on the container, so that small ones do
/// not all sit on CPU 0. PVE takes a random set and lets pvestatd balance it.
pub(super) fn cpus(cores: u32, of: u32, vmid: u32) -> String {
    let first = u64::from(vmid) * u64::from(cores) % u64::from(of);
    let mut list: Vec<u64> = (0..u64::from(cores)).map(|n| (first + n) % u64::from(of)).collect();
    list.sort_unstable();
    list.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

/// lxc's common.conf: any node may be made, few may be opened.
fn devices() -> Value {
    let allow = |kind: &str, major: i64, minor: Option<i64>| {
        let mut rule = json!({ "allow": true, "type": kind, "major": major, "access": "rwm" });
        if let Some(minor) = minor {
            rule["minor"] = minor.into();
        }
        rule
    };
    json!([
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "access": "m" },
        { "allow": true, "type": "b", "access": "m" },
        allow("c", 1, Some(3)),   // null
        allow("c", 1, Some(5)),   // zero
        allow("c", 1, Some(7)),   // full
        allow("c", 1, Some(8)),   // random
        allow("c", 1, Some(9)),   // urandom
        allow("c", 5, Some(0)),   // tty
        allow("c", 5, Some(1)),   // console
        allow("c", 5, Some(2)),   // ptmx
        allow("c", 136, None),    // pts
    ])
}
