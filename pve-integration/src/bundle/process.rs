//! The first process: what it runs, as whom, with what.

use std::collections::HashMap;

use std::path::Path;

use serde_json::{Value, json};

use super::capabilities::Kept;
use super::{BundleError, Guest, Warning, keys, rlimits, wrong};
use crate::ct_config::Section;

/// What liblxc gives init when nobody sets it.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) fn of(
    guest: &Guest<'_>,
    kept: &Kept,
    reach: &keys::Reach,
    warnings: &mut Vec<Warning>,
) -> Result<Value, BundleError> {
    let config = guest.config.current();
    let mut process = json!({
        "terminal": guest.terminal,
        "user": user(config)?,
        "args": args(config)?,
        "env": env(config)?,
        "cwd": cwd(config)?,
        "capabilities": kept.to_value(),
        // A program may not gain rights by a set-uid file; an init system's users want su and sudo.
        "noNewPrivileges": config.is_application() || guest.policy.no_new_privileges,
    });
    if reach.raw {
        return Ok(process);
    }
    let limits = rlimits::of(config)?;
    if !limits.is_empty() {
        process["rlimits"] = limits.into();
    }
    if let Some(label) = last(config, "lxc.selinux.context") {
        if (guest.exists)(Path::new("/sys/fs/selinux/enforce")) {
            process["selinuxLabel"] = label.into();
        } else {
            warnings.push(Warning::new("lxc.selinux.context", "this host has no SELinux"));
        }
    }
    Ok(process)
}

/// LXC splits `lxc.init.cmd` as a shell would, and expands nothing.
fn args(config: &Section) -> Result<Vec<String>, BundleError> {
    let raw = last(config, "lxc.init.cmd");
    let (key, line) = raw.map_or(("entrypoint", config.entrypoint()), |raw| ("lxc.init.cmd", raw));
    let args = shell_words::split(line).map_err(|err| wrong(key, err.to_string()))?;
    if args.first().is_none_or(String::is_empty) {
        return Err(wrong(key, "names no program"));
    }
    if args.iter().any(|arg| arg.contains('\0')) {
        return Err(wrong(key, "holds a NUL byte"));
    }
    Ok(args)
}

/// Later ones win, as in LXC: defaults, raw lines, then the config's own.
/// Each name once, the last one of it.
#[derive(Default)]
pub(super) struct Environment {
    lines: Vec<Option<String>>,
    places: HashMap<String, usize>,
}

impl Environment {
    pub(super) fn set(&mut self, line: String) {
        let name = line.split('=').next().unwrap_or_default().to_owned();
        if let Some(place) = self.places.insert(name, self.lines.len()) {
            self.lines[place] = None;
        }
        self.lines.push(Some(line));
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        self.lines.into_iter().flatten().collect()
    }
}

fn env(config: &Section) -> Result<Vec<String>, BundleError> {
    let mut env = Environment::default();
    env.set(format!("PATH={PATH}"));
    env.set("TERM=linux".to_owned());
    if !config.is_application() {
        env.set("container=lxc".to_owned()); // systemd's ConditionVirtualization reads it
    }
    let raw = config.lxc_values("lxc.environment").map(|line| ("lxc.environment", line));
    let own = config.env().into_iter().map(|line| ("env", line));
    for (key, line) in raw.chain(own) {
        if line.split_once('=').is_none_or(|(name, _)| name.is_empty()) {
            return Err(wrong(key, format!("'{line}' is not NAME=value")));
        }
        env.set(line.to_owned());
    }
    Ok(env.into_lines())
}

fn cwd(config: &Section) -> Result<&str, BundleError> {
    let cwd = last(config, "lxc.init.cwd").unwrap_or("/");
    if cwd.starts_with('/') { Ok(cwd) } else { Err(wrong("lxc.init.cwd", "is not absolute")) }
}

fn user(config: &Section) -> Result<Value, BundleError> {
    let id = |key: &'static str| -> Result<u32, BundleError> {
        let Some(text) = last(config, key) else { return Ok(0) };
        text.parse().map_err(|_| wrong(key, format!("'{text}' is not an id")))
    };
    let (uid, gid) = (id("lxc.init.uid")?, id("lxc.init.gid")?);
    let mut groups = Vec::new();
    for text in last(config, "lxc.init.groups").unwrap_or_default().split(',') {
        let text = text.trim();
        if text.is_empty() {
            continue;
        }
        let group: u32 =
            text.parse().map_err(|_| wrong("lxc.init.groups", format!("'{text}' is not an id")))?;
        groups.push(group);
    }
    Ok(json!({ "uid": uid, "gid": gid, "additionalGids": groups }))
}

/// PVE appends raw lines to its own, and LXC takes the last.
fn last<'a>(config: &'a Section, key: &'static str) -> Option<&'a str> {
    config.lxc_values(key).last()
}
