//! `/nodes/{node}/vzdump`: backups of guests.

use axum::extract::State;
use openapi::answer::ErrorBody;
use openapi::{NodeName, Privilege, Vmid};
use pve_integration::vzdump::{Compress, Options, check_template, command_line, defaults};
use serde_json::{Map, Value};

use crate::api::blocking;
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{AllParams, Caller, LocalNode};
use crate::guests::{BackupRun, LZOP, Member, is_installed};

/// What a request that there is nothing to do for is answered.
const NOTHING: &str = "OK";

/// Back up guests, or end the run that does.
#[utoipa::path(
    post, path = "/nodes/{node}/vzdump", tag = "nodes",
    responses(
        (status = 200, description = "The task, or `OK` without one", body = Data<String>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn vzdump(
    State(app): State<App>,
    caller: Caller,
    node: LocalNode,
    AllParams(params): AllParams,
) -> Result<Data<String>, ApiError> {
    if is_set(&params, "stdout") {
        let text = "option is only allowed on the command line interface.";
        return Err(ApiError::param("stdout", text));
    }
    Ok(Data::new(back_up(&app, &caller, node.name(), &params).await?))
}

/// What a request or a job asks for: the UPID of the run, or `OK` if there is nothing to do.
pub(crate) async fn back_up(
    app: &App,
    caller: &Caller,
    node: &NodeName,
    params: &Map<String, Value>,
) -> Result<String, ApiError> {
    require_parameters(caller, params)?;
    if let (true, Some(storage)) = (params.contains_key("prune-backups"), storage_of(params)) {
        caller.require(Privilege::DatastoreAllocate, &format!("/storage/{storage}"))?;
    }
    let params = verify(params, true)?;
    let members = pool_members(caller, &params)?;
    let included = app.guests().included(&params, members).await?;
    let wanted = [included.here, included.orphaned].concat();
    if is_set(&params, "stop") {
        caller.require(Privilege::SysModify, &format!("/nodes/{node}"))?;
        app.guests().stop_backups().await?;
        if wanted.is_empty() {
            return Ok(NOTHING.to_owned());
        }
    }
    let all = is_set(&params, "all");
    if wanted.is_empty() && !all {
        return Ok(NOTHING.to_owned());
    }
    if let Some(storage) = storage_of(&params) {
        caller.require(Privilege::DatastoreAllocateSpace, &format!("/storage/{storage}"))?;
    }
    let run = run(app, caller, &params, wanted).await?;
    Ok(app.guests().back_up(run, caller.auth())?.to_string())
}

async fn run(
    app: &App,
    caller: &Caller,
    params: &Map<String, Value>,
    wanted: Vec<Vmid>,
) -> Result<BackupRun, ApiError> {
    let root = app.root().clone();
    let defaults = blocking(move || defaults(&root)).await?;
    let options =
        Options::new(params, &defaults).map_err(|err| ApiError::param("prune-backups", err))?;
    if options.compress == Compress::Lzo && !is_installed(LZOP) {
        let text = format!("'{LZOP}' does not exist; install the package {LZOP}, or use 'zstd'");
        return Err(ApiError::param("compress", text));
    }
    let unlimited = options.storage.as_ref().is_none_or(|storage| {
        caller.may(Privilege::DatastoreAllocate, &format!("/storage/{storage}"))
    });
    let member = |vmid: Vmid| {
        let denied = caller.require(Privilege::VmBackup, &format!("/vms/{vmid}")).err();
        Member { vmid, denied: denied.map(|err| err.to_string()) }
    };
    Ok(BackupRun {
        members: wanted.into_iter().map(member).collect(),
        all: is_set(params, "all"),
        options,
        command_line: command_line(params),
        protected_limit: (!unlimited).then_some(5),
    })
}

fn is_set(params: &Map<String, Value>, name: &str) -> bool {
    match params.get(name) {
        Some(Value::String(text)) => !matches!(text.as_str(), "" | "0"),
        Some(Value::Number(number)) => number.as_u64() != Some(0),
        Some(_) => true,
        None => false,
    }
}

/// The one that a request names or means.
pub(crate) fn storage_of(params: &Map<String, Value>) -> Option<String> {
    if is_set(params, "dumpdir") {
        return None;
    }
    let named = params.get("storage").and_then(Value::as_str);
    Some(named.unwrap_or("local").to_owned())
}

/// `assert_param_permission_common` of pve-manager's `PVE/API2/Backup.pm`.
pub(crate) fn require_parameters(
    caller: &Caller,
    params: &Map<String, Value>,
) -> Result<(), ApiError> {
    if caller.is_root() {
        return Ok(());
    }
    for name in ["tmpdir", "dumpdir", "script", "job-id"] {
        if params.contains_key(name) {
            return Err(ApiError::param(name, "Only root may set this option."));
        }
    }
    if ["bwlimit", "ionice", "performance"].iter().any(|name| params.contains_key(*name)) {
        caller.require(Privilege::SysModify, "/")?;
    }
    let fleecing = params.get("fleecing").and_then(Value::as_str).unwrap_or_default();
    let storage = fleecing.split(',').find_map(|part| part.strip_prefix("storage="));
    match storage {
        Some(storage) => {
            caller.require(Privilege::DatastoreAllocateSpace, &format!("/storage/{storage}"))
        }
        None => Ok(()),
    }
}

/// `verify_vzdump_parameters`: what no declaration of one parameter can say. `complete` asks for
/// something that names guests.
pub(crate) fn verify(
    params: &Map<String, Value>,
    complete: bool,
) -> Result<Map<String, Value>, ApiError> {
    let mut params = params.clone();
    if is_set(&params, "vmid") {
        for name in ["all", "exclude", "pool"] {
            if is_set(&params, name) {
                return Err(ApiError::param(name, "option conflicts with option 'vmid'"));
            }
        }
    }
    if let Some(template) = params.get("notes-template").and_then(Value::as_str) {
        check_template(template)
            .map_err(|err| ApiError::param("notes-template", format_args!("{err}\n")))?;
    }
    if params.contains_key("exclude") && !is_set(&params, "pool") {
        params.insert("all".to_owned(), 1.into());
    }
    let named = ["all", "stop", "pool", "vmid"].iter().any(|name| is_set(&params, name));
    if complete && !named {
        return Err(ApiError::param("vmid", "property is missing"));
    }
    Ok(params)
}

/// Of the pool that is named, if one is.
pub(crate) fn pool_members(
    caller: &Caller,
    params: &Map<String, Value>,
) -> Result<Vec<Vmid>, ApiError> {
    let Some(name) = params.get("pool").and_then(Value::as_str).filter(|name| !name.is_empty())
    else {
        return Ok(Vec::new());
    };
    let pool = caller.access().config.pools.get(name);
    let pool = pool.ok_or_else(|| ApiError::die(format_args!("pool '{name}' does not exist")))?;
    Ok(pool.vms.iter().filter_map(|vmid| vmid.to_string().parse().ok()).collect())
}
