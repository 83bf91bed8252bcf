//! The texts of `/proc`, parsed. Pure.

use std::collections::BTreeSet;

use super::{CpuInfo, Load, Memory, Swap};

/// Clock ticks since the machine started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CpuTimes {
    pub(super) total: u64,
    idle: u64,
    wait: u64,
}

impl CpuTimes {
    pub(super) fn since(self, earlier: Self) -> Load {
        let total = self.total.saturating_sub(earlier.total);
        if total == 0 {
            return Load::default();
        }
        let share = |ticks: u64| ticks as f64 / total as f64;
        let idle = self.idle.saturating_sub(earlier.idle);
        let wait = self.wait.saturating_sub(earlier.wait);
        Load { cpu: share(total.saturating_sub(idle + wait)), wait: share(wait) }
    }
}

/// The sum of all CPUs, the first line of `/proc/stat`. Guest time is in user time already.
pub(super) fn cpu_times(stat: &str) -> Option<CpuTimes> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> =
        line.split_whitespace().take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    let (idle, wait) = (*ticks.get(3)?, *ticks.get(4)?);
    Some(CpuTimes { total: ticks.iter().sum(), idle, wait })
}

pub(super) fn memory(meminfo: &str) -> (Memory, Swap) {
    let bytes = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or_default() * 1024
    };
    let (total, available) = (bytes("MemTotal"), bytes("MemAvailable"));
    let used = total.saturating_sub(available);
    let (swap_total, swap_free) = (bytes("SwapTotal"), bytes("SwapFree"));
    let swap =
        Swap { total: swap_total, free: swap_free, used: swap_total.saturating_sub(swap_free) };
    (Memory { total, free: bytes("MemFree"), used, available }, swap)
}

pub(super) fn cpu_info(cpuinfo: &str) -> CpuInfo {
    let pairs = || {
        cpuinfo.lines().filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.trim_end(), value.trim()))
        })
    };
    let first = |name| pairs().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned());
    let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
    let cpus = count(pairs().filter(|(key, _)| *key == "processor").count()).max(1);
    let sockets: BTreeSet<_> = pairs().filter(|(key, _)| *key == "physical id").collect();
    let sockets = count(sockets.len()).max(1);
    let per_socket = first("cpu cores").and_then(|cores| cores.parse::<u32>().ok());
    let flags = first("flags").or_else(|| first("Features")).unwrap_or_default();
    let hvm = flags.split(' ').any(|flag| flag == "vmx" || flag == "svm");
    CpuInfo {
        cpus,
        sockets,
        cores: per_socket.map_or(cpus, |cores| cores * sockets),
        model: first("model name").unwrap_or_else(|| "unknown".to_owned()),
        vendor: first("vendor_id").unwrap_or_default(),
        family: first("cpu family").unwrap_or_default(),
        mhz: first("cpu MHz").unwrap_or_default(),
        flags,
        hvm: if hvm { "1".to_owned() } else { String::new() },
        user_hz: 100,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_was_neither_idle_nor_waiting() {
        let before = cpu_times("cpu  10 0 10 70 10 0 0 0 5 0\ncpu0 1\n").unwrap();
        let after = cpu_times("cpu  30 0 20 120 20 5 5 0 9 0\n").unwrap();

        let load = after.since(before);

        assert_eq!(after.total - before.total, 100);
        assert!((load.cpu - 0.4).abs() < 1e-9);
        assert!((load.wait - 0.1).abs() < 1e-9);
    }

    #[test]
    fn reads_no_times_from_other_text() {
        assert_eq!(cpu_times(""), None);
        assert_eq!(cpu_times("cpu  1 2\n"), None);
    }

    #[test]
    fn counts_caches_as_available() {
        let text = "MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 600 kB\n\
                    SwapTotal: 50 kB\nSwapFree: 20 kB\n";

        let (memory, swap) = memory(text);

        assert_eq!(memory.used, 400 * 1024);
        assert_eq!(memory.free, 100 * 1024);
        assert_eq!(swap.used, 30 * 1024);
    }

    #[test]
    fn counts_sockets_and_cores() {
        let one = "processor\t: 0\nphysical id\t: 0\ncpu cores\t: 2\nmodel name\t: X 1\n\
                   flags\t\t: fpu svm\n\n";
        let text = format!("{one}{}", one.replace("id\t: 0", "id\t: 1"));

        let info = cpu_info(&text);

        assert_eq!((info.cpus, info.sockets, info.cores), (2, 2, 4));
        assert_eq!((info.model.as_str(), info.hvm.as_str()), ("X 1", "1"));
    }
}
