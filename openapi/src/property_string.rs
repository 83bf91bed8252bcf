//! PVE's property strings, `key=value,key=value`: reading, checking and printing them. What their
//! keys are is in the method table. There is no quoting: no value can hold a comma.

use std::collections::BTreeMap;
use std::fmt;

use indexmap::IndexMap;
use serde_json::Value;

use crate::check::{ParamErrors, check_object, stored};
use crate::schema::{Format, Kind, Properties, Property};

/// Why a text is no property string of its schema. Prints as PVE does, without a last newline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PropertyStringError {
    #[error("duplicate key in comma-separated list property: {0}")]
    Duplicate(String),
    #[error("missing key in comma-separated list property")]
    MissingKey,
    #[error("value without key, but schema does not define a default key")]
    NoDefaultKey,
    /// Errors by path, as the parameter check has them.
    #[error("format error{}", Lines(.0))]
    Invalid(ParamErrors),
    #[error("illegal value with commas for {0}")]
    Comma(String),
}

struct Lines<'a>(&'a ParamErrors);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.0.iter().try_for_each(|(path, message)| write!(f, "\n{path}: {message}"))
    }
}

/// The values of `text`, checked, by key in the order of the text: integers and booleans (0 or 1)
/// as numbers, unless they are written in an unusual way; all else as text, sizes too.
pub fn parse(
    schema: &Properties,
    text: &str,
) -> Result<IndexMap<String, Value>, PropertyStringError> {
    let values = verify(schema, text, "")?;
    let typed = |(key, value): (String, Value)| match schema.get(key.as_str()) {
        Some(property) => (key, stored(property, value, true)),
        None => (key, value),
    };
    Ok(values.into_iter().map(typed).collect())
}

/// The values of `text` as texts, checked; errors are those of `path`.
pub(crate) fn verify(
    schema: &Properties,
    text: &str,
    path: &str,
) -> Result<IndexMap<String, Value>, PropertyStringError> {
    let values = split(schema, text)?;
    let mut errors = BTreeMap::new();
    check_object(path, schema, &|key| schema.get(key), &values, &mut errors);
    if errors.is_empty() {
        Ok(values)
    } else {
        Err(PropertyStringError::Invalid(ParamErrors(errors)))
    }
}

/// The parts by key, each a text.
fn split(schema: &Properties, text: &str) -> Result<IndexMap<String, Value>, PropertyStringError> {
    let mut values: IndexMap<String, Value> = IndexMap::new();
    let mut bare = false;
    for part in text.split(',').filter(|part| !part.trim().is_empty()) {
        let (key, value) = match part.split_once('=') {
            Some((key, value)) => {
                let line = value.strip_suffix('\n').unwrap_or(value);
                if key.is_empty() || line.is_empty() || line.contains('\n') {
                    return Err(PropertyStringError::MissingKey);
                }
                (key, line)
            }
            None => {
                let default = schema.iter().find(|(_, property)| property.default_key);
                let (key, _) = default.ok_or(PropertyStringError::NoDefaultKey)?;
                if bare {
                    return Err(PropertyStringError::Duplicate((*key).to_owned()));
                }
                bare = true;
                // Perl asks whether the value is true: "0" may be replaced.
                if values.get(*key).is_some_and(|old| old == "0") {
                    values.swap_remove(*key);
                }
                (*key, part)
            }
        };
        if values.contains_key(key) {
            return Err(PropertyStringError::Duplicate(key.to_owned()));
        }
        let boolean = schema.get(key).is_some_and(|property| property.kind == Kind::Boolean);
        let value = if boolean { boolean_word(value) } else { value };
        values.insert(key.to_owned(), Value::String(value.to_owned()));
    }
    Ok(values)
}

/// Inside property strings PVE takes more words than for a parameter of its own.
fn boolean_word(text: &str) -> &str {
    let is = |words: [&str; 4]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    if is(["1", "on", "yes", "true"]) {
        "1"
    } else if is(["0", "off", "no", "false"]) {
        "0"
    } else {
        text
    }
}

/// As PVE writes it: the default key first and without its name, then the required keys, then the
/// rest, each by name; sizes with the largest unit that is exact. Nulls are left out.
pub fn print(
    schema: &Properties,
    values: &IndexMap<String, Value>,
) -> Result<String, PropertyStringError> {
    let mut errors = BTreeMap::new();
    check_object("", schema, &|key| schema.get(key), values, &mut errors);
    if !errors.is_empty() {
        return Err(PropertyStringError::Invalid(ParamErrors(errors)));
    }
    let mut known: Vec<(&str, &Property, &Value)> = values
        .iter()
        .filter_map(|(key, value)| Some((key.as_str(), schema.get(key.as_str())?, value)))
        .filter(|(_, _, value)| !value.is_null())
        .collect();
    known.sort_by_key(|(key, property, _)| (!property.default_key, property.optional, *key));
    let mut printed = String::new();
    for (key, property, value) in known {
        let text = rendered(property, value);
        if text.contains(',') {
            return Err(PropertyStringError::Comma(key.to_owned()));
        }
        let comma = if printed.is_empty() { "" } else { "," };
        let (name, equals) = if property.default_key { ("", "") } else { (key, "=") };
        printed = printed + comma + name + equals + &text;
    }
    Ok(printed)
}

fn rendered(property: &Property, value: &Value) -> String {
    let text = crate::check::perl_text(value).into_owned();
    let size = matches!(property.format, Some(Format::Named("disk-size")));
    match parse_size(&text) {
        Some(bytes) if size => format_size(bytes),
        _ => text,
    }
}

/// A size in bytes: `8G`, `1.5GiB`, `512`. Units are 1024-based.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: u64 = match text.get(digits.len()..)? {
        "" => 1,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        "T" | "TiB" => 1 << 40,
        _ => return None,
    };
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let Some((whole, fraction)) = digits.split_once('.') else {
        return plain(digits).then(|| digits.parse::<u64>().ok()?.checked_mul(factor))?;
    };
    if !plain(whole) || !plain(fraction) {
        return None;
    }
    // Exact for what a double can hold, as in Perl, and then towards zero.
    let thousandths: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let part = u128::from(thousandths.parse::<u64>().ok()?) * u128::from(factor) / 1_000_000_000;
    whole.parse::<u64>().ok()?.checked_mul(factor)?.checked_add(u64::try_from(part).ok()?)
}

/// With the largest unit that divides it.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    let units = [(1_u64 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")];
    // PVE climbs from bytes, so zero ends at the largest unit.
    match units.iter().find(|(size, _)| bytes.is_multiple_of(*size)) {
        Some((size, unit)) => format!("{}{unit}", bytes / size),
        None => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests;
