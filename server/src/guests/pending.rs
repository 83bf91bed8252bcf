//! The pending section: changes that wait for the container's next start. As in `PVE::AbstractConfig`
//! of pve-guest-common.

use std::collections::BTreeMap;

use pve_integration::ct_config::{ContainerConfig, Section};

const DELETE: &str = "delete";

/// The keys that are to be deleted, and whether by force (`!key` in the file).
pub(crate) fn deletes(pending: &Section) -> BTreeMap<String, bool> {
    let list = pending.get(DELETE).unwrap_or_default();
    let keys = list.split([',', ';', ' ']).map(str::trim).filter(|key| !key.is_empty());
    keys.map(|key| match key.strip_prefix('!') {
        Some(key) => (key.to_owned(), true),
        None => (key.to_owned(), false),
    })
    .collect()
}

fn write_deletes(config: &mut ContainerConfig, deletes: &BTreeMap<String, bool>) {
    if deletes.is_empty() {
        if config.pending().is_some() {
            config.pending_mut().remove(DELETE);
        }
        return;
    }
    let mark = |(key, force): (&String, &bool)| format!("{}{key}", if *force { "!" } else { "" });
    let text: Vec<String> = deletes.iter().map(mark).collect();
    config.pending_mut().set(DELETE, text.join(","));
}

fn read_deletes(config: &ContainerConfig) -> BTreeMap<String, bool> {
    config.pending().map(deletes).unwrap_or_default()
}

/// Note that `key` goes away. A new value that waits for it goes at once.
pub(crate) fn delete(config: &mut ContainerConfig, key: &str) {
    let mut deletes = read_deletes(config);
    config.pending_mut().remove(key);
    deletes.insert(key.to_owned(), false);
    write_deletes(config, &deletes);
}

pub(crate) fn set(config: &mut ContainerConfig, key: &str, value: &str) {
    config.pending_mut().set(key, value);
    undelete(config, key);
}

/// Forget what was to happen to `key`.
pub(crate) fn revert(config: &mut ContainerConfig, key: &str) {
    if config.pending().is_some() {
        config.pending_mut().remove(key);
        undelete(config, key);
    }
}

pub(crate) fn undelete(config: &mut ContainerConfig, key: &str) {
    let mut deletes = read_deletes(config);
    if deletes.remove(key).is_some() {
        write_deletes(config, &deletes);
    }
}

/// Drop changes that change nothing.
pub(crate) fn cleanup(config: &mut ContainerConfig) {
    let Some(pending) = config.pending() else { return };
    let same =
        pending.iter().filter(|(key, value)| *key != DELETE && config.get(key) == Some(*value));
    let same: Vec<String> = same.map(|(key, _)| key.to_owned()).collect();
    let mut deletes = deletes(pending);
    deletes.retain(|key, _| config.get(key).is_some());
    for key in same {
        config.pending_mut().remove(&key);
    }
    write_deletes(config, &deletes);
}

/// The keys with a new value, sorted.
pub(crate) fn keys(config: &ContainerConfig) -> Vec<String> {
    let pending = config.pending().map(Section::iter).into_iter().flatten();
    pending.filter(|(key, _)| *key != DELETE).map(|(key, _)| key.to_owned()).collect()
}

pub(crate) fn value(config: &ContainerConfig, key: &str) -> Option<String> {
    config.pending()?.get(key).map(str::to_owned)
}

pub(crate) fn deleted_keys(config: &ContainerConfig) -> Vec<String> {
    read_deletes(config).into_keys().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> ContainerConfig {
        ContainerConfig::parse(text.as_bytes())
    }

    #[test]
    fn a_new_value_takes_back_the_delete() {
        let mut config = config("cores: 2\nmemory: 512\n\n[pve:pending]\ndelete: cores,!swap\n");

        set(&mut config, "cores", "4");

        assert_eq!(
            config.to_string(),
            "cores: 2\nmemory: 512\n\n[pve:pending]\ncores: 4\ndelete: !swap\n"
        );
    }

    #[test]
    fn a_delete_takes_back_the_new_value() {
        let mut config = config("cores: 2\n\n[pve:pending]\ncores: 4\n");

        delete(&mut config, "cores");

        assert_eq!(config.to_string(), "cores: 2\n\n[pve:pending]\ndelete: cores\n");
    }

    #[test]
    fn nothing_is_left_of_changes_that_change_nothing() {
        let mut config = config("cores: 2\n\n[pve:pending]\ncores: 2\ndelete: swap\n");

        cleanup(&mut config);

        assert_eq!(config.to_string(), "cores: 2\n");
    }

    #[test]
    fn revert_forgets_both() {
        let mut config = config("cores: 2\nswap: 1\n\n[pve:pending]\ncores: 4\ndelete: swap\n");

        revert(&mut config, "cores");
        revert(&mut config, "swap");

        assert_eq!(config.to_string(), "cores: 2\nswap: 1\n");
    }
}
