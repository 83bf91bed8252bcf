//! `/nodes/{node}/network`: the node's interfaces. Changes wait in a file of their own until they are
//! reloaded or reverted; this machine's network is touched by a reload alone, and only where the
//! daemon's root is the machine's.

use axum::extract::State;
use openapi::answer::{ErrorBody, NetworkInterface};
use openapi::{Privilege, Upid};
use pve_integration::interfaces::{self, Interface, InterfacesError, Pending};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::process::Command;

use crate::api::blocking;
use crate::api_router::{ApiRouter, routes};
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{AllParams, Caller, LocalNode, Params};

pub(super) fn router() -> ApiRouter {
    ApiRouter::default()
        .routes(routes!(networks, create_network, reload_network, revert_network))
        .routes(routes!(network, update_network, delete_network))
}

#[derive(Deserialize)]
struct Wanted {
    #[serde(rename = "type")]
    kind: Option<String>,
}

impl Wanted {
    fn wants(&self, kind: &str) -> bool {
        let bridge = matches!(kind, "bridge" | "OVSBridge");
        match self.kind.as_deref() {
            None | Some("" | "include_sdn") => true,
            Some("any_bridge" | "any_local_bridge") => bridge,
            Some(wanted) => wanted == kind,
        }
    }
}

async fn read(app: &App) -> Result<Pending, ApiError> {
    let root = app.root().clone();
    Ok(blocking(move || interfaces::read(&root)).await??)
}

fn row(interface: Interface) -> NetworkInterface {
    NetworkInterface { properties: interface.into_iter().collect() }
}

fn kind(interface: &Interface) -> &str {
    interface.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// The interfaces, as they will be after the next reload. Bridges are for those who may use them.
#[utoipa::path(
    get, path = "/nodes/{node}/network", tag = "nodes",
    responses(
        (status = 200, description = "One row each", body = Data<Vec<NetworkInterface>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn networks(
    State(app): State<App>,
    caller: Caller,
    _: LocalNode,
    Params(wanted): Params<Wanted>,
) -> Result<Data<Vec<NetworkInterface>>, ApiError> {
    let Pending { interfaces, changes } = read(&app).await?;
    let mut rows = Vec::new();
    for (name, mut interface) in interfaces.map(|read| read.ifaces).unwrap_or_default() {
        let kind = kind(&interface);
        let path = format!("/sdn/zones/localnetwork/{name}");
        let hidden = matches!(kind, "bridge" | "OVSBridge")
            && !caller.may_any(&[Privilege::SdnAudit, Privilege::SdnUse], &path);
        if name == "lo" || hidden || !wanted.wants(kind) {
            continue;
        }
        interface.insert("iface".to_owned(), name.into());
        rows.push(row(interface));
    }
    Ok(Data { data: rows, total: None, changes })
}

#[derive(Deserialize)]
struct OneInterface {
    iface: String,
    delete: Option<String>,
}

/// One interface.
#[utoipa::path(
    get, path = "/nodes/{node}/network/{iface}", tag = "nodes",
    responses(
        (status = 200, description = "Its properties", body = Data<NetworkInterface>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn network(
    State(app): State<App>,
    _: LocalNode,
    Params(one): Params<OneInterface>,
) -> Result<Data<NetworkInterface>, ApiError> {
    let mut known = read(&app).await?.interfaces.map(|read| read.ifaces).unwrap_or_default();
    match known.remove(&one.iface) {
        Some(interface) => Ok(Data::new(row(interface))),
        None => Err(ApiError::param("iface", "interface does not exist")),
    }
}

/// The properties that a client sent.
fn properties(params: &Map<String, Value>) -> Interface {
    let ours = |name: &str| !matches!(name, "node" | "iface" | "delete");
    let kept = params.iter().filter(|(name, _)| ours(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

async fn edit(
    app: &App,
    change: impl FnOnce(&mut interfaces::Interfaces) -> Result<(), InterfacesError> + Send + 'static,
) -> Result<Data<Option<String>>, ApiError> {
    let root = app.root().clone();
    blocking(move || interfaces::edit(&root, change)).await??;
    Ok(Data::new(None))
}

/// Make an interface, at the next reload.
#[utoipa::path(
    post, path = "/nodes/{node}/network", tag = "nodes",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn create_network(
    State(app): State<App>,
    _: LocalNode,
    Params(one): Params<OneInterface>,
    AllParams(params): AllParams,
) -> Result<Data<Option<String>>, ApiError> {
    let params = properties(&params);
    edit(&app, move |config| interfaces::create(config, &one.iface, params)).await
}

/// Change an interface, at the next reload.
#[utoipa::path(
    put, path = "/nodes/{node}/network/{iface}", tag = "nodes",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn update_network(
    State(app): State<App>,
    _: LocalNode,
    Params(one): Params<OneInterface>,
    AllParams(params): AllParams,
) -> Result<Data<Option<String>>, ApiError> {
    let params = properties(&params);
    let delete = one.delete.unwrap_or_default();
    edit(&app, move |config| interfaces::update(config, &one.iface, params, &delete)).await
}

/// Remove an interface, at the next reload.
#[utoipa::path(
    delete, path = "/nodes/{node}/network/{iface}", tag = "nodes",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn delete_network(
    State(app): State<App>,
    _: LocalNode,
    Params(one): Params<OneInterface>,
) -> Result<Data<Option<String>>, ApiError> {
    edit(&app, move |config| interfaces::delete(config, &one.iface)).await
}

/// Forget changes that wait.
#[utoipa::path(
    delete, path = "/nodes/{node}/network", tag = "nodes",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn revert_network(
    State(app): State<App>,
    _: LocalNode,
) -> Result<Data<Option<String>>, ApiError> {
    blocking(move || interfaces::revert(app.root())).await?.map_err(ApiError::die)?;
    Ok(Data::new(None))
}

/// Let waiting changes hold.
#[utoipa::path(
    put, path = "/nodes/{node}/network", tag = "nodes",
    responses(
        (status = 200, description = "The task that does it", body = Data<Upid>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn reload_network(
    State(app): State<App>,
    caller: Caller,
    _: LocalNode,
) -> Result<Data<Upid>, ApiError> {
    let root = app.root().clone();
    if !interfaces::ifupdown2(&root).exists() {
        return Err(ApiError::die("you need ifupdown2 to reload network configuration"));
    }
    let work = move |log: crate::tasks::TaskLog, _| async move {
        interfaces::promote(&root).map_err(|err| err.to_string())?;
        if root.prefix() != std::path::Path::new("/") {
            log.warn("the files are not this machine's, whose network stays as it is");
            return Ok(());
        }
        let done = Command::new("ifreload").arg("-a").output().await;
        let done = done.map_err(|err| format!("unable to run ifreload: {err}"))?;
        for line in String::from_utf8_lossy(&done.stderr).lines() {
            log.line(line);
        }
        if done.status.success() {
            Ok(())
        } else {
            Err(format!("command 'ifreload -a' failed: {}", done.status))
        }
    };
    Ok(Data::new(app.tasks().spawn("srvreload", "networking", caller.auth(), work)?))
}
