//! How the machine is doing: what `nodes` and `nodes/N/status` report. Reads `/proc` and `/sys` when
//! asked; remembers only the last CPU times, because load is a difference of two readings.

mod proc;

use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use pve_integration::layout::Root;
use rustix::fs::statvfs;
use serde::Serialize;
use utoipa::ToSchema;

use self::proc::CpuTimes;

/// Fewer ticks than this between two readings say nothing; the last result stands.
const MIN_TICKS: u32 = 50;

pub(crate) struct HostStatus {
    root: Root,
    cpu: CpuInfo,
    load: Mutex<LoadReading>,
}

/// The last CPU times, and the load until then.
struct LoadReading {
    at: Instant,
    times: CpuTimes,
    load: Load,
}

/// Shares of all CPUs' time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Load {
    pub(crate) cpu: f64,
    pub(crate) wait: f64,
}

/// Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Memory {
    pub(crate) total: u64,
    pub(crate) free: u64,
    pub(crate) used: u64,
    pub(crate) available: u64,
}

/// Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Swap {
    pub(crate) total: u64,
    pub(crate) free: u64,
    pub(crate) used: u64,
}

/// Bytes; `avail` is what users other than root may still take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Disk {
    pub(crate) total: u64,
    pub(crate) free: u64,
    pub(crate) used: u64,
    pub(crate) avail: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct CpuInfo {
    pub(crate) cpus: u32,
    pub(crate) sockets: u32,
    pub(crate) cores: u32,
    pub(crate) model: String,
    pub(crate) vendor: String,
    pub(crate) family: String,
    /// As text, because the kernel's three decimals stay.
    pub(crate) mhz: String,
    pub(crate) flags: String,
    /// `1` or nothing: whether virtual machines could run.
    pub(crate) hvm: String,
    pub(crate) user_hz: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Kernel {
    pub(crate) sysname: String,
    pub(crate) release: String,
    pub(crate) version: String,
    pub(crate) machine: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Boot {
    pub(crate) mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secureboot: Option<u8>,
}

impl HostStatus {
    pub(crate) fn new(root: Root) -> Self {
        let text = fs_err::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let times = proc::cpu_times(&fs_err::read_to_string("/proc/stat").unwrap_or_default());
        let times = times.unwrap_or_default();
        let load = LoadReading { at: Instant::now(), times, load: Load::default() };
        Self { root, cpu: proc::cpu_info(&text), load: Mutex::new(load) }
    }

    pub(crate) fn cpu(&self) -> &CpuInfo {
        &self.cpu
    }

    /// Since the reading before this one.
    pub(crate) fn load(&self) -> Load {
        let mut last = self.load.lock().expect("nothing panics while it holds the lock");
        let ticks = last.at.elapsed().as_secs_f64() * f64::from(self.cpu.user_hz);
        // To make this text costs the kernel more than all else we read.
        if ticks * f64::from(self.cpu.cpus.max(1)) < f64::from(MIN_TICKS) {
            return last.load;
        }
        let text = fs_err::read_to_string("/proc/stat").unwrap_or_default();
        if let Some(now) = proc::cpu_times(&text)
            && now.total.saturating_sub(last.times.total) >= u64::from(MIN_TICKS)
        {
            *last = LoadReading { at: Instant::now(), times: now, load: now.since(last.times) };
        }
        last.load
    }

    pub(crate) fn memory(&self) -> io::Result<(Memory, Swap)> {
        Ok(proc::memory(&fs_err::read_to_string("/proc/meminfo")?))
    }

    /// Three texts, as the kernel prints them.
    pub(crate) fn load_average(&self) -> io::Result<Vec<String>> {
        let text = fs_err::read_to_string("/proc/loadavg")?;
        Ok(text.split_whitespace().take(3).map(str::to_owned).collect())
    }

    /// Seconds.
    pub(crate) fn uptime(&self) -> io::Result<u64> {
        let text = fs_err::read_to_string("/proc/uptime")?;
        Ok(text.split('.').next().and_then(|seconds| seconds.parse().ok()).unwrap_or_default())
    }

    /// The file system that the daemon's root is on.
    pub(crate) fn disk(&self) -> io::Result<Disk> {
        let stat = statvfs(self.root.prefix())?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        let (total, free) = (bytes(stat.f_blocks), bytes(stat.f_bfree));
        Ok(Disk { total, free, used: total.saturating_sub(free), avail: bytes(stat.f_bavail) })
    }

    pub(crate) fn kernel(&self) -> Kernel {
        let uname = rustix::system::uname();
        let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
        Kernel {
            sysname: text(uname.sysname()),
            release: text(uname.release()),
            version: text(uname.version()),
            machine: text(uname.machine()),
        }
    }

    /// Bytes that same-page merging shares.
    pub(crate) fn merged_pages(&self) -> u64 {
        let text = fs_err::read_to_string("/sys/kernel/mm/ksm/pages_sharing").unwrap_or_default();
        let pages: u64 = text.trim().parse().unwrap_or_default();
        pages.saturating_mul(rustix::param::page_size() as u64)
    }

    pub(crate) fn boot(&self) -> Boot {
        let efi = Path::new("/sys/firmware/efi");
        if !efi.exists() {
            return Boot { mode: "legacy-bios", secureboot: None };
        }
        // Four bytes of attributes, then the flag.
        let flag = efi.join("efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c");
        let on = fs_err::read(flag).is_ok_and(|bytes| bytes.get(4) == Some(&1));
        Boot { mode: "efi", secureboot: Some(u8::from(on)) }
    }
}
