//! Names for addresses, to be used in rules and IP sets.

use axum::extract::State;
use openapi::Vmid;
use openapi::answer::{ErrorBody, FirewallAlias};
use pve_integration::firewall::{Alias, AliasChange};
use serde::Deserialize;

use super::{Guest, edit, read};
use crate::api_router::{ApiRouter, routes};
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::Params;

pub(super) fn router() -> ApiRouter {
    ApiRouter::default().routes(routes!(aliases, create_alias)).routes(routes!(
        alias,
        update_alias,
        delete_alias
    ))
}

fn row(alias: Alias, digest: Option<String>) -> FirewallAlias {
    let Alias { name, cidr, comment, ipversion } = alias;
    FirewallAlias { name, cidr, comment, ipversion, digest }
}

/// The aliases.
#[utoipa::path(
    get, path = "/nodes/{node}/lxc/{vmid}/firewall/aliases", tag = "firewall",
    responses(
        (status = 200, description = "One row each", body = Data<Vec<FirewallAlias>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn aliases(
    State(app): State<App>,
    Params(guest): Params<Guest>,
) -> Result<Data<Vec<FirewallAlias>>, ApiError> {
    let firewall = read(&app, guest.vmid).await?.guest;
    let digest = Some(firewall.aliases_digest());
    let rows = firewall.aliases.into_values().map(|alias| row(alias, digest.clone()));
    Ok(Data::new(rows.collect()))
}

#[derive(Deserialize)]
struct NewAlias {
    vmid: Vmid,
    name: String,
    rename: Option<String>,
    cidr: String,
    comment: Option<String>,
    digest: Option<String>,
}

impl NewAlias {
    fn change(self) -> AliasChange {
        let Self { name, rename, cidr, comment, .. } = self;
        AliasChange { name, rename, cidr, comment }
    }
}

/// Name an address or a network.
#[utoipa::path(
    post, path = "/nodes/{node}/lxc/{vmid}/firewall/aliases", tag = "firewall",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn create_alias(
    State(app): State<App>,
    Params(new): Params<NewAlias>,
) -> Result<Data<Option<String>>, ApiError> {
    edit(&app, new.vmid, move |_, firewall| firewall.add_alias(&new.change())).await
}

#[derive(Deserialize)]
struct OneAlias {
    vmid: Vmid,
    name: String,
    digest: Option<String>,
}

/// One alias.
#[utoipa::path(
    get, path = "/nodes/{node}/lxc/{vmid}/firewall/aliases/{name}", tag = "firewall",
    responses(
        (status = 200, description = "The alias", body = Data<FirewallAlias>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn alias(
    State(app): State<App>,
    Params(one): Params<OneAlias>,
) -> Result<Data<FirewallAlias>, ApiError> {
    let firewall = read(&app, one.vmid).await?.guest;
    Ok(Data::new(row(firewall.alias(&one.name)?.clone(), None)))
}

/// Change what an alias stands for, or its name.
#[utoipa::path(
    put, path = "/nodes/{node}/lxc/{vmid}/firewall/aliases/{name}", tag = "firewall",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn update_alias(
    State(app): State<App>,
    Params(new): Params<NewAlias>,
) -> Result<Data<Option<String>>, ApiError> {
    edit(&app, new.vmid, move |_, firewall| {
        let seen = new.digest.clone();
        firewall.change_alias(&new.change(), seen.as_deref())
    })
    .await
}

/// Forget an alias.
#[utoipa::path(
    delete, path = "/nodes/{node}/lxc/{vmid}/firewall/aliases/{name}", tag = "firewall",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn delete_alias(
    State(app): State<App>,
    Params(one): Params<OneAlias>,
) -> Result<Data<Option<String>>, ApiError> {
    edit(&app, one.vmid, move |_, firewall| firewall.remove_alias(&one.name, one.digest.as_deref()))
        .await
}
