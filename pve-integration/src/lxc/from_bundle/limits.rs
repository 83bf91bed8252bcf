//! `linux.resources` as files of a v2 cgroup, by crun's rules; for the start, and for `update`.

use std::borrow::Cow;
use std::fmt::Display;

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice};

use super::{cannot, lacks};
use crate::bundle::{BundleError, Setting};

/// Without its device rules, which are no limits.
pub fn of(resources: &LinuxResources) -> Result<Vec<Setting>, BundleError> {
    let mut all = Settings::default();
    if let Some(memory) = resources.memory() {
        memory_of(memory, &mut all)?;
    }
    if let Some(cpu) = resources.cpu() {
        cpu_of(cpu, &mut all)?;
    }
    if let Some(limit) = resources.pids().as_ref().map(oci_spec::runtime::LinuxPids::limit) {
        all.put("pids.max", &most(limit));
    }
    if let Some(io) = resources.block_io() {
        io_of(io, &mut all)?;
    }
    for huge in resources.hugepage_limits().iter().flatten() {
        all.put(format!("hugetlb.{}.max", huge.page_size()), &huge.limit());
    }
    let mut rdma: Vec<_> = resources.rdma().iter().flatten().collect();
    rdma.sort_by_key(|(device, _)| *device);
    for (device, limit) in rdma {
        let handles = limit.hca_handles().map(|most| format!(" hca_handle={most}"));
        let objects = limit.hca_objects().map(|most| format!(" hca_object={most}"));
        let (handles, objects) = (handles.unwrap_or_default(), objects.unwrap_or_default());
        all.put("rdma.max", &format!("{device}{handles}{objects}"));
    }
    if resources.network().is_some() {
        return Err(lacks("linux.resources.network", "has nothing like it with cgroup v2"));
    }
    let mut unified: Vec<_> = resources.unified().iter().flatten().collect();
    unified.sort();
    for (file, value) in unified {
        if file.contains('/') || !file.contains('.') {
            return Err(cannot("linux.resources.unified", format!("'{file}' is no file")));
        }
        all.put(file.clone(), value);
    }
    Ok(all.0)
}

#[derive(Default)]
struct Settings(Vec<Setting>);

impl Settings {
    fn put(&mut self, file: impl Into<Cow<'static, str>>, value: &dyn Display) {
        let file = file.into();
        let controller = file.split('.').next().unwrap_or_default().to_owned().into();
        self.0.push(Setting { controller, file, value: value.to_string() });
    }
}

fn most(limit: i64) -> String {
    if limit < 0 { "max".to_owned() } else { limit.to_string() }
}

/// A bundle's `swap` is memory and swap together.
fn memory_of(memory: &LinuxMemory, all: &mut Settings) -> Result<(), BundleError> {
    const SWAP: &str = "linux.resources.memory.swap";
    if let Some(limit) = memory.limit().filter(|limit| *limit != 0) {
        all.put("memory.max", &most(limit));
    }
    if let Some(swap) = memory.swap().filter(|swap| *swap != 0) {
        let value = match memory.limit() {
            _ if swap < 0 => "max".to_owned(),
            Some(limit @ 1..) if swap >= limit => (swap - limit).to_string(),
            Some(1..) => return Err(cannot(SWAP, "is less than the memory alone")),
            Some(_) | None => return Err(cannot(SWAP, "needs a limit of the memory")),
        };
        all.put("memory.swap.max", &value);
    }
    if let Some(low) = memory.reservation().filter(|low| *low != 0) {
        all.put("memory.low", &most(low));
    }
    let absent = [
        ("kernel", memory.kernel().is_some()),
        ("kernelTCP", memory.kernel_tcp().is_some()),
        ("swappiness", memory.swappiness().is_some()),
        ("disableOOMKiller", memory.disable_oom_killer() == Some(true)),
    ];
    match absent.iter().find(|(_, set)| *set) {
        Some((key, _)) => {
            let key = format!("linux.resources.memory.{key}");
            Err(cannot(&key, "cgroup v2 has nothing like it"))
        }
        None => Ok(()),
    }
}

