//! A config as the API shows it: typed values, with or without what is pending. Pure.

use std::collections::{BTreeMap, BTreeSet};

use openapi::Digest;
use openapi::answer::{ConfigAnswer, PendingRow};
use openapi::schema::{Kind, config_key};
use pve_integration::ct_config::{ContainerConfig, Section};
use serde_json::{Value, json};

use super::error::GuestError;
use super::pending;

/// Which values a config is shown with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Values {
    /// As they will be after the next start.
    Pending,
    Current,
    Snapshot(String),
}

/// Reading it takes VM.Config.Options: programs are given passwords in it.
pub(crate) const RESTRICTED: &str = "env";

pub(crate) fn config(
    config: &ContainerConfig,
    digest: &Digest,
    values: &Values,
) -> Result<ConfigAnswer, GuestError> {
    let section = match values {
        Values::Pending | Values::Current => config.current(),
        Values::Snapshot(name) => {
            config.snapshot(name).ok_or_else(|| GuestError::NoSnapshot(name.clone()))?
        }
    };
    let mut shown: BTreeMap<String, Value> =
        section.iter().map(|(key, value)| (key.to_owned(), typed(key, value))).collect();
    if *values == Values::Pending
        && let Some(waiting) = config.pending()
    {
        // Perl asks whether the value is true, so `swap: 0` stays.
        let gone = pending::deletes(waiting).into_keys();
        for key in
            gone.filter(|key| config.get(key).is_some_and(|value| !matches!(value, "" | "0")))
        {
            shown.remove(&key);
        }
        for (key, value) in waiting.iter().filter(|(key, _)| *key != "delete") {
            shown.insert(key.to_owned(), typed(key, value));
        }
    }
    if !section.lxc().is_empty() {
        shown.insert("lxc".to_owned(), json!(section.lxc()));
    }
    shown.insert("digest".to_owned(), digest.as_str().into());
    Ok(ConfigAnswer(shown))
}

/// Each key once, with what it is and what it will be.
pub(crate) fn pending_rows(config: &ContainerConfig, digest: &Digest) -> Vec<PendingRow> {
    let none = Section::default();
    let waiting = config.pending().unwrap_or(&none);
    let deletes: BTreeMap<String, bool> = pending::deletes(waiting);
    let keys: BTreeSet<&str> = config
        .current()
        .iter()
        .chain(waiting.iter().filter(|(key, _)| *key != "delete"))
        .map(|(key, _)| key)
        .chain(deletes.keys().map(String::as_str))
        .collect();
    let row = |key: &str| PendingRow {
        key: key.to_owned(),
        value: config.get(key).map(|value| typed(key, value)),
        pending: waiting.get(key).map(|value| typed(key, value)),
        delete: deletes.get(key).map(|force| if *force { 2 } else { 1 }),
    };
    let digest = PendingRow {
        key: "digest".to_owned(),
        value: Some(digest.as_str().into()),
        pending: None,
        delete: None,
    };
    keys.into_iter().map(row).chain([digest]).collect()
}

/// A number where PVE's parser makes one: what it does not understand is shown as it stands.
fn typed(key: &str, value: &str) -> Value {
    let kind = match key {
        "snaptime" => Kind::Integer,
        _ => config_key(key).map_or(Kind::String, |property| property.kind),
    };
    match kind {
        Kind::Integer if value.bytes().all(|byte| byte.is_ascii_digit()) => {
            value.parse::<u64>().map_or_else(|_| value.into(), Value::from)
        }
        Kind::Boolean => match value.to_ascii_lowercase().as_str() {
            "1" | "on" | "yes" | "true" => 1.into(),
            "0" | "off" | "no" | "false" => 0.into(),
            _ => value.into(),
        },
        Kind::Integer | Kind::String | Kind::Number | Kind::Array | Kind::Object => value.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "\
#two
#lines
arch: amd64
cpulimit: 1.5
hostname: web
memory: 512
onboot: yes
swap: 0
lxc.environment.runtime: A=1
lxc.environment.runtime: B=2
lxc.cap.drop: sys_admin

[pve:pending]
cores: 2
delete: swap,!hostname
memory: 2048

[s1]
memory: 256
snaptime: 1700000000
";

    fn read() -> (ContainerConfig, Digest) {
        (
            ContainerConfig::parse(CONFIG.as_bytes()),
            "0000000000000000000000000000000000000000".parse().unwrap(),
        )
    }

    fn shown(values: &Values) -> Value {
        let (parsed, digest) = read();
        json!(config(&parsed, &digest, values).unwrap())
    }

    #[test]
    fn types_are_those_of_pves_parser() {
        let shown = shown(&Values::Current);

        assert_eq!(shown["memory"], json!(512));
        assert_eq!(shown["onboot"], json!(1));
        assert_eq!(shown["cpulimit"], json!("1.5"), "a number stays text");
        assert_eq!(shown["env"], json!("A=1\0B=2"));
        assert_eq!(shown["lxc"], json!([["lxc.cap.drop", "sys_admin"]]));
        assert_eq!(shown["description"], json!("two\nlines\n"));
    }

    #[test]
    fn shows_what_the_next_start_brings() {
        let shown = shown(&Values::Pending);

        assert_eq!((&shown["memory"], &shown["cores"]), (&json!(2048), &json!(2)));
        assert_eq!(shown["swap"], json!(0), "0 is false, so its delete does not show");
        assert_eq!(shown["hostname"], Value::Null);
        assert_eq!(shown["delete"], Value::Null);
    }

    #[test]
    fn shows_a_snapshot() {
        let shown = shown(&Values::Snapshot("s1".to_owned()));
        assert_eq!((&shown["memory"], &shown["snaptime"]), (&json!(256), &json!(1_700_000_000)));

        let (parsed, digest) = read();
        let err = config(&parsed, &digest, &Values::Snapshot("zz".to_owned())).unwrap_err();
        assert_eq!(err.to_string(), "snapshot 'zz' does not exist");
    }

    #[test]
    fn lists_each_key_with_what_waits_for_it() {
        let (parsed, digest) = read();

        let rows = json!(pending_rows(&parsed, &digest));

        let row =
            |key: &str| rows.as_array().unwrap().iter().find(|row| row["key"] == key).unwrap();
        assert_eq!(*row("memory"), json!({"key": "memory", "value": 512, "pending": 2048}));
        assert_eq!(*row("swap"), json!({"key": "swap", "value": 0, "delete": 1}));
        assert_eq!(*row("hostname"), json!({"key": "hostname", "value": "web", "delete": 2}));
        assert_eq!(*row("cores"), json!({"key": "cores", "pending": 2}));
        assert_eq!(row("digest")["value"], json!(digest.as_str()));
        assert!(!rows.as_array().unwrap().iter().any(|row| row["key"] == "delete"));
    }

    #[test]
    fn a_value_that_is_no_number_is_shown_as_it_stands() {
        assert_eq!(typed("memory", "+512"), json!("+512"));
    }
}
