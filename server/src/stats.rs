//! What a running container uses: figures of its cgroup, its network namespace and its root file
//! system, read from files only. Which container has which pid and cgroup is for `guests` to know.

mod cgroup;
mod proc;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use openapi::Vmid;

pub(crate) use cgroup::{Cgroup, Pressure};
pub(crate) use proc::init_start;

/// Bytes, unless the name says otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    pub(crate) mem: u64,
    pub(crate) swap: u64,
    pub(crate) diskread: u64,
    pub(crate) diskwrite: u64,
    pub(crate) netin: u64,
    pub(crate) netout: u64,
    /// Of the root file system; zero if it cannot be asked.
    pub(crate) disk: u64,
    pub(crate) maxdisk: u64,
    pub(crate) uptime_s: u64,
    /// Share of the container's own CPUs since the poll before.
    pub(crate) cpu: f64,
    /// `None` where the kernel has no pressure files for it (cgroup v1).
    pub(crate) pressure: Option<Pressure>,
}

/// The last CPU time of each container, because load is a difference of two readings.
#[derive(Debug, Default)]
pub(crate) struct CpuMeter(Mutex<HashMap<Vmid, Reading>>);

#[derive(Clone, Copy, Debug)]
struct Reading {
    pid: u32,
    at: Instant,
    used_us: u64,
    load: f64,
}

/// Less CPU time than this could have been spent between two polls (over all CPUs of the host):
/// the last result stands, as in `vmstatus` of pve-container's `PVE/LXC.pm`.
const MIN_SPAN_S: f64 = 1.0;

impl CpuMeter {
    /// `cpus` is what the container may use, `host_cpus` what there is.
    pub(crate) fn load(
        &self,
        vmid: Vmid,
        pid: u32,
        used_us: u64,
        cpus: f64,
        host_cpus: u32,
    ) -> f64 {
        self.load_at(
            Instant::now(),
            Reading { pid, at: Instant::now(), used_us, load: 0.0 },
            vmid,
            cpus,
            host_cpus,
        )
    }

    fn load_at(&self, now: Instant, new: Reading, vmid: Vmid, cpus: f64, host_cpus: u32) -> f64 {
        let mut readings = self.0.lock().expect("nothing panics while it holds the lock");
        let Some(old) = readings.get_mut(&vmid).filter(|old| old.pid == new.pid) else {
            readings.insert(vmid, Reading { at: now, ..new });
            return 0.0;
        };
        let span_s = now.duration_since(old.at).as_secs_f64();
        if span_s * f64::from(host_cpus) > MIN_SPAN_S && cpus > 0.0 {
            let used = std::time::Duration::from_micros(new.used_us.saturating_sub(old.used_us));
            *old = Reading { at: now, load: used.as_secs_f64() / span_s / cpus, ..new };
        }
        old.load
    }

    /// Forget containers that are gone.
    pub(crate) fn retain(&self, keep: impl Fn(Vmid) -> bool) {
        let mut readings = self.0.lock().expect("nothing panics while it holds the lock");
        readings.retain(|vmid, _| keep(*vmid));
    }
}

/// Everything but the CPU share, which needs two readings. What cannot be read counts as nothing: a
/// container may end while we look.
pub(crate) fn read(proc_dir: &Path, cgroup: &Cgroup, pid: u32) -> Usage {
    let process = proc_dir.join(pid.to_string());
    let (mem, swap) = cgroup.memory();
    let (diskread, diskwrite) = cgroup.io();
    let (netin, netout) = proc::traffic(proc_dir, &process);
    let (disk, maxdisk) = proc::disk(&process.join("root"));
    let uptime_s = proc::uptime(proc_dir, &process);
    let pressure = cgroup.pressure();
    Usage {
        mem,
        swap,
        diskread,
        diskwrite,
        netin,
        netout,
        disk,
        maxdisk,
        uptime_s,
        cpu: 0.0,
        pressure,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn vmid() -> Vmid {
        "101".parse().unwrap()
    }

    #[test]
    fn load_is_the_share_of_the_containers_own_cpus() {
        let meter = CpuMeter::default();
        let start = Instant::now();
        let poll = |after_ms: u64, used_us| {
            let reading = Reading { pid: 7, at: start, used_us, load: 0.0 };
            meter.load_at(start + Duration::from_millis(after_ms), reading, vmid(), 2.0, 4)
        };

        assert!(poll(0, 1_000_000).abs() < 1e-9, "the first poll has nothing to compare with");
        assert!((poll(1000, 2_000_000) - 0.5).abs() < 1e-9);
        assert!((poll(1100, 9_000_000) - 0.5).abs() < 1e-9, "too soon: the last result stands");
    }

    #[test]
    fn a_restarted_container_starts_anew() {
        let meter = CpuMeter::default();
        let start = Instant::now();
        let poll = |pid, after_s: u64, used_us| {
            let reading = Reading { pid, at: start, used_us, load: 0.0 };
            meter.load_at(start + Duration::from_secs(after_s), reading, vmid(), 1.0, 1)
        };

        poll(7, 0, 9_000_000);
        assert!(poll(8, 2, 1_000_000).abs() < 1e-9);
        assert!((poll(8, 4, 2_000_000) - 0.5).abs() < 1e-9);
    }
}
