//! Sets of addresses. An entry's name is an address, often with a slash in it: the last part of its
//! path is all that follows the set's name.

use axum::extract::State;
use openapi::Vmid;
use openapi::answer::{ErrorBody, FirewallEntry, FirewallIpSet};
use pve_integration::firewall::{IpSetEntry, NewIpSet};
use serde::Deserialize;

use super::{Guest, edit, read};
use crate::api::lxc::is_set;
use crate::api_router::{ApiRouter, routes};
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::Params;

pub(super) fn router() -> ApiRouter {
    ApiRouter::default()
        .routes(routes!(ipsets, create_ipset))
        .routes(routes!(ipset, create_entry, delete_ipset))
        .routes(routes!(entry, update_entry, delete_entry))
}

fn row(entry: IpSetEntry, digest: String) -> FirewallEntry {
    let IpSetEntry { cidr, nomatch, comment, errors } = entry;
    FirewallEntry { cidr, nomatch: nomatch.then_some(1), comment, errors, digest }
}

/// The IP sets.
#[utoipa::path(
    get, path = "/nodes/{node}/lxc/{vmid}/firewall/ipset", tag = "firewall",
    responses(
        (status = 200, description = "One row each", body = Data<Vec<FirewallIpSet>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn ipsets(
    State(app): State<App>,
    Params(guest): Params<Guest>,
) -> Result<Data<Vec<FirewallIpSet>>, ApiError> {
    let firewall = read(&app, guest.vmid).await?.guest;
    let digest = firewall.ipsets_digest();
    let rows = firewall.ipsets.into_iter().map(|(name, set)| {
        let comment = set.comment.filter(|comment| !comment.is_empty());
        FirewallIpSet { name, comment, digest: digest.clone() }
    });
    Ok(Data::new(rows.collect()))
}

#[derive(Deserialize)]
struct NewSet {
    vmid: Vmid,
    name: String,
    rename: Option<String>,
    comment: Option<String>,
    digest: Option<String>,
}

/// Make an IP set, or rename one.
#[utoipa::path(
    post, path = "/nodes/{node}/lxc/{vmid}/firewall/ipset", tag = "firewall",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn create_ipset(
    State(app): State<App>,
    Params(new): Params<NewSet>,
) -> Result<Data<Option<String>>, ApiError> {
    edit(&app, new.vmid, move |_, firewall| {
        let NewSet { name, rename, comment, digest, .. } = new;
        firewall.add_ipset(NewIpSet { name, rename, comment }, digest.as_deref())
    })
    .await
}

#[derive(Deserialize)]
struct OneSet {
    vmid: Vmid,
    name: String,
    force: Option<u8>,
}

/// What is in an IP set.
#[utoipa::path(
    get, path = "/nodes/{node}/lxc/{vmid}/firewall/ipset/{name}", tag = "firewall",
    responses(
        (status = 200, description = "One row each", body = Data<Vec<FirewallEntry>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn ipset(
    State(app): State<App>,
    Params(one): Params<OneSet>,
) -> Result<Data<Vec<FirewallEntry>>, ApiError> {
    let firewall = read(&app, one.vmid).await?.guest;
    let set = firewall.ipset(&one.name)?;
    let digest = set.digest();
    let rows = set.entries.iter().map(|entry| row(entry.clone(), digest.clone()));
    Ok(Data::new(rows.collect()))
}

/// Forget an IP set.
#[utoipa::path(
    delete, path = "/nodes/{node}/lxc/{vmid}/firewall/ipset/{name}", tag = "firewall",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn delete_ipset(
    State(app): State<App>,
    Params(one): Params<OneSet>,
) -> Result<Data<Option<String>>, ApiError> {
    edit(&app, one.vmid, move |_, firewall| firewall.remove_ipset(&one.name, is_set(one.force)))
        .await
}

#[derive(Deserialize)]
struct NewEntry {
    vmid: Vmid,
    name: String,
    cidr: String,
    nomatch: Option<u8>,
    comment: Option<String>,
    digest: Option<String>,
}

/// Put an address, a network or an alias into an IP set.
#[utoipa::path(
    post, path = "/nodes/{node}/lxc/{vmid}/firewall/ipset/{name}", tag = "firewall",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn create_entry(
    State(app): State<App>,
    Params(new): Params<NewEntry>,
) -> Result<Data<Option<String>>, ApiError> {
    edit(&app, new.vmid, move |cluster, firewall| {
        let NewEntry { name, cidr, nomatch, comment, .. } = new;
        let entry = IpSetEntry { cidr, nomatch: is_set(nomatch), comment, ..IpSetEntry::default() };
        firewall.add_entry(cluster, &name, entry)
    })
    .await
}

/// One entry of an IP set.
#[utoipa::path(
    get, path = "/nodes/{node}/lxc/{vmid}/firewall/ipset/{name}/{cidr}", tag = "firewall",
    responses(
        (status = 200, description = "The entry", body = Data<FirewallEntry>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn entry(
    State(app): State<App>,
    Params(one): Params<NewEntry>,
) -> Result<Data<FirewallEntry>, ApiError> {
    let firewall = read(&app, one.vmid).await?.guest;
    let set = firewall.ipset(&one.name)?;
    Ok(Data::new(row(set.entry(&one.cidr)?.clone(), set.digest())))
}

/// Change an entry's comment, or whether it is excepted.
#[utoipa::path(
    put, path = "/nodes/{node}/lxc/{vmid}/firewall/ipset/{name}/{cidr}", tag = "firewall",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn update_entry(
    State(app): State<App>,
    Params(one): Params<NewEntry>,
) -> Result<Data<Option<String>>, ApiError> {
    edit(&app, one.vmid, move |_, firewall| {
        let set = firewall.ipset_mut(&one.name)?;
        set.change_entry(&one.cidr, (is_set(one.nomatch), one.comment), one.digest.as_deref())
    })
    .await
}

/// Take an entry out of an IP set.
#[utoipa::path(
    delete, path = "/nodes/{node}/lxc/{vmid}/firewall/ipset/{name}/{cidr}", tag = "firewall",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn delete_entry(
    State(app): State<App>,
    Params(one): Params<NewEntry>,
) -> Result<Data<Option<String>>, ApiError> {
    edit(&app, one.vmid, move |_, firewall| {
        firewall.ipset_mut(&one.name)?.remove_entry(&one.cidr, one.digest.as_deref())
    })
    .await
}
