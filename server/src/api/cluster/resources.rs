//! `/cluster/resources`: all there is in one list, which every open page of PVE's UI asks for again and
//! again. Guests are as they are now, figures of the host and its storages up to a second old.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::State;
use openapi::answer::{ErrorBody, ResourceRow};
use openapi::{Privilege, StorageId};
use pve_integration::storage::StorageConfig;
use serde::Deserialize;

use crate::api::{blocking, nodes, storage};
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, Params};
use crate::guests::{ListRow, Resource};

/// PVE's own are ten seconds old (pve-manager's `PVE/Service/pvestatd.pm`).
const FRESH: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
pub(super) struct Wanted {
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// The rows that are not guests', for those who may see them.
#[derive(Debug)]
struct Host {
    of: Arc<StorageConfig>,
    node: ResourceRow,
    storages: Vec<(StorageId, ResourceRow)>,
}

/// What was last read of the host.
#[derive(Debug, Default)]
pub(crate) struct HostRows(Mutex<Option<(Instant, Arc<Host>)>>);

/// Guests, the node, storages and pools, as far as the caller may see them.
#[utoipa::path(
    get, path = "/cluster/resources", tag = "cluster",
    responses(
        (status = 200, description = "One row each", body = Data<Vec<ResourceRow>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn resources(
    State(app): State<App>,
    caller: Caller,
    Params(wanted): Params<Wanted>,
) -> Result<Data<Vec<Resource>>, ApiError> {
    let (guests, host) = match at_hand(&app)? {
        Some(rows) => rows,
        // All of it in one hop: most of its parts are shorter than a hop.
        None => {
            let app = app.clone();
            blocking(move || read(&app)).await??
        }
    };
    Ok(Data::new(of_caller(&app, &caller, wanted.kind.as_deref(), &guests, &host)))
}

type Rows = (Arc<[ListRow]>, Arc<Host>);

fn at_hand(app: &App) -> Result<Option<Rows>, ApiError> {
    let config = app.storages()?;
    let host = app.host_rows().fresh(&config);
    Ok(host.and_then(|host| Some((app.guests().rows_at_hand()?, host))))
}

/// Asks file systems, so not for an async thread.
fn read(app: &App) -> Result<Rows, ApiError> {
    Ok((app.guests().all_rows()?, app.host_rows().read(app)?))
}

impl HostRows {
    fn fresh(&self, config: &Arc<StorageConfig>) -> Option<Arc<Host>> {
        let last = self.0.try_lock().ok()?;
        let (at, host) = last.as_ref()?;
        let holds = at.elapsed() < FRESH && Arc::ptr_eq(&host.of, config);
        holds.then(|| Arc::clone(host))
    }

    /// However many ask at once, one of them reads.
    fn read(&self, app: &App) -> Result<Arc<Host>, ApiError> {
        let of = app.storages()?;
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, host)) = last.as_ref()
            && at.elapsed() < FRESH
            && Arc::ptr_eq(&host.of, &of)
        {
            return Ok(Arc::clone(host));
        }
        let (storages, node) = (storage::resources(app, &of), nodes::resource(app)?);
        let host = Arc::new(Host { of, node, storages });
        *last = Some((Instant::now(), Arc::clone(&host)));
        Ok(host)
    }
}

fn of_caller(
    app: &App,
    caller: &Caller,
    kind: Option<&str>,
    guests: &[ListRow],
    host: &Host,
) -> Vec<Resource> {
    let wants = |one: &str| kind.is_none_or(|kind| kind == one);
    let mut rows = Vec::with_capacity(guests.len() + host.storages.len() + 2);
    if kind.is_none() {
        rows.extend(pools(caller).map(other));
    }
    if wants("vm") {
        rows.extend(app.guests().encoded_resources(guests, caller));
    }
    if wants("node") {
        let audits = caller.may(Privilege::SysAudit, &format!("/nodes/{}", app.node()));
        let node = host.node.clone();
        rows.push(other(if audits { node } else { nodes::without_figures(node) }));
    }
    if wants("storage") {
        let seen = host.storages.iter().filter(|(id, _)| storage::may_audit(id, caller));
        rows.extend(seen.map(|(_, row)| other(row.clone())));
    }
    if kind.is_none() && caller.may(Privilege::SdnAudit, "/sdn/zones/localnetwork") {
        rows.push(other(local_network(app.node().as_str())));
    }
    rows
}

fn other(row: ResourceRow) -> Resource {
    Resource::Row(Box::new(row))
}

/// The zone of the node's own bridges, which is always there.
fn local_network(node: &str) -> ResourceRow {
    ResourceRow {
        id: format!("network/{node}/zone/localnetwork"),
        kind: "network".to_owned(),
        node: Some(node.to_owned()),
        status: Some("ok".to_owned()),
        network: Some("localnetwork".to_owned()),
        network_type: Some("zone".to_owned()),
        ..ResourceRow::default()
    }
}

fn pools(caller: &Caller) -> impl Iterator<Item = ResourceRow> {
    let visible = |name: &&String| caller.may(Privilege::PoolAudit, &format!("/pool/{name}"));
    let row = |name: &String| ResourceRow {
        id: format!("/pool/{name}"),
        kind: "pool".to_owned(),
        pool: Some(name.clone()),
        ..ResourceRow::default()
    };
    caller.access().config.pools.keys().filter(visible).map(row)
}
