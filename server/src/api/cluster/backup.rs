//! `/cluster/backup` and `/cluster/backup-info`: backup jobs, and which guests they cover. What a job
//! does is vzdump's; when, the scheduler's.

use std::collections::BTreeSet;

use axum::extract::State;
use openapi::answer::{
    BackupOptions, ErrorBody, IncludedGuest, IncludedVolume, IncludedVolumes, UncoveredGuest,
};
use openapi::{Privilege, Vmid};
use pve_integration::calendar::CalendarEvent;
use pve_integration::jobs::{self, Job, Jobs, JobsError};
use pve_integration::local_time;
use serde::Deserialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::api::nodes::vzdump::{pool_members, require_parameters, storage_of, verify};
use crate::api::{Subdir, blocking, subdirs};
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{AllParams, Caller, Params};

/// What `dow` says when it says nothing special.
const ALL_DAYS: &str = "mon,tue,wed,thu,fri,sat,sun";

async fn read(app: &App) -> Result<Jobs, ApiError> {
    let root = app.root().clone();
    Ok(blocking(move || Jobs::read(&root)).await??)
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_secs()).unwrap_or_default()
}

/// The backup jobs.
#[utoipa::path(
    get, path = "/cluster/backup", tag = "cluster",
    responses(
        (status = 200, description = "One object a job", body = Data<Vec<BackupOptions>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn backup_jobs(
    State(app): State<App>,
) -> Result<Data<Vec<BackupOptions>>, ApiError> {
    let jobs = read(&app).await?;
    let with_next = |job: &Job| {
        let mut answer = job.answer();
        let event = job.text("schedule").and_then(|text| text.parse::<CalendarEvent>().ok());
        if let Some(next) = event.and_then(|event| event.next(now(), &local_time::zone())) {
            answer.insert("next-run".to_owned(), next.into());
        }
        BackupOptions(answer)
    };
    Ok(Data::new(jobs.iter().map(with_next).collect()))
}

/// Add a backup job.
#[utoipa::path(
    post, path = "/cluster/backup", tag = "cluster",
    responses(
        (status = 200, description = "Always null", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn create_backup_job(
    State(app): State<App>,
    caller: Caller,
    AllParams(params): AllParams,
) -> Result<Data<Option<String>>, ApiError> {
    require_parameters(&caller, &params)?;
    if let (false, Some(storage)) = (caller.is_root(), storage_of(&params)) {
        caller.require(Privilege::DatastoreAllocate, &format!("/storage/{storage}"))?;
    }
    require_pool(&caller, &params)?;
    let mut values = with_schedule(&params)?;
    if !values.contains_key("schedule") {
        let text = "neither 'starttime' nor 'schedule' were set";
        return Err(ApiError::param("schedule", text));
    }
    values.entry("enabled").or_insert_with(|| 1.into());
    let id = values.remove("id").as_ref().and_then(Value::as_str).map(str::to_owned);
    let id = id.unwrap_or_else(|| Uuid::new_v4().to_string());
    let mut values = verify(&values, true).map_err(under_lock)?;
    if values.values().any(has_line_feed) {
        return Err(ApiError::die("property contains a line feed"));
    }
    normalise(&mut values);
    let root = app.root().clone();
    edit(app, move |jobs| {
        let job = Job { id, values };
        jobs.push(job.clone())?;
        Ok(jobs::made(&root, &job, now())?)
    })
    .await
}

#[derive(Deserialize)]
pub(super) struct OfJob {
    id: String,
}

fn no_such_job(id: &str) -> ApiError {
    ApiError::param("id", format_args!("No such job '{id}'"))
}

/// One backup job.
#[utoipa::path(
    get, path = "/cluster/backup/{id}", tag = "cluster",
    responses(
        (status = 200, description = "The job", body = Data<BackupOptions>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn backup_job(
    State(app): State<App>,
    Params(OfJob { id }): Params<OfJob>,
) -> Result<Data<BackupOptions>, ApiError> {
    let jobs = read(&app).await?;
    let job = jobs.get(&id).ok_or_else(|| no_such_job(&id))?;
    Ok(Data::new(BackupOptions(job.answer())))
}

/// Remove a backup job.
#[utoipa::path(
    delete, path = "/cluster/backup/{id}", tag = "cluster",
    responses(
        (status = 200, description = "Always null", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn delete_backup_job(
    State(app): State<App>,
    Params(OfJob { id }): Params<OfJob>,
) -> Result<Data<Option<String>>, ApiError> {
    let root = app.root().clone();
    edit(app, move |jobs| {
        if jobs.remove(&id) {
            return Ok(jobs::removed(&root, &id)?);
        }
        Err(JobsError::Refused(under_lock(no_such_job(&id)).message().to_owned()))
    })
    .await
}

/// Change a backup job.
#[utoipa::path(
    put, path = "/cluster/backup/{id}", tag = "cluster",
    responses(
        (status = 200, description = "Always null", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn update_backup_job(
    State(app): State<App>,
    caller: Caller,
    AllParams(params): AllParams,
) -> Result<Data<Option<String>>, ApiError> {
    let mut params = (*params).clone();
    let id = params.remove("id").as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
    let doomed = params.remove("delete");
    let doomed =
        crate::guests::split_list(doomed.as_ref().and_then(Value::as_str).unwrap_or_default());
    require_update(&caller, &params, &doomed, None)?;
    require_pool(&caller, &params)?;
    let given = with_schedule(&params)?;
    if given.is_empty() && doomed.is_empty() {
        return Err(ApiError::die("no options specified"));
    }
    let mut given = verify(&given, false).map_err(under_lock)?;
    if given.values().any(has_line_feed) {
        return Err(ApiError::die("property contains a line feed"));
    }
    normalise(&mut given);
    // Read once before, for the checks that depend on it; what is written is read anew under a lock.
    let jobs = read(&app).await?;
    let job = jobs.get(&id).ok_or_else(|| ApiError::die("no such vzdump job"))?;
    require_update(&caller, &params, &doomed, Some(job))?;
    let root = app.root().clone();
    edit(app, move |jobs| {
        let refused = |err: ApiError| JobsError::Refused(under_lock(err).message().to_owned());
        let job = jobs.get_mut(&id);
        let job = job.ok_or_else(|| JobsError::Refused("no such vzdump job".to_owned()))?;
        change(job, &given, &doomed).map_err(refused)?;
        Ok(jobs::changed(&root, job, now())?)
    })
    .await
}

/// What is named over what there was; a new choice of guests takes the place of the old one.
fn change(job: &mut Job, given: &Map<String, Value>, doomed: &[String]) -> Result<(), ApiError> {
    for key in doomed {
        if !is_option(key) {
            return Err(ApiError::param("delete", format_args!("unknown option '{key}'")));
        }
        job.values.remove(key);
    }
    let named = |key: &str| given.get(key).is_some_and(is_true);
    let (vmid, all) = (given.contains_key("vmid"), named("all"));
    job.values.extend(given.clone());
    if job.values.contains_key("exclude") && !job.values.contains_key("pool") {
        job.values.insert("all".to_owned(), 1.into());
    }
    let replaced: &[&str] = if vmid {
        &["all", "exclude", "pool"]
    } else if all {
        &["vmid", "pool"]
    } else if job.values.get("pool").is_some_and(is_true) {
        &["vmid", "all", "exclude"]
    } else {
        &[]
    };
    replaced.iter().for_each(|key| drop(job.values.remove(*key)));
    job.values = verify(&job.values, true)?;
    Ok(())
}

fn is_option(key: &str) -> bool {
    let vzdump = openapi::schema::methods().get("POST", "/nodes/{node}/vzdump");
    let known = vzdump.is_some_and(|method| method.parameters.get(key).is_some());
    (known && !matches!(key, "stdout" | "job-id")) || matches!(key, "comment" | "repeat-missed")
}

fn is_true(value: &Value) -> bool {
    match value.as_str() {
        Some(text) => !matches!(text, "" | "0"),
        None => value.as_u64() != Some(0),
    }
}

fn has_line_feed(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.contains(['\n', '\r']))
}

/// As PVE's writer prints it.
fn normalise(values: &mut Map<String, Value>) {
    let keep = values.get("prune-backups").and_then(Value::as_str);
    if let Some(Ok(keep)) = keep.map(pve_integration::vzdump::Retention::parse) {
        values.insert("prune-backups".to_owned(), keep.to_string().into());
    }
}

/// Errors that PVE raises while it holds the file's lock reach the client as plain text.
fn under_lock(err: ApiError) -> ApiError {
    if err.errors().is_empty() {
        return err;
    }
    let lines: Vec<_> =
        err.errors().iter().map(|(name, text)| format!("\n{name}: {}", text.trim_end())).collect();
    ApiError::die(format_args!("{} {}{}", err.status().as_u16(), err.message(), lines.concat()))
}

async fn edit(
    app: App,
    change: impl FnOnce(&mut Jobs) -> Result<(), JobsError> + Send + 'static,
) -> Result<Data<Option<String>>, ApiError> {
    let root = app.root().clone();
    blocking(move || Jobs::edit(&root, change)).await??;
    Ok(Data::new(None))
}

/// `starttime` and `dow` are what jobs had before `schedule`.
fn with_schedule(params: &Map<String, Value>) -> Result<Map<String, Value>, ApiError> {
    let mut values = params.clone();
    let (start, days) = (values.remove("starttime"), values.remove("dow"));
    let Some(start) = start.as_ref().and_then(Value::as_str) else { return Ok(values) };
    if values.contains_key("schedule") {
        let text = "'starttime' and 'schedule' cannot both be set";
        return Err(ApiError::param("starttime", text));
    }
    let days = crate::guests::split_list(days.as_ref().and_then(Value::as_str).unwrap_or_default());
    let days = days.join(",");
    let schedule = match days.as_str() {
        "" | ALL_DAYS => start.to_owned(),
        days => format!("{days} {start}"),
    };
    values.insert("schedule".to_owned(), schedule.into());
    Ok(values)
}

fn require_pool(caller: &Caller, params: &Map<String, Value>) -> Result<(), ApiError> {
    let Some(pool) = params.get("pool").and_then(Value::as_str).filter(|pool| !pool.is_empty())
    else {
        return Ok(());
    };
    if !caller.access().config.pools.contains_key(pool) {
        return Err(ApiError::forbidden(format_args!("pool '{pool}' does not exist")));
    }
    caller.require(Privilege::VmBackup, &format!("/pool/{pool}"))
}

/// `assert_param_permission_update`.
fn require_update(
    caller: &Caller,
    params: &Map<String, Value>,
    doomed: &[String],
    current: Option<&Job>,
) -> Result<(), ApiError> {
    if caller.is_root() {
        return Ok(());
    }
    require_parameters(caller, params)?;
    let deleted = doomed.iter().filter(|key| *key != "fleecing");
    require_parameters(caller, &deleted.map(|key| (key.clone(), 1.into())).collect())?;
    let allocate = |storage: &str| {
        caller.require(Privilege::DatastoreAllocate, &format!("/storage/{storage}"))
    };
    match params.get("storage").and_then(Value::as_str) {
        Some(storage) => allocate(storage)?,
        None if doomed.iter().any(|key| key == "storage") => allocate("local")?,
        None => {}
    }
    match current {
        Some(job) if job.text("dumpdir").is_some() => {
            Err(ApiError::die("only root@pam may edit jobs with a 'dumpdir' option."))
        }
        Some(job) => storage_of(&job.values).map_or(Ok(()), |storage| allocate(&storage)),
        None => Ok(()),
    }
}

/// Which guests and which of their volumes a job backs up.
#[utoipa::path(
    get, path = "/cluster/backup/{id}/included_volumes", tag = "cluster",
    responses(
        (status = 200, description = "A tree of guests and volumes", body = Data<IncludedVolumes>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn included_volumes(
    State(app): State<App>,
    caller: Caller,
    Params(OfJob { id }): Params<OfJob>,
) -> Result<Data<IncludedVolumes>, ApiError> {
    let jobs = read(&app).await?;
    let job = jobs.get(&id).ok_or_else(|| no_such_job(&id))?;
    let members = pool_members(&caller, &job.values)?;
    let included = app.guests().included(&job.values, members).await?;
    let visible = |vmid: &&Vmid| caller.may(Privilege::VmAudit, &format!("/vms/{vmid}"));
    let mut children = Vec::new();
    for vmid in included.here.iter().filter(visible) {
        children.push(guest(&app, *vmid).await?);
    }
    let orphaned = included.orphaned.iter().filter(visible);
    children.extend(orphaned.map(|vmid| IncludedGuest::unknown(*vmid)));
    Ok(Data::new(IncludedVolumes { children }))
}

async fn guest(app: &App, vmid: Vmid) -> Result<IncludedGuest, ApiError> {
    let Ok((name, parts)) = app.guests().backup_volumes(vmid).await else {
        // A virtual machine, which this daemon knows by its number only.
        return Ok(IncludedGuest { kind: "qemu".to_owned(), ..IncludedGuest::unknown(vmid) });
    };
    let volumes: Vec<_> = parts
        .into_iter()
        .map(|part| IncludedVolume {
            id: format!("{vmid}:{}", part.key),
            name: part.volume,
            included: part.included.into(),
            reason: part.reason.to_owned(),
            leaf: 1,
        })
        .collect();
    Ok(IncludedGuest {
        id: vmid,
        kind: "lxc".to_owned(),
        name,
        leaf: volumes.is_empty().into(),
        children: Some(volumes),
    })
}

/// What is below `/cluster/backup-info`.
#[utoipa::path(
    get, path = "/cluster/backup-info", tag = "cluster",
    responses(
        (status = 200, description = "The parts", body = Data<Vec<Subdir>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn backup_info() -> Data<Vec<Subdir>> {
    Data::new(subdirs(&["not-backed-up"]))
}

/// Guests that no backup job covers, whether it is enabled or not.
#[utoipa::path(
    get, path = "/cluster/backup-info/not-backed-up", tag = "cluster",
    responses(
        (status = 200, description = "One row each", body = Data<Vec<UncoveredGuest>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn not_backed_up(
    State(app): State<App>,
    caller: Caller,
) -> Result<Data<Vec<UncoveredGuest>>, ApiError> {
    let jobs = read(&app).await?;
    let mut covered = BTreeSet::new();
    for job in jobs.iter() {
        let members = pool_members(&caller, &job.values)?;
        covered.extend(app.guests().included(&job.values, members).await?.here);
    }
    let rows = app.guests().resources(&caller).await?;
    let guests = rows
        .into_iter()
        .filter_map(|row| Some(UncoveredGuest { vmid: row.vmid?, kind: row.kind, name: row.name }))
        .filter(|guest| !covered.contains(&guest.vmid));
    Ok(Data::new(guests.collect()))
}
