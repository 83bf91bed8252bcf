//! `rrddata` of containers, the node and its storages.

use axum::extract::State;
use openapi::answer::{ErrorBody, Figure, RrdRow};
use openapi::{StorageId, Vmid};
use pve_integration::rrd::{Consolidation, Row, Timeframe};
use pve_integration::storage::StorageConfig;
use serde::Deserialize;

use crate::api_router::{ApiRouter, routes};
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{LocalNode, Params};
use crate::metrics::Subject;

pub(crate) fn router() -> ApiRouter {
    ApiRouter::default()
        .routes(routes!(container_rrddata))
        .routes(routes!(node_rrddata))
        .routes(routes!(storage_rrddata))
}

#[derive(Deserialize)]
struct FrameParams {
    timeframe: String,
    cf: Option<String>,
}

#[derive(Deserialize)]
struct GuestNumber {
    vmid: Vmid,
}

#[derive(Deserialize)]
struct StorageName {
    storage: StorageId,
}

async fn rows(
    app: &App,
    subject: Subject,
    params: &FrameParams,
) -> Result<Data<Vec<RrdRow>>, ApiError> {
    let frame = Timeframe::from_word(&params.timeframe);
    let frame = frame.ok_or_else(|| ApiError::param("timeframe", "unknown"))?;
    let cf = match params.cf.as_deref() {
        Some("MAX") => Consolidation::Max,
        Some(_) | None => Consolidation::Average,
    };
    let kind = subject.kind();
    let rows = app.metrics().rows(subject, frame, cf).await;
    let rows = rows.map_err(|err| ApiError::die(format_args!("RRD error: {err}")))?;
    let answer = |row: Row| {
        let known = kind.iter().zip(row.values).filter(|(_, value)| !value.is_nan());
        RrdRow {
            time: row.time,
            values: known.map(|(column, value)| (column.name, Figure(value))).collect(),
        }
    };
    Ok(Data::new(rows.into_iter().map(answer).collect()))
}

/// rrdtool's words for a file that nobody has written to yet.
fn unknown(file: &str) -> ApiError {
    ApiError::die(format_args!(
        "RRD error: opening '/var/lib/rrdcached/db/{file}': No such file or directory"
    ))
}

/// How a container did.
#[utoipa::path(
    get, path = "/nodes/{node}/lxc/{vmid}/rrddata", tag = "lxc",
    responses(
        (status = 200, description = "A row a step, oldest first", body = Data<Vec<RrdRow>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn container_rrddata(
    State(app): State<App>,
    Params(guest): Params<GuestNumber>,
    Params(params): Params<FrameParams>,
) -> Result<Data<Vec<RrdRow>>, ApiError> {
    if app.guests().entry(guest.vmid).await.is_err() {
        return Err(unknown(&format!("pve-vm-9.0/{}", guest.vmid)));
    }
    rows(&app, Subject::Guest(guest.vmid), &params).await
}

/// How the node did.
#[utoipa::path(
    get, path = "/nodes/{node}/rrddata", tag = "nodes",
    responses(
        (status = 200, description = "A row a step, oldest first", body = Data<Vec<RrdRow>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn node_rrddata(
    State(app): State<App>,
    _: LocalNode,
    Params(params): Params<FrameParams>,
) -> Result<Data<Vec<RrdRow>>, ApiError> {
    rows(&app, Subject::Node, &params).await
}

/// How full a storage was.
#[utoipa::path(
    get, path = "/nodes/{node}/storage/{storage}/rrddata", tag = "storage",
    responses(
        (status = 200, description = "A row a step, oldest first", body = Data<Vec<RrdRow>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn storage_rrddata(
    State(app): State<App>,
    _: LocalNode,
    Params(name): Params<StorageName>,
    Params(params): Params<FrameParams>,
) -> Result<Data<Vec<RrdRow>>, ApiError> {
    let config = StorageConfig::read(app.root())?;
    if config.get(&name.storage).is_err() {
        return Err(unknown(&format!("pve-storage-9.0/{}/{}", app.node(), name.storage)));
    }
    rows(&app, Subject::Storage(name.storage), &params).await
}
