//! Figures from `/proc` of a container's first process.

use std::path::Path;

use rustix::fs::statvfs;

/// Bytes received and sent over all interfaces but loopback. None if the container shares our
/// network namespace: those would be the host's.
pub(super) fn traffic(proc_dir: &Path, process: &Path) -> (u64, u64) {
    let namespace = |process: &Path| fs_err::read_link(process.join("ns/net")).ok();
    if namespace(process).is_none_or(|theirs| namespace(&proc_dir.join("self")) == Some(theirs)) {
        return (0, 0);
    }
    sum_interfaces(&fs_err::read_to_string(process.join("net/dev")).unwrap_or_default())
}

fn sum_interfaces(text: &str) -> (u64, u64) {
    let counters = text.lines().filter_map(|line| {
        let (name, counters) = line.split_once(':')?;
        let mut numbers = counters.split_whitespace().map(str::parse::<u64>);
        let received = numbers.next()?.ok()?;
        // Seven more columns are about receiving.
        let sent = numbers.nth(7)?.ok()?;
        (name.trim() != "lo").then_some((received, sent))
    });
    counters.fold((0, 0), |sum, each| (sum.0.saturating_add(each.0), sum.1.saturating_add(each.1)))
}

/// Used and total bytes of the file system at `root`.
pub(super) fn disk(root: &Path) -> (u64, u64) {
    let Ok(stat) = statvfs(root) else { return (0, 0) };
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    (bytes(stat.f_blocks.saturating_sub(stat.f_bfree)), bytes(stat.f_blocks))
}

/// Seconds since the process started.
pub(super) fn uptime(proc_dir: &Path, process: &Path) -> u64 {
    let text = fs_err::read_to_string(proc_dir.join("uptime")).unwrap_or_default();
    let now: u64 = text.split('.').next().and_then(|text| text.parse().ok()).unwrap_or_default();
    let started =
        fs_err::read_to_string(process.join("stat")).ok().and_then(|stat| start_ticks(&stat));
    started.map_or(0, |ticks| now.saturating_sub(ticks / rustix::param::clock_ticks_per_second()))
}

/// When the process with this pid started, in clock ticks since boot. Together they name a process
/// for ever; `None` if there is none.
pub(crate) fn init_start(proc_dir: &Path, pid: u32) -> Option<u64> {
    start_ticks(&fs_err::read_to_string(proc_dir.join(format!("{pid}/stat"))).ok()?)
}

/// Field 22 of `/proc/PID/stat`. The command in brackets may hold blanks and brackets. A zombie, which
/// nobody has reaped, is no process any more.
fn start_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_all_interfaces_but_loopback() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
            face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
            lo:  999       1    0    0    0     0          0         0      999       1    0    0    0     0       0          0\n  \
            eth0: 1000       9    0    0    0     0          0         0     2000       8    0    0    0     0       0          0\n  \
            eth1:    1       9    0    0    0     0          0         0        2       8    0    0    0     0       0          0\n";
        assert_eq!(sum_interfaces(text), (1001, 2002));
    }

    #[test]
    fn finds_the_start_behind_an_odd_name() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 10 11";
        assert_eq!(start_ticks(stat), Some(987_654));
    }

    #[test]
    fn a_zombie_is_no_process() {
        let stat = "42 (init) Z 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 10 11";
        assert_eq!(start_ticks(stat), None);
    }

    #[test]
    fn traffic_of_our_own_namespace_is_not_the_containers() {
        assert_eq!(traffic(Path::new("/proc"), Path::new("/proc/self")), (0, 0));
    }
}
