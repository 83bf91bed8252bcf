//! `/nodes/{node}/lxc/{vmid}/firewall`: what a container's firewall is to do. It is kept as PVE keeps
//! it; as in PVE, nobody asks whether there is such a container.

mod aliases;
mod ipsets;
mod rules;

use axum::extract::State;
use openapi::Vmid;
use openapi::answer::{ErrorBody, FirewallOptions, FirewallReference, PerlScalar, TaskLogLine};
use pve_integration::firewall::{self, Firewall, FirewallError, Firewalls, LogWanted};
use serde::Deserialize;
use serde_json::Value;

use crate::api::{Name, blocking, names};
use crate::api_router::{ApiRouter, routes};
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{AllParams, LocalNode, Params};

pub(super) fn router() -> ApiRouter {
    ApiRouter::default()
        .routes(routes!(firewall_index))
        .routes(routes!(options, set_options))
        .routes(routes!(log))
        .routes(routes!(references))
        .merge(aliases::router())
        .merge(ipsets::router())
        .merge(rules::router())
}

/// The guest, and the digest that the client saw.
#[derive(Deserialize)]
struct Guest {
    vmid: Vmid,
    digest: Option<String>,
}

async fn read(app: &App, vmid: Vmid) -> Result<Firewalls, ApiError> {
    let root = app.root().clone();
    let read = blocking(move || firewall::load(&root, vmid)).await??;
    warn(&read.warnings);
    Ok(read)
}

async fn edit(
    app: &App,
    vmid: Vmid,
    change: impl FnOnce(&Firewall, &mut Firewall) -> Result<(), FirewallError> + Send + 'static,
) -> Result<Data<Option<String>>, ApiError> {
    let root = app.root().clone();
    let warnings = blocking(move || firewall::edit(&root, vmid, change)).await??;
    warn(&warnings);
    Ok(Data::new(None))
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

/// What is below a container's firewall.
#[utoipa::path(
    get, path = "/nodes/{node}/lxc/{vmid}/firewall", tag = "firewall",
    responses(
        (status = 200, description = "The parts", body = Data<Vec<Name>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn firewall_index() -> Data<Vec<Name>> {
    Data::new(names(&["rules", "aliases", "ipset", "refs", "options"]))
}

/// The options that are set, and their digest.
#[utoipa::path(
    get, path = "/nodes/{node}/lxc/{vmid}/firewall/options", tag = "firewall",
    responses(
        (status = 200, description = "Values by name", body = Data<FirewallOptions>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn options(
    State(app): State<App>,
    _: LocalNode,
    Params(guest): Params<Guest>,
) -> Result<Data<FirewallOptions>, ApiError> {
    let firewall = read(&app, guest.vmid).await?.guest;
    let digest = firewall.options_digest();
    let scalar = |value: Value| match value.as_u64() {
        Some(number) => PerlScalar::Number(number),
        None => PerlScalar::Text(value.as_str().unwrap_or_default().to_owned()),
    };
    let options = firewall.options.into_iter().map(|(name, value)| (name, scalar(value)));
    Ok(Data::new(FirewallOptions { digest, options: options.collect() }))
}

/// Set and delete options.
#[utoipa::path(
    put, path = "/nodes/{node}/lxc/{vmid}/firewall/options", tag = "firewall",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn set_options(
    State(app): State<App>,
    _: LocalNode,
    Params(guest): Params<Guest>,
    AllParams(params): AllParams,
) -> Result<Data<Option<String>>, ApiError> {
    edit(&app, guest.vmid, move |_, firewall| {
        let delete = params.get("delete").and_then(Value::as_str).unwrap_or_default();
        firewall.set_options(&params, delete, guest.digest.as_deref())
    })
    .await
}

#[derive(Deserialize)]
struct LogParams {
    vmid: Vmid,
    start: Option<u64>,
    limit: Option<u64>,
    since: Option<i64>,
    until: Option<i64>,
}

/// What the firewall logged of the container's packets.
#[utoipa::path(
    get, path = "/nodes/{node}/lxc/{vmid}/firewall/log", tag = "firewall",
    responses(
        (status = 200, description = "One page", body = Data<Vec<TaskLogLine>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn log(
    State(app): State<App>,
    _: LocalNode,
    Params(params): Params<LogParams>,
) -> Result<Data<Vec<TaskLogLine>>, ApiError> {
    let LogParams { vmid, start, limit, since, until } = params;
    let (start, limit) = (start.unwrap_or(0), limit.unwrap_or(50));
    let wanted = LogWanted { start, limit, since, until };
    let page = blocking(move || firewall::log(app.root(), vmid, wanted)).await?;
    let lines = page.lines.into_iter().map(|(n, t)| TaskLogLine { n, t });
    Ok(Data::page(lines.collect(), page.total))
}

#[derive(Deserialize)]
struct Wanted {
    vmid: Vmid,
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// The aliases and IP sets that rules may name: the data centre's and the container's own.
#[utoipa::path(
    get, path = "/nodes/{node}/lxc/{vmid}/firewall/refs", tag = "firewall",
    responses(
        (status = 200, description = "One row each", body = Data<Vec<FirewallReference>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn references(
    State(app): State<App>,
    Params(wanted): Params<Wanted>,
) -> Result<Data<Vec<FirewallReference>>, ApiError> {
    let Firewalls { cluster, guest, .. } = read(&app, wanted.vmid).await?;
    let mut rows = Vec::new();
    for (scope, firewall) in [("dc", &cluster), ("guest", &guest)] {
        let row = |kind: &str, name: &str, reference: String, comment: Option<&String>| {
            let comment = comment.filter(|comment| !comment.is_empty()).cloned();
            let (kind, name) = (kind.to_owned(), name.to_owned());
            FirewallReference { kind, name, reference, scope: scope.to_owned(), comment }
        };
        let sets = firewall.ipsets.iter();
        rows.extend(
            sets.map(|(name, set)| row("ipset", name, format!("+{name}"), set.comment.as_ref())),
        );
        let aliases = firewall.aliases.iter();
        rows.extend(
            aliases.map(|(name, alias)| row("alias", name, name.clone(), alias.comment.as_ref())),
        );
    }
    rows.retain(|row| wanted.kind.as_ref().is_none_or(|kind| *kind == row.kind));
    Ok(Data::new(rows))
}
