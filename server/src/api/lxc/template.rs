//! `POST /nodes/{node}/lxc/{vmid}/template`.

use axum::extract::State;
use openapi::answer::ErrorBody;

use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, GuestPath};

/// Make a template of a container, in a task that the answer does not name.
#[utoipa::path(
    post, path = "/nodes/{node}/lxc/{vmid}/template", tag = "lxc",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn template(
    State(app): State<App>,
    caller: Caller,
    guest: GuestPath,
) -> Result<Data<Option<String>>, ApiError> {
    app.guests().make_template(guest.vmid, caller.auth()).await?;
    Ok(Data::new(None))
}
