//! The first process: `entrypoint`, `env`, and the raw keys of who it is and what it may.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::process::{Environment, PATH};
use super::super::rlimits;
use super::{Document, ReverseError, Reversed, as_set, is_value, strings, to_value, wrong};
use crate::ct_config::{INIT, is_lxc_key};
use crate::host::HostFacts;
use crate::shell_quote::shell_quote;

pub(super) fn of(document: &mut Document, made: &mut Reversed) -> Result<(), ReverseError> {
    args(document, made)?;
    let application = made.config().is_application();
    env(document, application, made);
    user(document, made);
    cwd(document, made)?;
    terminal(document, application, made);
    privileges(document, application, made);
    limits(document, made);
    sysctls(document, made);
    if let Some(label) = document.text("/process/selinuxLabel").filter(|label| !label.is_empty()) {
        if label.contains(char::is_control) || label.trim() != label {
            return Err(wrong("process.selinuxLabel", "is nothing that a config can hold"));
        }
        made.raw("lxc.selinux.context", label);
    }
    Ok(())
}

fn args(document: &mut Document, made: &mut Reversed) -> Result<(), ReverseError> {
    const ARGS: &str = "process.args";
    let args = document.texts("/process/args").unwrap_or_default();
    if args.first().is_none_or(String::is_empty) {
        return Err(wrong(ARGS, "names no program"));
    }
    if args == [INIT] {
        return Ok(());
    }
    let line = args.iter().map(|arg| shell_quote(arg)).collect::<Vec<_>>().join(" ");
    if !is_value("entrypoint", &line) {
        return Err(wrong(ARGS, "holds a control character, which no config can"));
    }
    made.set("entrypoint", line);
    Ok(())
}

/// But for what every container has.
fn env(document: &mut Document, application: bool, made: &mut Reversed) {
    let given = document.texts("/process/env").unwrap_or_default();
    let mut defaults = vec![format!("PATH={PATH}"), "TERM=linux".to_owned()];
    if !application {
        defaults.push("container=lxc".to_owned());
    }
    let mut kept = Environment::default();
    for variable in given {
        // Names end where PVE's end, and values have no second line and no blanks at their end.
        if !is_value("env", &variable) || variable.trim_end() != variable {
            let name = variable.split('=').next().unwrap_or_default().escape_default().to_string();
            made.warn("process.env", format!("'{name}' is no variable that PVE's config takes"));
            continue;
        }
        kept.set(variable);
    }
    let mut kept = kept.into_lines();
    kept.retain(|variable| !defaults.contains(variable));
    if !kept.is_empty() {
        made.set("env", kept.join("\0"));
    }
}

fn user(document: &mut Document, made: &mut Reversed) {
    for (field, key) in [("uid", "lxc.init.uid"), ("gid", "lxc.init.gid")] {
        let id = document.take(&format!("/process/user/{field}")).and_then(|id| id.as_u64());
        if let Some(id) = id.filter(|id| *id != 0) {
            made.raw(key, id.to_string());
        }
    }
    let groups = document.list("/process/user/additionalGids").unwrap_or_default();
    let groups: Vec<_> = groups.iter().map(Value::to_string).collect();
    if !groups.is_empty() {
        made.raw("lxc.init.groups", groups.join(","));
    }
}

fn cwd(document: &mut Document, made: &mut Reversed) -> Result<(), ReverseError> {
    let Some(cwd) = document.text("/process/cwd").filter(|cwd| cwd != "/") else { return Ok(()) };
    // A config's lines are trimmed.
    if !cwd.starts_with('/') || cwd.contains(|c: char| c.is_control()) || cwd.trim() != cwd {
        return Err(wrong("process.cwd", "is no absolute path that a config can hold"));
    }
    made.raw("lxc.init.cwd", cwd);
    Ok(())
}

/// An init system wants a console it can open; a program of its own wants clean pipes.
fn terminal(document: &mut Document, application: bool, made: &mut Reversed) {
    let terminal = document.take("/process/terminal").is_some_and(|on| on == true);
    match (application, terminal) {
        (false, false) => made.set("console", "0"),
        (true, true) => made.note("process.terminal", "an application writes into pipes"),
        (false, true) | (true, false) => {}
    }
    if terminal && document.take("/process/consoleSize").is_some() {
        made.note("process.consoleSize", "is that of whoever opens the console");
    }
}

