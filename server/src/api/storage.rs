//! `/storage` and `/nodes/N/storage`: where volumes and templates lie. What is on one storage is in
//! the files beside.

mod content;
mod definitions;
mod download;
mod files;
mod prune;
mod registry;
mod restore;
mod upload;
mod volume;

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use openapi::answer::{ErrorBody, ResourceRow, StorageRow, StorageStatus};
use openapi::{NodeName, Privilege, StorageId};
use pve_integration::layout::Root;
use pve_integration::storage::{ContentType, Storage, StorageConfig, Usage};
use serde::{Deserialize, Serialize};
use sha1::{Digest as _, Sha1};
use utoipa::ToSchema;

pub(crate) use self::volume::require_access;
use super::{Subdir, blocking, subdirs};
use crate::api_router::{ApiRouter, routes};
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, LocalNode, Params};

/// Either lets one see a storage.
const SEE: [Privilege; 2] = [Privilege::DatastoreAudit, Privilege::DatastoreAllocateSpace];

pub(crate) fn router() -> ApiRouter {
    ApiRouter::default()
        .routes(routes!(definitions, definitions::define_storage))
        .routes(routes!(definition_of, definitions::redefine_storage, definitions::delete))
        .routes(routes!(storages))
        .routes(routes!(storage_index))
        .routes(routes!(storage_status))
        .routes(routes!(content::content, content::allocate_volume))
        .routes(routes!(volume::volume_info, volume::update_volume, volume::remove_volume))
        .routes(routes!(prune::marked_backups, prune::prune_backups))
        .routes(routes!(upload::upload))
        .routes(routes!(download::download_url))
        .routes(routes!(registry::pull))
        .routes(routes!(restore::identity))
        .routes(routes!(restore::import_metadata))
        .routes(routes!(restore::list))
        .routes(routes!(restore::download))
}

fn path(storage: &StorageId) -> String {
    format!("/storage/{storage}")
}

