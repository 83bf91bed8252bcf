//! Formats of storages: sizes, paths, kinds of content.

use super::ids::is_word;
use super::{all, ensure};
use crate::property_string::parse_size;

pub(super) fn disk_size(text: &str) -> Result<(), String> {
    let good = parse_size(text).is_some();
    ensure(good, || format!("value does not look like a valid disk size: {text}"))
}

pub(super) fn content(text: &str) -> Result<(), String> {
    let known = ["images", "rootdir", "vztmpl", "iso", "backup", "snippets", "none", "import"];
    ensure(known.contains(&text), || format!("invalid content type '{text}'"))
}

pub(super) fn mount_options(text: &str) -> Result<(), String> {
    ensure(all(text, |c| !c.is_whitespace()), || format!("invalid options '{text}'"))
}

/// An absolute path; PVE looks no further than the first character after the slash.
pub(super) fn path(text: &str) -> Result<(), String> {
    let good = text
        .strip_prefix('/')
        .is_some_and(|rest| rest.starts_with(|c: char| !matches!(c, ';' | '(' | ')')));
    ensure(good, || "value does not look like a valid absolute path".to_owned())
}

pub(super) fn volume_group(text: &str) -> Result<(), String> {
    let edge = |c: char| c.is_ascii_alphanumeric();
    let good = text.len() >= 2
        && text.starts_with(edge)
        && text.ends_with(edge)
        && all(text, |c| c.is_ascii() && (is_word(c) || c == '.' || c == '-'));
    ensure(good, || format!("lvm name '{text}' contains illegal characters"))
}

/// `content=relative/path`, without two dots in a row.
pub(super) fn dir_override(text: &str) -> Result<(), String> {
    let invalid = || format!("invalid override '{text}'");
    let (kind, path) = text.split_once('=').ok_or_else(invalid)?;
    let shaped = all(kind, |c| c.is_ascii_lowercase())
        && !path.is_empty()
        && !path.contains("..")
        && !path.ends_with('.');
    ensure(shaped, invalid)?;
    content(kind)?;
    let short = path.chars().count() < 1023 && path.split('/').all(|p| p.chars().count() < 255);
    ensure(short, invalid)
}

/// A power of two from 512 to 16 MiB, `k` or `m` at its end perhaps.
pub(super) fn zfs_block_size(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    let digits = text.trim_end_matches(['k', 'K', 'm', 'M']);
    let factor: u64 = match text.get(digits.len()..).unwrap_or_default() {
        "" => 1,
        "k" | "K" => 1024,
        "m" | "M" => 1024 * 1024,
        _ => 0,
    };
    let shaped = factor != 0 && !digits.starts_with('0') && all(digits, |c| c.is_ascii_digit());
    ensure(shaped, || {
        format!(
            "invalid ZFS blocksize format '{text}'. Use a positive number \
             (no leading zeros) with an optional 'k' or 'm' suffix."
        )
    })?;
    let size = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    let good = size.is_some_and(|n| n.is_power_of_two() && (512..=16 << 20).contains(&n));
    ensure(good, || {
        format!(
            "value '{text}' is not a valid ZFS blocksize. Must be a power of 2 \
             between 512B and 16MiB (e.g., 4k, 8k, 16k, 64k, 1m)."
        )
    })
}
