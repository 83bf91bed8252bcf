//! `aplinfo`: the templates that an index on disk offers, and getting one of them. PVE's own job
//! refreshes the index; without one nothing is offered.

use std::collections::BTreeMap;

use axum::extract::State;
use openapi::StorageId;
use openapi::answer::ErrorBody;
use pve_integration::layout::Root;
use pve_integration::storage::{ContentType, StorageConfig, VolumeName};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::api::blocking;
use crate::app::App;
use crate::checksum::Checksum;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, LocalNode, Params};
use crate::fetch::{self, Download};
use crate::tasks::TaskLog;

const INDEX: &str = "/var/lib/pve-manager/apl-info";
/// The servers whose indexes PVE keeps, by file name, and what their locations are relative to.
const SOURCES: [(&str, &str); 2] = [
    ("download.proxmox.com", "http://download.proxmox.com/images"),
    ("releases.turnkeylinux.org", "https://releases.turnkeylinux.org/pve"),
];
/// What is no template.
const NEWS: &str = "pve-web-news";

/// One stanza, its keys in lower case.
type Appliance = BTreeMap<String, String>;

/// The templates on offer.
#[utoipa::path(
    get, path = "/nodes/{node}/aplinfo", tag = "nodes",
    responses(
        (status = 200, description = "One object each",
         body = Data<Vec<BTreeMap<String, String>>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn appliances(
    State(app): State<App>,
    _: LocalNode,
) -> Result<Data<Vec<Appliance>>, ApiError> {
    let offered = blocking(move || offered(app.root())).await?;
    Ok(Data::new(offered.into_values().collect()))
}

#[derive(Deserialize)]
pub(super) struct Wanted {
    storage: StorageId,
    template: String,
}

/// Get one of them.
#[utoipa::path(
    post, path = "/nodes/{node}/aplinfo", tag = "nodes",
    responses(
        (status = 200, description = "The task", body = Data<String>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn download_appliance(
    State(app): State<App>,
    caller: Caller,
    node: LocalNode,
    Params(wanted): Params<Wanted>,
) -> Result<Data<String>, ApiError> {
    let offered = offered(app.root());
    let appliance = offered.get(&wanted.template);
    let appliance = appliance.ok_or_else(|| ApiError::param("template", "no such template"))?;
    let dir = StorageConfig::read(app.root())?.dir(app.root(), node.name(), &wanted.storage)?;
    let field = |name: &str| appliance.get(name).cloned();
    let kind = field("type").unwrap_or_default();
    if kind != "lxc" && kind != "openvz" {
        return Err(ApiError::die(format_args!("unknown template type '{kind}'")));
    }
    if !dir.content().contains(&ContentType::Vztmpl) {
        return Err(ApiError::die(format_args!(
            "storage '{}' does not support templates",
            dir.id()
        )));
    }
    // The index is a file of root's, but names of servers come from elsewhere.
    format!("vztmpl/{}", wanted.template).parse::<VolumeName>()?;
    let checksum = ["sha512", "md5"].into_iter().find_map(|algorithm| {
        Checksum::of(Some(algorithm.to_owned()), field(&format!("{algorithm}sum")))
    });
    let checksum = checksum.ok_or_else(|| ApiError::die("checksum required but not specified"))?;
    let target = dir.folder(ContentType::Vztmpl).join(&wanted.template);
    let available = blocking(move || dir.activate().and_then(|()| dir.status())).await??.avail;
    let url = field("location").unwrap_or_default();
    let download = Download { url, target, checksum: Some(checksum), available };
    let root = app.root().clone();
    let work = async move |log: TaskLog, cancel: CancellationToken| {
        download.run(fetch::client(&root, true), &log, &cancel).await
    };
    let upid = app.tasks().spawn("download", &wanted.template, caller.auth(), work)?;
    Ok(Data::new(upid.to_string()))
}

fn offered(root: &Root) -> BTreeMap<String, Appliance> {
    let mut offered = BTreeMap::new();
    for (host, base) in SOURCES {
        let path = root.below(INDEX).join(host);
        let text = fs_err::read_to_string(path).unwrap_or_default();
        let appliances = text.split("\n\n").filter_map(|stanza| appliance(stanza, base));
        offered.extend(appliances.map(|appliance| (appliance["template"].clone(), appliance)));
    }
    offered
}

/// `None` for what is none.
fn appliance(stanza: &str, base: &str) -> Option<Appliance> {
    let mut appliance = Appliance::new();
    let mut last = None;
    for line in stanza.lines() {
        if line.starts_with([' ', '\t']) {
            let text: &mut String = appliance.get_mut(last.as_ref()?)?;
            *text = format!("{text}\n{}", line.trim()).trim().to_owned();
        } else if let Some((key, value)) = line.split_once(':') {
            let key = key.trim().to_lowercase();
            appliance.insert(key.clone(), value.trim().to_owned());
            last = Some(key);
        }
    }
    let location = appliance.get("location")?;
    let template = location.rsplit('/').next()?.to_owned();
    let location = match location.contains("://") {
        true => location.clone(),
        false => format!("{base}/{location}"),
    };
    let is_template = appliance.get("package").is_some_and(|package| package != NEWS);
    appliance.insert("location".to_owned(), location);
    appliance.insert("template".to_owned(), template);
    is_template.then_some(appliance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_stanza() {
        let text = "Package: alpine\nType: lxc\nLocation: system/alpine.tar.xz\n\
            Infopage: https://x\nDescription: Alpine\n A small\n distribution.\n";

        let appliance = appliance(text, "http://h/images").unwrap();

        assert_eq!(appliance["template"], "alpine.tar.xz");
        assert_eq!(appliance["location"], "http://h/images/system/alpine.tar.xz");
        assert_eq!(appliance["description"], "Alpine\nA small\ndistribution.");
    }

    #[test]
    fn news_and_scraps_are_no_templates() {
        assert_eq!(appliance("Package: pve-web-news\nLocation: news\n", "h"), None);
        assert_eq!(appliance("Package: x\n", "h"), None);
        assert_eq!(appliance(" x\n", "h"), None);
    }
}
