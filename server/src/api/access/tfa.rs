//! `/access/users/{userid}/tfa` and `unlock-tfa`: second factors, as far as they can be told without
//! checking one.

use axum::extract::State;
use openapi::UserId;
use openapi::answer::{ErrorBody, UserFactors};
use pve_integration::access::edit::{self, EditError};
use serde::Deserialize;

use super::is_set;
use crate::api::blocking;
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::Params;

#[derive(Deserialize)]
pub(super) struct Wanted {
    userid: UserId,
    multiple: Option<u8>,
}

/// What a user has to show beside the password.
#[utoipa::path(
    get, path = "/access/users/{userid}/tfa", tag = "access",
    responses(
        (status = 200, description = "The kinds", body = Data<UserFactors>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn factors(
    State(app): State<App>,
    Params(wanted): Params<Wanted>,
) -> Result<Data<UserFactors>, ApiError> {
    let access = app.access().current()?;
    let name = wanted.userid.realm();
    let realm = access.realms.get(name);
    let realm = realm.ok_or_else(|| EditError::NoSuchRealm(name.to_owned()))?;
    // `type=oath,step=30`
    let kind =
        realm.tfa().and_then(|tfa| tfa.split(',').find_map(|part| part.strip_prefix("type=")));
    let realm = kind.map(str::to_owned);
    if !is_set(wanted.multiple) {
        return Ok(Data::new(UserFactors { realm, user: None }));
    }
    let user = blocking(move || edit::factors_of(app.root(), &wanted.userid)).await??;
    Ok(Data::new(UserFactors { realm, user: Some(user) }))
}

#[derive(Deserialize)]
pub(super) struct OfUser {
    userid: UserId,
}

/// Let a user try second factors again.
#[utoipa::path(
    put, path = "/access/users/{userid}/unlock-tfa", tag = "access",
    responses(
        (status = 200, description = "Whether the user was locked", body = Data<u8>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn unlock(
    State(app): State<App>,
    Params(OfUser { userid }): Params<OfUser>,
) -> Result<Data<u8>, ApiError> {
    let was_locked = blocking(move || edit::unlock(app.root(), &userid)).await??;
    Ok(Data::new(was_locked.into()))
}
