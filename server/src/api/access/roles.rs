//! `/access/roles`: sets of privileges.

use std::collections::BTreeMap;

use axum::extract::State;
use openapi::Privilege;
use openapi::answer::{ErrorBody, RoleRow};
use pve_integration::access::edit;
use pve_integration::access::roles::{Privileges, builtin};
use serde::Deserialize;

use super::{is_set, items};
use crate::api::blocking;
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, Params};

/// All roles, built in or not.
#[utoipa::path(
    get, path = "/access/roles", tag = "access",
    responses(
        (status = 200, description = "The roles", body = Data<Vec<RoleRow>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn roles(caller: Caller) -> Data<Vec<RoleRow>> {
    let row = |(name, privileges): (&String, &Privileges)| RoleRow {
        roleid: name.clone(),
        privs: privileges.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(","),
        special: u8::from(builtin().contains_key(name)),
    };
    Data::new(caller.access().config.roles.iter().map(row).collect())
}

#[derive(Deserialize)]
pub(super) struct RoleParams {
    roleid: String,
    privs: Option<String>,
    append: Option<u8>,
}

impl RoleParams {
    fn privileges(&self) -> Result<Privileges, ApiError> {
        let parse = |name: &str| name.parse::<Privilege>().map_err(ApiError::die);
        items(self.privs.as_deref()).map(parse).collect()
    }
}

/// One role's privileges.
#[utoipa::path(
    get, path = "/access/roles/{roleid}", tag = "access",
    responses(
        (status = 200, description = "Privileges, each with a 1", body = Data<BTreeMap<String, u8>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn role(
    caller: Caller,
    Params(RoleParams { roleid, .. }): Params<RoleParams>,
) -> Result<Data<BTreeMap<String, u8>>, ApiError> {
    let Some(privileges) = caller.access().config.roles.get(&roleid) else {
        return Err(ApiError::die(format_args!("role '{roleid}' does not exist")));
    };
    Ok(Data::new(privileges.iter().map(|one| (one.as_str().to_owned(), 1)).collect()))
}

/// Make a role.
#[utoipa::path(
    post, path = "/access/roles", tag = "access",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn create_role(
    State(app): State<App>,
    Params(params): Params<RoleParams>,
) -> Result<Data<Option<String>>, ApiError> {
    if params.roleid.to_ascii_uppercase().starts_with("PVE") {
        let message = "cannot use role ID starting with the (case-insensitive) 'PVE' namespace";
        return Err(ApiError::param("roleid", message));
    }
    let privileges = params.privileges()?;
    blocking(move || edit::create_role(app.root(), &params.roleid, privileges)).await??;
    Ok(Data::new(None))
}

/// Set a role's privileges, or add to them.
#[utoipa::path(
    put, path = "/access/roles/{roleid}", tag = "access",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn update_role(
    State(app): State<App>,
    Params(params): Params<RoleParams>,
) -> Result<Data<Option<String>>, ApiError> {
    let (privileges, append) = (params.privileges()?, is_set(params.append));
    blocking(move || edit::update_role(app.root(), &params.roleid, privileges, append)).await??;
    Ok(Data::new(None))
}

/// Delete a role.
#[utoipa::path(
    delete, path = "/access/roles/{roleid}", tag = "access",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn delete_role(
    State(app): State<App>,
    Params(params): Params<RoleParams>,
) -> Result<Data<Option<String>>, ApiError> {
    blocking(move || edit::delete_role(app.root(), &params.roleid)).await??;
    Ok(Data::new(None))
}
