//! `/access/acl`: who was granted which role where.

use axum::extract::State;
use openapi::Privilege;
use openapi::answer::{AclRow, ErrorBody};
use pve_integration::access::edit::{self, AclChange, is_acl_path};
use pve_integration::access::{RoleSet, UserConfig, normalize_path};
use serde::Deserialize;

use super::{is_set, items};
use crate::api::blocking;
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, Params};

/// What was granted at the paths whose rights the caller may change or audit.
#[utoipa::path(
    get, path = "/access/acl", tag = "access",
    responses(
        (status = 200, description = "One row a grant", body = Data<Vec<AclRow>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn acl(caller: Caller) -> Data<Vec<AclRow>> {
    let config = &caller.access().config;
    let audits = caller.may(Privilege::SysAudit, "/access");
    Data::new(rows(config, |path| audits || config.check_modify_acl(caller.auth(), path).is_ok()))
}

/// Of the paths that are seen.
pub(crate) fn rows(config: &UserConfig, seen: impl Fn(&str) -> bool) -> Vec<AclRow> {
    let mut rows = Vec::new();
    config.acl.each(&mut |path, node| {
        if !seen(path) {
            return;
        }
        let mut add = |kind: &str, ugid: String, roles: &RoleSet| {
            rows.extend(roles.iter().map(|(role, propagate)| AclRow {
                path: path.to_owned(),
                kind: kind.to_owned(),
                ugid: ugid.clone(),
                roleid: role.clone(),
                propagate: u8::from(*propagate),
            }));
        };
        node.users.iter().for_each(|(id, roles)| add("user", id.to_string(), roles));
        node.groups.iter().for_each(|(name, roles)| add("group", name.clone(), roles));
        node.tokens.iter().for_each(|(id, roles)| add("token", id.to_string(), roles));
    });
    rows
}

#[derive(Deserialize)]
pub(super) struct Grant {
    path: String,
    roles: String,
    users: Option<String>,
    groups: Option<String>,
    tokens: Option<String>,
    propagate: Option<u8>,
    delete: Option<u8>,
}

/// Grant roles at a path, or take them away.
#[utoipa::path(
    put, path = "/access/acl", tag = "access",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn update_acl(
    State(app): State<App>,
    caller: Caller,
    Params(grant): Params<Grant>,
) -> Result<Data<Option<String>>, ApiError> {
    let lists = [&grant.users, &grant.groups, &grant.tokens];
    // To Perl, a text that is a zero is none.
    if !lists.iter().any(|list| list.as_deref().is_some_and(|list| !matches!(list, "" | "0"))) {
        let text = "either 'users', 'groups' or 'tokens' is required.";
        let errors = ["users", "groups", "tokens"].map(|name| (name.to_owned(), text.to_owned()));
        return Err(ApiError::params(errors.into()));
    }
    let delete = is_set(grant.delete);
    let invalid = || ApiError::param("path", format_args!("invalid ACL path '{}'", grant.path));
    let path = normalize_path(&grant.path).ok_or_else(invalid)?.into_owned();
    if !delete && !is_acl_path(&path) {
        return Err(invalid());
    }
    let change = AclChange {
        path,
        roles: items(Some(&grant.roles)).map(str::to_owned).collect(),
        users: parsed(grant.users.as_deref())?,
        groups: items(grant.groups.as_deref()).map(str::to_owned).collect(),
        tokens: parsed(grant.tokens.as_deref())?,
        propagate: grant.propagate != Some(0),
        delete,
    };
    let who = caller.auth().clone();
    blocking(move || edit::change_acl(app.root(), &who, &change)).await??;
    Ok(Data::new(None))
}

fn parsed<T>(list: Option<&str>) -> Result<Vec<T>, ApiError>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    items(list).map(|item| item.parse().map_err(ApiError::die)).collect()
}
