//! The rules, each known by its place.

use axum::extract::State;
use openapi::Vmid;
use openapi::answer::{ErrorBody, FirewallRule, PerlScalar};
use pve_integration::firewall::Rule;
use serde::Deserialize;

use super::{Guest, edit, read};
use crate::api_router::{ApiRouter, routes};
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{AllParams, Params};

pub(super) fn router() -> ApiRouter {
    ApiRouter::default().routes(routes!(rules, create_rule)).routes(routes!(
        rule,
        update_rule,
        delete_rule
    ))
}

fn row(rule: &Rule, pos: PerlScalar, digest: String) -> FirewallRule {
    let Rule { kind, action, enable, properties, ipversion, errors } = rule.clone();
    let properties = properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    FirewallRule { pos, kind, action, enable, ipversion, properties, errors, digest }
}

/// The rules, in the order they are tried.
#[utoipa::path(
    get, path = "/nodes/{node}/lxc/{vmid}/firewall/rules", tag = "firewall",
    responses(
        (status = 200, description = "One row each", body = Data<Vec<FirewallRule>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn rules(
    State(app): State<App>,
    Params(guest): Params<Guest>,
) -> Result<Data<Vec<FirewallRule>>, ApiError> {
    let firewall = read(&app, guest.vmid).await?.guest;
    let digest = firewall.rules_digest();
    let rows = firewall.rules.iter().zip(0..);
    let rows = rows.map(|(rule, pos)| row(rule, PerlScalar::Number(pos), digest.clone()));
    Ok(Data::new(rows.collect()))
}

/// Make a rule, before all others.
#[utoipa::path(
    post, path = "/nodes/{node}/lxc/{vmid}/firewall/rules", tag = "firewall",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn create_rule(
    State(app): State<App>,
    Params(guest): Params<Guest>,
    AllParams(params): AllParams,
) -> Result<Data<Option<String>>, ApiError> {
    edit(&app, guest.vmid, move |cluster, firewall| firewall.add_rule(cluster, &params)).await
}

#[derive(Deserialize)]
struct OneRule {
    vmid: Vmid,
    pos: u64,
    digest: Option<String>,
}

/// One rule.
#[utoipa::path(
    get, path = "/nodes/{node}/lxc/{vmid}/firewall/rules/{pos}", tag = "firewall",
    responses(
        (status = 200, description = "The rule", body = Data<FirewallRule>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn rule(
    State(app): State<App>,
    Params(one): Params<OneRule>,
) -> Result<Data<FirewallRule>, ApiError> {
    let firewall = read(&app, one.vmid).await?.guest;
    let rule = firewall.rule(one.pos)?;
    // Perl answers with the text of the path.
    let pos = PerlScalar::Text(one.pos.to_string());
    Ok(Data::new(row(rule, pos, firewall.rules_digest())))
}

/// Change a rule, or its place.
#[utoipa::path(
    put, path = "/nodes/{node}/lxc/{vmid}/firewall/rules/{pos}", tag = "firewall",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn update_rule(
    State(app): State<App>,
    Params(one): Params<OneRule>,
    AllParams(params): AllParams,
) -> Result<Data<Option<String>>, ApiError> {
    edit(&app, one.vmid, move |cluster, firewall| firewall.change_rule(cluster, one.pos, &params))
        .await
}

/// Delete a rule.
#[utoipa::path(
    delete, path = "/nodes/{node}/lxc/{vmid}/firewall/rules/{pos}", tag = "firewall",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn delete_rule(
    State(app): State<App>,
    Params(one): Params<OneRule>,
) -> Result<Data<Option<String>>, ApiError> {
    edit(&app, one.vmid, move |_, firewall| firewall.remove_rule(one.pos, one.digest.as_deref()))
        .await
}
