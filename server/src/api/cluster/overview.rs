//! What a cluster of one node says of itself: who is in it, what it has done lately, what of it is
//! backed up.

use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs as _, UdpSocket};

use axum::extract::State;
use openapi::Privilege;
use openapi::answer::{ClusterStatusRow, ClusterTaskRow, ErrorBody, TaskFields};
use pve_integration::tasks::{Entry, TaskDir};

use crate::api::blocking;
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::Caller;

/// The nodes: this one.
#[utoipa::path(
    get, path = "/cluster/status", tag = "cluster",
    responses(
        (status = 200, description = "One row", body = Data<Vec<ClusterStatusRow>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn cluster_status(
    State(app): State<App>,
) -> Result<Data<Vec<ClusterStatusRow>>, ApiError> {
    let node = app.node().to_string();
    let name = node.clone();
    let address = blocking(move || address_of(&name));
    Ok(Data::new(vec![ClusterStatusRow {
        kind: "node".to_owned(),
        id: format!("node/{node}"),
        name: node,
        ip: address.await?.to_string(),
        local: 1,
        nodeid: 0,
        online: 1,
        level: String::new(),
    }]))
}

/// PVE insists that the node's name resolves. Where it does not, the address that the host would send
/// from, or, without a network, the one it always has; no packet is sent to find out.
fn address_of(name: &str) -> IpAddr {
    let named = || Some((name, 0).to_socket_addrs().ok()?.next()?.ip());
    let own = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    named().or_else(own).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// The last tasks. Who may not audit the cluster sees their own, a user also its tokens'.
#[utoipa::path(
    get, path = "/cluster/tasks", tag = "cluster",
    responses(
        (status = 200, description = "One row each", body = Data<Vec<ClusterTaskRow>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn cluster_tasks(
    State(app): State<App>,
    caller: Caller,
) -> Result<Data<Vec<ClusterTaskRow>>, ApiError> {
    let dir = TaskDir::new(app.root());
    let entries = blocking(move || dir.active()).await?.map_err(ApiError::die)?;
    let all = caller.may(Privilege::SysAudit, "/");
    let own = caller.auth().to_string();
    let rows = entries.into_iter().map(row).filter(|row| all || row.task.user == own);
    Ok(Data::new(rows.collect()))
}

fn row(entry: Entry) -> ClusterTaskRow {
    let Entry { upid, saved, endtime, status } = entry;
    ClusterTaskRow {
        task: TaskFields::from(&upid),
        saved: u8::from(saved).to_string(),
        endtime,
        status,
    }
}

/// The cluster's log: it is kept by PVE's cluster filesystem, and without one there is none.
#[utoipa::path(
    get, path = "/cluster/log", tag = "cluster",
    responses(
        (status = 200, description = "Always empty", body = Data<Vec<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn cluster_log() -> Data<Vec<String>> {
    Data::new(Vec::new())
}