#[derive(Deserialize)]
struct OfKind {
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// storage.cfg, as far as the caller may see it.
#[utoipa::path(
    get, path = "/storage", tag = "storage",
    responses(
        (status = 200, description = "One object a storage", body = Data<Vec<Definition>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn definitions(
    State(app): State<App>,
    caller: Caller,
    Params(wanted): Params<OfKind>,
) -> Result<Data<Vec<Definition>>, ApiError> {
    let digest = digest(app.root());
    let config = app.storages()?;
    let visible = config.iter().filter(|storage| {
        let wanted = wanted.kind.as_deref().is_none_or(|kind| kind == storage.kind());
        wanted && caller.may_any(&SEE, &path(storage.id()))
    });
    Ok(Data::new(visible.map(|storage| definition(storage, &digest)).collect()))
}

/// One section of storage.cfg.
#[utoipa::path(
    get, path = "/storage/{storage}", tag = "storage",
    responses(
        (status = 200, description = "The storage", body = Data<Definition>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn definition_of(
    State(app): State<App>,
    Params(name): Params<StorageName>,
) -> Result<Data<Definition>, ApiError> {
    let digest = digest(app.root());
    let config = app.storages()?;
    Ok(Data::new(definition(config.get(&name.storage)?, &digest)))
}

fn digest(root: &Root) -> String {
    hex::encode(Sha1::digest(fs_err::read(root.storage_cfg()).unwrap_or_default()))
}

/// A section of storage.cfg.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Definition {
    storage: String,
    #[serde(rename = "type")]
    kind: String,
    content: String,
    /// Of the whole file.
    digest: String,
    /// Whatever else the section says, by name.
    #[serde(flatten)]
    properties: BTreeMap<String, Property>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum Property {
    Text(String),
    /// 0 or 1.
    Flag(u8),
}

fn definition(storage: &Storage, digest: &str) -> Definition {
    let properties = storage.properties().filter(|(key, _)| *key != "content");
    Definition {
        storage: storage.id().to_string(),
        kind: storage.kind().to_owned(),
        content: words(&storage.content()),
        digest: digest.to_owned(),
        properties: properties.map(|(key, value)| (key.to_owned(), property(key, value))).collect(),
    }
}

/// The booleans among the properties that a `dir` storage may have; the rest are texts.
fn property(key: &str, value: &str) -> Property {
    let is_flag = matches!(
        key,
        "disable" | "shared" | "mkdir" | "create-base-path" | "create-subdirs" | "saferemove"
    );
    match value {
        "1" | "yes" | "on" | "true" if is_flag => Property::Flag(1),
        "0" | "no" | "off" | "false" if is_flag => Property::Flag(0),
        text => Property::Text(text.to_owned()),
    }
}

fn words(content: &BTreeSet<ContentType>) -> String {
    content.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(",")
}

#[derive(Deserialize)]
struct Wanted {
    storage: Option<StorageId>,
    content: Option<String>,
    #[serde(default)]
    enabled: u8,
    target: Option<NodeName>,
}

impl Wanted {
    /// One that is disabled or on other nodes is listed, unless only enabled ones are wanted.
    fn shows(&self, storage: &Storage, node: &NodeName) -> bool {
        self.storage.as_ref().is_none_or(|id| id == storage.id())
            && (self.enabled == 0 || storage.enabled())
            && self.is_reachable(storage, node)
    }

    /// Who looks for a kind of content is told of storages that can be used.
    fn holds_wanted(&self, storage: &Storage, node: &NodeName) -> bool {
        let contents = storage.content();
        let holds = |list: &String| {
            list.split([',', ';', ' ', '\0'])
                .filter_map(ContentType::from_word)
                .any(|wanted| contents.contains(&wanted))
        };
        self.content.as_ref().is_none_or(|list| holds(list) && is_usable(storage, node))
    }

    /// Where a container of `node` could lie and another node reach it.
    fn is_reachable(&self, storage: &Storage, node: &NodeName) -> bool {
        let other = self.target.as_ref();
        let other = other.filter(|target| *target != node && target.as_str() != "localhost");
        other.is_none_or(|target| {
            storage.shared() && storage.on_node(node) && storage.on_node(target)
        })
    }
}

fn is_usable(storage: &Storage, node: &NodeName) -> bool {
    storage.enabled() && storage.on_node(node)
}

/// The storages of this node, with how full they are.
#[utoipa::path(
    get, path = "/nodes/{node}/storage", tag = "storage",
    responses(
        (status = 200, description = "One row each", body = Data<Vec<StorageRow>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn storages(
    State(app): State<App>,
    caller: Caller,
    node: LocalNode,
    Params(wanted): Params<Wanted>,
) -> Result<Data<Vec<StorageRow>>, ApiError> {
    let config = app.storages()?;
    let holds_wanted = |storage: &&Storage| wanted.holds_wanted(storage, node.name());
    let is_named = |id| config.iter().filter(holds_wanted).any(|storage| storage.id() == id);
    if wanted.storage.as_ref().is_some_and(|named| !is_named(named)) {
        return Err(ApiError::param("storage", "No such storage."));
    }
    let rows = blocking(move || {
        let seen = seen(&config, &caller);
        let shown = seen.filter(|storage| {
            wanted.holds_wanted(storage, node.name()) && wanted.shows(storage, node.name())
        });
        shown.map(|storage| row(&app, &config, storage)).collect()
    });
    Ok(Data::new(rows.await?))
}

fn seen<'a>(config: &'a StorageConfig, caller: &Caller) -> impl Iterator<Item = &'a Storage> {
    config.iter().filter(|storage| caller.may_any(&SEE, &path(storage.id())))
}

fn row(app: &App, config: &StorageConfig, storage: &Storage) -> StorageRow {
    let status = status(app, config, storage);
    // A count of bytes beyond 2^53 is of no storage there is.
    let fraction = (status.total > 0).then(|| status.used as f64 / status.total as f64);
    StorageRow { storage: storage.id().clone(), status, used_fraction: fraction }
}

/// One that cannot be asked is shown, without figures.
fn status(app: &App, config: &StorageConfig, storage: &Storage) -> StorageStatus {
    let usage = usage(app, config, storage);
    let Usage { total, used, avail } = usage.unwrap_or(Usage { total: 0, used: 0, avail: 0 });
    StorageStatus {
        kind: storage.kind().to_owned(),
        content: words(&storage.content()),
        enabled: is_usable(storage, app.node()).into(),
        active: usage.is_some().into(),
        shared: storage.shared().into(),
        total,
        used,
        avail,
    }
}

fn usage(app: &App, config: &StorageConfig, storage: &Storage) -> Option<Usage> {
    let dir = config.dir(app.root(), app.node(), storage.id()).ok()?;
    dir.activate().ok()?;
    dir.status().ok()
}

/// What is below a storage of a node.
#[utoipa::path(
    get, path = "/nodes/{node}/storage/{storage}", tag = "storage",
    responses(
        (status = 200, description = "The parts", body = Data<Vec<Subdir>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn storage_index() -> Data<Vec<Subdir>> {
    Data::new(subdirs(&[
        "content",
        "download-url",
        "file-restore",
        "import-metadata",
        "identity",
        "oci-registry-pull",
        "prunebackups",
        "rrd",
        "rrddata",
        "status",
        "upload",
    ]))
}

#[derive(Deserialize)]
struct StorageName {
    storage: StorageId,
}

/// How full a storage is.
#[utoipa::path(
    get, path = "/nodes/{node}/storage/{storage}/status", tag = "storage",
    responses(
        (status = 200, description = "Its figures", body = Data<StorageStatus>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn storage_status(
    State(app): State<App>,
    _: LocalNode,
    Params(name): Params<StorageName>,
) -> Result<Data<StorageStatus>, ApiError> {
    let config = app.storages()?;
    let storage = config.get(&name.storage);
    let storage = storage.map_err(|_| ApiError::param("storage", "No such storage."))?.clone();
    let status = blocking(move || status(&app, &config, &storage));
    Ok(Data::new(status.await?))
}

/// Whether `cluster/resources` shows it.
pub(crate) fn may_audit(storage: &StorageId, caller: &Caller) -> bool {
    caller.may(Privilege::DatastoreAudit, &path(storage))
}

/// This node's storages as `cluster/resources` has them, whoever may see them. Asks file systems, so
/// not for an async thread.
pub(crate) fn resources(app: &App, config: &StorageConfig) -> Vec<(StorageId, ResourceRow)> {
    let here = config.iter().filter(|storage| is_usable(storage, app.node()));
    here.map(|storage| (storage.id().clone(), resource(app, config, storage))).collect()
}

fn resource(app: &App, config: &StorageConfig, storage: &Storage) -> ResourceRow {
    let (node, id) = (app.node(), storage.id());
    let status = status(app, config, storage);
    let known = status.active != 0;
    ResourceRow {
        id: format!("storage/{node}/{id}"),
        kind: "storage".to_owned(),
        node: Some(node.to_string()),
        storage: Some(id.to_string()),
        status: Some(if known { "available" } else { "unknown" }.to_owned()),
        plugintype: Some(status.kind),
        content: Some(status.content),
        shared: Some(status.shared),
        disk: known.then_some(status.used),
        maxdisk: known.then_some(status.total),
        ..ResourceRow::default()
    }
}
