//! `POST /nodes/{node}/lxc`.

use axum::extract::State;
use openapi::answer::ErrorBody;
use openapi::{Privilege, Upid};

use super::rights::{Changes, Rights};
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{AllParams, Caller, LocalNode};
use crate::guests::{Change, Plan};

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
    let plan = Plan::new(&params, app.guests().cgroup_v2())?;
    if !plan.unprivileged {
        caller.require(Privilege::SysModify, "/")?;
    }
    app.guests().require_unused(plan.vmid).await?;
    let pool = params.get("pool").and_then(|pool| pool.as_str());
    let rights = Rights { caller: &caller, vmid: plan.vmid, pool };
    rights.require_create()?;
    let given = Change::from_params(params.iter());
    let changes =
        Changes { old: None, set: &given.set, delete: &[], unprivileged: plan.unprivileged };
    rights.require_changes(changes)?;
    rights.require_template(&plan.template)?;
    app.guests().check_storages(&plan).await?;
    for storage in plan.storages() {
        caller.require(Privilege::DatastoreAllocateSpace, &format!("/storage/{storage}"))?;
    }
    Ok(Data::new(app.guests().create(plan, caller.auth()).await?))
}
