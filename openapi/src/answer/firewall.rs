//! Answers about a guest's firewall. Each row of a list has the digest of the whole list.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::PerlScalar;

/// What is set: numbers for switches, texts for the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FirewallOptions {
    pub digest: String,
    #[serde(flatten)]
    pub options: BTreeMap<String, PerlScalar>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FirewallAlias {
    pub name: String,
    /// An address or a network.
    pub cidr: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// 4 or 6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipversion: Option<u8>,
    /// In lists only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FirewallIpSet {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    pub digest: String,
}

/// One of an IP set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FirewallEntry {
    /// An address, a network or an alias.
    pub cidr: String,
    /// 1 for what the set is not to match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nomatch: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// What is wrong with it, by property.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub errors: BTreeMap<String, String>,
    pub digest: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FirewallRule {
    /// Its place: a number in lists, else as it was asked for.
    pub pos: PerlScalar,
    /// `in`, `out` or `group`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `ACCEPT`, `DROP`, `REJECT` or a security group.
    pub action: String,
    /// 0 for one that does not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable: Option<u64>,
    /// 4 or 6, where its addresses tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipversion: Option<u8>,
    /// `macro`, `iface`, `source`, `dest`, `proto`, `sport`, `dport`, `icmp-type`, `log`, `comment`.
    #[serde(flatten)]
    pub properties: BTreeMap<String, String>,
    /// What is wrong with it, by property.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub errors: BTreeMap<String, String>,
    pub digest: String,
}

/// What `source` and `dest` of a rule may name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FirewallReference {
    /// `alias` or `ipset`.
    #[serde(rename = "type")]
    pub kind: String,
    pub name: String,
    /// The text that names it.
    #[serde(rename = "ref")]
    pub reference: String,
    /// `dc` or `guest`.
    pub scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}
