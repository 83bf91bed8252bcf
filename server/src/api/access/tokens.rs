//! `/access/users/{userid}/token`: API tokens.

use axum::extract::State;
use openapi::answer::{
    ChangedTokenAnswer, ErrorBody, GivenToken, NewTokenAnswer, PerlScalar, TokenInfo, TokenRow,
};
use openapi::{TokenId, UserId};
use pve_integration::access::Token;
use pve_integration::access::edit::{self, EditError, NewToken, TokenChange};
use secrecy::ExposeSecret as _;
use serde::Deserialize;

use super::{is_set, items, text};
use crate::api::blocking;
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, Params};

pub(super) fn info(token: &Token) -> TokenInfo {
    let Token { expire, privsep, comment } = token;
    TokenInfo { expire: *expire, privsep: u8::from(*privsep), comment: text(comment) }
}

#[derive(Deserialize)]
pub(super) struct OfUser {
    userid: UserId,
}

/// A user's tokens, without their secrets.
#[utoipa::path(
    get, path = "/access/users/{userid}/token", tag = "access",
    responses(
        (status = 200, description = "The tokens", body = Data<Vec<TokenRow>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn tokens(
    caller: Caller,
    Params(OfUser { userid }): Params<OfUser>,
) -> Result<Data<Vec<TokenRow>>, ApiError> {
    let user = caller.access().config.existing_user(&userid)?;
    let row =
        |(name, token): (&String, &Token)| TokenRow { tokenid: name.clone(), info: info(token) };
    Ok(Data::new(user.tokens.iter().map(row).collect()))
}

#[derive(Deserialize)]
pub(super) struct OfToken {
    userid: UserId,
    tokenid: String,
}

impl OfToken {
    fn id(&self) -> Result<TokenId, ApiError> {
        // The pattern of the parameter is not anchored, as little as PVE's.
        format!("{}!{}", self.userid, self.tokenid).parse().map_err(ApiError::die)
    }
}

/// One token, without its secret.
#[utoipa::path(
    get, path = "/access/users/{userid}/token/{tokenid}", tag = "access",
    responses(
        (status = 200, description = "The token", body = Data<TokenInfo>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn token(
    caller: Caller,
    Params(of): Params<OfToken>,
) -> Result<Data<TokenInfo>, ApiError> {
    Ok(Data::new(info(caller.access().config.existing_token(&of.id()?)?)))
}

#[derive(Deserialize)]
pub(super) struct Settings {
    #[serde(flatten)]
    of: OfToken,
    privsep: Option<u8>,
    expire: Option<u64>,
    comment: Option<String>,
    regenerate: Option<u8>,
    delete: Option<String>,
}

fn given(value: u64) -> PerlScalar {
    PerlScalar::Text(value.to_string())
}

/// Make a token. Its secret is in the answer and nowhere else.
#[utoipa::path(
    post, path = "/access/users/{userid}/token/{tokenid}", tag = "access",
    responses(
        (status = 200, description = "The token and its secret", body = Data<NewTokenAnswer>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn create_token(
    State(app): State<App>,
    caller: Caller,
    Params(settings): Params<Settings>,
) -> Result<Data<NewTokenAnswer>, ApiError> {
    let id = settings.of.id()?;
    match caller.access().config.existing_token(&id) {
        Ok(_) => return Err(ApiError::param("tokenid", EditError::TokenExists)),
        Err(EditError::NoSuchToken(_)) => {}
        Err(err) => return Err(err.into()),
    }
    let info = GivenToken {
        expire: settings.expire.map(given),
        privsep: settings.privsep.map_or(PerlScalar::Number(1), |flag| given(flag.into())),
        comment: settings.comment.as_deref().and_then(text),
    };
    let new = NewToken {
        privsep: settings.privsep != Some(0),
        expire: settings.expire.unwrap_or_default(),
        comment: settings.comment.unwrap_or_default(),
    };
    let full_tokenid = id.clone();
    let secret = blocking(move || edit::create_token(app.root(), &id, new)).await??;
    Ok(Data::new(NewTokenAnswer { full_tokenid, info, value: secret.expose_secret().to_owned() }))
}

/// Change a token, or make its secret anew.
#[utoipa::path(
    put, path = "/access/users/{userid}/token/{tokenid}", tag = "access",
    responses(
        (status = 200, description = "The token, and its secret if it is new",
            body = Data<ChangedTokenAnswer>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn update_token(
    State(app): State<App>,
    caller: Caller,
    Params(settings): Params<Settings>,
) -> Result<Data<ChangedTokenAnswer>, ApiError> {
    let id = settings.of.id()?;
    caller.access().config.existing_token(&id)?;
    let change = TokenChange {
        privsep: settings.privsep.map(|flag| flag != 0),
        expire: settings.expire,
        comment: settings.comment,
        delete: items(settings.delete.as_deref()).map(str::to_owned).collect(),
        regenerate: is_set(settings.regenerate),
    };
    let full = id.clone();
    let (token, secret) = blocking(move || edit::change_token(app.root(), &id, change)).await??;
    let scalar = |was_given: bool, value: u64| {
        if was_given { given(value) } else { PerlScalar::Number(value) }
    };
    let info = GivenToken {
        expire: Some(scalar(settings.expire.is_some(), token.expire)),
        privsep: scalar(settings.privsep.is_some(), token.privsep.into()),
        comment: text(&token.comment),
    };
    Ok(Data::new(ChangedTokenAnswer {
        info,
        full_tokenid: secret.as_ref().map(|_| full),
        value: secret.map(|secret| secret.expose_secret().to_owned()),
    }))
}

/// Delete a token.
#[utoipa::path(
    delete, path = "/access/users/{userid}/token/{tokenid}", tag = "access",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn delete_token(
    State(app): State<App>,
    caller: Caller,
    Params(of): Params<OfToken>,
) -> Result<Data<Option<String>>, ApiError> {
    let id = of.id()?;
    caller.access().config.existing_token(&id)?;
    blocking(move || edit::delete_token(app.root(), &id)).await??;
    Ok(Data::new(None))
}
