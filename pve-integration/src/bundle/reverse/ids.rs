//! Namespaces and the ids in them: `unprivileged`, or `lxc.idmap`.

use serde_json::Value;

use super::{Document, ReverseError, Reversed, wrong};

/// What every container has of its own.
const OWN: [&str; 6] = ["mount", "pid", "uts", "ipc", "network", "cgroup"];
const UNPRIVILEGED: [(u64, u64, u64); 1] = [(0, 100_000, 65_536)];

pub(super) fn of(document: &mut Document, made: &mut Reversed) -> Result<(), ReverseError> {
    let uids = mappings(document, "/linux/uidMappings");
    let gids = mappings(document, "/linux/gidMappings");
    namespaces(document, made);
    if uids.is_empty() && gids.is_empty() {
        made.set("unprivileged", "0");
        return Ok(());
    }
    made.set("unprivileged", "1");
    if uids == UNPRIVILEGED && gids == UNPRIVILEGED {
        return Ok(());
    }
    if uids.is_empty() || gids.is_empty() {
        return Err(wrong("linux.uidMappings", "users are mapped, or groups, and not both"));
    }
    for (kind, maps) in [("u", uids), ("g", gids)] {
        for (inside, host, size) in maps {
            made.raw("lxc.idmap", format!("{kind} {inside} {host} {size}"));
        }
    }
    Ok(())
}

fn mappings(document: &mut Document, path: &str) -> Vec<(u64, u64, u64)> {
    let list = document.list(path).unwrap_or_default();
    let number = |map: &Value, name: &str| map.get(name).and_then(Value::as_u64);
    let map = |map: &Value| {
        Some((number(map, "containerID")?, number(map, "hostID")?, number(map, "size")?))
    };
    list.iter().filter_map(map).collect()
}

fn namespaces(document: &mut Document, made: &mut Reversed) {
    const PATH: &str = "linux.namespaces";
    let list = document.list("/linux/namespaces").unwrap_or_default();
    let text = |element: &Value, name: &str| {
        element.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let kinds: Vec<_> = list.iter().map(|element| text(element, "type")).collect();
    for (kind, element) in kinds.iter().zip(&list) {
        let joined = text(element, "path");
        if !joined.is_empty() {
            made.warn(
                PATH,
                format!("the container has a {kind} namespace of its own, not '{joined}'"),
            );
        } else if kind != "user" && !OWN.contains(&kind.as_str()) {
            made.warn(PATH, format!("no container has a {kind} namespace"));
        }
    }
    for own in OWN.iter().filter(|own| !kinds.iter().any(|kind| kind == *own)) {
        made.warn(PATH, format!("every container has a {own} namespace of its own"));
    }
}
