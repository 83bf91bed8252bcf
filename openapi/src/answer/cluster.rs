//! Answers that list what a cluster has: nodes, and resources of all kinds.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{TaskFields, perl_number_option};

/// A node as `GET /nodes` has it. Figures need `Sys.Audit`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeRow {
    #[schema(example = "node/pve1")]
    pub id: String,
    pub node: String,
    #[serde(rename = "type")]
    pub kind: String,
    /// `online`, `offline` or `unknown`.
    pub status: String,
    /// Of the certificate, null if there is none.
    pub ssl_fingerprint: Option<String>,
    /// The share of all CPUs that is busy.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "perl_number_option")]
    pub cpu: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maxcpu: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maxmem: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maxdisk: Option<u64>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime: Option<u64>,
    /// Of the subscription; empty without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
}

/// A row of `GET /cluster/resources`; which keys it has depends on its type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ResourceRow {
    #[schema(example = "lxc/100")]
    pub id: String,
    /// `lxc`, `node`, `storage`, `pool` or `network`.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// `running`, `stopped`, `online`, `available`, or `unknown` before the first figures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vmid: Option<crate::Vmid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "perl_number_option")]
    pub cpu: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "perl_number_option")]
    pub maxcpu: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maxmem: Option<u64>,
    /// What a guest takes of its host's memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memhost: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maxdisk: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diskread: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diskwrite: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netin: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netout: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hastate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    #[serde(rename = "cgroup-mode", skip_serializing_if = "Option::is_none")]
    pub cgroup_mode: Option<u8>,
    #[serde(rename = "host-arch", skip_serializing_if = "Option::is_none")]
    pub host_arch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugintype: Option<String>,
    /// Kinds of content, separated by commas, in any order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    #[serde(rename = "network-type", skip_serializing_if = "Option::is_none")]
    pub network_type: Option<String>,
}

/// A row of `GET /cluster/status`. Of a node without a cluster there is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterStatusRow {
    /// `node`.
    #[serde(rename = "type")]
    pub kind: String,
    #[schema(example = "node/pve1")]
    pub id: String,
    pub name: String,
    /// Of the node's name, where it has one.
    pub ip: String,
    pub local: u8,
    pub nodeid: u32,
    pub online: u8,
    /// Of the subscription; empty without one.
    pub level: String,
}

/// A row of `GET /cluster/tasks`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterTaskRow {
    #[serde(flatten)]
    pub task: TaskFields,
    /// `1` when the task is in the archive.
    pub saved: String,
    /// Epoch seconds; not while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endtime: Option<u64>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

/// A guest that no backup job covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UncoveredGuest {
    pub vmid: crate::Vmid,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The guests of a backup job, as a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IncludedVolumes {
    pub children: Vec<IncludedGuest>,
}

/// A guest of a backup job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IncludedGuest {
    pub id: crate::Vmid,
    /// `lxc`, `qemu`, or `unknown` of one that is no more.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub children: Option<Vec<IncludedVolume>>,
    /// Whether there is nothing below it.
    pub leaf: u8,
}

impl IncludedGuest {
    /// One of which only the number is known.
    #[must_use]
    pub fn unknown(id: crate::Vmid) -> Self {
        Self { id, kind: "unknown".to_owned(), name: None, children: None, leaf: 1 }
    }
}

/// A volume of a guest, and whether a backup has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IncludedVolume {
    /// Guest and key: `100:rootfs`.
    pub id: String,
    /// The volume's id, or what is mounted there.
    pub name: String,
    pub included: u8,
    pub reason: String,
    pub leaf: u8,
}

/// A row of `GET /cluster/ha/status/current`. Only that of the quorum is there without a manager.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HaStatusRow {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub node: String,
    /// `OK`, or what is wrong.
    pub status: String,
    pub quorate: u8,
}
