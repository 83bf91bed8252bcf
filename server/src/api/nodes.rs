//! `/nodes`: this node, the only one there is.

mod appliances;
mod change;
mod machine;
mod network;
mod report;
mod settings;
mod tags;
mod url;
pub(crate) mod vzdump;
mod vzdump_info;

use std::io;

use axum::extract::State;
use openapi::Privilege;
use openapi::answer::{ErrorBody, NodeRow, ResourceRow};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::{Name, names, version};
use crate::api_router::{ApiRouter, routes};
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, LocalNode};
use crate::host_status::{Boot, CpuInfo, Disk, HostStatus, Kernel, Memory, Swap};

pub(crate) fn router() -> ApiRouter {
    ApiRouter::default()
        .routes(routes!(nodes))
        .routes(routes!(node_index))
        .routes(routes!(node_status, machine::node_power))
        .routes(routes!(machine::node_syslog))
        .routes(routes!(report::node_report))
        .routes(routes!(machine::node_termproxy))
        .routes(routes!(machine::node_vncshell))
        .routes(routes!(machine::node_vncwebsocket))
        .routes(routes!(virtual_machines))
        .routes(routes!(appliances::appliances, appliances::download_appliance))
        .routes(routes!(url::url_metadata))
        .routes(routes!(tags::repository_tags))
        .routes(routes!(settings::dns, change::set_dns))
        .routes(routes!(settings::time, change::set_time))
        .routes(routes!(settings::hosts, change::set_hosts))
        .routes(routes!(settings::node_config, change::set_node_config))
        .routes(routes!(
            settings::subscription,
            change::set_subscription,
            change::check_subscription,
            change::delete_subscription
        ))
        .routes(routes!(change::wake_on_lan))
        .routes(routes!(change::netstat))
        .merge(network::router())
        .routes(routes!(vzdump::vzdump))
        .routes(routes!(vzdump_info::vzdump_defaults))
        .routes(routes!(vzdump_info::extract_config))
}

