//! Writing a guest's file, as PVE writes it. Upstream: `save_vmfw_conf`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::ipsets::IpSet;
use super::{Firewall, FirewallError, Rule};

impl Firewall {
    /// The file's text; empty if there is nothing to say, and then PVE has no file.
    pub fn to_text(&self) -> Result<String, FirewallError> {
        let mut text = String::new();
        if !self.options.is_empty() {
            text += "[OPTIONS]\n\n";
            for (name, value) in &self.options {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                line(&mut text, format_args!("{name}: {}", one_line(&value)), None);
            }
            text.push('\n');
        }
        if !self.aliases.is_empty() {
            text += "[ALIASES]\n\n";
            for alias in self.aliases.values() {
                let pair = format_args!("{} {}", alias.name, alias.cidr);
                line(&mut text, pair, alias.comment.as_deref());
            }
            text.push('\n');
        }
        for (name, set) in &self.ipsets {
            write_set(&mut text, name, set);
        }
        if !self.rules.is_empty() {
            text += "[RULES]\n\n";
            for rule in &self.rules {
                write_rule(&mut text, rule)?;
            }
            text.push('\n');
        }
        Ok(text)
    }
}

/// A comment with line breaks would be lines of the file, to be read as whatever they look like.
/// PVE writes them; here they become blanks.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>, comment: Option<&str>) {
    write!(text, "{line}").expect("a String takes everything");
    let comment = comment.filter(|comment| super::is_true(comment) && !comment.trim().is_empty());
    if let Some(comment) = comment {
        write!(text, " # {}", one_line(comment)).expect("a String takes everything");
    }
    text.push('\n');
}

/// Sorted; of two entries for the same address the first is kept.
fn write_set(text: &mut String, name: &str, set: &IpSet) {
    let comment = super::comment(set.comment.as_deref());
    let comment = comment.map(|comment| format!(" # {}", one_line(&comment)));
    write!(text, "[IPSET {name}]{}\n\n", comment.unwrap_or_default())
        .expect("a String takes everything");
    let mut entries = BTreeMap::new();
    for entry in &set.entries {
        entries.entry(&entry.cidr).or_insert(entry);
    }
    for (cidr, entry) in entries {
        let not = if entry.nomatch { "!" } else { "" };
        line(text, format_args!("{not}{cidr}"), entry.comment.as_deref());
    }
    text.push('\n');
}

fn write_rule(text: &mut String, rule: &Rule) -> Result<(), FirewallError> {
    let kind = rule.kind.as_str();
    if !matches!(kind, "in" | "out" | "forward" | "group") {
        return Err(FirewallError::RuleType(kind.to_owned()));
    }
    let mut words = String::new();
    if rule.enable == Some(0) {
        words.push('|');
    }
    words += &kind.to_uppercase();
    let action = &rule.action;
    words += &match rule.set("macro") {
        Some(name) => format!(" {name}({action})"),
        None => format!(" {action}"),
    };
    let parameters = [
        ("iface", "-i"),
        ("source", "-source"),
        ("dest", "-dest"),
        ("proto", "-p"),
        ("dport", "-dport"),
        ("sport", "-sport"),
        ("log", "-log"),
        ("icmp-type", "-icmp-type"),
    ];
    // A group's own rules say where they apply.
    let count = if kind == "group" { 1 } else { parameters.len() };
    for (name, option) in &parameters[..count] {
        if let Some(value) = rule.set(name) {
            write!(words, " {option} {value}").expect("a String takes everything");
        }
    }
    line(text, format_args!("{words}"), rule.get("comment"));
    Ok(())
}
