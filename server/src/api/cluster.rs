//! `/cluster`: what there is, over all nodes, of which there is one.

mod backup;
mod options;
mod overview;
mod replication;

use std::collections::BTreeSet;
use std::ops::Range;

use axum::extract::State;
use openapi::answer::{ErrorBody, ResourceRow};
use openapi::{Privilege, Vmid};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Name, blocking, names, nodes, storage};
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, Params};

/// datacenter.cfg's `next-id` changes them.
const FREE_IDS: Range<u32> = 100..1_000_000;

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(cluster_index))
        .routes(routes!(next_id))
        .routes(routes!(resources))
        .routes(routes!(options::cluster_options, options::set_cluster_options))
        .routes(routes!(overview::cluster_status))
        .routes(routes!(overview::cluster_tasks))
        .routes(routes!(overview::cluster_log))
        .routes(routes!(backup::backup_jobs, backup::create_backup_job))
        .routes(routes!(backup::backup_job, backup::update_backup_job, backup::delete_backup_job))
        .routes(routes!(backup::included_volumes))
        .routes(routes!(backup::backup_info))
        .routes(routes!(backup::not_backed_up))
        .routes(routes!(replication::cluster_replication))
        .routes(routes!(replication::node_replication))
}

/// What is below `/cluster`.
#[utoipa::path(
    get, path = "/cluster", tag = "cluster",
    responses(
        (status = 200, description = "The parts", body = Data<Vec<Name>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn cluster_index() -> Data<Vec<Name>> {
    Data::new(names(&[
        "acme",
        "backup",
        "backup-info",
        "bulk-action",
        "ceph",
        "config",
        "firewall",
        "ha",
        "jobs",
        "log",
        "mapping",
        "metrics",
        "notifications",
        "nextid",
        "options",
        "qemu",
        "replication",
        "resources",
        "status",
        "tasks",
        "sdn",
    ]))
}

#[derive(Deserialize)]
struct NextId {
    vmid: Option<Vmid>,
}

/// The lowest free guest number, or the one that was asked about, if it is free.
#[utoipa::path(
    get, path = "/cluster/nextid", tag = "cluster",
    responses(
        (status = 200, description = "The number, as text", body = Data<String>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn next_id(
    State(app): State<App>,
    Params(wanted): Params<NextId>,
) -> Result<Data<String>, ApiError> {
    let taken = app.guests().vmids().await?;
    if let Some(vmid) = wanted.vmid {
        if taken.contains(&vmid) {
            return Err(ApiError::param("vmid", format_args!("VM {vmid} already exists")));
        }
        return Ok(Data::new(vmid.to_string()));
    }
    let text = fs_err::read_to_string(app.root().datacenter_cfg()).unwrap_or_default();
    let range = free_ids(&text);
    match lowest_free(range.clone(), &taken) {
        Some(number) => Ok(Data::new(number.to_string())),
        None => Err(ApiError::die(format_args!(
            "unable to get any free VMID in range [{}, {})",
            range.start, range.end
        ))),
    }
}

fn lowest_free(mut range: Range<u32>, taken: &BTreeSet<Vmid>) -> Option<u32> {
    let taken: BTreeSet<u32> = taken.iter().map(|vmid| vmid.get()).collect();
    range.find(|number| !taken.contains(number))
}

/// `next-id: lower=N,upper=M`
fn free_ids(datacenter_cfg: &str) -> Range<u32> {
    let line = datacenter_cfg.lines().find_map(|line| line.strip_prefix("next-id:"));
    let bound = |name: &str| -> Option<u32> {
        let part = line?.trim().split(',').find_map(|part| part.trim().strip_prefix(name));
        part?.strip_prefix('=')?.parse().ok()
    };
    bound("lower").unwrap_or(FREE_IDS.start)..bound("upper").unwrap_or(FREE_IDS.end)
}

#[derive(Deserialize)]
struct Wanted {
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// Guests, the node, storages and pools, as far as the caller may see them.
#[utoipa::path(
    get, path = "/cluster/resources", tag = "cluster",
    responses(
        (status = 200, description = "One row each", body = Data<Vec<ResourceRow>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn resources(
    State(app): State<App>,
    caller: Caller,
    Params(wanted): Params<Wanted>,
) -> Result<Data<Vec<ResourceRow>>, ApiError> {
    // All of it in one hop: most of its parts are shorter than a hop.
    let rows = blocking(move || all_resources(&app, &caller, wanted.kind.as_deref()));
    Ok(Data::new(rows.await??))
}

fn all_resources(
    app: &App,
    caller: &Caller,
    kind: Option<&str>,
) -> Result<Vec<ResourceRow>, ApiError> {
    let wants = |one: &str| kind.is_none_or(|kind| kind == one);
    let mut rows = Vec::new();
    if kind.is_none() {
        rows.extend(pools(caller));
    }
    if wants("vm") {
        rows.extend(app.guests().resources_blocking(caller)?);
    }
    if wants("node") {
        let audits = caller.may(Privilege::SysAudit, &format!("/nodes/{}", app.node()));
        rows.push(nodes::resource(app, audits)?);
    }
    if wants("storage") {
        rows.extend(storage::resources(app, caller)?);
    }
    if kind.is_none() && caller.may(Privilege::SdnAudit, "/sdn/zones/localnetwork") {
        rows.push(local_network(app.node().as_str()));
    }
    Ok(rows)
}

/// The zone of the node's own bridges, which is always there.
fn local_network(node: &str) -> ResourceRow {
    ResourceRow {
        id: format!("network/{node}/zone/localnetwork"),
        kind: "network".to_owned(),
        node: Some(node.to_owned()),
        status: Some("ok".to_owned()),
        network: Some("localnetwork".to_owned()),
        network_type: Some("zone".to_owned()),
        ..ResourceRow::default()
    }
}

fn pools(caller: &Caller) -> Vec<ResourceRow> {
    let visible = |name: &&String| caller.may(Privilege::PoolAudit, &format!("/pool/{name}"));
    let row = |name: &String| ResourceRow {
        id: format!("/pool/{name}"),
        kind: "pool".to_owned(),
        pool: Some(name.clone()),
        ..ResourceRow::default()
    };
    caller.access().config.pools.keys().filter(visible).map(row).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::nothing("", 100..1_000_000)]
    #[case::both("keyboard: de\nnext-id: lower=200,upper=300\n", 200..300)]
    #[case::upper("next-id: upper=150\n", 100..150)]
    fn reads_the_range(#[case] text: &str, #[case] range: Range<u32>) {
        assert_eq!(free_ids(text), range);
    }

    #[test]
    fn skips_what_is_taken() {
        let taken = ["100", "101", "103"].map(|vmid| vmid.parse().unwrap()).into();

        assert_eq!(lowest_free(100..110, &taken), Some(102));
        assert_eq!(lowest_free(100..102, &taken), None);
    }
}
