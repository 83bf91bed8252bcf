//! Answers below `/nodes/{node}/oci`, which PVE has not.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::GuestState;
use crate::{Digest, Vmid};

/// `oci/containers/{vmid}`: what a runtime knows of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OciContainer {
    pub vmid: Vmid,
    pub state: GuestState,
    /// `crun` or `lxc`: what starts it.
    pub runtime: String,
    /// Who chose that: `request`, `rule` or `auto`.
    #[serde(rename = "runtime-by")]
    pub runtime_by: String,
    /// What runs it now, which is the other one if its own could not be used.
    #[serde(rename = "runs-under", skip_serializing_if = "Option::is_none")]
    pub runs_under: Option<String>,
    /// Of its init; this and the next three only while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Below the root of the cgroup hierarchy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// How many of its processes the kernel killed for want of memory.
    #[serde(rename = "oom-kills", skip_serializing_if = "Option::is_none")]
    pub oom_kills: Option<u64>,
    /// Inode numbers by kind: `pid`, `net`, `mnt`, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<BTreeMap<String, u64>>,
    /// How it ended the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<OciExit>,
}

/// A row of `oci/containers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OciContainerRow {
    pub vmid: Vmid,
    pub state: GuestState,
    /// `crun` or `lxc`: what starts it. Not there if its record is of a runtime that there is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// Who chose that: `request`, `rule` or `auto`.
    #[serde(rename = "runtime-by", skip_serializing_if = "Option::is_none")]
    pub runtime_by: Option<String>,
    /// What runs it now.
    #[serde(rename = "runs-under", skip_serializing_if = "Option::is_none")]
    pub runs_under: Option<String>,
    /// What it was made from, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// `oci/containers/{vmid}/limits`: those that the container has, of which PVE's config knows none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OciLimits {
    /// Of the file that they are in, which has more than limits.
    pub digest: Digest,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    /// From 1 to 10000.
    #[serde(rename = "io-weight", skip_serializing_if = "Option::is_none")]
    pub io_weight: Option<u16>,
    /// As in `8:0,rbps=1048576,wiops=100`: bytes and operations a second of a device.
    #[serde(rename = "io-max", default, skip_serializing_if = "Vec::is_empty")]
    pub io_max: Vec<String>,
    /// As in `2M=64`: MiB by page size.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hugepages: Vec<String>,
}

/// `oci/containers/{vmid}/bundle`: the config.json, or what put there what is in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum OciBundle {
    Config(BTreeMap<String, Value>),
    Explained(Vec<OciExplained>),
}

/// What a key of a container does to its bundle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OciExplained {
    /// `default` if no key asked for it.
    pub key: String,
    /// Where in the bundle, or in the cgroup; not there if it is in neither.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What is there; not there if the key takes something away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    pub why: String,
}

/// The end of a container. At most one of code and signal is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OciExit {
    /// Epoch seconds.
    pub starttime: u64,
    /// Epoch seconds.
    pub endtime: u64,
    pub duration_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    pub oom_killed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// `oci/runtimes`: what can run containers here, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OciRuntimes {
    pub runtimes: Vec<OciRuntime>,
}

/// One runtime.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OciRuntime {
    /// `crun` or `lxc`.
    pub name: String,
    pub usable: bool,
    /// Why not, and what to install.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What was found: versions, cgroups, namespaces, what is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<Value>,
}
