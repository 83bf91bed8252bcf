//! Changing what the node's own files say, and what else a node can be told to do.

use std::io;

use axum::extract::State;
use openapi::answer::{ErrorBody, NetstatRow};
use pve_integration::settings::{
    Resolver, change_node_config, set_timezone, write_hosts, write_resolver,
};
use serde::Deserialize;
use serde_json::Map;

use crate::api::blocking;
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{AllParams, LocalNode, Params};

type Nothing = Data<Option<String>>;

#[derive(Deserialize)]
pub(super) struct DnsParams {
    search: String,
    dns1: Option<String>,
    dns2: Option<String>,
    dns3: Option<String>,
}

/// Set the resolver.
#[utoipa::path(
    put, path = "/nodes/{node}/dns", tag = "nodes",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn set_dns(
    State(app): State<App>,
    _: LocalNode,
    Params(params): Params<DnsParams>,
) -> Result<Nothing, ApiError> {
    let DnsParams { search, dns1, dns2, dns3 } = params;
    let servers = [dns1, dns2, dns3].into_iter().flatten().collect();
    let resolver = Resolver { search, servers };
    blocking(move || write_resolver(app.root(), &resolver)).await??;
    Ok(Data::new(None))
}

#[derive(Deserialize)]
pub(super) struct TimeParams {
    timezone: String,
}

/// Set the time zone.
#[utoipa::path(
    put, path = "/nodes/{node}/time", tag = "nodes",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn set_time(
    State(app): State<App>,
    _: LocalNode,
    Params(params): Params<TimeParams>,
) -> Result<Nothing, ApiError> {
    blocking(move || set_timezone(app.root(), &params.timezone)).await??;
    Ok(Data::new(None))
}

#[derive(Deserialize)]
pub(super) struct HostsParams {
    data: String,
    digest: Option<String>,
}

/// Write `/etc/hosts`.
#[utoipa::path(
    post, path = "/nodes/{node}/hosts", tag = "nodes",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn set_hosts(
    State(app): State<App>,
    _: LocalNode,
    Params(params): Params<HostsParams>,
) -> Result<Nothing, ApiError> {
    blocking(move || write_hosts(app.root(), &params.data, params.digest.as_deref())).await??;
    Ok(Data::new(None))
}

#[derive(Deserialize)]
pub(super) struct ConfigParams {
    delete: Option<String>,
    digest: Option<String>,
}

/// Set and delete options of the node.
#[utoipa::path(
    put, path = "/nodes/{node}/config", tag = "nodes",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn set_node_config(
    State(app): State<App>,
    node: LocalNode,
    Params(how): Params<ConfigParams>,
    AllParams(params): AllParams,
) -> Result<Nothing, ApiError> {
    let ours = |name: &str| !matches!(name, "node" | "delete" | "digest");
    let set = params.iter().filter(|(name, _)| ours(name));
    let set: Map<_, _> = set.map(|(name, value)| (name.clone(), value.clone())).collect();
    let change = move || {
        let delete = how.delete.unwrap_or_default();
        change_node_config(app.root(), node.name(), &set, &delete, how.digest.as_deref())
    };
    blocking(change).await??;
    Ok(Data::new(None))
}

#[derive(Deserialize)]
pub(super) struct KeyParams {
    key: String,
}

/// What a key is for: `pve`, the sockets, the level, and `arm` for the other architecture.
fn check_key(key: &str, sockets: u32) -> Result<(), ApiError> {
    let allowed = key.as_bytes().get(3).map_or(0, |digit| u32::from(digit.wrapping_sub(b'0')));
    if allowed < sockets {
        let text = format_args!("wrong number of sockets ({allowed} < {sockets})");
        return Err(ApiError::die(text));
    }
    let theirs = if key.contains("-arm-") { "arm64" } else { "amd64" };
    let ours = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    if theirs == ours {
        return Ok(());
    }
    Err(ApiError::die(format_args!(
        "subscription key is for the '{theirs}' architecture, but this host is '{ours}'"
    )))
}

/// Set a subscription's key. It is a key of Proxmox VE's: only that can have it checked.
#[utoipa::path(
    put, path = "/nodes/{node}/subscription", tag = "nodes",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn set_subscription(
    State(app): State<App>,
    _: LocalNode,
    Params(params): Params<KeyParams>,
) -> Result<Nothing, ApiError> {
    check_key(params.key.trim(), app.host().cpu().sockets)?;
    Err(ApiError::die("subscription keys are checked by Proxmox VE, and this is not one"))
}

