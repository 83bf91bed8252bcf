//! `/access/domains`: realms.

use std::collections::BTreeMap;

use axum::extract::State;
use openapi::answer::{DomainRow, ErrorBody, PerlScalar};
use openapi::schema::{Kind, methods};
use pve_integration::access::edit::{self, RealmChange};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha1::{Digest as _, Sha1};

use super::{items, text};
use crate::api::blocking;
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{AllParams, Params};
use crate::guests::as_text;

/// The realms one can log in with.
#[utoipa::path(
    get, path = "/access/domains", tag = "access",
    responses(
        (status = 200, description = "The realms", body = Data<Vec<DomainRow>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn domains(State(app): State<App>) -> Result<Data<Vec<DomainRow>>, ApiError> {
    let access = app.access().current()?;
    let rows = access.realms.iter().map(|(realm, settings)| DomainRow {
        realm: realm.to_owned(),
        kind: settings.kind.clone(),
        comment: text(&settings.comment),
        tfa: settings.tfa().map(str::to_owned),
        default: settings.is_default().then_some(1),
    });
    Ok(Data::new(rows.collect()))
}

#[derive(Deserialize)]
pub(super) struct OfRealm {
    realm: String,
}

/// One realm's settings, whatever its kind has.
#[utoipa::path(
    get, path = "/access/domains/{realm}", tag = "access",
    responses(
        (status = 200, description = "Values by key", body = Data<BTreeMap<String, PerlScalar>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn domain(
    State(app): State<App>,
    Params(OfRealm { realm }): Params<OfRealm>,
) -> Result<Data<BTreeMap<String, PerlScalar>>, ApiError> {
    let access = app.access().current()?;
    let Some(settings) = access.realms.get(&realm) else {
        return Err(ApiError::die(format_args!("domain '{realm}' does not exist")));
    };
    let properties =
        settings.properties.iter().map(|(key, value)| (key.clone(), typed(key, value)));
    let mut answer: BTreeMap<_, _> = properties.collect();
    answer.insert("type".to_owned(), PerlScalar::Text(settings.kind.clone()));
    answer
        .extend(text(&settings.comment).map(|text| ("comment".to_owned(), PerlScalar::Text(text))));
    if settings.kind == "pam" {
        answer.insert("plugin".to_owned(), PerlScalar::Text("PVE::Auth::PAM".to_owned()));
    }
    let bytes = fs_err::read(app.root().domains_cfg()).unwrap_or_default();
    let digest = hex::encode(Sha1::digest(&bytes));
    answer.insert("digest".to_owned(), PerlScalar::Text(digest));
    Ok(Data::new(answer))
}

/// Numbers and booleans are numbers; the method that sets them knows which are.
fn typed(key: &str, value: &str) -> PerlScalar {
    let method = methods().get("PUT", "/access/domains/{realm}");
    let kind = method.and_then(|method| method.parameters.get(key)).map(|property| property.kind);
    let number = match kind {
        Some(Kind::Integer | Kind::Number | Kind::Boolean) => value.parse().ok(),
        Some(Kind::String | Kind::Array | Kind::Object) | None => None,
    };
    number.map_or_else(|| PerlScalar::Text(value.to_owned()), PerlScalar::Number)
}

/// What a request says, without the names of the realm and its kind.
fn change(params: &Map<String, Value>) -> RealmChange {
    let mut change = RealmChange::default();
    for (name, value) in params {
        let text = as_text(value);
        match name.as_str() {
            "realm" | "type" => {}
            "password" => change.password = Some(SecretString::from(text)),
            "delete" => change.delete = items(Some(&text)).map(str::to_owned).collect(),
            "digest" => change.digest = Some(text),
            "check-connection" => change.check_connection = Some(text == "1"),
            _ => {
                change.properties.insert(name.clone(), text);
            }
        }
    }
    change
}

fn named(params: &Map<String, Value>, name: &str) -> String {
    params.get(name).map(as_text).unwrap_or_default()
}

/// Add a realm.
#[utoipa::path(
    post, path = "/access/domains", tag = "access",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn create_domain(
    State(app): State<App>,
    AllParams(params): AllParams,
) -> Result<Data<Option<String>>, ApiError> {
    let (realm, kind) = (named(&params, "realm"), named(&params, "type"));
    blocking(move || edit::create_realm(app.root(), &realm, &kind, change(&params))).await??;
    Ok(Data::new(None))
}

/// Change a realm.
#[utoipa::path(
    put, path = "/access/domains/{realm}", tag = "access",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn update_domain(
    State(app): State<App>,
    AllParams(params): AllParams,
) -> Result<Data<Option<String>>, ApiError> {
    let realm = named(&params, "realm");
    blocking(move || edit::update_realm(app.root(), &realm, change(&params))).await??;
    Ok(Data::new(None))
}

/// Delete a realm. Its users stay, and cannot log in.
#[utoipa::path(
    delete, path = "/access/domains/{realm}", tag = "access",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn delete_domain(
    State(app): State<App>,
    Params(OfRealm { realm }): Params<OfRealm>,
) -> Result<Data<Option<String>>, ApiError> {
    blocking(move || edit::delete_realm(app.root(), &realm)).await??;
    Ok(Data::new(None))
}
