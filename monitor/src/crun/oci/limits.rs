//! `update`: flags or a document become one `linux.resources`.

use std::io::Read as _;
use std::path::Path;

use fs_err as fs;
use oci_spec::runtime::LinuxResources;
use oci_verbs::{Bytes, Limits, Update};
use serde_json::{Map, Value};

use super::Context;
use super::error::{Error, Result};

pub(super) fn update(context: &Context, update: &Update) -> Result<()> {
    Ok(context.runtime.update(update.id.as_str(), &wanted(update)?)?)
}

/// The document.
pub(super) fn wanted(update: &Update) -> Result<String> {
    match &update.resources {
        Some(path) => read(path),
        None => Ok(of(&update.limits).to_string()),
    }
}

/// libcrun ignores what has the wrong type; a limit that is not set must be an error.
fn read(path: &Path) -> Result<String> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        text
    } else {
        fs::read_to_string(path)?
    };
    serde_json::from_str::<LinuxResources>(&text).map_err(Error::Resources)?;
    Ok(text)
}

fn of(limits: &Limits) -> Value {
    let bytes = |bytes: Option<Bytes>| bytes.map(|bytes| Value::from(bytes.get()));
    let number = |number: Option<u64>| number.map(Value::from);
    let signed = |number: Option<i64>| number.map(Value::from);
    let text = |text: &Option<String>| text.clone().map(Value::from);
    let values = [
        ("blockIO", "weight", limits.blkio_weight.map(Value::from)),
        ("cpu", "period", number(limits.cpu_period)),
        ("cpu", "quota", signed(limits.cpu_quota)),
        ("cpu", "burst", number(limits.cpu_burst)),
        ("cpu", "shares", number(limits.cpu_share)),
        ("cpu", "realtimePeriod", number(limits.cpu_rt_period)),
        ("cpu", "realtimeRuntime", signed(limits.cpu_rt_runtime)),
        ("cpu", "cpus", text(&limits.cpuset_cpus)),
        ("cpu", "mems", text(&limits.cpuset_mems)),
        ("memory", "limit", bytes(limits.memory)),
        ("memory", "reservation", bytes(limits.memory_reservation)),
        ("memory", "swap", bytes(limits.memory_swap)),
        ("memory", "kernel", bytes(limits.kernel_memory)),
        ("memory", "kernelTCP", bytes(limits.kernel_memory_tcp)),
        ("pids", "limit", signed(limits.pids_limit)),
    ];
    let mut sections = Map::new();
    for (section, key, value) in values {
        if let Some(value) = value {
            let section = sections.entry(section).or_insert_with(|| Map::new().into());
            if let Value::Object(section) = section {
                section.insert(key.to_owned(), value);
            }
        }
    }
    Value::Object(sections)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use oci_verbs::{CommandLine, Verb};
    use serde_json::json;

    use super::*;

    #[test]
    fn flags_become_the_document_that_a_bundle_has() {
        let line = "x update --memory 64m --memory-swap -1 --pids-limit 20 --cpuset-cpus 0-1 c1";
        let line = CommandLine::try_parse_from(line.split_whitespace()).unwrap();
        let Verb::Update(update) = line.verb else { panic!("another verb") };

        let resources = of(&update.limits);
        assert_eq!(
            resources,
            json!({
                "memory": {"limit": 67_108_864, "swap": -1},
                "pids": {"limit": 20},
                "cpu": {"cpus": "0-1"},
            })
        );
        serde_json::from_value::<LinuxResources>(resources).unwrap();
    }

    #[test]
    fn a_limit_of_the_wrong_type_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.json");
        fs::write(&path, r#"{"memory":{"limit":"64m"}}"#).unwrap();
        assert!(matches!(read(&path), Err(Error::Resources(_))));
        fs::write(&path, r#"{"memory":{"limit":64}}"#).unwrap();
        assert!(read(&path).is_ok());
    }
}
