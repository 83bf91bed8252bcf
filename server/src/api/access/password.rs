//! `/access/password`: one's own password, or another's.

use axum::extract::State;
use axum::http::StatusCode;
use openapi::answer::ErrorBody;
use openapi::{AuthId, UserId};
use pve_integration::access::edit;
use secrecy::SecretString;
use serde::Deserialize;

use crate::api::blocking;
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, Params};

#[derive(Deserialize)]
pub(super) struct NewPassword {
    userid: UserId,
    password: SecretString,
    #[serde(rename = "confirmation-password")]
    confirmation: Option<SecretString>,
}

/// Set a password. Everybody but root@pam confirms it with their own.
#[utoipa::path(
    put, path = "/access/password", tag = "access",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn change_password(
    State(app): State<App>,
    caller: Caller,
    Params(new): Params<NewPassword>,
) -> Result<Data<Option<String>>, ApiError> {
    caller.access().config.existing_user(&new.userid)?;
    let refused = || ApiError::new(StatusCode::FORBIDDEN, "Permission check failed");
    if !caller.is_root() {
        let AuthId::User(me) = caller.auth().clone() else { return Err(refused()) };
        if new.userid.as_str() == "root@pam" {
            return Err(refused());
        }
        let Some(confirmation) = new.confirmation else {
            return Err(ApiError::param(
                "confirmation-password",
                "password is required to modify user",
            ));
        };
        let (app, own) = (app.clone(), me == new.userid);
        blocking(move || edit::authenticate(app.root(), &me, &confirmation)).await??;
        if !own && new.userid.realm() == "pam" {
            return Err(refused());
        }
    }
    blocking(move || edit::set_password(app.root(), &new.userid, &new.password)).await??;
    tracing::info!("changed a password, asked by '{}'", caller.auth());
    Ok(Data::new(None))
}
