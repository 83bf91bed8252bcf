//! `/cluster`: what there is, over all nodes, of which there is one.

mod backup;
mod ha;
mod options;
mod overview;
mod replication;
mod resources;

use std::collections::BTreeSet;
use std::ops::Range;

use axum::extract::State;
use openapi::Vmid;
use openapi::answer::ErrorBody;
use serde::Deserialize;

use super::{Name, names};
pub(crate) use resources::HostRows;

use crate::api_router::{ApiRouter, routes};
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::Params;

/// datacenter.cfg's `next-id` changes them.
const FREE_IDS: Range<u32> = 100..1_000_000;

pub(crate) fn router() -> ApiRouter {
    ApiRouter::default()
        .routes(routes!(cluster_index))
        .routes(routes!(next_id))
        .routes(routes!(resources::resources))
        .routes(routes!(options::cluster_options, options::set_cluster_options))
        .routes(routes!(overview::cluster_status))
        .routes(routes!(overview::cluster_tasks))
        .routes(routes!(overview::cluster_log))
        .routes(routes!(backup::backup_jobs, backup::create_backup_job))
        .routes(routes!(backup::backup_job, backup::update_backup_job, backup::delete_backup_job))
        .routes(routes!(backup::included_volumes))
        .routes(routes!(backup::backup_info))
        .routes(routes!(backup::not_backed_up))
        .routes(routes!(ha::ha_groups))
        .routes(routes!(ha::ha_group))
        .routes(routes!(ha::ha_resources, ha::create_ha_resource))
        .routes(routes!(ha::ha_resource, ha::update_ha_resource, ha::delete_ha_resource))
        .routes(routes!(ha::ha_status))
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
    Ok(Data::new(free_vmid(&app, &taken)?.to_string()))
}

/// The lowest number that no guest has.
pub(super) fn free_vmid(app: &App, taken: &BTreeSet<Vmid>) -> Result<u32, ApiError> {
    let text = fs_err::read_to_string(app.root().datacenter_cfg()).unwrap_or_default();
    let range = free_ids(&text);
    lowest_free(range.clone(), taken).ok_or_else(|| {
        ApiError::die(format_args!(
            "unable to get any free VMID in range [{}, {})",
            range.start, range.end
        ))
    })
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
