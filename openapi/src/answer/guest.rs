//! Answers about a container: its row in a list, its status, its config.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Type};

use super::perl_number;
use crate::Vmid;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum GuestState {
    Running,
    #[default]
    Stopped,
}

/// How many CPUs: a number, or the text of `cpulimit` where that decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Cpus {
    /// `cores`, or all of the host.
    Whole(u32),
    Limit(String),
}

/// A container as `GET /nodes/{node}/lxc` has it. Sizes are bytes; those of a stopped container's
/// use are 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GuestRow {
    pub vmid: Vmid,
    /// Always `lxc`.
    #[serde(rename = "type")]
    pub kind: String,
    pub status: GuestState,
    /// The host name, or `CT` and the number.
    pub name: String,
    pub cpus: Cpus,
    /// The share of its CPUs that is busy.
    #[serde(serialize_with = "perl_number")]
    pub cpu: f64,
    pub mem: u64,
    pub maxmem: u64,
    pub swap: u64,
    pub maxswap: u64,
    pub disk: u64,
    pub maxdisk: u64,
    pub diskread: u64,
    pub diskwrite: u64,
    pub netin: u64,
    pub netout: u64,
    /// Seconds.
    pub uptime: u64,
    /// Of its init; only while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Percent of the last ten seconds, as text; this and the next five only while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pressurecpusome: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pressurecpufull: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pressureiosome: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pressureiofull: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pressurememorysome: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pressurememoryfull: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    /// 1 for a template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<u8>,
}

impl GuestRow {
    /// A stopped container of which nothing else is known.
    #[must_use]
    pub fn new(vmid: Vmid, name: String, cpus: Cpus) -> Self {
        Self {
            vmid,
            kind: "lxc".to_owned(),
            status: GuestState::Stopped,
            name,
            cpus,
            cpu: 0.0,
            mem: 0,
            maxmem: 0,
            swap: 0,
            maxswap: 0,
            disk: 0,
            maxdisk: 0,
            diskread: 0,
            diskwrite: 0,
            netin: 0,
            netout: 0,
            uptime: 0,
            pid: None,
            pressurecpusome: None,
            pressurecpufull: None,
            pressureiosome: None,
            pressureiofull: None,
            pressurememorysome: None,
            pressurememoryfull: None,
            tags: None,
            lock: None,
            template: None,
        }
    }
}

/// `status/current`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GuestStatus {
    #[serde(flatten)]
    pub row: GuestRow,
    pub ha: HaState,
}

/// Whether PVE's high availability looks after the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HaState {
    pub managed: u8,
}

/// A config by key: `memory` and its like are numbers, `cpulimit` is a text, `lxc` a list of pairs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConfigAnswer(pub BTreeMap<String, Value>);

impl utoipa::PartialSchema for ConfigAnswer {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some("The container's configuration by key"))
            .property("digest", ObjectBuilder::new().schema_type(Type::String))
            .additional_properties(Some(AdditionalProperties::FreeForm(true)))
            .into()
    }
}

impl ToSchema for ConfigAnswer {
    fn name() -> std::borrow::Cow<'static, str> {
        "ConfigAnswer".into()
    }
}

/// A key of `GET .../pending`: what holds, what will hold, whether it will go.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PendingRow {
    pub key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<Value>,
    /// 1, or 2 if by force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete: Option<u8>,
}
