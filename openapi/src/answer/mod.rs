//! What the API answers, with PVE's exact JSON types: which number is a text is the server's word,
//! not taste. A row never has a key that PVE leaves out. The envelope around is the daemon's.

mod access;
mod cluster;
mod console;
mod firewall;
mod guest;
mod guest_operation;
mod node;
mod oci;
mod pools;
mod rrd;
mod storage;
mod task;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

pub use access::{
    AclRow, ChangedTokenAnswer, DomainRow, GivenToken, GroupAnswer, GroupRow, NewTokenAnswer,
    PerlScalar, RoleRow, TicketAnswer, TokenInfo, TokenRow, UserAnswer, UserFactors, UserFields,
    UserRow,
};
pub use cluster::{
    ClusterStatusRow, ClusterTaskRow, HaStatusRow, IncludedGuest, IncludedVolume, IncludedVolumes,
    NodeRow, ResourceRow, UncoveredGuest,
};
pub use console::{ConsolePort, TerminalConsole, VncConsole};
pub use firewall::{
    FirewallAlias, FirewallEntry, FirewallIpSet, FirewallOptions, FirewallReference, FirewallRule,
};
pub use guest::{ConfigAnswer, Cpus, GuestRow, GuestState, GuestStatus, HaState, PendingRow};
pub use guest_operation::{
    FeatureAnswer, GuestInterface, InterfaceAddress, MigratePreconditions, SnapshotCommand,
    SnapshotRow,
};
pub use node::{DnsSettings, HostsFile, NetstatRow, NetworkInterface, NodeTime, SubscriptionInfo};
pub use oci::{
    OciBundle, OciContainer, OciContainerRow, OciExit, OciExplained, OciLimits, OciRuntime,
    OciRuntimes,
};
pub use pools::PoolRow;
pub use rrd::{Figure, RrdRow};
pub use storage::{
    BackupOptions, ContentRow, PruneRow, StorageRow, StorageStatus, UrlMetadata, VolumeInfo,
};
pub use task::{TaskFields, TaskLogLine, TaskRow, TaskState, TaskStatus};

/// The API's version: of the pve-manager that is mirrored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VersionInfo {
    #[schema(example = "9.2.11")]
    pub version: String,
    #[schema(example = "9.2")]
    pub release: String,
    /// A revision, in hex.
    pub repoid: String,
}

/// PVE's error envelope.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// Always null.
    pub data: Option<String>,
    /// What went wrong; its first line is the reason phrase too.
    pub message: String,
    /// By parameter, if parameters were wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<BTreeMap<String, String>>,
}

/// A whole number without a fraction, as Perl prints it: `0`, not `0.0`.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn perl_number<S: Serializer>(number: &f64, to: S) -> Result<S::Ok, S::Error> {
    match format!("{number}").parse::<i64>() {
        Ok(whole) => to.serialize_i64(whole),
        Err(_) => to.serialize_f64(*number),
    }
}

/// [`perl_number`], where there is one.
#[expect(clippy::ref_option, reason = "serde passes fields by reference")]
fn perl_number_option<S: Serializer>(number: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
    match number {
        Some(number) => perl_number(number, to),
        None => to.serialize_none(),
    }
}

#[cfg(test)]
mod tests;
