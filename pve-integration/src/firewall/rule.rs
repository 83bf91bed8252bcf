//! One rule: its properties, and how a client changes them.

use std::collections::BTreeMap;

use openapi::format::split_list;
use serde_json::{Map, Value};

use super::{FirewallError, digest};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// `in`, `out`, `forward` or `group`, or what somebody else wrote there.
    pub kind: String,
    pub action: String,
    /// Not 0 if it holds.
    pub enable: Option<u64>,
    /// The other properties by name, all texts: `macro`, `iface`, `source` and so on.
    pub properties: BTreeMap<&'static str, String>,
    /// 4 or 6 where its addresses tell.
    pub ipversion: Option<u8>,
    /// What is wrong with it, by property; found when the file was read.
    pub errors: BTreeMap<String, String>,
}

/// Those that are kept as texts in [`Rule::properties`].
pub(super) const TEXTS: [&str; 10] =
    ["comment", "dest", "dport", "icmp-type", "iface", "log", "macro", "proto", "source", "sport"];
/// Names that a client may send with a rule and that are not of it.
const NOT_KEPT: [&str; 2] = ["digest", "pos"];

impl Rule {
    pub fn get(&self, property: &str) -> Option<&str> {
        self.properties.get(property).map(String::as_str)
    }

    /// As Perl asks: there and neither empty nor 0.
    pub(super) fn set(&self, property: &str) -> Option<&str> {
        self.get(property).filter(|value| super::is_true(value))
    }

    /// Take over what a client sent. An empty text or a dash takes a property away.
    pub(super) fn copy(&mut self, params: &Map<String, Value>) {
        for (name, value) in params {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let gone = matches!(text.as_str(), "" | "-");
            match name.as_str() {
                "type" => self.kind = if gone { String::new() } else { text },
                "action" => self.action = if gone { String::new() } else { text },
                "enable" => self.enable = text.parse().ok(),
                _ => {
                    let Some(name) = TEXTS.into_iter().find(|known| known == name) else {
                        continue;
                    };
                    if gone {
                        self.properties.remove(name);
                    } else {
                        self.properties.insert(name, text);
                    }
                }
            }
        }
    }

    pub(super) fn delete(&mut self, list: &str) -> Result<(), FirewallError> {
        let refuse = |text| Err(FirewallError::param("delete", text));
        for name in split_list(list) {
            match name {
                "type" | "action" => {
                    return refuse(format!("unable to delete required property '{name}'"));
                }
                "enable" => self.enable = None,
                _ if NOT_KEPT.contains(&name) => {}
                _ if TEXTS.contains(&name) => {
                    self.properties.remove(name);
                }
                _ => return refuse(format!("no such property ('{name}')")),
            }
        }
        Ok(())
    }

    fn pairs(&self) -> Vec<(&str, String)> {
        let mut pairs: Vec<(&str, String)> =
            self.properties.iter().map(|(name, value)| (*name, value.clone())).collect();
        pairs.push(("type", self.kind.clone()));
        pairs.push(("action", self.action.clone()));
        pairs.extend(self.enable.map(|enable| ("enable", enable.to_string())));
        pairs.extend(self.ipversion.map(|version| ("ipversion", version.to_string())));
        pairs
    }
}

pub(super) fn rules_digest(rules: &[Rule]) -> String {
    digest(rules.iter().map(Rule::pairs))
}
