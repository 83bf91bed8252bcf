//! `POST /nodes/{node}/lxc`: a container from a template, or from a backup. The order of the checks
//! is that of `create_vm` in pve-container's `PVE/API2/LXC.pm`.

use axum::extract::State;
use openapi::answer::ErrorBody;
use openapi::{Privilege, Upid, Vmid};
use pve_integration::bundle::Reversed;
use pve_integration::storage::ContentType;
use serde_json::{Map, Value};

use super::bandwidth::Limited;
use super::datacenter::{self, require_tags};
use super::rights::{Changes, Rights};
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{AllParams, Caller, LocalNode};
use crate::guests::{Archive, Change, Filling, GuestError, Plan, Restore};

/// Create a container from a template, or restore one from a backup.
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
    make(&app, caller, &params, None).await
}

/// Of checked parameters, and of what a bundle says beside them.
pub(in crate::api) async fn make(
    app: &App,
    caller: Caller,
    params: &Map<String, Value>,
    bundle: Option<Reversed>,
) -> Result<Data<Upid>, ApiError> {
    let rules = datacenter::read(app);
    let params = datacenter::applied(&rules, params);
    let text = |name: &str| params.get(name).and_then(|value| value.as_str());
    let flag = |name: &str| params.get(name).and_then(|value| value.as_u64()).map(|on| on == 1);
    let (vmid, is_restore) = (vmid(&params)?, flag("restore") == Some(true));
    // What a backup says of it is only known later.
    let unprivileged = flag("unprivileged").or((!is_restore).then_some(true));
    if !is_restore && unprivileged == Some(false) {
        caller.require(Privilege::SysModify, "/")?;
    }
    if flag("ha-managed") == Some(true) {
        caller.require(Privilege::SysConsole, "/")?;
    }
    let force = is_restore && flag("force") == Some(true);
    let overwrite = force && app.guests().check_overwrite(vmid).await?;
    if !overwrite {
        app.guests().require_unused(vmid).await?;
    }
    Filling::from_params(&params).check()?;
    let pool = text("pool");
    require_pool(&caller, pool)?;
    let rights = Rights { caller: &caller, vmid, pool, bind_mounts: app.bind_mounts() };
    let firewall = match rights.require_create() {
        // Whoever may back it up may bring it back, but with the firewall that it has.
        Err(_) if overwrite && rights.may_back_up() => {
            let there = app.guests().entry(vmid).await?;
            if there.config.unprivileged() && unprivileged == Some(false) {
                caller.require(Privilege::SysModify, "/")?;
            }
            false
        }
        required => required.map(|()| true)?,
    };
    let given = Change::from_params(params.iter());
    let changes = Changes {
        old: None,
        set: &given.set,
        delete: &[],
        unprivileged: unprivileged.unwrap_or(false),
    };
    rights.require_changes(changes)?;
    bundle.as_ref().map_or(Ok(()), |bundle| rights.require_bundle(bundle))?;
    if let Some(tags) = given.set.get("tags") {
        require_tags(app, &caller, &rules, "", tags).await?;
    }
    let archive = Archive::named(text("ostemplate").unwrap_or_default());
    let content = if is_restore { ContentType::Backup } else { ContentType::Vztmpl };
    let storages = app.storages()?;
    rights.require_archive(&storages, &archive, content)?;
    let mut plan = Plan::new(&params, app.guests().cgroup_v2())?;
    let from_bundle = bundle.is_some();
    plan.take_bundle(bundle)?;
    // `pct` has no words for much of a bundle.
    let by_pct = !from_bundle && app.guests().makes_by_pct(&plan, is_restore, overwrite).await?;
    for storage in plan.storages() {
        match by_pct {
            true => app.guests().check_rootdir(storage.clone()).await?,
            false => app.guests().check_storage(storage.clone()).await?,
        }
        caller.require(Privilege::DatastoreAllocateSpace, &format!("/storage/{storage}"))?;
        if !by_pct {
            app.guests().activate_storage(storage).await?;
        }
    }
    let (used, asked) = (plan.storages(), plan.filling.bwlimit());
    let limit = Limited { caller: &caller, storages: &storages, datacenter: &rules };
    plan.filling.limited_to(limit.of("restore", &used, asked));
    if !is_restore && by_pct {
        return Ok(Data::new(app.guests().create_by_pct(&plan, &params, caller.auth())?));
    }
    if !is_restore {
        return Ok(Data::new(app.guests().create(plan, caller.auth()).await?));
    }
    let restore = Restore {
        plan,
        overwrite,
        unique: flag("unique") == Some(true),
        mac_prefix: rules.mac_prefix().map(str::to_owned),
        unprivileged,
        firewall,
        caller,
    };
    if by_pct {
        return Ok(Data::new(app.guests().restore_by_pct(restore, &params)?));
    }
    Ok(Data::new(app.guests().restore(restore).await?))
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
