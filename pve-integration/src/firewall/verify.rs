//! What a rule may say. Asked of a new rule, which is refused at the first complaint, and of each
//! rule of a file, which is kept with all of them. Upstream: `verify_rule`.

use std::collections::BTreeMap;

use openapi::format::{self, firewall as formats};

use super::{Firewall, FirewallError, Rule, alias_reference, is_name, macros, resolve};

/// Protocols that have ports, by name and number.
const WITH_PORTS: [&str; 10] =
    ["udp", "17", "udplite", "136", "tcp", "6", "dccp", "33", "sctp", "132"];

/// What becomes of complaints.
pub(super) struct Complaints {
    strict: bool,
    pub(super) found: BTreeMap<String, String>,
}

impl Complaints {
    /// The first one is the answer.
    pub(super) fn strict() -> Self {
        Self { strict: true, found: BTreeMap::new() }
    }

    /// The first of each property is kept.
    pub(super) fn gathered() -> Self {
        Self { strict: false, found: BTreeMap::new() }
    }

    fn add(&mut self, property: &str, text: impl Into<String>) -> Result<(), FirewallError> {
        if self.strict {
            return Err(FirewallError::param(property, text));
        }
        self.found.entry(property.to_owned()).or_insert_with(|| text.into());
        Ok(())
    }

    fn check(&mut self, property: &str, done: Result<(), String>) -> Result<(), FirewallError> {
        done.or_else(|text| self.add(property, text))
    }
}

/// Checks a rule of a container, settles how its macro is written and notes its family. `Err` also
/// for what no rule of a file may be.
pub(super) fn verify(
    rule: &mut Rule,
    cluster: &Firewall,
    guest: &Firewall,
    complaints: &mut Complaints,
) -> Result<(), FirewallError> {
    check_kind(rule, complaints)?;
    check_macro_and_interface(rule, complaints)?;
    let mut family = Family::default();
    check_protocol(rule, &mut family, complaints)?;
    check_ports(rule, complaints)?;
    for property in ["source", "dest"] {
        let Some(value) = rule.set(property) else { continue };
        let listed = formats::address_list(value)
            .and_then(|version| family.meet(version).map_err(|err| err.to_string()));
        complaints.check(property, listed)?;
        check_reference(property, value, (cluster, guest), &mut family, complaints)?;
    }
    rule.ipversion = family.0.or(rule.ipversion);
    if complaints.found.is_empty() {
        check_macro(rule, family.0, complaints)?;
    }
    Ok(())
}

/// The one family that all addresses of a rule are of.
#[derive(Default)]
struct Family(Option<u8>);

impl Family {
    fn meet(&mut self, version: Option<u8>) -> Result<(), FirewallError> {
        let Some(version) = version else { return Ok(()) };
        if self.0.is_some_and(|known| known != version) {
            return Err(FirewallError::MixedFamilies);
        }
        self.0 = Some(version);
        Ok(())
    }
}

fn check_kind(rule: &Rule, complaints: &mut Complaints) -> Result<(), FirewallError> {
    let (kind, action) = (rule.kind.as_str(), rule.action.as_str());
    for (name, value) in [("type", kind), ("action", action)] {
        if !super::is_true(value) {
            complaints.add(name, "missing property")?;
        }
    }
    if !super::is_true(kind) {
        return Ok(());
    }
    if !matches!(kind, "in" | "out" | "group") {
        complaints.add("type", format!("invalid rule type '{kind}' for rule_env 'ct'"))?;
    }
    let plain = matches!(action, "ACCEPT" | "DROP" | "REJECT");
    match kind {
        "forward" if action == "REJECT" => {
            complaints.add("action", "cannot define REJECT rules on forward chain")
        }
        "in" | "out" | "forward" if super::is_true(action) && !plain => {
            complaints.add("action", format!("unknown action '{action}'"))
        }
        "group" if super::is_true(action) && !is_name(action) => {
            complaints.add("action", "invalid characters in security group name")
        }
        _ => Ok(()),
    }
}

fn check_macro_and_interface(
    rule: &mut Rule,
    complaints: &mut Complaints,
) -> Result<(), FirewallError> {
    if let Some(iface) = rule.set("iface") {
        complaints.check("iface", format::verify("pve-iface", iface))?;
        let number = iface.strip_prefix("net").unwrap_or_default();
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
            complaints.add("iface", "value does not match the regex pattern 'net\\d+'")?;
        }
    }
    if let Some(name) = rule.set("macro") {
        match macros::preferred_name(name) {
            Some(preferred) => {
                rule.properties.insert("macro", preferred.to_owned());
            }
            None => complaints.add("macro", format!("unknown macro '{name}'"))?,
        }
    }
    Ok(())
}

