//! `etc/pve/datacenter.cfg`. Upstream: pve-cluster, `src/PVE/DataCenterConfig.pm`.

use std::collections::BTreeMap;

use openapi::format::split_list;
use openapi::property_string;
use openapi::schema::{Properties, methods};
use serde_json::{Map, Value};

use super::{KeyValues, SettingsError, read_or_nothing};
use crate::atomic;
use crate::cluster_lock::ClusterLock;
use crate::layout::Root;

/// Of a MAC address that nobody chose; not written.
pub const MAC_PREFIX: &str = "BC:24:11";
/// Property strings that PVE takes apart when it reads the file, and prints anew.
const PRINTED: [&str; 10] = [
    "crs",
    "ha",
    "migration",
    "next-id",
    "notify",
    "replication",
    "tag-style",
    "u2f",
    "user-tag-access",
    "webauthn",
];

fn keys(option: &str) -> Option<&'static Properties> {
    methods().get("PUT", "/cluster/options")?.parameters.get(option)?.format.as_ref()?.keys()
}

/// The parts of an option that is a property string, if `value` is one.
pub fn parts(option: &str, value: &str) -> Option<BTreeMap<String, Value>> {
    Some(property_string::parse(keys(option)?, value).ok()?.into_iter().collect())
}

/// As PVE prints it. One that it could not have written stays as it is.
fn printed(option: &str, value: &str) -> String {
    let again = keys(option).and_then(|keys| {
        let values = property_string::parse(keys, value).ok()?;
        property_string::print(keys, &values).ok()
    });
    again.unwrap_or_else(|| value.to_owned())
}

fn sorted(list: &str) -> String {
    let mut items: Vec<&str> = list.split(';').collect();
    items.sort_unstable();
    items.join(";")
}

fn check_next_id(value: &str) -> Result<(), SettingsError> {
    let number = |key: &str, default: u64| {
        let parts = value.split(',').filter_map(|part| part.split_once('='));
        let mut values = parts.filter(|(name, _)| name.trim() == key);
        values.next().and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(default)
    };
    let (lower, upper) = (number("lower", 100), number("upper", 1_000_000));
    if lower <= upper {
        return Ok(());
    }
    Err(SettingsError::refused(format!("lower ({lower}) <= upper ({upper}) boundary rule broken")))
}

fn changed(text: &str, set: &Map<String, Value>, delete: &str) -> Result<String, SettingsError> {
    let mut config = KeyValues::parse(text);
    for option in PRINTED {
        if let Some(value) = config.values.get_mut(option) {
            *value = printed(option, value);
        }
    }
    if let Some(tags) = config.values.get_mut("registered-tags") {
        *tags = sorted(tags);
    }
    for (key, value) in set {
        config.set(key, value);
    }
    for key in split_list(delete) {
        config.remove(key);
    }
    let values = &mut config.values;
    if !values.contains_key("migration")
        && let Some(unsecure) = values.remove("migration_unsecure")
    {
        let kind = if unsecure == "1" { "insecure" } else { "secure" };
        values.insert("migration".to_owned(), format!("type={kind}"));
    }
    if values.get("console").is_some_and(|console| console == "applet") {
        values.insert("console".to_owned(), "html5".to_owned());
    }
    values.retain(|key, value| match key.as_str() {
        "mac_prefix" => !value.eq_ignore_ascii_case(MAC_PREFIX),
        "crs" => !value.is_empty(),
        _ => true,
    });
    if let Some(next_id) = values.get_mut("next-id") {
        check_next_id(next_id)?;
        *next_id = printed("next-id", next_id);
    }
    Ok(format!("{}\n{}", config.comments(), config.lines()?))
}

/// `set` has the options alone.
pub fn change_datacenter(
    root: &Root,
    set: &Map<String, Value>,
    delete: &str,
) -> Result<(), SettingsError> {
    let _lock = ClusterLock::take(root, "file-datacenter_cfg")?;
    let path = root.datacenter_cfg();
    let text = changed(&String::from_utf8_lossy(&read_or_nothing(&path)?), set, delete)?;
    Ok(atomic::write(&path, 0o640, text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(text: &str, set: &Value, delete: &str) -> String {
        changed(text, set.as_object().unwrap(), delete).unwrap()
    }

    #[test]
    fn writes_as_pve_does() {
        let old = "keyboard: de\nnext-id: upper=300,lower=200\nregistered-tags: b;a\nfoo: kept\n";
        let set = json!({"description": "two: words\nlines", "mac_prefix": "bc:24:11",
            "max_workers": 3, "migration": "network=10.0.0.0/8,type=insecure"});

        let expected = "#two%3A words\n#lines\n\nfoo: kept\nmax_workers: 3\n\
            migration: network=10.0.0.0/8,type=insecure\nnext-id: lower=200,upper=300\n\
            registered-tags: a;b\n";
        assert_eq!(change(old, &set, "keyboard"), expected);
        assert_eq!(change("", &json!({}), ""), "\n");
        assert_eq!(change("#a\n", &json!({}), "description"), "\n");
    }

    #[test]
    fn refuses_numbers_that_run_backwards() {
        let set = json!({"next-id": "lower=300,upper=200"});
        let refused = changed("", set.as_object().unwrap(), "").unwrap_err();
        assert_eq!(refused.to_string(), "lower (300) <= upper (200) boundary rule broken");
    }
}
