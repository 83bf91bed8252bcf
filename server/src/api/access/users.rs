//! `/access/users`: users. Their tokens are in `tokens`.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use openapi::answer::{ErrorBody, TokenRow, UserAnswer, UserFields, UserRow};
use openapi::{AuthId, Privilege, UserId};
use pve_integration::access::edit::{self, NewUser, UserChange};
use pve_integration::access::{Access, User, UserConfig};
use secrecy::SecretString;
use serde::Deserialize;

use super::tokens::info;
use super::{is_set, items, text};
use crate::api::blocking;
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, Params};

/// Either lets one see the users of a group.
const SEE: [Privilege; 2] = [Privilege::UserModify, Privilege::SysAudit];

#[derive(Deserialize)]
pub(super) struct Wanted {
    enabled: Option<u8>,
    full: Option<u8>,
}

/// The users in groups that the caller may see, and the caller.
#[utoipa::path(
    get, path = "/access/users", tag = "access",
    responses(
        (status = 200, description = "The users", body = Data<Vec<UserRow>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn users(caller: Caller, Params(wanted): Params<Wanted>) -> Data<Vec<UserRow>> {
    let access = caller.access();
    let config = &access.config;
    let sees_all = caller.may_any(&SEE, "/access/groups");
    let groups = config.groups.iter();
    let seen: BTreeSet<&UserId> = groups
        .filter(|(group, _)| caller.may_any(&SEE, &format!("/access/groups/{group}")))
        .flat_map(|(_, group)| &group.users)
        .collect();
    let full = is_set(wanted.full);
    let rows = config.users.iter().filter(|(id, user)| {
        // A token is not its user here.
        let is_caller = *caller.auth() == AuthId::User((*id).clone());
        let matches = wanted.enabled.is_none_or(|enabled| user.enable == (enabled != 0));
        matches && (sees_all || is_caller || seen.contains(id))
    });
    Data::new(rows.map(|(id, user)| row(access, id, user, full)).collect())
}

pub(crate) fn row(access: &Access, id: &UserId, user: &User, full: bool) -> UserRow {
    UserRow {
        userid: id.clone(),
        user: fields(user),
        realm_type: access.realms.get(id.realm()).map(|realm| realm.kind.clone()),
        tokens: full.then(|| token_rows(user)),
        groups: full.then(|| groups_of(&access.config, id).join(",")),
    }
}

fn fields(user: &User) -> UserFields {
    // Perl loses the empty fields at the end of a line, but not those before another.
    let followed = !(user.comment.is_empty() && user.keys.is_empty());
    UserFields {
        enable: u8::from(user.enable),
        expire: user.expire,
        firstname: text(&user.firstname),
        lastname: text(&user.lastname),
        email: if followed { Some(user.email.clone()) } else { text(&user.email) },
        comment: text(&user.comment),
        keys: text(&user.keys),
    }
}

pub(crate) fn token_rows(user: &User) -> Option<Vec<TokenRow>> {
    let rows = user.tokens.iter();
    let rows = rows.map(|(name, token)| TokenRow { tokenid: name.clone(), info: info(token) });
    Some(rows.collect()).filter(|rows: &Vec<_>| !rows.is_empty())
}

fn groups_of(config: &UserConfig, id: &UserId) -> Vec<String> {
    let groups = config.groups.iter().filter(|(_, group)| group.users.contains(id));
    groups.map(|(name, _)| name.clone()).collect()
}

#[derive(Deserialize)]
pub(super) struct OfUser {
    userid: UserId,
}

/// One user.
#[utoipa::path(
    get, path = "/access/users/{userid}", tag = "access",
    responses(
        (status = 200, description = "The user", body = Data<UserAnswer>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn user(
    caller: Caller,
    Params(OfUser { userid }): Params<OfUser>,
) -> Result<Data<UserAnswer>, ApiError> {
    let config = &caller.access().config;
    let user = config.existing_user(&userid)?;
    let tokens = user.tokens.iter().map(|(name, token)| (name.clone(), info(token)));
    Ok(Data::new(UserAnswer {
        user: fields(user),
        groups: groups_of(config, &userid),
        tokens: Some(tokens.collect()).filter(|tokens: &BTreeMap<_, _>| !tokens.is_empty()),
    }))
}

#[derive(Deserialize)]
pub(super) struct Settings {
    userid: UserId,
    password: Option<SecretString>,
    enable: Option<u8>,
    expire: Option<u64>,
    firstname: Option<String>,
    lastname: Option<String>,
    email: Option<String>,
    comment: Option<String>,
    keys: Option<String>,
    groups: Option<String>,
    append: Option<u8>,
}

impl Settings {
    fn change(self) -> UserChange {
        let groups = |list: String| items(Some(&list)).map(str::to_owned).collect();
        UserChange {
            enable: self.enable.map(|flag| flag != 0),
            expire: self.expire,
            firstname: self.firstname,
            lastname: self.lastname,
            email: self.email,
            comment: self.comment,
            keys: self.keys,
            groups: self.groups.map(groups),
        }
    }
}

/// Make a user, in the realm `pve` with a password perhaps.
#[utoipa::path(
    post, path = "/access/users", tag = "access",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn create_user(
    State(app): State<App>,
    Params(mut settings): Params<Settings>,
) -> Result<Data<Option<String>>, ApiError> {
    let password = settings.password.take();
    let new = NewUser { id: settings.userid.clone(), password, settings: settings.change() };
    blocking(move || edit::create_user(app.root(), new)).await??;
    Ok(Data::new(None))
}

/// Change a user. What is not given stays.
#[utoipa::path(
    put, path = "/access/users/{userid}", tag = "access",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn update_user(
    State(app): State<App>,
    Params(settings): Params<Settings>,
) -> Result<Data<Option<String>>, ApiError> {
    let (id, append) = (settings.userid.clone(), is_set(settings.append));
    let change = settings.change();
    blocking(move || edit::update_user(app.root(), &id, change, append)).await??;
    Ok(Data::new(None))
}

/// Delete a user with its tokens, password and rights.
#[utoipa::path(
    delete, path = "/access/users/{userid}", tag = "access",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn delete_user(
    State(app): State<App>,
    Params(OfUser { userid }): Params<OfUser>,
) -> Result<Data<Option<String>>, ApiError> {
    blocking(move || edit::delete_user(app.root(), &userid)).await??;
    Ok(Data::new(None))
}
