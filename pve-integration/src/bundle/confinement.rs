//! Which kernel files a container sees empty, and which it may only read.

use super::auto_mounts::Access;
use crate::ct_config::{Features, Section};

/// An application has no use for them, and each has leaked something once.
pub(crate) const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

pub(crate) const READONLY: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// LXC's `proc:mixed`.
const READONLY_SYSTEM: &[&str] = &["/proc/sys", "/proc/sysrq-trigger"];

pub(super) fn masked(config: &Section, features: &Features) -> &'static [&'static str] {
    if config.is_application() && !features.nesting { MASKED } else { &[] }
}

/// The kernel refuses a new procfs in a user namespace where parts of the present one are covered,
/// so a container that nests others has none covered.
/// What `lxc.mount.auto` asks for `proc` counts more.
pub(super) fn readonly(
    config: &Section,
    features: &Features,
    asked: Option<Access>,
) -> &'static [&'static str] {
    match (asked, features.nesting, config.is_application()) {
        (Some(Access::Rw), _, _) | (None, true, _) => &[],
        (None, false, true) => READONLY,
        (Some(Access::Mixed | Access::Ro), _, _) | (None, false, false) => READONLY_SYSTEM,
    }
}
