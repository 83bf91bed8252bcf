//! `POST /nodes/{node}/lxc`.

use axum::extract::State;
use openapi::answer::ErrorBody;
use openapi::{Privilege, Upid, Vmid};
use pve_integration::storage::ContentType;
use serde_json::{Map, Value};

use super::datacenter::{self, require_tags};
use super::rights::{Changes, Rights};
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{AllParams, Caller, LocalNode};
use crate::guests::{Archive, Change, Filling, GuestError, Plan};

/// Create a container from a template.
#[utoipa::path(
    post, path = "/nodes/{node}/lxc", tag = "lxc",
    responses(
        (status = 200, description = "The task that creates it", body = Data<Upid>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    _: LocalNode,
    AllParams(params): AllParams,
) -> Result<Data<Upid>, ApiError> {
    let rules = datacenter::read(&app);
    let params = datacenter::applied(&rules, &params);
    let text = |name: &str| params.get(name).and_then(|value| value.as_str());
    let flag = |name: &str| params.get(name).and_then(|value| value.as_u64()).map(|on| on == 1);
    let unprivileged = flag("unprivileged").unwrap_or(true);
    if !unprivileged {
        caller.require(Privilege::SysModify, "/")?;
    }
    if flag("ha-managed") == Some(true) {
        caller.require(Privilege::SysConsole, "/")?;
    }
    let vmid = vmid(&params)?;
    app.guests().require_unused(vmid).await?;
    Filling::from_params(&params).check()?;
    let pool = text("pool");
    require_pool(&caller, pool)?;
    let rights = Rights { caller: &caller, vmid, pool };
    rights.require_create()?;
    let given = Change::from_params(params.iter());
    rights.require_changes(Changes { old: None, set: &given.set, delete: &[], unprivileged })?;
    if let Some(tags) = given.set.get("tags") {
        require_tags(&app, &caller, &rules, "", tags).await?;
    }
    let archive = Archive::named(text("ostemplate").unwrap_or_default());
    let storages = app.storages()?;
    rights.require_archive(&storages, &archive, ContentType::Vztmpl)?;
    let plan = Plan::new(&params, app.guests().cgroup_v2())?;
    app.guests().check_storages(&plan).await?;
    for storage in plan.storages() {
        caller.require(Privilege::DatastoreAllocateSpace, &format!("/storage/{storage}"))?;
    }
    Ok(Data::new(app.guests().create(plan, caller.auth()).await?))
}

fn vmid(params: &Map<String, Value>) -> Result<Vmid, ApiError> {
    let given = params.get("vmid").map(ToString::to_string).unwrap_or_default();
    let vmid = given.trim_matches('"').parse();
    Ok(vmid.map_err(|err| GuestError::param("vmid", format!("{err}")))?)
}

/// A pool that a guest is to join must be there.
pub(super) fn require_pool(caller: &Caller, pool: Option<&str>) -> Result<(), ApiError> {
    match pool.filter(|pool| !caller.access().config.pools.contains_key(*pool)) {
        Some(pool) => Err(ApiError::forbidden(format_args!("pool '{pool}' does not exist"))),
        None => Ok(()),
    }
}
