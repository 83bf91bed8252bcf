//! Reading a firewall file. Nothing in it is fatal: what cannot be read is left out and told, what
//! can be read and is wrong is kept with its complaints. Upstream: `generic_fw_config_parser`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::aliases::Alias;
use super::ipsets::{IpSet, IpSetEntry, address, is_everything};
use super::verify::{Complaints, verify};
use super::{Firewall, FirewallError, Rule, alias_reference, is_name, resolve};

const LOG_LEVELS: [&str; 9] =
    ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", "nolog"];

/// A file, and what was wrong in it: line and text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    pub firewall: Firewall,
    pub warnings: Vec<(usize, String)>,
}

enum Section {
    None,
    Options,
    Aliases,
    Rules,
    IpSet(String),
    /// Of the data centre's file, whose rules are not ours.
    Other,
}

/// A guest's file. `cluster` has what the data centre's file names.
pub fn parse(bytes: &[u8], cluster: &Firewall) -> Parsed {
    Parser::new(Some(cluster)).parse(bytes)
}

/// Aliases and IP sets of the data centre's own file.
pub fn parse_cluster(bytes: &[u8]) -> Parsed {
    Parser::new(None).parse(bytes)
}

struct Parser<'a> {
    cluster: Option<&'a Firewall>,
    parsed: Parsed,
    section: Section,
    /// What the current set holds already.
    seen: BTreeSet<String>,
}

impl<'a> Parser<'a> {
    fn new(cluster: Option<&'a Firewall>) -> Self {
        let (parsed, section) = (Parsed::default(), Section::None);
        Self { cluster, parsed, section, seen: BTreeSet::new() }
    }

    fn parse(mut self, bytes: &[u8]) -> Parsed {
        self.parsed.firewall.is_there = !bytes.is_empty();
        let text = String::from_utf8_lossy(bytes);
        for (number, line) in text.split('\n').enumerate() {
            let line = line.trim_matches([' ', '\t']);
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            if let Err(warning) = self.line(line) {
                self.parsed.warnings.push((number + 1, warning));
            }
        }
        self.parsed
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        if let Some(section) = self.header(line)? {
            self.section = section;
            return Ok(());
        }
        let firewall = &mut self.parsed.firewall;
        match &self.section {
            Section::None => Err("skip line - no section".to_owned()),
            Section::Other => Ok(()),
            Section::Options if self.cluster.is_none() => Ok(()),
            Section::Options => {
                let (name, value) =
                    option(line).ok_or_else(|| format!("can't parse option '{line}'"))?;
                firewall.options.insert(name, value);
                Ok(())
            }
            Section::Aliases => {
                let alias = alias(line).map_err(|err| err.to_string())?;
                firewall.aliases.insert(alias.name.to_lowercase(), alias);
                Ok(())
            }
            Section::IpSet(name) => {
                let entry = entry(line, self.cluster, firewall, &self.seen)
                    .ok_or_else(|| format!("can't parse ipset entry '{line}'"))?;
                self.seen.insert(entry.cidr.clone());
                firewall.ipsets.entry(name.clone()).or_default().entries.push(entry);
                Ok(())
            }
            Section::Rules => {
                let Some(cluster) = self.cluster else { return Ok(()) };
                let mut rule = rule(line)?;
                let mut complaints = Complaints::gathered();
                verify(&mut rule, cluster, firewall, &mut complaints)
                    .map_err(|err| err.to_string())?;
                rule.errors = complaints.found;
                let told = rule.errors.iter().map(|(name, text)| format!("; {name}: {text}"));
                let told: String = told.collect();
                firewall.rules.push(rule);
                if told.is_empty() {
                    Ok(())
                } else {
                    Err(format!("errors in rule parameters: {line}{told}"))
                }
            }
        }
    }

