//! Open vSwitch's options, `key=value` between blanks.

use serde_json::Value;

use super::{Interface, text};

fn options(interface: &Interface) -> Vec<(String, String)> {
    let text = text(interface, "ovs_options").unwrap_or_default();
    let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn store(interface: &mut Interface, options: &[(String, String)]) {
    let pairs: Vec<_> = options.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if pairs.is_empty() {
        interface.remove("ovs_options");
    } else {
        interface.insert("ovs_options".to_owned(), pairs.join(" ").into());
    }
}

/// Takes one out.
pub(super) fn extract(interface: &mut Interface, name: &str) -> Option<String> {
    let mut options = options(interface);
    let value = options.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    options.retain(|(key, _)| key != name);
    store(interface, &options);
    value
}

/// The VLAN tag has a property of its own.
pub(super) fn extract_tag(interface: &mut Interface) {
    if let Some(tag) = extract(interface, "tag") {
        interface.insert("ovs_tag".to_owned(), Value::from(tag));
    }
}

/// Sets one, or takes it away.
pub(super) fn set(interface: &mut Interface, name: &str, value: Option<&str>) {
    let mut options = options(interface);
    options.retain(|(key, _)| key != name);
    options.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    store(interface, &options);
}
