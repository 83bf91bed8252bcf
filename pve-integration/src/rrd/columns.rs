//! PVE 9's columns, in its order.

/// A figure of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    /// A counter, of which the rate is kept: per second, unknown when it goes back.
    pub derive: bool,
}

pub type Kind = &'static [Column];

const fn gauge(name: &'static str) -> Column {
    Column { name, derive: false }
}

const fn counter(name: &'static str) -> Column {
    Column { name, derive: true }
}

pub const GUEST: Kind = &[
    gauge("maxcpu"),
    gauge("cpu"),
    gauge("maxmem"),
    gauge("mem"),
    gauge("maxdisk"),
    gauge("disk"),
    counter("netin"),
    counter("netout"),
    counter("diskread"),
    counter("diskwrite"),
    gauge("memhost"),
    gauge("pressurecpusome"),
    gauge("pressurecpufull"),
    gauge("pressureiosome"),
    gauge("pressureiofull"),
    gauge("pressurememorysome"),
    gauge("pressurememoryfull"),
];

pub const NODE: Kind = &[
    gauge("loadavg"),
    gauge("maxcpu"),
    gauge("cpu"),
    gauge("iowait"),
    gauge("memtotal"),
    gauge("memused"),
    gauge("swaptotal"),
    gauge("swapused"),
    gauge("roottotal"),
    gauge("rootused"),
    counter("netin"),
    counter("netout"),
    gauge("memavailable"),
    gauge("arcsize"),
    gauge("pressurecpusome"),
    gauge("pressureiosome"),
    gauge("pressureiofull"),
    gauge("pressurememorysome"),
    gauge("pressurememoryfull"),
];

pub const STORAGE: Kind = &[gauge("total"), gauge("used")];