/// Ask whether the subscription still holds: there is none.
#[utoipa::path(
    post, path = "/nodes/{node}/subscription", tag = "nodes",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn check_subscription(
    State(app): State<App>,
    _: LocalNode,
) -> Result<Nothing, ApiError> {
    if app.root().below("/etc/subscription").exists() {
        let text = "subscription keys are checked by Proxmox VE, and this is not one";
        return Err(ApiError::die(text));
    }
    Ok(Data::new(None))
}

/// Forget the subscription's key.
#[utoipa::path(
    delete, path = "/nodes/{node}/subscription", tag = "nodes",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn delete_subscription(
    State(app): State<App>,
    _: LocalNode,
) -> Result<Nothing, ApiError> {
    match fs_err::remove_file(app.root().below("/etc/subscription")) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => {
            Err(ApiError::die(format_args!("cannot delete subscription key: {err}")))
        }
        Ok(()) | Err(_) => Ok(Data::new(None)),
    }
}

#[derive(Deserialize)]
pub(super) struct NodeParam {
    node: String,
}

/// Wake another node. There is none.
#[utoipa::path(
    post, path = "/nodes/{node}/wakeonlan", tag = "nodes",
    responses(
        (status = 200, description = "The address that was called", body = Data<String>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn wake_on_lan(
    State(app): State<App>,
    Params(NodeParam { node }): Params<NodeParam>,
) -> Result<Data<String>, ApiError> {
    if node == app.node().as_str() {
        return Err(ApiError::die(format_args!("'{node}' is local node, cannot wake my self!")));
    }
    Err(ApiError::die(format_args!("no such cluster node '{node}'")))
}

/// What guests' interfaces took and sent.
#[utoipa::path(
    get, path = "/nodes/{node}/netstat", tag = "nodes",
    responses(
        (status = 200, description = "One row each", body = Data<Vec<NetstatRow>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn netstat(
    State(app): State<App>,
    _: LocalNode,
) -> Result<Data<Vec<NetstatRow>>, ApiError> {
    let text = fs_err::read_to_string("/proc/net/dev").unwrap_or_default();
    let mut rows = interfaces_of_guests(&text);
    // Another root's guests are on the same machine.
    rows.retain(|row| {
        row.vmid.parse().is_ok_and(|vmid| app.root().lxc_config(app.node(), vmid).exists())
    });
    Ok(Data::new(rows))
}

/// The machine's end of a guest's interface is named after the guest; what it sends, the guest takes.
fn interfaces_of_guests(text: &str) -> Vec<NetstatRow> {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let row = |line: &str| {
        let (name, counters) = line.split_once(':')?;
        let name = name.trim();
        let guest = name.strip_prefix("tap").or_else(|| name.strip_prefix("veth"))?;
        let (vmid, net) = guest.split_once('i')?;
        let counters: Vec<&str> = counters.split_whitespace().collect();
        let (received, sent) = (counters.first()?, counters.get(8)?);
        (number(vmid) && !vmid.starts_with('0') && number(net)).then(|| NetstatRow {
            vmid: vmid.to_owned(),
            dev: format!("net{net}"),
            taken: (*sent).to_owned(),
            sent: (*received).to_owned(),
        })
    };
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable_by_key(|line| line.split(':').next().unwrap_or_default().trim());
    lines.into_iter().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_from_the_guest_s_side() {
        let text = "Inter-| Receive | Transmit\n    lo: 1 2 3 4 5 6 7 8 9 10\n\
            veth100i0: 11 2 3 4 5 6 7 8 99 10\nvethx: 1 2 3 4 5 6 7 8 9 10\n\
              tap101i1: 5 2 3 4 5 6 7 8 6 10\n";

        let rows = interfaces_of_guests(text);

        let told: Vec<_> =
            rows.iter().map(|row| (&*row.vmid, &*row.dev, &*row.taken, &*row.sent)).collect();
        assert_eq!(told, [("101", "net1", "6", "5"), ("100", "net0", "99", "11")]);
    }

    #[test]
    fn a_key_says_what_it_is_for() {
        let refused = check_key("pve1c-0123456789", 2).unwrap_err();
        assert_eq!(refused.message(), "wrong number of sockets (1 < 2)");
        let key =
            if cfg!(target_arch = "aarch64") { "pve2b-0123456789" } else { "pve2b-arm-0123456789" };
        let refused = check_key(key, 2).unwrap_err();
        assert!(refused.message().starts_with("subscription key is for the"), "{refused}");
    }
}
