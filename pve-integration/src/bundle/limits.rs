//! A limit as a file of the container's cgroup, and those that a container that runs is told of. As `change_memory_limit`, `change_cpu_quota` and `change_cpu_shares` of
//! pve-common's `PVE/CGroup.pm`.

use std::borrow::Cow;
use std::fmt;

use openapi::Vmid;

use super::resources::{MIB, PERIOD, cpus, high, quota};
use crate::ct_config::{Section, ValueError};

/// A value for one file of the container's cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Of which hierarchy, with cgroup v1.
    pub controller: Cow<'static, str>,
    pub file: Cow<'static, str>,
    pub value: String,
}

impl Setting {
    pub(super) fn new(
        controller: &'static str,
        file: &'static str,
        value: &dyn fmt::Display,
    ) -> Self {
        Self { controller: controller.into(), file: file.into(), value: value.to_string() }
    }

    /// Of a file whose name begins with its controller's, as all do.
    pub(super) fn of_file(file: &str, value: &str) -> Self {
        let controller = file.split('.').next().unwrap_or_default().to_owned();
        Self {
            controller: controller.into(),
            file: file.to_owned().into(),
            value: value.to_owned(),
        }
    }
}

/// What the cgroup must be told after `key` got the value it has in `config`, or went away; nothing
/// if no limit depends on it. `host_cpus` is how many the host has.
pub fn settings(
    key: &str,
    config: &Section,
    cgroup_v2: bool,
    host_cpus: u32,
    vmid: Vmid,
) -> Result<Vec<Setting>, ValueError> {
    match key {
        "memory" | "swap" => memory(key, config, cgroup_v2),
        "cpulimit" => {
            let limit = config.number("cpulimit")?.filter(|limit| *limit != 0.0).map(quota);
            Ok(match (cgroup_v2, limit) {
                (true, Some(quota)) => {
                    vec![Setting::new("cpu", "cpu.max", &format_args!("{quota} {PERIOD}"))]
                }
                (true, None) => vec![Setting::new("cpu", "cpu.max", &"max")],
                (false, limit) => vec![
                    Setting::new("cpu", "cpu.cfs_period_us", &PERIOD),
                    Setting::new("cpu", "cpu.cfs_quota_us", &limit.unwrap_or(-1)),
                ],
            })
        }
        "cpuunits" => {
            let units: Option<u64> = config.integer("cpuunits")?;
            if !cgroup_v2 {
                return Ok(vec![Setting::new("cpu", "cpu.shares", &units.unwrap_or(1024))]);
            }
            let weight = units.unwrap_or(100);
            if !(1..=10_000).contains(&weight) {
                return Err(ValueError::new(
                    key,
                    "cpu weight (shares) must be in range [1, 10000]",
                ));
            }
            Ok(vec![Setting::new("cpu", "cpu.weight", &weight)])
        }
        "cores" => {
            let cores = config.integer::<u32>("cores")?.filter(|cores| *cores < host_cpus);
            let list = match cores {
                Some(cores) => cpus(cores, host_cpus, vmid.get()),
                None => format!("0-{}", host_cpus.saturating_sub(1)),
            };
            Ok(vec![Setting::new("cpuset", "cpuset.cpus", &list)])
        }
        _ => Ok(Vec::new()),
    }
}

fn memory(key: &str, config: &Section, cgroup_v2: bool) -> Result<Vec<Setting>, ValueError> {
    let memory: u64 = config.integer("memory")?.unwrap_or(512);
    let swap: u64 = config.integer("swap")?.unwrap_or(0);
    let (bytes, swap) = (memory.saturating_mul(MIB), swap.saturating_mul(MIB));
    Ok(match (cgroup_v2, key) {
        (true, "swap") => vec![Setting::new("memory", "memory.swap.max", &swap)],
        (true, _) => vec![
            Setting::new("memory", "memory.high", &high(memory)),
            Setting::new("memory", "memory.max", &bytes),
        ],
        // v1 counts memory and swap together, so either key moves that limit.
        (false, _) => vec![
            Setting::new("memory", "memory.limit_in_bytes", &bytes),
            Setting::new("memory", "memory.memsw.limit_in_bytes", &bytes.saturating_add(swap)),
        ],
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::ct_config::ContainerConfig;

    fn told(config: &str, key: &str, cgroup_v2: bool) -> Result<Vec<String>, String> {
        let config = ContainerConfig::parse(config.as_bytes());
        let vmid = "100".parse().unwrap();
        let settings = settings(key, config.current(), cgroup_v2, 4, vmid);
        let line = |setting: Setting| format!("{} {}", setting.file, setting.value);
        Ok(settings.map_err(|err| err.to_string())?.into_iter().map(line).collect())
    }

    #[rstest]
    #[case::memory("memory: 1024\n", "memory", true, &["memory.high 1065353216", "memory.max 1073741824"])]
    #[case::much_memory(
        "memory: 32768\n", "memory", true, &["memory.high 34225520640", "memory.max 34359738368"]
    )]
    #[case::swap("swap: 64\n", "swap", true, &["memory.swap.max 67108864"])]
    #[case::no_swap("memory: 64\n", "swap", true, &["memory.swap.max 0"])]
    #[case::v1_counts_both(
        "memory: 64\nswap: 64\n", "swap", false,
        &["memory.limit_in_bytes 67108864", "memory.memsw.limit_in_bytes 134217728"]
    )]
    #[case::cpulimit("cpulimit: 1.5\n", "cpulimit", true, &["cpu.max 150000 100000"])]
    #[case::no_cpulimit("cpulimit: 0\n", "cpulimit", true, &["cpu.max max"])]
    #[case::v1_no_cpulimit("", "cpulimit", false, &["cpu.cfs_period_us 100000", "cpu.cfs_quota_us -1"])]
    #[case::cpuunits("cpuunits: 50\n", "cpuunits", true, &["cpu.weight 50"])]
    #[case::no_cpuunits("", "cpuunits", true, &["cpu.weight 100"])]
    #[case::v1_no_cpuunits("", "cpuunits", false, &["cpu.shares 1024"])]
    #[case::cores("cores: 1\n", "cores", true, &["cpuset.cpus 0"])]
    #[case::all_cores("cores: 9\n", "cores", true, &["cpuset.cpus 0-3"])]
    #[case::no_limit("hostname: x\n", "hostname", true, &[])]
    fn names_files_and_values(
        #[case] config: &str,
        #[case] key: &str,
        #[case] cgroup_v2: bool,
        #[case] expected: &[&str],
    ) {
        assert_eq!(told(config, key, cgroup_v2).unwrap(), expected);
    }

    #[test]
    fn refuses_a_weight_that_the_kernel_has_not() {
        let err = told("cpuunits: 0\n", "cpuunits", true).unwrap_err();
        assert!(err.ends_with("cpu weight (shares) must be in range [1, 10000]"), "{err}");
    }
}