/// The nodes: this one. Its figures are for those who may audit it.
#[utoipa::path(
    get, path = "/nodes", tag = "nodes",
    responses(
        (status = 200, description = "One row", body = Data<Vec<NodeRow>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn nodes(State(app): State<App>, caller: Caller) -> Result<Data<Vec<NodeRow>>, ApiError> {
    let audits = caller.may(Privilege::SysAudit, &format!("/nodes/{}", app.node()));
    Ok(Data::new(vec![row(&app, audits)?]))
}

/// The node as `cluster/resources` has it.
pub(crate) fn resource(app: &App) -> Result<ResourceRow, ApiError> {
    let row = row(app, true)?;
    Ok(ResourceRow {
        id: row.id,
        kind: row.kind,
        node: Some(row.node),
        status: Some(row.status),
        cpu: row.cpu,
        maxcpu: row.maxcpu.map(f64::from),
        mem: row.mem,
        maxmem: row.maxmem,
        disk: row.disk,
        maxdisk: row.maxdisk,
        uptime: row.uptime,
        level: row.level,
        ..ResourceRow::default()
    })
}

/// As those see it who may not audit it.
pub(crate) fn without_figures(row: ResourceRow) -> ResourceRow {
    ResourceRow {
        id: row.id,
        kind: row.kind,
        node: row.node,
        status: row.status,
        ..ResourceRow::default()
    }
}

fn row(app: &App, with_figures: bool) -> Result<NodeRow, ApiError> {
    let node = app.node();
    let mut row = NodeRow {
        id: format!("node/{node}"),
        node: node.to_string(),
        kind: "node".to_owned(),
        status: "online".to_owned(),
        ..NodeRow::default()
    };
    row.ssl_fingerprint = app.fingerprint();
    if with_figures {
        let host = app.host();
        let (memory, _) = host.memory().map_err(unreadable)?;
        let disk = host.disk().map_err(unreadable)?;
        row.cpu = Some(host.load().cpu);
        row.maxcpu = Some(host.cpu().cpus);
        row.mem = Some(memory.used);
        row.maxmem = Some(memory.total);
        row.disk = Some(disk.used);
        row.maxdisk = Some(disk.total);
        row.uptime = Some(host.uptime().map_err(unreadable)?);
        row.level = Some(String::new());
    }
    Ok(row)
}

#[expect(clippy::needless_pass_by_value, reason = "map_err gives the error away")]
fn unreadable(err: io::Error) -> ApiError {
    ApiError::die(format_args!("cannot read the host's figures: {err}"))
}

/// What is below a node.
#[utoipa::path(
    get, path = "/nodes/{node}", tag = "nodes",
    responses(
        (status = 200, description = "The parts", body = Data<Vec<Name>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn node_index() -> Data<Vec<Name>> {
    Data::new(names(&[
        "aplinfo",
        "apt",
        "capabilities",
        "ceph",
        "certificates",
        "config",
        "disks",
        "dns",
        "firewall",
        "hardware",
        "hosts",
        "journal",
        "lxc",
        "migrateall",
        "netstat",
        "network",
        "qemu",
        "query-oci-repo-tags",
        "query-url-metadata",
        "replication",
        "report",
        "rrd",
        "rrddata",
        "scan",
        "sdn",
        "services",
        "spiceshell",
        "startall",
        "status",
        "stopall",
        "storage",
        "subscription",
        "suspendall",
        "syslog",
        "tasks",
        "termproxy",
        "time",
        "version",
        "vncshell",
        "vzdump",
        "wakeonlan",
    ]))
}

/// Perl prints `0`, not `0.0`; a share of time is whole only at its two ends.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn perl_number<S: Serializer>(share: &f64, to: S) -> Result<S::Ok, S::Error> {
    match *share {
        0.0 => to.serialize_u8(0),
        1.0 => to.serialize_u8(1),
        share => to.serialize_f64(share),
    }
}

/// `nodes/N/status`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct NodeStatus {
    #[serde(serialize_with = "perl_number")]
    cpu: f64,
    #[serde(serialize_with = "perl_number")]
    wait: f64,
    /// Always 0: no load of an idle CPU.
    idle: u8,
    cpuinfo: CpuInfo,
    loadavg: Vec<String>,
    memory: Memory,
    swap: Swap,
    rootfs: Disk,
    ksm: Ksm,
    uptime: u64,
    current_kernel: Kernel,
    kversion: String,
    boot_info: Boot,
    pveversion: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Ksm {
    shared: u64,
}

impl NodeStatus {
    fn read(host: &HostStatus) -> io::Result<Self> {
        let (load, kernel) = (host.load(), host.kernel());
        let (memory, swap) = host.memory()?;
        Ok(Self {
            cpu: load.cpu,
            wait: load.wait,
            idle: 0,
            cpuinfo: host.cpu().clone(),
            loadavg: host.load_average()?,
            memory,
            swap,
            rootfs: host.disk()?,
            ksm: Ksm { shared: host.merged_pages() },
            uptime: host.uptime()?,
            kversion: format!("{} {} {}", kernel.sysname, kernel.release, kernel.version),
            current_kernel: kernel,
            boot_info: host.boot(),
            pveversion: version::pveversion(),
        })
    }
}

/// How the machine is doing.
#[utoipa::path(
    get, path = "/nodes/{node}/status", tag = "nodes",
    responses(
        (status = 200, description = "The host's figures", body = Data<NodeStatus>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn node_status(State(app): State<App>, _: LocalNode) -> Result<Data<NodeStatus>, ApiError> {
    Ok(Data::new(NodeStatus::read(app.host()).map_err(unreadable)?))
}

/// Virtual machines: none here, which clients that list both kinds of guests need to hear.
#[utoipa::path(
    get, path = "/nodes/{node}/qemu", tag = "nodes",
    responses(
        (status = 200, description = "Always empty", body = Data<Vec<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn virtual_machines(_: LocalNode) -> Data<Vec<String>> {
    Data::new(Vec::new())
}
