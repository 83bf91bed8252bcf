//! What tells of backups: job files, schedules, names, retention. Never a panic, and a job file that
//! was written is read as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pve_integration::calendar::CalendarEvent;
use pve_integration::jobs::Jobs;
use pve_integration::vzdump::{ArchiveInfo, Retention, check_template};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let jobs = Jobs::parse(&text);
    assert_eq!(Jobs::parse(&jobs.to_text()), jobs, "a job file came back changed");
    if let Ok(event) = text.parse::<CalendarEvent>() {
        let next = event.next(1_800_000_000, &jiff::tz::TimeZone::UTC);
        assert!(next.is_none_or(|next| next > 1_800_000_000));
    }
    ArchiveInfo::of(&text);
    drop(Retention::parse(&text));
    drop(check_template(&text));
});
