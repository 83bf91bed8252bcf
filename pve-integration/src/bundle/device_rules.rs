//! Which devices may be opened. Any node may be made, as with lxc's common.conf, few may be opened.

use serde_json::{Value, json};

use super::nodes::Node;
use super::{BundleError, Warning, wrong};
use crate::ct_config::Section;
use crate::host::{CgroupVersion, HostFacts};

/// The bundle's `linux.resources.devices`; later rules win.
pub(super) fn of(nodes: &[Node]) -> Vec<Value> {
    let allow = |kind: &str, major: u32, minor: Option<u32>, access: &str| {
        let mut rule = json!({ "allow": true, "type": kind, "major": major, "access": access });
        if let Some(minor) = minor {
            rule["minor"] = minor.into();
        }
        rule
    };
    let mut rules = vec![
        json!({ "allow": false, "access": "rwm" }),
        json!({ "allow": true, "type": "c", "access": "m" }),
        json!({ "allow": true, "type": "b", "access": "m" }),
        allow("c", 1, Some(3), "rwm"), // null
        allow("c", 1, Some(5), "rwm"), // zero
        allow("c", 1, Some(7), "rwm"), // full
        allow("c", 1, Some(8), "rwm"), // random
        allow("c", 1, Some(9), "rwm"), // urandom
        allow("c", 5, Some(0), "rwm"), // tty
        allow("c", 5, Some(1), "rwm"), // console
        allow("c", 5, Some(2), "rwm"), // ptmx
        allow("c", 136, None, "rwm"),  // pts
    ];
    rules.extend(
        nodes
            .iter()
            .map(|node| allow(node.kind.letter(), node.major, Some(node.minor), node.access)),
    );
    rules
}

/// `lxc.cgroup2.devices.allow = c 10:200 rwm` and its like. As PVE's containers are used to them, those
/// for v1 count with v2 too: the rules are the same.
pub(super) fn raw(
    config: &Section,
    facts: &HostFacts,
    rules: &mut Vec<Value>,
    warnings: &mut Vec<Warning>,
) -> Result<(), BundleError> {
    for (key, value) in config.lxc() {
        let file = key.strip_prefix("lxc.cgroup2.").or_else(|| key.strip_prefix("lxc.cgroup."));
        let allow = match file {
            Some("devices.allow") => true,
            Some("devices.deny") => false,
            Some(file) if file.starts_with("devices.") => {
                warnings.push(Warning::new(key, "is no rule for devices"));
                continue;
            }
            Some(_) | None => continue,
        };
        let v1 = key.starts_with("lxc.cgroup.") && facts.cgroup.version == CgroupVersion::V2;
        if v1 {
            warnings.push(Warning::new(key, "is taken as lxc.cgroup2, which this host uses"));
        }
        let rule = rule(value, allow).ok_or_else(|| {
            wrong(key, format!("'{value}' is not 'a' or '[b|c] MAJOR:MINOR [rwm]'"))
        })?;
        if !allow && is_always_allowed(&rule) {
            let reason = format!("'{value}' is in vain where libcrun lets every container");
            warnings.push(Warning::new(key, reason));
        }
        rules.push(rule);
    }
    Ok(())
}

/// What libcrun adds after the bundle's rules (`default_devices` of its cgroup-resources.c): any node may
/// be made, and these character devices opened. `None` stands for every minor number.
const ALWAYS: [(u32, Option<u32>); 10] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(1)),
    (5, Some(2)),
    (10, Some(200)),
    (136, None),
];

fn is_always_allowed(rule: &Value) -> bool {
    if rule["access"].as_str().is_some_and(|access| access.contains('m')) {
        return true;
    }
    let is = |name: &str, number: Option<u32>| {
        rule[name].is_null() || number.is_none() || rule[name] == json!(number)
    };
    let devices =
        ALWAYS.iter().any(|(major, minor)| is("major", Some(*major)) && is("minor", *minor));
    rule["type"] != "b" && devices
}

fn rule(text: &str, allow: bool) -> Option<Value> {
    let mut fields = text.split_whitespace();
    let kind = fields.next()?;
    let number = fields.next().unwrap_or("*:*");
    let access = fields.next().unwrap_or("rwm");
    let plain = !access.is_empty() && access.bytes().all(|byte| b"rwm".contains(&byte));
    if fields.next().is_some() || !plain {
        return None;
    }
    let mut rule = json!({ "allow": allow, "access": access });
    match kind {
        "a" => return Some(rule),
        "b" | "c" => rule["type"] = kind.into(),
        _ => return None,
    }
    let (major, minor) = number.split_once(':')?;
    for (name, text) in [("major", major), ("minor", minor)] {
        if text != "*" {
            rule[name] = text.parse::<u32>().ok()?.into();
        }
    }
    Some(rule)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("a", true)]
    #[case("c 1:9 r", true)]
    #[case("c 136:7 w", true)]
    #[case("c *:* w", true)]
    #[case("b 8:0 rwm", true)]
    #[case("b 8:0 rw", false)]
    #[case("b 1:9 r", false)]
    #[case("c 1:11 rw", false)]
    fn knows_what_no_rule_takes_away(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(is_always_allowed(&rule(text, false).unwrap()), expected);
    }

    #[rstest]
    #[case("a", Some(json!({ "allow": true, "access": "rwm" })))]
    #[case("c 10:200 rwm", Some(json!({ "allow": true, "type": "c", "major": 10, "minor": 200, "access": "rwm" })))]
    #[case("b 7:* r", Some(json!({ "allow": true, "type": "b", "major": 7, "access": "r" })))]
    #[case("c *:* m", Some(json!({ "allow": true, "type": "c", "access": "m" })))]
    #[case("d 1:3", None)]
    #[case("c 1", None)]
    #[case("c 1:3 x", None)]
    #[case("c 1:3 r w", None)]
    #[case("c -1:3 r", None)]
    fn reads_a_rule(#[case] text: &str, #[case] expected: Option<Value>) {
        assert_eq!(rule(text, true), expected);
    }
}
