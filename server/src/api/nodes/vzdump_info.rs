//! What `/nodes/{node}/vzdump` tells: its defaults, and the config inside a backup.

use axum::extract::State;
use openapi::answer::{BackupOptions, ErrorBody};
use openapi::{Privilege, VolumeId};
use pve_integration::storage::{ContentType, StorageConfig, VolumeName};
use pve_integration::vzdump::{ArchiveInfo, BackupKind, Retention, defaults};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::api::blocking;
use crate::api::storage::require_access;
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, LocalNode, Params};

/// PVE's name for it in an archive, and that of OpenVZ's time.
const CONFIGS: [&str; 2] = ["etc/vzdump/pct.conf", "etc/vzdump/vps.conf"];
/// No container's config comes near it.
const LARGEST_CONFIG: u64 = 4 << 20;
/// For those only who may audit the node.
const OF_THE_NODE: [&str; 5] = ["mailto", "tmpdir", "dumpdir", "script", "ionice"];

#[derive(Deserialize)]
pub(super) struct Wanted {
    storage: Option<String>,
}

/// What a backup does when it is not told.
#[utoipa::path(
    get, path = "/nodes/{node}/vzdump/defaults", tag = "nodes",
    responses(
        (status = 200, description = "Parameters by name", body = Data<BackupOptions>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn vzdump_defaults(
    State(app): State<App>,
    caller: Caller,
    node: LocalNode,
    Params(wanted): Params<Wanted>,
) -> Result<Data<BackupOptions>, ApiError> {
    let root = app.root().clone();
    let mut all = blocking(move || defaults(&root)).await?;
    if let Some(storage) = wanted.storage {
        all.insert("storage".to_owned(), storage.into());
    }
    if !all.contains_key("dumpdir") && !all.contains_key("storage") {
        all.insert("storage".to_owned(), "local".into());
    }
    if let Some(storage) = all.get("storage").and_then(Value::as_str).map(str::to_owned) {
        let any = [Privilege::DatastoreAudit, Privilege::DatastoreAllocateSpace];
        caller.require_any(&any, &format!("/storage/{storage}"))?;
        add_storage(&app, &storage, &mut all)?;
    }
    let keep = all.get("prune-backups").and_then(Value::as_str).map(Retention::parse);
    if let Some(Ok(keep)) = keep {
        all.insert("prune-backups".to_owned(), keep.to_string().into());
    }
    if let Some(paths) = all.get("exclude-path").and_then(Value::as_array) {
        let paths: Vec<_> = paths.iter().filter_map(Value::as_str).collect();
        let paths = paths.join(",");
        all.insert("exclude-path".to_owned(), paths.into());
    }
    if !caller.may(Privilege::SysAudit, &format!("/nodes/{}", node.name())) {
        OF_THE_NODE.iter().for_each(|key| drop(all.remove(*key)));
    }
    let pool = all.get("pool").and_then(Value::as_str);
    if pool.is_some_and(|pool| !caller.may(Privilege::PoolAudit, &format!("/pool/{pool}"))) {
        all.remove("pool");
    }
    Ok(Data::new(BackupOptions(all)))
}

fn add_storage(app: &App, name: &str, all: &mut Map<String, Value>) -> Result<(), ApiError> {
    let config = StorageConfig::read(app.root())?;
    let section = config.get(&name.parse().map_err(ApiError::die)?)?;
    if !section.content().contains(&ContentType::Backup) {
        let text = format_args!("can't use storage '{name}' for backups - wrong content type");
        return Err(ApiError::die(text));
    }
    if let Some(path) = section.get("path") {
        all.insert("dumpdir".to_owned(), format!("{path}/dump").into());
    }
    if let Some(keep) = section.get("prune-backups") {
        all.insert("prune-backups".to_owned(), keep.into());
    }
    Ok(())
}

#[derive(Deserialize)]
pub(super) struct OfVolume {
    volume: String,
}

/// The guest's config as a backup has it.
#[utoipa::path(
    get, path = "/nodes/{node}/vzdump/extractconfig", tag = "nodes",
    responses(
        (status = 200, description = "The file", body = Data<String>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn extract_config(
    State(app): State<App>,
    caller: Caller,
    node: LocalNode,
    Params(OfVolume { volume }): Params<OfVolume>,
) -> Result<Data<String>, ApiError> {
    let Ok(id) = volume.parse::<VolumeId>() else {
        if caller.is_root() {
            return Err(ApiError::die(format_args!("unable to parse volume ID '{volume}'")));
        }
        return Err(ApiError::die("Only root can pass arbitrary filesystem paths."));
    };
    let config = StorageConfig::read(app.root())?;
    config.get(id.storage())?;
    let name: VolumeName = id.name().parse()?;
    if name.content() != ContentType::Backup {
        let text = format_args!("unable to use volume {id} - content type needs to be 'backup'");
        return Err(ApiError::die(text));
    }
    require_access(&caller, &id)?;
    if let Some(owner) = name.owner() {
        caller.require(Privilege::VmBackup, &format!("/vms/{owner}"))?;
    }
    let path = config.dir(app.root(), node.name(), id.storage())?.existing(&id)?.path;
    let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match ArchiveInfo::of(file).kind {
        BackupKind::Lxc | BackupKind::Openvz => {}
        BackupKind::Qemu => {
            return Err(ApiError::die("backups of virtual machines cannot be read here"));
        }
        BackupKind::Unknown => {
            let text =
                format_args!("ERROR: couldn't determine archive info from '{}'", path.display());
            return Err(ApiError::die(text));
        }
    }
    let found = blocking(move || {
        let archive = fs_err::File::open(path).map_err(ApiError::die)?;
        images::find(archive, &CONFIGS, LARGEST_CONFIG).map_err(ApiError::die)
    });
    let (_, bytes) = found
        .await??
        .ok_or_else(|| ApiError::die("ERROR: archive contains no configuration file"))?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(Data::new(text.lines().map(|line| format!("{line}\n")).collect()))
}
