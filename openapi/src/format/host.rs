//! Formats of what lies on a node or in a container: paths, start order, time zones, batches.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use serde_json::Value;

use super::{all, ensure};

pub(super) fn mount_path(text: &str) -> Result<(), String> {
    let dots = |part: &str| part == "." || part == "..";
    // The first part may be a dot: a path that is not absolute is refused elsewhere.
    let good = !text.split('/').skip(1).any(dots) && !text.starts_with("../");
    ensure(good, || format!("{text} contains illegal character sequences"))
}

pub(super) fn device_path(text: &str) -> Result<(), String> {
    let dots = |part: &str| part == "." || part == "..";
    let good = text.starts_with("/dev/") && !text.split('/').any(dots);
    ensure(good, || format!("{text} is not a valid device path"))
}

pub(super) fn startup_order(text: &str) -> Result<(), String> {
    let number = |text: &str| all(text, |c| c.is_ascii_digit());
    let part = |part: &str| {
        let plain = part.strip_prefix("order=").unwrap_or(part);
        let delay = part.strip_prefix("up=").or_else(|| part.strip_prefix("down="));
        part.trim().is_empty() || number(plain) || delay.is_some_and(number)
    };
    let good = super::is_true(text) && text.split(',').all(part);
    ensure(good, || "unable to parse startup options".to_owned())
}

pub(super) fn task_status(text: &str) -> Result<(), String> {
    let known = ["ok", "error", "warning", "unknown"];
    ensure(known.iter().any(|status| status.eq_ignore_ascii_case(text)), || {
        format!("invalid status '{text}'")
    })
}

/// `host`, `UTC` or what this machine's own list has, as in PVE: without tzdata that is nothing.
pub(super) fn container_timezone(text: &str) -> Result<(), String> {
    let good = matches!(text, "host" | "UTC") || zones().contains(text);
    ensure(good, || format!("invalid time zone '{text}'"))
}

fn zones() -> &'static BTreeSet<String> {
    static ZONES: OnceLock<BTreeSet<String>> = OnceLock::new();
    ZONES.get_or_init(|| {
        let table = fs_err::read_to_string("/usr/share/zoneinfo/zone.tab").unwrap_or_default();
        table
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .filter_map(|line| line.split('\t').nth(2))
            .map(str::to_owned)
            .collect()
    })
}

/// A JSON array of `{path, method, args}`.
pub(super) fn command_batch(text: &str) -> Result<(), String> {
    let batch: Value = serde_json::from_str(text)
        .map_err(|err| format!("commands param did not contain valid JSON: {err}"))?;
    let command = |command: &Value| {
        let known = ["GET", "POST", "PUT", "DELETE"];
        command["path"].is_string()
            && command["method"].as_str().is_some_and(|method| known.contains(&method))
            && command.get("args").is_none_or(|args| args.is_object() || args.is_null())
    };
    let good = batch.as_array().is_some_and(|commands| commands.iter().all(command));
    ensure(good, || {
        "commands is not a valid array of commands: Parameter verification failed.\n".to_owned()
    })
}
