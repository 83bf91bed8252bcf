//! Answers about the node itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// `nodes/{node}/dns`: the resolver's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DnsSettings {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns1: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns2: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns3: Option<String>,
}

/// `nodes/{node}/time`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeTime {
    #[schema(example = "Europe/Vienna")]
    pub timezone: String,
    /// Epoch seconds.
    pub time: i64,
    /// What epoch seconds would be where the local clock is universal time.
    pub localtime: i64,
}

/// `nodes/{node}/hosts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostsFile {
    pub data: String,
    pub digest: String,
}

/// `nodes/{node}/subscription`, where there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SubscriptionInfo {
    #[schema(example = "notfound")]
    pub status: String,
    pub message: String,
    pub url: String,
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NetworkInterface {
    /// `type`, `method`, `cidr` and so on; flags are numbers, what a file says is text.
    #[serde(flatten)]
    pub properties: BTreeMap<String, Value>,
}

/// Bytes that a guest's interface has taken and sent, as the kernel prints them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NetstatRow {
    pub vmid: String,
    /// The config's key, `net0`.
    pub dev: String,
    #[serde(rename = "in")]
    pub taken: String,
    #[serde(rename = "out")]
    pub sent: String,
}
