//! Answers about storages and what is on them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::perl_number_option;
use crate::{StorageId, Vmid, VolumeId};

/// `storage/{storage}/status`. Sizes are bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StorageStatus {
    #[serde(rename = "type")]
    pub kind: String,
    /// Kinds of content, separated by commas, in any order.
    pub content: String,
    pub enabled: u8,
    /// Whether it answers.
    pub active: u8,
    pub shared: u8,
    pub total: u64,
    pub used: u64,
    pub avail: u64,
}

/// A storage in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StorageRow {
    pub storage: StorageId,
    #[serde(flatten)]
    pub status: StorageStatus,
    /// Not of an empty or inactive storage.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "perl_number_option")]
    pub used_fraction: Option<f64>,
}

/// A volume, a template, a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContentRow {
    pub volid: VolumeId,
    pub content: String,
    /// `raw`, `subvol`, or of templates and backups the packing: `tzst`, `tgz`, ...
    pub format: String,
    pub size: u64,
    /// What it takes on disk, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    /// Epoch seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ctime: Option<u64>,
    /// Its owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vmid: Option<Vmid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protected: Option<u8>,
    /// Of a backup: `lxc`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subtype: Option<String>,
}

/// One volume: `content/{volume}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VolumeInfo {
    pub path: String,
    /// `raw`, also of templates and backups, or `subvol`.
    pub format: String,
    pub size: u64,
    /// Bytes on disk.
    pub used: u64,
    /// Of a backup, all lines; empty without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// Of a backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protected: Option<u8>,
}

/// What is at a URL, as far as its server says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UrlMetadata {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mimetype: Option<String>,
}

/// A backup, and what the rules say of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PruneRow {
    pub volid: VolumeId,
    /// Epoch seconds, by its name if that has them.
    pub ctime: i64,
    /// `keep`, `remove`, `protected` or `renamed`.
    pub mark: String,
    /// `lxc`, `qemu`, `openvz` or `unknown`.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vmid: Option<Vmid>,
}

/// Parameters of vzdump by name: numbers, texts, and objects for `performance` and `fleecing`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub struct BackupOptions(pub serde_json::Map<String, serde_json::Value>);