fn privileges(document: &mut Document, application: bool, made: &mut Reversed) {
    let none = document.take("/process/noNewPrivileges").is_some_and(|on| on == true);
    match (application, none) {
        (true, false) => made.warn("process.noNewPrivileges", "is set for every application"),
        (false, true) => {
            made.warn(
                "process.noNewPrivileges",
                "is not set for init systems, whose users want su",
            );
        }
        (true, true) | (false, false) => {}
    }
}

fn limits(document: &mut Document, made: &mut Reversed) {
    for limit in document.list("/process/rlimits").unwrap_or_default() {
        let kind = limit.get("type").and_then(Value::as_str).unwrap_or_default();
        let name = kind.strip_prefix("RLIMIT_").unwrap_or(kind).to_ascii_lowercase();
        let number = |field: &str| match limit.get(field).and_then(Value::as_u64) {
            Some(u64::MAX) => "unlimited".to_owned(),
            number => number.unwrap_or_default().to_string(),
        };
        if rlimits::NAMES.contains(&name.as_str()) {
            let value = format!("{}:{}", number("soft"), number("hard"));
            made.raw(&format!("lxc.prlimit.{name}"), value);
        } else {
            made.warn("process.rlimits", format!("there is no limit '{}'", kind.escape_default()));
        }
    }
}

fn sysctls(document: &mut Document, made: &mut Reversed) {
    let Some(Value::Object(all)) = document.take("/linux/sysctl") else { return };
    let all: BTreeMap<String, Value> = all.into_iter().collect();
    for (name, value) in all {
        let value = value.as_str().unwrap_or_default();
        let key = format!("lxc.sysctl.{name}");
        let plain = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '_' | '-' | '.');
        if rlimits::sysctl_namespace(&name).is_some()
            && is_lxc_key(&key)
            && name.chars().all(plain)
            && !value.contains(|c: char| c.is_control() && c != '\t')
        {
            made.raw(&key, value.trim());
        } else {
            let name = name.escape_default().to_string();
            made.warn("linux.sysctl", format!("PVE's config takes no '{name}'"));
        }
    }
}

/// What the container keeps is what OCI calls bounding. After all that the defaults depend on.
pub(super) fn capabilities(
    document: &mut Document,
    facts: &HostFacts,
    made: &mut Reversed,
) -> Result<(), ReverseError> {
    const PATH: &str = "process.capabilities";
    let mut set = |name: &str| document.texts(&format!("/process/capabilities/{name}")).map(as_set);
    let [bounding, effective, permitted, inheritable, ambient] =
        ["bounding", "effective", "permitted", "inheritable", "ambient"].map(&mut set);
    let bounding = bounding.unwrap_or_default();
    for (name, other) in [("effective", effective), ("permitted", permitted)] {
        if other.unwrap_or_default() != bounding {
            made.warn(&format!("{PATH}.{name}"), "is the bounding set in every container");
        }
    }
    for (name, other) in [("inheritable", inheritable), ("ambient", ambient)] {
        if !other.unwrap_or_default().is_empty() {
            made.warn(&format!("{PATH}.{name}"), "is empty in every container");
        }
    }
    let ours = to_value(&made.bundle(facts)?.spec);
    let ours = as_set(strings(&ours["process"]["capabilities"]["bounding"]));
    if bounding == ours {
        return Ok(());
    }
    if bounding.is_empty() {
        made.raw("lxc.cap.keep", "none");
    } else if bounding.is_subset(&ours) {
        made.raw("lxc.cap.drop", words(ours.difference(&bounding)));
    } else {
        made.raw("lxc.cap.keep", words(bounding.iter()));
    }
    Ok(())
}

/// As LXC writes them.
fn words<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let bare = names.map(|name| name.strip_prefix("CAP_").unwrap_or(name).to_ascii_lowercase());
    bare.collect::<Vec<_>>().join(" ")
}
