//! `etc/pve/nodes/N/config`. Upstream: pve-manager, `PVE/NodeConfig.pm` and
//! `PVE/API2/NodeConfig.pm`.

use std::collections::BTreeMap;

use openapi::NodeName;
use openapi::format::split_list;
use serde_json::{Map, Value};

use super::{KeyValues, SettingsError, read_or_nothing, unchanged};
use crate::layout::Root;
use crate::{atomic, file_lock};

/// Of a property string: the value of `key`, or for `default` the one without a key.
fn part<'a>(value: &'a str, key: &str, default: bool) -> Option<&'a str> {
    value.split(',').map(str::trim).find_map(|part| match part.split_once('=') {
        Some((name, value)) => (name.trim() == key).then(|| value.trim()),
        None => (default && !part.is_empty()).then_some(part),
    })
}

/// A certificate's name is asked for once, by a plug-in that there is.
fn check_domains(values: &BTreeMap<String, String>, plugins: &str) -> Result<(), SettingsError> {
    let refuse = |text: String| Err(SettingsError::refused(text));
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let acme = values.get("acme").and_then(|acme| part(acme, "domains", false));
    for domain in acme.unwrap_or_default().split(';').filter(|domain| !domain.is_empty()) {
        let domain = domain.to_lowercase();
        if seen.insert(domain.clone(), "acme".to_owned()).is_some() {
            return refuse(format!("duplicate domain '{domain}' in ACME config properties"));
        }
    }
    for (key, value) in values.iter().filter(|(key, _)| key.starts_with("acmedomain")) {
        let domain = part(value, "domain", true).unwrap_or_default().to_lowercase();
        if let Some(other) = seen.insert(domain.clone(), key.clone()) {
            return refuse(format!(
                "duplicate domain '{domain}' in ACME config properties '{key}' and '{other}'"
            ));
        }
        let plugin = part(value, "plugin", false).unwrap_or("standalone");
        let known = plugins.lines().any(|line| {
            line.split_once(':').is_some_and(|(_, name)| {
                !line.starts_with(char::is_whitespace) && name.trim() == plugin
            })
        });
        if plugin != "standalone" && !known {
            return refuse(format!("plugin '{plugin}' for domain '{domain}' not found!"));
        }
    }
    Ok(())
}

/// `set` has the options alone.
pub fn change_node_config(
    root: &Root,
    node: &NodeName,
    set: &Map<String, Value>,
    delete: &str,
    seen: Option<&str>,
) -> Result<(), SettingsError> {
    let _lock = file_lock::take(&root.below("/var/lock/pvenode.lock"))?;
    let path = root.node_dir(node).join("config");
    let bytes = read_or_nothing(&path)?;
    if !bytes.is_empty() {
        unchanged(&bytes, seen)?;
    }
    let mut config = KeyValues::parse(&String::from_utf8_lossy(&bytes));
    for (key, value) in set {
        config.set(key, value);
    }
    for key in split_list(delete) {
        config.remove(key);
    }
    let plugins = read_or_nothing(&root.etc_pve().join("priv/acme/plugins.cfg"))?;
    check_domains(&config.values, &String::from_utf8_lossy(&plugins))?;
    let text = config.comments() + &config.lines()?;
    fs_err::create_dir_all(root.node_dir(node))?;
    Ok(atomic::write(&path, 0o640, text.as_bytes())?)
}
