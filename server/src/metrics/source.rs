//! The figures of this moment, in the order of the columns; NaN is what does not apply.

use std::path::Path;

use openapi::answer::{Cpus, GuestRow, GuestState};
use openapi::{NodeName, StorageId};
use pve_integration::layout::Root;
use pve_integration::storage::StorageConfig;

use crate::host_status::HostStatus;

const UNKNOWN: f64 = f64::NAN;

/// As `update_lxc_status` of pve-manager's pvestatd.
pub(super) fn guest(row: &GuestRow) -> Vec<f64> {
    let cpus = match &row.cpus {
        Cpus::Whole(count) => f64::from(*count),
        Cpus::Limit(limit) => limit.parse().unwrap_or(UNKNOWN),
    };
    let runs = row.status == GuestState::Running && row.pid.is_some();
    let of_running = |value: f64| if runs { value } else { UNKNOWN };
    let counter = |count: u64| of_running(count as f64);
    let pressure = |text: &Option<String>| {
        of_running(text.as_deref().and_then(|text| text.parse().ok()).unwrap_or(UNKNOWN))
    };
    vec![
        cpus,
        of_running(row.cpu),
        row.maxmem as f64,
        of_running(row.mem as f64),
        row.maxdisk as f64,
        row.disk as f64,
        counter(row.netin),
        counter(row.netout),
        counter(row.diskread),
        counter(row.diskwrite),
        UNKNOWN, // `memhost`, of virtual machines
        pressure(&row.pressurecpusome),
        pressure(&row.pressurecpufull),
        pressure(&row.pressureiosome),
        pressure(&row.pressureiofull),
        pressure(&row.pressurememorysome),
        pressure(&row.pressurememoryfull),
    ]
}

/// As `update_node_status`.
pub(super) fn node(host: &HostStatus) -> Vec<f64> {
    let average = host.load_average().ok();
    let average = average.and_then(|texts| texts.first()?.parse().ok()).unwrap_or(UNKNOWN);
    let load = host.load();
    let memory = host.memory().ok();
    let of_memory = |figure: fn(&(crate::host_status::Memory, crate::host_status::Swap)) -> u64| {
        memory.as_ref().map_or(UNKNOWN, |memory| figure(memory) as f64)
    };
    let disk = host.disk().ok();
    let (netin, netout) = traffic(Path::new("/sys/class/net"));
    let pressure = |name: &str, line: &str| {
        let text = fs_err::read_to_string(Path::new("/proc/pressure").join(name));
        avg10(&text.unwrap_or_default(), line).unwrap_or(UNKNOWN)
    };
    vec![
        average,
        f64::from(host.cpu().cpus),
        load.cpu,
        load.wait,
        of_memory(|(memory, _)| memory.total),
        of_memory(|(memory, _)| memory.used),
        of_memory(|(_, swap)| swap.total),
        of_memory(|(_, swap)| swap.used),
        disk.map_or(UNKNOWN, |disk| disk.total as f64),
        disk.map_or(UNKNOWN, |disk| disk.used as f64),
        netin,
        netout,
        of_memory(|(memory, _)| memory.available),
        arc_size(&fs_err::read_to_string("/proc/spl/kstat/zfs/arcstats").unwrap_or_default()),
        pressure("cpu", "some"),
        pressure("io", "some"),
        pressure("io", "full"),
        pressure("memory", "some"),
        pressure("memory", "full"),
    ]
}

/// Bytes in and out of the network cards. What is behind a device is one; bridges are not.
fn traffic(class: &Path) -> (f64, f64) {
    let cards = fs_err::read_dir(class).into_iter().flatten().flatten();
    let cards = cards.map(|entry| entry.path()).filter(|card| card.join("device").exists());
    cards.fold((0.0, 0.0), |(netin, netout), card| {
        let count = |name: &str| {
            let text = fs_err::read_to_string(card.join("statistics").join(name));
            text.ok().and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or_default() as f64
        };
        (netin + count("rx_bytes"), netout + count("tx_bytes"))
    })
}

/// `some avg10=0.00 avg60=…`
fn avg10(text: &str, line: &str) -> Option<f64> {
    let line = text.lines().find_map(|text| text.strip_prefix(line))?;
    line.split_whitespace().find_map(|word| word.strip_prefix("avg10="))?.parse().ok()
}

/// `size 4 BYTES`; a host without ZFS has none.
fn arc_size(text: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with("size "));
    line.and_then(|line| line.split_whitespace().nth(2)?.parse().ok()).unwrap_or_default()
}

/// Total and used bytes of the storages of this node that answer.
pub(super) fn storages(root: &Root, node: &NodeName) -> Vec<(StorageId, Vec<f64>)> {
    let Ok(config) = StorageConfig::read(root) else { return Vec::new() };
    let here = config.iter().filter(|storage| storage.on_node(node) && storage.enabled());
    here.filter_map(|storage| {
        let usage = config.dir(root, node, storage.id()).ok()?.status().ok()?;
        Some((storage.id().clone(), vec![usage.total as f64, usage.used as f64]))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernel_s_texts() {
        let text = "some avg10=1.50 avg60=0.10 total=5\nfull avg10=0.25 avg60=0.00 total=1\n";
        assert_eq!(avg10(text, "some"), Some(1.5));
        assert_eq!(avg10(text, "full"), Some(0.25));
        assert_eq!(avg10("", "some"), None);
        assert!((arc_size("c 4 1\nsize 4 4096\n") - 4096.0).abs() < 1e-9);
    }

    #[test]
    fn counts_cards_and_no_bridges() {
        let dir = tempfile::tempdir().unwrap();
        for (name, card) in [("eth0", true), ("vmbr0", false), ("eth1", true)] {
            let path = dir.path().join(name);
            fs_err::create_dir_all(path.join("statistics")).unwrap();
            fs_err::write(path.join("statistics/rx_bytes"), "100\n").unwrap();
            fs_err::write(path.join("statistics/tx_bytes"), "7\n").unwrap();
            if card {
                fs_err::create_dir(path.join("device")).unwrap();
            }
        }
        let (netin, netout) = traffic(dir.path());
        assert!((netin - 200.0).abs() < 1e-9 && (netout - 14.0).abs() < 1e-9);
    }
}
