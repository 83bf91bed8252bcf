//! What the node's own files say: its resolver, clock, hosts and notes.

use std::collections::BTreeMap;
use std::path::Path;

use axum::extract::State;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use openapi::answer::{DnsSettings, ErrorBody, HostsFile, NodeTime, SubscriptionInfo};
use pve_integration::layout::Root;
use pve_integration::settings::{KeyValues, read_or_host};
use serde::Deserialize;
use sha1::{Digest as _, Sha1};

use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{LocalNode, Params};

/// The resolver's configuration.
#[utoipa::path(
    get, path = "/nodes/{node}/dns", tag = "nodes",
    responses(
        (status = 200, description = "What is set", body = Data<DnsSettings>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn dns(
    State(app): State<App>,
    _: LocalNode,
) -> Result<Data<DnsSettings>, ApiError> {
    let text = read_or_host(app.root(), "/etc/resolv.conf").unwrap_or_default();
    Ok(Data::new(resolver(&String::from_utf8_lossy(&text))))
}

fn resolver(text: &str) -> DnsSettings {
    let mut settings = DnsSettings::default();
    let mut servers = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("search" | "domain"), Some(name)) => settings.search = Some(name.to_owned()),
            (Some("nameserver"), Some(address)) => servers.push(address.to_owned()),
            _ => {}
        }
    }
    let mut servers = servers.into_iter();
    (settings.dns1, settings.dns2, settings.dns3) =
        (servers.next(), servers.next(), servers.next());
    settings
}

/// The node's clock.
#[utoipa::path(
    get, path = "/nodes/{node}/time", tag = "nodes",
    responses(
        (status = 200, description = "Now", body = Data<NodeTime>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn time(State(app): State<App>, _: LocalNode) -> Data<NodeTime> {
    let now = Timestamp::now();
    let zone = read_or_host(app.root(), "/etc/localtime").ok();
    let zone = zone.and_then(|bytes| TimeZone::tzif("local", &bytes).ok());
    let offset = zone.map_or(0, |zone| zone.to_offset(now).seconds());
    let time = now.as_second();
    let timezone = timezone(app.root());
    Data::new(NodeTime { timezone, time, localtime: time + i64::from(offset) })
}

fn timezone(root: &Root) -> String {
    let text = read_or_host(root, "/etc/timezone").unwrap_or_default();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    if !text.is_empty() {
        return text;
    }
    let link = fs_err::read_link("/etc/localtime").unwrap_or_default();
    let zone = link.to_str().and_then(|link| link.split_once("zoneinfo/"));
    zone.map_or_else(|| "UTC".to_owned(), |(_, zone)| zone.to_owned())
}

/// `/etc/hosts`.
#[utoipa::path(
    get, path = "/nodes/{node}/hosts", tag = "nodes",
    responses(
        (status = 200, description = "The file", body = Data<HostsFile>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn hosts(
    State(app): State<App>,
    _: LocalNode,
) -> Result<Data<HostsFile>, ApiError> {
    let bytes = read_or_host(app.root(), "/etc/hosts").map_err(ApiError::die)?;
    let digest = hex::encode(Sha1::digest(&bytes));
    Ok(Data::new(HostsFile { data: String::from_utf8_lossy(&bytes).into_owned(), digest }))
}

#[derive(Deserialize)]
pub(super) struct Wanted {
    property: Option<String>,
}

/// The node's own configuration: its notes and the like.
#[utoipa::path(
    get, path = "/nodes/{node}/config", tag = "nodes",
    responses(
        (status = 200, description = "What is set", body = Data<BTreeMap<String, String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn node_config(
    State(app): State<App>,
    node: LocalNode,
    Params(wanted): Params<Wanted>,
) -> Data<BTreeMap<String, String>> {
    let mut config = config(&app.root().node_dir(node.name()).join("config"));
    if let Some(property) = wanted.property {
        config.retain(|key, _| *key == property);
    }
    Data::new(config)
}

fn config(path: &Path) -> BTreeMap<String, String> {
    let Ok(text) = fs_err::read_to_string(path) else { return BTreeMap::new() };
    let KeyValues { description, values: mut config } = KeyValues::parse(&text);
    if !description.is_empty() {
        config.insert("description".to_owned(), description);
    }
    config.insert("digest".to_owned(), hex::encode(Sha1::digest(text)));
    config
}

/// The subscription: there is none.
#[utoipa::path(
    get, path = "/nodes/{node}/subscription", tag = "nodes",
    responses(
        (status = 200, description = "That there is none", body = Data<SubscriptionInfo>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn subscription(_: LocalNode) -> Data<SubscriptionInfo> {
    Data::new(SubscriptionInfo {
        status: "notfound".to_owned(),
        message: "There is no subscription key".to_owned(),
        url: "https://www.proxmox.com/en/proxmox-virtual-environment/pricing".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_resolver() {
        let text = "# x\nsearch example.com other\nnameserver 10.0.0.1\n\
            nameserver 10.0.0.2\nnameserver 10.0.0.3\nnameserver 10.0.0.4\n";

        let settings = resolver(text);

        assert_eq!(settings.search.as_deref(), Some("example.com"));
        assert_eq!(settings.dns1.as_deref(), Some("10.0.0.1"));
        assert_eq!(settings.dns3.as_deref(), Some("10.0.0.3"));
    }

    #[test]
    fn reads_a_node_s_notes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        assert_eq!(config(&path), BTreeMap::new());
        fs_err::write(&path, "#a%3A b\nstartall-onboot-delay: 5\n").unwrap();

        let config = config(&path);

        assert_eq!(config["description"], "a: b\n");
        assert_eq!(config["startall-onboot-delay"], "5");
        assert_eq!(config["digest"].len(), 40);
    }
}
