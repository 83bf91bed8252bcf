//! Limits, as files of the cgroup above the container's own: `lxc/VMID` carries them, as PVE's own
//! figures and changes expect, and the container in `lxc/VMID/ns` cannot move them. Written for cgroup
//! v2 and v1 alike; what the host has no controller for is named.

use super::limits::Setting;
use super::own_limits::{LimitKey, OwnLimits};
use super::{BundleError, Guest, Warning, keys, wrong};
use crate::ct_config::Section;
use crate::host::{CgroupVersion, HostFacts};
use crate::oci_config::OciConfig;

pub(super) const MIB: u64 = 1 << 20;
/// MiB; the API's minimum. Below it not even a shell starts.
const LEAST_MEMORY: u64 = 16;
/// Microseconds, the kernel's default.
pub(super) const PERIOD: u64 = 100_000;

pub(super) fn of(
    guest: &Guest<'_>,
    facts: &HostFacts,
    reach: &keys::Reach,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Setting>, BundleError> {
    let config = guest.config.current();
    let mut limits = Limits { facts, warnings, settings: Vec::new() };
    limits.memory(config)?;
    limits.cpu(config, guest.vmid.get())?;
    limits.own(guest.oci)?;
    if !reach.raw {
        limits.raw(config);
    }
    Ok(limits.settings)
}

struct Limits<'a> {
    facts: &'a HostFacts,
    warnings: &'a mut Vec<Warning>,
    settings: Vec<Setting>,
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
            let sum = mib.checked_mul(MIB).filter(|bytes| i64::try_from(*bytes).is_ok());
            sum.ok_or_else(|| wrong(key, format!("{mib} MiB are too many")))
        };
        let (limit, total) =
            (bytes(memory, "memory")?, bytes(memory.saturating_add(swap), "swap")?);
        if !self.has("memory") {
            self.miss("memory", "memory");
            return Ok(());
        }
        if self.is_v2() {
            self.set("memory", "memory.max", &limit);
            self.set("memory", "memory.high", &high(memory));
        } else {
            self.set("memory", "memory.limit_in_bytes", &limit);
        }
        if !self.facts.cgroup.swap {
            if swap > 0 && config.get("swap").is_some() {
                self.warnings.push(Warning::new("swap", "this host does not account for swap"));
            }
        } else if self.is_v2() {
            self.set("memory", "memory.swap.max", &(total - limit));
        } else {
            // v1 counts memory and swap together, PVE swap alone.
            self.set("memory", "memory.memsw.limit_in_bytes", &total);
        }
        Ok(())
    }

    fn cpu(&mut self, config: &Section, vmid: u32) -> Result<(), BundleError> {
        if let Some(limit) = config.number("cpulimit")?.filter(|limit| *limit != 0.0) {
            if !(0.0..=8192.0).contains(&limit) {
                return Err(wrong("cpulimit", "value must be from 0 to 8192"));
            }
            let quota = quota(limit);
            if !self.has("cpu") {
                self.miss("cpulimit", "cpu");
            } else if self.is_v2() {
                self.set("cpu", "cpu.max", &format_args!("{quota} {PERIOD}"));
            } else {
                self.set("cpu", "cpu.cfs_period_us", &PERIOD);
                self.set("cpu", "cpu.cfs_quota_us", &quota);
            }
        }
        if let Some(units) = config.integer::<u64>("cpuunits")? {
            if !self.has("cpu") {
                self.miss("cpuunits", "cpu");
            } else if self.is_v2() {
                self.set("cpu", "cpu.weight", &units.clamp(1, 10_000));
            } else {
                self.set("cpu", "cpu.shares", &units.clamp(2, 262_144));
            }
        }
        match config.integer::<u32>("cores")? {
            Some(0) => return Err(wrong("cores", "value must have a minimum value of 1")),
            Some(cores) if cores < self.facts.cpus => {
                if self.has("cpuset") {
                    let list = cpus(cores, self.facts.cpus, vmid);
                    self.set("cpuset", "cpuset.cpus", &list);
                } else {
                    self.miss("cores", "cpuset");
                }
            }
            Some(_) | None => {}
        }
        Ok(())
    }

    /// What PVE's config has no key for.
    fn own(&mut self, oci: &OciConfig) -> Result<(), BundleError> {
        let limits = OwnLimits::read(oci)
            .map_err(|err| wrong(&format!("oci: {}", err.key), err.to_string()))?;
        for key in LimitKey::ALL {
            limits.settings(key).into_iter().for_each(|setting| self.own_limit(key, setting));
        }
        Ok(())
    }

    fn own_limit(&mut self, key: LimitKey, setting: Setting) {
        let key = format!("oci: {key}");
        if !self.is_v2() {
            self.warnings.push(Warning::new(&key, "needs cgroup v2, which this host does not use"));
        } else if !self.has(&setting.controller) {
            self.miss(&key, &setting.controller);
        } else if self.facts.cgroup.lacks(&setting.controller, &setting.file) {
            // LXC would not start over it.
            self.warnings.push(Warning::new(&key, "this host has no such limit"));
        } else {
            self.settings.push(setting);
        }
    }

    /// `lxc.cgroup2.FILE`, and `lxc.cgroup.FILE` with v1. Later ones win, also over PVE's own keys.
    fn raw(&mut self, config: &Section) {
        for (key, value) in config.lxc() {
            let (file, v2) =
                match (key.strip_prefix("lxc.cgroup2."), key.strip_prefix("lxc.cgroup.")) {
                    (Some(file), _) => (file, true),
                    (None, Some(file)) => (file, false),
                    (None, None) => continue,
                };
            // Rules for devices are not files, and go to libcrun.
            if file.starts_with("devices.") {
                continue;
            }
            if v2 != self.is_v2() {
                let version = if v2 { "v2" } else { "v1" };
                let reason = format!("is for cgroup {version}, which this host does not use");
                self.warnings.push(Warning::new(key, reason));
                continue;
            }
            if file.contains('/') {
                self.warnings.push(Warning::new(key, "is not the name of a cgroup's file"));
                continue;
            }
            self.settings.retain(|setting| setting.file != file);
            self.settings.push(Setting::of_file(file, value));
        }
    }

    fn set(&mut self, controller: &'static str, file: &'static str, value: &dyn std::fmt::Display) {
        self.settings.push(Setting::new(controller, file, value));
    }

    fn is_v2(&self) -> bool {
        self.facts.cgroup.version == CgroupVersion::V2
    }

    fn has(&self, controller: &str) -> bool {
        self.facts.cgroup.controllers.contains(controller)
    }

    /// A limit that cannot be enforced is said, not dropped; the container starts all the same.
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
