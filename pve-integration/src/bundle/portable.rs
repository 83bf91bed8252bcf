//! The bundle for somebody else: with its limits in OCI's words. A start sets them on the cgroup above
//! the one that the runtime makes.

use serde_json::{Value, json};

use super::limits::Setting;
use super::{Bundle, to_value};

/// The kernel's name of a limit of a device, and OCI's list of them.
pub(super) const THROTTLES: [(&str, &str); 4] = [
    ("rbps", "throttleReadBpsDevice"),
    ("wbps", "throttleWriteBpsDevice"),
    ("riops", "throttleReadIOPSDevice"),
    ("wiops", "throttleWriteIOPSDevice"),
];

impl Bundle {
    /// The document with `linux.resources` complete.
    pub fn with_limits(&self) -> Value {
        let mut document = to_value(&self.spec);
        let resources = &mut document["linux"]["resources"];
        for limit in &self.limits {
            if place(resources, limit).is_none() {
                resources["unified"][&*limit.file] = limit.value.as_str().into();
            }
        }
        document
    }
}

/// `None` if OCI has no words for it but the file's own.
fn place(resources: &mut Value, limit: &Setting) -> Option<()> {
    let number = || limit.value.parse::<i64>().ok();
    match &*limit.file {
        "memory.max" | "memory.limit_in_bytes" => resources["memory"]["limit"] = number()?.into(),
        "memory.swap.max" => {
            // OCI counts both together, as cgroup v1 did.
            let memory = resources["memory"]["limit"].as_i64()?;
            resources["memory"]["swap"] = memory.checked_add(number()?)?.into();
        }
        "memory.memsw.limit_in_bytes" => resources["memory"]["swap"] = number()?.into(),
        "cpu.max" => {
            let (quota, period) = limit.value.split_once(' ')?;
            let (quota, period): (i64, u64) = (quota.parse().ok()?, period.parse().ok()?);
            resources["cpu"]["quota"] = quota.into();
            resources["cpu"]["period"] = period.into();
        }
        "cpu.cfs_quota_us" => resources["cpu"]["quota"] = number()?.into(),
        "cpu.cfs_period_us" => resources["cpu"]["period"] = number()?.into(),
        "cpu.shares" => resources["cpu"]["shares"] = number()?.into(),
        "cpuset.cpus" => resources["cpu"]["cpus"] = limit.value.as_str().into(),
        "pids.max" => resources["pids"]["limit"] = number()?.into(),
        "io.max" => throttle(resources, &limit.value)?,
        file => {
            let page = file.strip_prefix("hugetlb.")?.strip_suffix(".max")?;
            let limit = json!({ "pageSize": page, "limit": number()? });
            push(&mut resources["hugepageLimits"], limit);
        }
    }
    Some(())
}

/// `8:0 rbps=1048576 wiops=100`
fn throttle(resources: &mut Value, line: &str) -> Option<()> {
    let mut words = line.split_whitespace();
    let (major, minor) = words.next()?.split_once(':')?;
    let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
    let mut found = Vec::new();
    for word in words {
        let (name, rate) = word.split_once('=')?;
        let (_, list) = THROTTLES.iter().find(|(known, _)| *known == name)?;
        found.push((list, rate.parse::<u64>().ok()?));
    }
    for (list, rate) in found {
        push(
            &mut resources["blockIO"][*list],
            json!({ "major": major, "minor": minor, "rate": rate }),
        );
    }
    Some(())
}

fn push(list: &mut Value, element: Value) {
    match list.as_array_mut() {
        Some(list) => list.push(element),
        None => *list = json!([element]),
    }
}
