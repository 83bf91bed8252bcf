//! `/pools`: guests and storages under one name. Each call is there twice: pools below pools have a
//! slash in their names, which the older form, with the name in the path, cannot take.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use axum::extract::State;
use openapi::answer::{ErrorBody, PoolRow, ResourceRow};
use openapi::{AuthId, NodeName, Privilege, StorageId, Vmid};
use pve_integration::access::edit::{self, Inventory, PoolChange};
use pve_integration::access::{Pool, split_list};
use pve_integration::layout::Root;
use pve_integration::storage::{Storage, StorageConfig};
use serde::Deserialize;

use super::{blocking, storage};
use crate::api_router::{ApiRouter, routes};
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, Params};

pub(crate) fn router() -> ApiRouter {
    ApiRouter::default()
        .routes(routes!(pools, create_pool, update_pool, delete_pool))
        .routes(routes!(pool, update_pool_by_path, delete_pool_by_path))
}

#[derive(Deserialize)]
struct Wanted {
    poolid: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// The pools that the caller may see, or one with its members.
#[utoipa::path(
    get, path = "/pools", tag = "pools",
    responses(
        (status = 200, description = "The pools", body = Data<Vec<PoolRow>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn pools(
    State(app): State<App>,
    caller: Caller,
    Params(wanted): Params<Wanted>,
) -> Result<Data<Vec<PoolRow>>, ApiError> {
    if let Some(name) = wanted.poolid.filter(|name| !matches!(name.as_str(), "" | "0")) {
        // Upstream makes this check and does not look at what it says.
        caller.require(Privilege::PoolAudit, &format!("/pool/{name}"))?;
        return Ok(Data::new(vec![read(&app, &caller, name, wanted.kind.as_deref()).await?]));
    }
    let pools = caller.access().config.pools.iter();
    let seen = pools
        .filter(|(name, _)| caller.may(Privilege::PoolAudit, &format!("/pool/{name}")))
        .map(|(name, pool)| row(name.clone(), pool));
    Ok(Data::new(seen.collect()))
}

#[derive(Deserialize)]
struct OnePool {
    poolid: String,
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// One pool with its members.
#[utoipa::path(
    get, path = "/pools/{poolid}", tag = "pools",
    responses(
        (status = 200, description = "The pool", body = Data<PoolRow>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn pool(
    State(app): State<App>,
    caller: Caller,
    Params(wanted): Params<OnePool>,
) -> Result<Data<PoolRow>, ApiError> {
    Ok(Data::new(read(&app, &caller, wanted.poolid, wanted.kind.as_deref()).await?))
}

fn row(poolid: String, pool: &Pool) -> PoolRow {
    let comment = Some(pool.comment.clone()).filter(|comment| !comment.is_empty());
    PoolRow { poolid, comment, members: None }
}

async fn read(
    app: &App,
    caller: &Caller,
    name: String,
    kind: Option<&str>,
) -> Result<PoolRow, ApiError> {
    let Some(pool) = caller.access().config.pools.get(&name) else {
        return Err(ApiError::die(format_args!("pool '{name}' does not exist")));
    };
    // Whoever may see a pool sees its members, whatever else they may.
    let root = AuthId::User("root@pam".parse().map_err(ApiError::die)?);
    let all = Caller::proved(root, app.access().current()?);
    let mut members = guests(app, &all, pool).await?;
    members.retain(|row| kind.is_none_or(|kind| kind == row.kind));
    if kind.is_none_or(|kind| kind == "storage") {
        members.extend(storages(app, &all, pool).await?);
    }
    Ok(PoolRow { members: Some(members), ..row(name, pool) })
}

/// Destroyed ones are left out.
async fn guests(app: &App, all: &Caller, pool: &Pool) -> Result<Vec<ResourceRow>, ApiError> {
    let rows = app.guests().resources(all).await?.into_iter();
    let mut here: BTreeMap<u64, ResourceRow> =
        rows.filter_map(|row| Some((u64::from(row.vmid?.get()), row))).collect();
    let there = {
        let root = app.root().clone();
        blocking(move || places(&root)).await?.map_err(ApiError::die)?
    };
    let mut vmids: Vec<_> = pool.vms.iter().collect();
    vmids.sort_by_key(|vmid| vmid.to_string());
    let member = |vmid: &u64| match here.remove(vmid) {
        Some(row) => Some(ResourceRow { pool: None, tags: None, lock: None, ..row }),
        None => there.get(vmid).map(|(kind, node, vmid)| ResourceRow {
            id: format!("{kind}/{vmid}"),
            kind: (*kind).to_owned(),
            node: Some(node.to_string()),
            vmid: Some(*vmid),
            status: Some("unknown".to_owned()),
            ..ResourceRow::default()
        }),
    };
    Ok(vmids.into_iter().filter_map(member).collect())
}

/// Of what kind each guest of the cluster is, and where it lives.
fn places(root: &Root) -> io::Result<BTreeMap<u64, (&'static str, NodeName, Vmid)>> {
    let mut places = BTreeMap::new();
    for node in names(&root.etc_pve().join("nodes"))? {
        let Ok(node) = node.parse::<NodeName>() else { continue };
        for (kind, folder) in [("qemu", "qemu-server"), ("lxc", "lxc")] {
            for file in names(&root.node_dir(&node).join(folder))? {
                let vmid = file.strip_suffix(".conf").and_then(|vmid| vmid.parse::<Vmid>().ok());
                let Some(vmid) = vmid else { continue };
                places.insert(u64::from(vmid.get()), (kind, node.clone(), vmid));
            }
        }
    }
    Ok(places)
}

/// None in a folder that is not there.
fn names(folder: &std::path::Path) -> io::Result<Vec<String>> {
    let entries = match fs_err::read_dir(folder) {
        Ok(entries) => entries,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(err) => return Err(err),
    };
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

async fn storages(app: &App, all: &Caller, pool: &Pool) -> Result<Vec<ResourceRow>, ApiError> {
    let config = app.storages()?;
    let (of, storages) = (app.clone(), Arc::clone(&config));
    let rows = blocking(move || storage::resources(&of, &storages)).await?.into_iter();
    let mut here: BTreeMap<String, ResourceRow> = rows
        .filter(|(id, _)| storage::may_audit(id, all))
        .map(|(id, row)| (id.to_string(), row))
        .collect();
    let member = |id: &String| {
        let known = config.get(&id.parse().ok()?).ok()?;
        Some(here.remove(id).unwrap_or_else(|| elsewhere(app, known)))
    };
    Ok(pool.storage.iter().filter_map(member).collect())
}

/// A storage that this node does not have, or not now.
fn elsewhere(app: &App, storage: &Storage) -> ResourceRow {
    let node = match storage.get("nodes").map(|nodes| split_list(nodes).min()) {
        Some(Some(node)) if !storage.on_node(app.node()) => node.to_owned(),
        Some(_) | None => app.node().to_string(),
    };
    let content: Vec<_> = storage.content().iter().map(|content| content.as_str()).collect();
    ResourceRow {
        id: format!("storage/{node}/{}", storage.id()),
        kind: "storage".to_owned(),
        storage: Some(storage.id().to_string()),
        node: Some(node),
        status: Some("unknown".to_owned()),
        plugintype: Some(storage.kind().to_owned()),
        content: Some(content.join(",")),
        shared: Some(storage.shared().into()),
        ..ResourceRow::default()
    }
}

#[derive(Deserialize)]
struct NewPool {
    poolid: String,
    comment: Option<String>,
}

/// Make a pool.
#[utoipa::path(
    post, path = "/pools", tag = "pools",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn create_pool(
    State(app): State<App>,
    Params(new): Params<NewPool>,
) -> Result<Data<Option<String>>, ApiError> {
    let comment = new.comment.unwrap_or_default();
    blocking(move || edit::create_pool(app.root(), &new.poolid, comment)).await??;
    Ok(Data::new(None))
}

#[derive(Deserialize)]
struct Settings {
    poolid: String,
    comment: Option<String>,
    vms: Option<String>,
    storage: Option<String>,
    #[serde(rename = "allow-move")]
    allow_move: Option<u8>,
    delete: Option<u8>,
}

async fn change(
    app: App,
    caller: &Caller,
    settings: Settings,
) -> Result<Data<Option<String>>, ApiError> {
    let list = |list: Option<String>| -> Vec<String> {
        split_list(&list.unwrap_or_default()).map(str::to_owned).collect()
    };
    let vms: Result<Vec<Vmid>, _> = list(settings.vms).iter().map(|id| id.parse()).collect();
    let storage: Result<Vec<StorageId>, _> =
        list(settings.storage).iter().map(|id| id.parse()).collect();
    let change = PoolChange {
        comment: settings.comment,
        vms: vms.map_err(ApiError::die)?,
        storage: storage.map_err(ApiError::die)?,
        allow_move: settings.allow_move == Some(1),
        delete: settings.delete == Some(1),
    };
    let who = caller.auth().clone();
    blocking(move || edit::change_pool(app.root(), &who, &settings.poolid, &change)).await??;
    Ok(Data::new(None))
}

/// Change a pool's comment or members.
#[utoipa::path(
    put, path = "/pools", tag = "pools",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn update_pool(
    State(app): State<App>,
    caller: Caller,
    Params(settings): Params<Settings>,
) -> Result<Data<Option<String>>, ApiError> {
    change(app, &caller, settings).await
}

/// The same, the older way.
#[utoipa::path(
    put, path = "/pools/{poolid}", tag = "pools",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn update_pool_by_path(
    State(app): State<App>,
    caller: Caller,
    Params(settings): Params<Settings>,
) -> Result<Data<Option<String>>, ApiError> {
    change(app, &caller, settings).await
}

async fn delete(app: App, name: String) -> Result<Data<Option<String>>, ApiError> {
    let work = move || {
        let places = places(app.root()).map_err(ApiError::die)?;
        let storages = StorageConfig::read(app.root())?;
        let there = Inventory {
            guest: &|vmid| places.contains_key(&vmid),
            storage: &|id| id.parse().is_ok_and(|id| storages.get(&id).is_ok()),
        };
        Ok::<_, ApiError>(edit::delete_pool(app.root(), &name, there)?)
    };
    blocking(work).await??;
    Ok(Data::new(None))
}

/// Delete a pool without members.
#[utoipa::path(
    delete, path = "/pools", tag = "pools",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn delete_pool(
    State(app): State<App>,
    Params(pool): Params<NewPool>,
) -> Result<Data<Option<String>>, ApiError> {
    delete(app, pool.poolid).await
}

/// The same, the older way.
#[utoipa::path(
    delete, path = "/pools/{poolid}", tag = "pools",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn delete_pool_by_path(
    State(app): State<App>,
    Params(pool): Params<NewPool>,
) -> Result<Data<Option<String>>, ApiError> {
    delete(app, pool.poolid).await
}