    /// The section that a line begins.
    fn header(&mut self, line: &str) -> Result<Option<Section>, String> {
        let lower = line.to_ascii_lowercase();
        match lower.as_str() {
            "[options]" => return Ok(Some(Section::Options)),
            "[aliases]" => return Ok(Some(Section::Aliases)),
            "[rules]" => return Ok(Some(Section::Rules)),
            _ => {}
        }
        if self.cluster.is_none() && named_header(line, "group").is_some() {
            return Ok(Some(Section::Other));
        }
        let Some((name, comment)) = named_header(line, "ipset") else { return Ok(None) };
        let name = name.to_lowercase();
        // What follows is of no section, rather than of the one before.
        self.section = Section::None;
        if name.len() > 64 {
            return Err("ipset name too long".to_owned());
        }
        if !is_name(&name) {
            return Err(format!("invalid ipset name '{name}'"));
        }
        let comment = super::comment(comment);
        let sets = &mut self.parsed.firewall.ipsets;
        sets.insert(name.clone(), IpSet { comment, entries: Vec::new() });
        self.seen.clear();
        Ok(Some(Section::IpSet(name)))
    }
}

/// `[kind name] # comment`.
fn named_header<'a>(line: &'a str, kind: &str) -> Option<(&'a str, Option<&'a str>)> {
    let inner = line.strip_prefix('[')?;
    let (start, rest) = inner.split_at_checked(kind.len())?;
    if !start.eq_ignore_ascii_case(kind) || !rest.starts_with(char::is_whitespace) {
        return None;
    }
    let rest = rest.trim_start();
    let (name, rest) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
    // Perl's `\S+` takes brackets too, and the last one that fits ends the name.
    let (name, tail) = name.rsplit_once(']')?;
    let tail = if tail.is_empty() { rest.trim() } else { tail };
    if name.is_empty() || !(tail.is_empty() || tail.starts_with('#')) {
        return None;
    }
    Some((name, tail.strip_prefix('#').map(str::trim)))
}

/// A line without the comment at its end, and the comment.
fn split_comment(line: &str) -> (&str, Option<String>) {
    match line.split_once('#') {
        Some((line, comment)) => (line, Some(comment.trim().to_owned())),
        None => (line, None),
    }
}

fn option(line: &str) -> Option<(String, Value)> {
    let (name, value) = line.split_once(':')?;
    let (name, value) = (name.to_ascii_lowercase(), value.trim());
    let value = match name.as_str() {
        "enable" | "dhcp" | "ndp" | "radv" | "macfilter" | "ipfilter" | "ips" => match value {
            "0" => Value::from(0),
            "1" => Value::from(1),
            _ => return None,
        },
        "log_level_in" | "log_level_out" => {
            let level = value.to_ascii_lowercase();
            let known = level.is_empty() || LOG_LEVELS.contains(&level.as_str());
            Value::from(known.then_some(level)?)
        }
        "policy_in" | "policy_out" => {
            let policy = value.to_ascii_uppercase();
            let known = matches!(policy.as_str(), "ACCEPT" | "DROP" | "REJECT");
            Value::from(known.then_some(policy)?)
        }
        "ips_queues" => {
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            Value::from(value.split(':').take(3).all(digits).then_some(value)?)
        }
        "layer2_protocols" => Value::from(
            (!value.is_empty() && !value.contains(char::is_whitespace)).then_some(value)?,
        ),
        _ => return None,
    };
    Some((name, value))
}

fn alias(line: &str) -> Result<Alias, FirewallError> {
    let (line, comment) = split_comment(line);
    let mut words = line.trim_end().splitn(2, char::is_whitespace);
    let (Some(name), Some(cidr)) = (words.next(), words.next()) else {
        return Err(FirewallError::Address);
    };
    let (cidr, version) = address(cidr)?;
    Ok(Alias {
        name: name.to_owned(),
        cidr: cidr.to_owned(),
        comment: super::comment(comment.as_deref()),
        ipversion: Some(version),
    })
}

