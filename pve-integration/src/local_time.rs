//! The host's own time zone, as every program of PVE sees it: names of backups and schedules are in
//! local time.

use std::sync::OnceLock;

use fs_err as fs;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Read once, as the C library does. UTC where the host says nothing.
pub fn zone() -> TimeZone {
    static ZONE: OnceLock<TimeZone> = OnceLock::new();
    let read = || {
        let bytes = fs::read("/etc/localtime").ok()?;
        TimeZone::tzif("local", &bytes).ok()
    };
    ZONE.get_or_init(|| read().unwrap_or(TimeZone::UTC)).clone()
}

/// Epoch seconds by `strftime`'s letters.
pub fn format(seconds: i64, format: &str) -> String {
    let time = Timestamp::from_second(seconds).unwrap_or_default();
    zone().to_datetime(time).strftime(format).to_string()
}