fn cpu_of(cpu: &LinuxCpu, all: &mut Settings) -> Result<(), BundleError> {
    if cpu.realtime_period().or(cpu.realtime_runtime().map(|_| 0)).is_some() {
        let key = "linux.resources.cpu.realtimeRuntime";
        return Err(cannot(key, "cgroup v2 has nothing like it"));
    }
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        all.put("cpu.weight", &weight_of(shares));
    }
    if cpu.quota().is_some() || cpu.period().is_some() {
        let quota = cpu.quota().filter(|quota| *quota > 0);
        let quota = quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
        all.put("cpu.max", &format!("{quota} {}", cpu.period().unwrap_or(100_000)));
    }
    if let Some(burst) = cpu.burst() {
        all.put("cpu.max.burst", &burst);
    }
    if let Some(idle) = cpu.idle() {
        all.put("cpu.idle", &idle);
    }
    for (file, list) in [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())] {
        if let Some(list) = list.as_deref().filter(|list| !list.is_empty()) {
            all.put(file, &list);
        }
    }
    Ok(())
}

/// From 2..=262144 to 1..=10000.
fn weight_of(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

fn io_of(io: &LinuxBlockIo, all: &mut Settings) -> Result<(), BundleError> {
    if io.leaf_weight().is_some() {
        let key = "linux.resources.blockIO.leafWeight";
        return Err(cannot(key, "cgroup v2 has nothing like it"));
    }
    // From 10..=1000 to 1..=10000.
    let weight = |weight: u16| 1 + (u32::from(weight).clamp(10, 1000) - 10) * 9999 / 990;
    if let Some(all_devices) = io.weight().filter(|weight| *weight != 0) {
        all.put("io.weight", &weight(all_devices));
    }
    for device in io.weight_device().iter().flatten() {
        if let Some(own) = device.weight() {
            let (major, minor) = (device.major(), device.minor());
            all.put("io.weight", &format!("{major}:{minor} {}", weight(own)));
        }
    }
    let throttles: [(&str, &Option<Vec<LinuxThrottleDevice>>); 4] = [
        ("rbps", io.throttle_read_bps_device()),
        ("wbps", io.throttle_write_bps_device()),
        ("riops", io.throttle_read_iops_device()),
        ("wiops", io.throttle_write_iops_device()),
    ];
    for (word, devices) in throttles {
        for device in devices.iter().flatten() {
            let (major, minor, rate) = (device.major(), device.minor(), device.rate());
            all.put("io.max", &format!("{major}:{minor} {word}={rate}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn lines(resources: serde_json::Value) -> Result<Vec<String>, String> {
        let resources = serde_json::from_value(resources).unwrap();
        let settings = of(&resources).map_err(|err| err.to_string())?;
        Ok(settings.iter().map(|limit| format!("{}={}", limit.file, limit.value)).collect())
    }

    #[rstest]
    #[case::memory(json!({"memory": {"limit": 64, "swap": 100, "reservation": 5}}), "memory.max=64 memory.swap.max=36 memory.low=5")]
    #[case::no_limit(json!({"memory": {"limit": -1, "swap": -1}, "pids": {"limit": -1}}), "memory.max=max memory.swap.max=max pids.max=max")]
    #[case::shares(json!({"cpu": {"shares": 2}}), "cpu.weight=1")]
    #[case::most_shares(json!({"cpu": {"shares": 262_144}}), "cpu.weight=10000")]
    #[case::period_alone(json!({"cpu": {"period": 5000}}), "cpu.max=max 5000")]
    #[case::set(json!({"cpu": {"quota": 10, "period": 20, "cpus": "0-1", "mems": ""}}), "cpu.max=10 20 cpuset.cpus=0-1")]
    #[case::io(json!({"blockIO": {"weight": 1000, "throttleReadBpsDevice": [{"major": 8, "minor": 1, "rate": 9}]}}), "io.weight=10000 io.max=8:1 rbps=9")]
    #[case::huge(json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 7}]}), "hugetlb.2MB.max=7")]
    #[case::unified(json!({"unified": {"memory.high": "5"}}), "memory.high=5")]
    fn are_files_of_the_cgroup(#[case] resources: serde_json::Value, #[case] expected: &str) {
        assert_eq!(lines(resources).unwrap().join(" "), expected);
    }

    #[rstest]
    #[case::swap_alone(json!({"memory": {"swap": 100}}), "linux.resources.memory.swap: needs")]
    #[case::less_than_memory(json!({"memory": {"limit": 200, "swap": 100}}), "memory.swap: is less")]
    #[case::real_time(json!({"cpu": {"realtimeRuntime": 1}}), "realtimeRuntime: cgroup v2")]
    #[case::kernel(json!({"memory": {"kernel": 1}}), "memory.kernel: cgroup v2")]
    #[case::elsewhere(json!({"unified": {"../memory.high": "5"}}), "is no file")]
    fn refuses_what_cannot_be_said(#[case] resources: serde_json::Value, #[case] reason: &str) {
        let said = lines(resources).unwrap_err();
        assert!(said.contains(reason), "{said}");
    }
}
