//! `/access/vncticket`: whether a console's ticket is good.

use axum::extract::State;
use axum::http::StatusCode;
use openapi::answer::ErrorBody;
use openapi::{AuthId, Privilege};
use pve_integration::access::split_list;
use serde::Deserialize;

use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::Params;

#[derive(Deserialize)]
pub(super) struct VncTicket {
    authid: String,
    vncticket: String,
    path: String,
    privs: String,
    port: Option<i64>,
}

impl VncTicket {
    fn verify(&self, app: &App) -> Result<(), String> {
        let who: AuthId = self.authid.parse().map_err(|err| format!("{err}"))?;
        let privileges: Result<Vec<Privilege>, _> =
            split_list(&self.privs).map(str::parse).collect();
        let privileges = privileges.map_err(|err| err.to_string())?;
        let port = self.port.map(u16::try_from).transpose().map_err(|err| err.to_string())?;
        let access = app.access().current().map_err(|err| err.to_string())?;
        access
            .admit_to_console(&self.vncticket, &who, &self.path, port, &privileges)
            .map_err(|err| err.to_string())
    }
}

/// Whether a ticket is good for a console, and its user has the rights. Nothing, or a 401.
#[utoipa::path(
    post, path = "/access/vncticket", tag = "access",
    responses(
        (status = 200, description = "Always null", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn verify_vnc_ticket(
    State(app): State<App>,
    Params(ticket): Params<VncTicket>,
) -> Result<Data<Option<String>>, ApiError> {
    match ticket.verify(&app) {
        Ok(()) => Ok(Data::new(None)),
        Err(err) => {
            // The client must not learn which half was wrong.
            tracing::warn!(user.id = %ticket.authid, "authentication failure: {err}");
            Err(ApiError::new(StatusCode::UNAUTHORIZED, "authentication failure"))
        }
    }
}
