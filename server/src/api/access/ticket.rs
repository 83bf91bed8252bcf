//! `/access/ticket`: logging in.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use openapi::answer::{ErrorBody, TicketAnswer};
use openapi::{AuthId, Privilege, UserId};
use pve_integration::access::{AuthError, Session};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;

use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, Params};
use crate::pveproxy::{Detour, PveProxy};
use crate::refusal::Refusal;

/// Nothing. It is there for login pages that ask.
#[utoipa::path(
    get, path = "/access/ticket", tag = "access",
    responses(
        (status = 200, description = "Always null", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn login_page() -> Data<Option<String>> {
    Data::new(None)
}

/// `otp` and `new-format` are left: PVE asks for the first only of users who have a second factor, who are
/// sent on or refused here, and answers as if the second were 1 whatever it is.
#[derive(Deserialize)]
pub(super) struct Login {
    username: String,
    realm: Option<String>,
    password: SecretString,
    path: Option<String>,
    privs: Option<String>,
}

/// Log in: a password, or a ticket that is still valid, for a new ticket. With `path` and `privs`
/// only say whether that user has those rights.
#[utoipa::path(
    post, path = "/access/ticket", tag = "access",
    responses(
        (status = 200, description = "Ticket and CSRF token", body = Data<TicketAnswer>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn login(
    State(app): State<App>,
    detour: Option<Extension<Detour>>,
    Params(login): Params<Login>,
    Params(given): Params<BTreeMap<String, Value>>,
) -> Result<Response, ApiError> {
    let name = match &login.realm {
        Some(realm) => format!("{}@{realm}", login.username),
        None => login.username.clone(),
    };
    let access = app.access().current()?;
    let check = login.path.clone().zip(login.privs.clone());
    let wants_ticket = check.is_none();
    // Passwords are hashed slowly on purpose.
    let proved = tokio::task::spawn_blocking(move || {
        let user: UserId = name.parse().map_err(|_| Refused::NoName(name.clone()))?;
        access.login(&user, &login.password)?;
        let session = if wants_ticket { Some(access.issue(&user)?) } else { None };
        Ok::<_, Refused>((user, access, session))
    });
    let (user, access, session) = match proved.await {
        Ok(Ok(proved)) => proved,
        Ok(Err(refused)) => {
            // The answer to a challenge, which is no password.
            let second = given.contains_key("tfa-challenge");
            return match (app.pveproxy(), detour) {
                (Some(pveproxy), Some(Extension(detour))) if second || refused.is_for_pve() => {
                    Ok(ask(pveproxy, &detour, &given).await)
                }
                _ => Err(unauthorized(&refused)),
            };
        }
        Err(err) => return Err(ApiError::die(err)),
    };
    let caller = Caller::proved(AuthId::User(user.clone()), access);
    match (session, check) {
        (Some(session), _) => Ok(Data::new(answer(&caller, &user, &session)).into_response()),
        (None, Some((path, privs))) => {
            require(&caller, &path, &privs)?;
            Ok(Data::new(TicketAnswer::new(user)).into_response())
        }
        (None, None) => Err(ApiError::die("neither a ticket nor a check was asked for")),
    }
}

#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("'{0}' is no user name with a realm")]
    NoName(String),
    #[error(transparent)]
    Auth(#[from] AuthError),
}

impl Refused {
    /// Realms and second factors that only PVE knows how to check.
    fn is_for_pve(&self) -> bool {
        matches!(self, Self::Auth(AuthError::ForeignRealm(_) | AuthError::SecondFactor(_)))
    }
}

/// PVE's answer, as it is: its tickets are signed with the key that ours are.
async fn ask(pveproxy: &PveProxy, detour: &Detour, given: &BTreeMap<String, Value>) -> Response {
    match pveproxy.post(&detour.0, form(given)).await {
        Ok(response) => response,
        Err(err) => Refusal::from(err).into_response(),
    }
}

fn form(given: &BTreeMap<String, Value>) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    for (name, value) in given {
        match value {
            Value::String(text) => form.append_pair(name, text),
            Value::Bool(flag) => form.append_pair(name, if *flag { "1" } else { "0" }),
            Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                form.append_pair(name, &value.to_string())
            }
        };
    }
    form.finish()
}

/// The same words whatever it was: they must not tell which users there are. The log has the cause.
fn unauthorized(refused: &Refused) -> ApiError {
    tracing::warn!(error = %refused, "login refused: {refused}");
    if let Refused::Auth(err @ AuthError::SecondFactor(_)) = refused {
        // The password was right, so it is no secret from this one what is missing.
        return ApiError::new(StatusCode::UNAUTHORIZED, err);
    }
    ApiError::new(StatusCode::UNAUTHORIZED, "authentication failure")
}

fn answer(caller: &Caller, user: &UserId, session: &Session) -> TicketAnswer {
    let cap = caller.access().capabilities(caller.auth());
    let cap = cap.into_iter().map(|(area, privileges)| {
        let held = privileges.iter().map(|privilege| (privilege.as_str().to_owned(), 1)).collect();
        (area.to_owned(), held)
    });
    TicketAnswer {
        ticket: Some(session.ticket.expose_secret().to_owned()),
        csrf: Some(session.csrf.expose_secret().to_owned()),
        cap: Some(cap.collect::<BTreeMap<_, BTreeMap<_, _>>>()),
        ..TicketAnswer::new(user.clone())
    }
}

fn require(caller: &Caller, path: &str, privs: &str) -> Result<(), ApiError> {
    for name in privs.split([',', ';', ' ', '\0']).filter(|name| !name.is_empty()) {
        let privilege: Privilege = name.parse().map_err(|err| ApiError::param("privs", err))?;
        caller.require(privilege, path)?;
    }
    Ok(())
}
