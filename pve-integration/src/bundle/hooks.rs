//! `lxc.hook.*` as hooks of the bundle, where there is one that runs at the same moment. They get LXC's
//! arguments and environment, and a shell; what LXC writes nothing to, OCI writes the state to.

use serde_json::{Map, Value, json};

use super::process::PATH;
use super::{BundleError, Guest, wrong};

/// LXC's name, and when libcrun runs the like: outside after the namespaces are made, inside after
/// the mounts, inside before the program, and outside after the end.
const KINDS: &[(&str, &str)] = &[
    ("pre-start", "createRuntime"),
    ("mount", "createContainer"),
    ("autodev", "createContainer"),
    ("start", "startContainer"),
    ("post-stop", "poststop"),
];

/// The bundle's `hooks`, if there are any.
pub(super) fn of(guest: &Guest<'_>) -> Result<Option<Value>, BundleError> {
    let config = guest.config.current();
    let mut hooks = Map::new();
    for (name, kind) in KINDS {
        let key = format!("lxc.hook.{name}");
        for command in config.lxc_values(&key).filter(|command| !command.is_empty()) {
            let hook = hook(guest, &key, name, command)?;
            let list = hooks.entry(*kind).or_insert_with(|| json!([]));
            if let Some(list) = list.as_array_mut() {
                list.push(hook);
            }
        }
    }
    Ok((!hooks.is_empty()).then_some(Value::Object(hooks)))
}

fn hook(guest: &Guest<'_>, key: &str, name: &str, command: &str) -> Result<Value, BundleError> {
    let rootfs = guest.rootfs.to_str().ok_or_else(|| wrong(key, "the rootfs path is no UTF-8"))?;
    let mut env = vec![
        format!("PATH={PATH}"),
        format!("LXC_NAME={}", guest.vmid),
        format!("LXC_ROOTFS_MOUNT={rootfs}"),
        format!("LXC_ROOTFS_PATH={rootfs}"),
        format!("LXC_HOOK_TYPE={name}"),
        "LXC_HOOK_SECTION=lxc".to_owned(),
        "LXC_HOOK_VERSION=0".to_owned(),
    ];
    let config = guest.config.current();
    env.extend(config.lxc_values("lxc.environment.hooks").map(str::to_owned));
    // Version 0 of LXC's hooks: the container's name, the section, the kind.
    let line = format!("{command} {} lxc {name}", guest.vmid);
    Ok(json!({ "path": "/bin/sh", "args": ["sh", "-c", line], "env": env }))
}
