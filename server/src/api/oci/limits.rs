//! `/nodes/{node}/oci/containers/{vmid}/limits`.

use axum::extract::State;
use openapi::answer::{ErrorBody, OciLimits};
use pve_integration::bundle::LimitKey;
use serde::Deserialize;

use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{GuestPath, Params};
use crate::guests::LimitsRequest;

/// The limits that PVE's config has no key for.
#[utoipa::path(
    get, path = "/nodes/{node}/oci/containers/{vmid}/limits", tag = "oci",
    responses(
        (status = 200, description = "Those that are set", body = Data<OciLimits>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn limits(
    State(app): State<App>,
    guest: GuestPath,
) -> Result<Data<OciLimits>, ApiError> {
    Ok(Data::new(app.guests().limits(guest.vmid).await?))
}

#[derive(Deserialize)]
pub(super) struct LimitParams {
    pids: Option<u32>,
    #[serde(rename = "io-weight")]
    io_weight: Option<u16>,
    #[serde(rename = "io-max")]
    io_max: Option<Vec<String>>,
    hugepages: Option<Vec<String>>,
    delete: Option<String>,
    digest: Option<String>,
}

/// Set or delete limits that PVE's config has no key for. They hold at once if the container runs; what
/// the kernel refuses is an error of that parameter, and then nothing is changed. They need cgroup v2;
/// one that this host has no controller for is written down, and each start warns of it.
#[utoipa::path(
    put, path = "/nodes/{node}/oci/containers/{vmid}/limits", tag = "oci",
    responses(
        (status = 200, description = "Done", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn set_limits(
    State(app): State<App>,
    guest: GuestPath,
    Params(params): Params<LimitParams>,
) -> Result<Data<Option<String>>, ApiError> {
    let LimitParams { pids, io_weight, io_max, hugepages, delete, digest } = params;
    let all = [
        (LimitKey::Pids, pids.map(|most| vec![most.to_string()])),
        (LimitKey::IoWeight, io_weight.map(|weight| vec![weight.to_string()])),
        (LimitKey::IoMax, io_max),
        (LimitKey::HugePages, hugepages),
    ];
    let set = all.into_iter().filter_map(|(key, values)| Some((key, values?))).collect();
    app.guests().set_limits(guest.vmid, LimitsRequest { set, delete, digest }).await?;
    Ok(Data::new(None))
}
