//! The signal that asks a container to end.

use super::{BundleError, wrong};
use crate::ct_config::ContainerConfig;

const SIGTERM: i32 = 15;
const SIGPWR: i32 = 30;
/// glibc's, after the two that its threads use.
const SIGRTMIN: i32 = 34;
const SIGRTMAX: i32 = 64;
/// systemd: "halt".
const HALT: i32 = SIGRTMIN + 3;

const NAMES: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", SIGTERM),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", SIGPWR),
    ("SYS", 31),
];

/// `lxc.signal.halt` if it is set; SIGTERM for an application; for an init system what lxc-stop
/// does: SIGRTMIN+3 if init handles it (`status` is its `/proc/PID/status`), else SIGPWR.
pub fn stop_signal(config: &ContainerConfig, status: &str) -> i32 {
    let set = config.current().lxc_values("lxc.signal.halt").last();
    match set.and_then(parse) {
        Some(signal) => signal,
        None if config.is_application() => SIGTERM,
        None if awaits_halt(status) => HALT,
        None => SIGPWR,
    }
}

/// A start refuses what is no signal, so that nobody finds out at the end.
pub(super) fn check(config: &ContainerConfig) -> Result<(), BundleError> {
    match config.current().lxc_values("lxc.signal.halt").find(|text| parse(text).is_none()) {
        Some(text) => Err(wrong("lxc.signal.halt", format!("'{text}' is not a signal"))),
        None => Ok(()),
    }
}

/// Names with and without `SIG`, numbers, `RTMIN+n` and `RTMAX-n`, as lxc.container.conf(5).
fn parse(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse() {
        return (1..=SIGRTMAX).contains(&number).then_some(number);
    }
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let offset = |rest: &str| rest.parse::<i32>().ok().filter(|n| (0..=30).contains(n));
    if name == "RTMIN" || name == "RTMAX" {
        return Some(if name == "RTMIN" { SIGRTMIN } else { SIGRTMAX });
    }
    if let Some(rest) = name.strip_prefix("RTMIN+") {
        return Some(SIGRTMIN + offset(rest)?);
    }
    if let Some(rest) = name.strip_prefix("RTMAX-") {
        return Some(SIGRTMAX - offset(rest)?);
    }
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// systemd blocks its signals and reads them from a signalfd; others may install a handler.
fn awaits_halt(status: &str) -> bool {
    let bit = 1_u64 << (HALT - 1);
    let masks = status.lines().filter_map(|line| {
        let mask = line.strip_prefix("SigBlk:").or_else(|| line.strip_prefix("SigCgt:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    });
    masks.fold(0, |all, mask| all | mask) & bit != 0
}
