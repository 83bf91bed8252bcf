//! `/access/groups`: groups of users.

use axum::extract::State;
use openapi::Privilege;
use openapi::answer::{ErrorBody, GroupAnswer, GroupRow};
use pve_integration::access::{Group, edit};
use serde::Deserialize;

use super::text;
use crate::api::blocking;
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, Params};

/// Any of them lets one see a group.
const SEE: [Privilege; 3] = [Privilege::UserModify, Privilege::SysAudit, Privilege::GroupAllocate];

/// The groups that the caller may see.
#[utoipa::path(
    get, path = "/access/groups", tag = "access",
    responses(
        (status = 200, description = "The groups", body = Data<Vec<GroupRow>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn groups(caller: Caller) -> Data<Vec<GroupRow>> {
    let groups = caller.access().config.groups.iter();
    let seen = groups
        .filter(|(name, _)| caller.may_any(&SEE, &format!("/access/groups/{name}")))
        .map(|(name, group)| row(name, group));
    Data::new(seen.collect())
}

pub(crate) fn row(name: &str, group: &Group) -> GroupRow {
    GroupRow {
        groupid: name.to_owned(),
        comment: text(&group.comment),
        users: group.users.iter().map(|user| user.as_str()).collect::<Vec<_>>().join(","),
    }
}

#[derive(Deserialize)]
pub(super) struct GroupParams {
    groupid: String,
    comment: Option<String>,
}

/// One group.
#[utoipa::path(
    get, path = "/access/groups/{groupid}", tag = "access",
    responses(
        (status = 200, description = "The group", body = Data<GroupAnswer>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn group(
    caller: Caller,
    Params(GroupParams { groupid, .. }): Params<GroupParams>,
) -> Result<Data<GroupAnswer>, ApiError> {
    let Some(group) = caller.access().config.groups.get(&groupid) else {
        return Err(ApiError::die(format_args!("group '{groupid}' does not exist")));
    };
    let members = group.users.iter().cloned().collect();
    Ok(Data::new(GroupAnswer { comment: text(&group.comment), members }))
}

/// Make a group.
#[utoipa::path(
    post, path = "/access/groups", tag = "access",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn create_group(
    State(app): State<App>,
    Params(GroupParams { groupid, comment }): Params<GroupParams>,
) -> Result<Data<Option<String>>, ApiError> {
    let comment = comment.unwrap_or_default();
    blocking(move || edit::create_group(app.root(), &groupid, comment)).await??;
    Ok(Data::new(None))
}

/// Change a group's comment.
#[utoipa::path(
    put, path = "/access/groups/{groupid}", tag = "access",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn update_group(
    State(app): State<App>,
    Params(GroupParams { groupid, comment }): Params<GroupParams>,
) -> Result<Data<Option<String>>, ApiError> {
    blocking(move || edit::update_group(app.root(), &groupid, comment)).await??;
    Ok(Data::new(None))
}

/// Delete a group and what was granted to it.
#[utoipa::path(
    delete, path = "/access/groups/{groupid}", tag = "access",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn delete_group(
    State(app): State<App>,
    Params(GroupParams { groupid, .. }): Params<GroupParams>,
) -> Result<Data<Option<String>>, ApiError> {
    blocking(move || edit::delete_group(app.root(), &groupid)).await??;
    Ok(Data::new(None))
}