fn icmp_family(proto: &str) -> Option<u8> {
    match proto {
        "icmp" => Some(4),
        "icmpv6" | "ipv6-icmp" => Some(6),
        _ => None,
    }
}

fn check_protocol(
    rule: &Rule,
    family: &mut Family,
    complaints: &mut Complaints,
) -> Result<(), FirewallError> {
    let Some(proto) = rule.set("proto") else { return Ok(()) };
    complaints.check("proto", formats::protocol(proto))?;
    family.meet(icmp_family(proto))
}

fn check_ports(rule: &Rule, complaints: &mut Complaints) -> Result<(), FirewallError> {
    let proto = rule.set("proto").unwrap_or_default();
    let icmp = icmp_family(proto);
    let missing = |property| format!("missing property - '{property}' requires this property");
    let without_ports = || format!("protocol '{proto}' does not support ports");
    if let Some(ports) = rule.set("dport") {
        complaints.check("dport", formats::ports(ports, icmp.is_some()))?;
        if proto.is_empty() {
            complaints.add("proto", missing("dport"))?;
        }
        if !WITH_PORTS.contains(&proto) && icmp.is_none() {
            complaints.add("dport", without_ports())?;
        }
    }
    if let Some(kind) = rule.set("icmp-type") {
        if icmp.is_none() {
            complaints.add("proto", missing("icmp-type"))?;
        }
        if rule.set("dport").is_some() {
            let text = "'icmp-type' cannot be specified together with 'dport'";
            complaints.add("icmp-type", text)?;
        }
        if icmp.is_some_and(|version| !formats::is_icmp_type(kind, version)) {
            let text = format!("invalid icmp-type '{kind}' for proto '{proto}'");
            complaints.add("icmp-type", text)?;
        }
    }
    if let Some(ports) = rule.set("sport") {
        complaints.check("sport", formats::ports(ports, false))?;
        if proto.is_empty() {
            complaints.add("proto", missing("sport"))?;
        }
        if !WITH_PORTS.contains(&proto) {
            complaints.add("sport", without_ports())?;
        }
    }
    Ok(())
}

/// That the IP set or alias, if it is one, is there.
fn check_reference(
    property: &str,
    value: &str,
    (cluster, guest): (&Firewall, &Firewall),
    family: &mut Family,
    complaints: &mut Complaints,
) -> Result<(), FirewallError> {
    if let Some(name) = value.strip_prefix('+') {
        let scopes = ["guest/", "dc/", "sdn/"];
        let set = scopes.iter().find_map(|scope| name.strip_prefix(scope)).unwrap_or(name);
        if !is_name(set) {
            return complaints.add(property, format!("invalid ipset name '{value}'"));
        }
        if !cluster.ipsets.contains_key(set) && !guest.ipsets.contains_key(set) {
            return complaints.add(property, format!("no such ipset '{set}'"));
        }
        return Ok(());
    }
    let Some((scope, name)) = alias_reference(value) else { return Ok(()) };
    // PVE looks into both files here, whatever the scope.
    let key = name.to_lowercase();
    if !cluster.aliases.contains_key(&key) && !guest.aliases.contains_key(&key) {
        complaints.add(property, format!("no such alias '{value}'"))?;
    }
    let alias = resolve(Some(cluster), guest, scope, name);
    family.meet(alias.and_then(|alias| alias.ipversion))
}

/// A rule may repeat what its macro says, not contradict it.
fn check_macro(
    rule: &Rule,
    version: Option<u8>,
    complaints: &mut Complaints,
) -> Result<(), FirewallError> {
    let Some(name) = rule.set("macro") else { return Ok(()) };
    for part in macros::parts(name, version) {
        let fixed = [("proto", Some(part.proto)), ("dport", part.dport), ("sport", part.sport)];
        for (property, theirs) in fixed {
            if let (Some(ours), Some(theirs)) = (rule.get(property), theirs)
                && ours != theirs
            {
                let text =
                    format!("parameter '{property}' already define in macro (value = '{theirs}')");
                complaints.add(property, text)?;
            }
        }
    }
    Ok(())
}
