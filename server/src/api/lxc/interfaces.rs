//! `GET /nodes/{node}/lxc/{vmid}/interfaces`.

use axum::extract::State;
use openapi::answer::{ErrorBody, GuestInterface};

use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::GuestPath;

/// The network interfaces inside a running container.
#[utoipa::path(
    get, path = "/nodes/{node}/lxc/{vmid}/interfaces", tag = "lxc",
    responses(
        (status = 200, description = "One each; null if it does not run",
            body = Data<Option<Vec<GuestInterface>>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn interfaces(
    State(app): State<App>,
    guest: GuestPath,
) -> Result<Data<Option<Vec<GuestInterface>>>, ApiError> {
    Ok(Data::new(app.guests().interfaces(guest.vmid).await?))
}