fn entry(
    line: &str,
    cluster: Option<&Firewall>,
    guest: &Firewall,
    seen: &BTreeSet<String>,
) -> Option<IpSetEntry> {
    let (line, comment) = split_comment(line);
    let nomatch = line.starts_with('!');
    let cidr = line.strip_prefix('!').unwrap_or(line).trim();
    if cidr.is_empty() || cidr.contains(char::is_whitespace) {
        return None;
    }
    let mut errors = BTreeMap::new();
    let (mut cidr, mut wrong) = (cidr.to_owned(), None);
    if let Some((scope, name)) = alias_reference(&cidr) {
        if resolve(cluster, guest, scope, name).is_none() {
            wrong = Some(FirewallError::NoAlias(name.to_owned()).to_string());
        }
    } else {
        match address(&cidr).map(|(cidr, _)| cidr.to_owned()) {
            Ok(plain) => cidr = plain,
            Err(err) => wrong = Some(err.to_string()),
        }
    }
    if wrong.is_none() && seen.contains(&cidr) {
        wrong = Some(format!("duplicate ipset entry for '{cidr}'"));
    }
    if is_everything(&cidr) {
        wrong = Some("a zero prefix is not allowed in ipset entries\n".to_owned());
    }
    errors.extend(wrong.map(|text| ("cidr".to_owned(), text)));
    Some(IpSetEntry { cidr, nomatch, comment: super::comment(comment.as_deref()), errors })
}

fn rule(line: &str) -> Result<Rule, String> {
    let (line, comment) = split_comment(line);
    let mut rule = Rule::default();
    rule.properties.extend(comment.map(|comment| ("comment", comment)));
    let (enable, line) = line.strip_prefix('|').map_or((1, line), |line| (0, line));
    rule.enable = Some(enable);
    let mut words = line.trim_end().splitn(2, char::is_whitespace);
    let (kind, rest) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let rest = rest.trim_start();
    let (action, mut rest) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
    if kind.is_empty() || action.is_empty() {
        return Err(format!("unable to parse rule: {line}"));
    }
    rule.kind = kind.to_lowercase();
    action.clone_into(&mut rule.action);
    let one = matches!(rule.kind.as_str(), "in" | "out" | "forward");
    if one
        && let Some((name, action)) =
            action.strip_suffix(')').and_then(|text| text.rsplit_once('('))
        && !name.is_empty()
        && matches!(action, "ACCEPT" | "DROP" | "REJECT")
    {
        rule.properties.insert("macro", name.to_owned());
        action.clone_into(&mut rule.action);
    }
    rest = rest.trim_start();
    while !rest.is_empty() {
        let Some((name, value, after)) = parameter(rest, rule.kind == "group") else {
            return Err(format!("unable to parse rule parameters: {rest}"));
        };
        rule.properties.insert(name, value.to_owned());
        rest = after.trim_start();
    }
    Ok(rule)
}

/// The first parameter of `text`: its name, its value, and what follows.
fn parameter(text: &str, only_interface: bool) -> Option<(&'static str, &str, &str)> {
    /// With one dash or two, but for the short ones.
    const NAMES: [(&str, &str); 13] = [
        ("-i ", "iface"),
        ("-p ", "proto"),
        ("-proto ", "proto"),
        ("--proto ", "proto"),
        ("-dport ", "dport"),
        ("--dport ", "dport"),
        ("-sport ", "sport"),
        ("--sport ", "sport"),
        ("-source ", "source"),
        ("--source ", "source"),
        ("-dest ", "dest"),
        ("--dest ", "dest"),
        ("-icmp-type ", "icmp-type"),
    ];
    let known = NAMES.iter().chain(&[("--icmp-type ", "icmp-type")]);
    for (prefix, name) in known {
        if let Some(rest) = text.strip_prefix(prefix) {
            if only_interface && *name != "iface" {
                return None;
            }
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            return (end > 0).then(|| (*name, &rest[..end], &rest[end..]));
        }
    }
    let rest = text.strip_prefix("--log ").or_else(|| text.strip_prefix("-log "))?;
    let level = LOG_LEVELS.iter().find(|level| rest.starts_with(**level))?;
    (!only_interface).then(|| ("log", *level, &rest[level.len()..]))
}
