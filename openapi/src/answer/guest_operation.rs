//! Answers about what is done with a container's volumes, and about its interfaces.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A snapshot; the last row of a list is the state now, `current`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotRow {
    pub name: String,
    /// Empty if it has none.
    pub description: String,
    /// Epoch seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snaptime: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// `prepare` or `delete` while that is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapstate: Option<String>,
    /// Of the config; in the last row only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// 0 or 1; in the last row only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<u8>,
}

/// What is below a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotCommand {
    pub cmd: String,
}

/// Whether all volumes can do something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FeatureAnswer {
    /// 0 or 1.
    #[serde(rename = "hasFeature")]
    pub has_feature: u8,
}

/// An interface inside a container, with PVE's old names (`hwaddr`, `inet`, `inet6`) and new ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GuestInterface {
    pub name: String,
    pub hwaddr: String,
    #[serde(rename = "hardware-address")]
    pub hardware_address: String,
    /// With the prefix behind a slash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inet: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inet6: Option<String>,
    #[serde(rename = "ip-addresses")]
    pub ip_addresses: Vec<InterfaceAddress>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InterfaceAddress {
    /// `inet` or `inet6`.
    #[serde(rename = "ip-address-type")]
    pub ip_address_type: String,
    #[serde(rename = "ip-address")]
    pub ip_address: String,
    /// Bits of the network, as text.
    pub prefix: String,
}

/// Where a container could go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MigratePreconditions {
    /// 0 or 1.
    pub running: u8,
    #[serde(rename = "allowed-nodes")]
    pub allowed_nodes: Vec<String>,
    /// By node; nothing here ever stands against one.
    #[serde(rename = "not-allowed-nodes")]
    pub not_allowed_nodes: BTreeMap<String, String>,
}
