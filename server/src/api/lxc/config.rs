//! `/nodes/{node}/lxc/{vmid}/config` and `pending`.

use axum::extract::State;
use openapi::Privilege;
use openapi::answer::{ConfigAnswer, ErrorBody, PendingRow};
use serde::Deserialize;

use super::datacenter::{self, require_tags};
use super::is_set;
use super::rights::{Changes, Rights};
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{AllParams, Caller, GuestPath, Params};
use crate::guests::{Change, GuestError, RESTRICTED, Values};

#[derive(Deserialize)]
pub(super) struct ConfigParams {
    current: Option<u8>,
    snapshot: Option<String>,
}

/// Perl asks whether a parameter is true, so an empty name of a snapshot is none.
fn values(params: ConfigParams) -> Result<Values, ApiError> {
    let snapshot = params.snapshot.filter(|name| !name.is_empty());
    match (snapshot, is_set(params.current)) {
        (Some(_), true) => {
            let text = "cannot use 'snapshot' parameter with 'current'".to_owned();
            let both = ["current", "snapshot"].map(|name| (name.to_owned(), text.clone()));
            Err(GuestError::Params(both.into()).into())
        }
        (Some(snapshot), false) => Ok(Values::Snapshot(snapshot)),
        (None, true) => Ok(Values::Current),
        (None, false) => Ok(Values::Pending),
    }
}

fn may_read_restricted(caller: &Caller, guest: &GuestPath) -> bool {
    caller.may(Privilege::VmConfigOptions, &format!("/vms/{}", guest.vmid))
}

/// The configuration.
#[utoipa::path(
    get, path = "/nodes/{node}/lxc/{vmid}/config", tag = "lxc",
    responses(
        (status = 200, description = "Values by key", body = Data<ConfigAnswer>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn config(
    State(app): State<App>,
    caller: Caller,
    guest: GuestPath,
    Params(params): Params<ConfigParams>,
) -> Result<Data<ConfigAnswer>, ApiError> {
    let mut config = app.guests().config(guest.vmid, &values(params)?).await?;
    if !may_read_restricted(&caller, &guest) {
        config.0.remove(RESTRICTED);
    }
    Ok(Data::new(config))
}

/// The configuration with what waits for the next start.
#[utoipa::path(
    get, path = "/nodes/{node}/lxc/{vmid}/pending", tag = "lxc",
    responses(
        (status = 200, description = "One row a key", body = Data<Vec<PendingRow>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn pending(
    State(app): State<App>,
    caller: Caller,
    guest: GuestPath,
) -> Result<Data<Vec<PendingRow>>, ApiError> {
    let mut rows = app.guests().pending(guest.vmid).await?;
    if !may_read_restricted(&caller, &guest) {
        rows.retain(|row| row.key != RESTRICTED);
    }
    Ok(Data::new(rows))
}

/// Change the configuration.
#[utoipa::path(
    put, path = "/nodes/{node}/lxc/{vmid}/config", tag = "lxc",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn update(
    State(app): State<App>,
    caller: Caller,
    guest: GuestPath,
    AllParams(params): AllParams,
) -> Result<Data<Option<String>>, ApiError> {
    let rules = datacenter::read(&app);
    let params = datacenter::applied(&rules, &params);
    let change = Change::from_params(params.iter());
    // An empty list to delete is an option, too.
    let named = |name: &String| !matches!(name.as_str(), "digest" | "node" | "vmid");
    if !params.keys().any(named) {
        return Err(GuestError::NoOptions.into());
    }
    let digest = params.get("digest").and_then(|digest| digest.as_str()).map(str::to_owned);
    let old = app.guests().changeable(guest.vmid, digest.as_deref()).await?;
    let tags = old.config.get("tags").unwrap_or_default();
    let (old, unprivileged) = (Some(&old.config), old.config.unprivileged());
    let bind_mounts = app.bind_mounts();
    let rights = Rights { caller: &caller, vmid: guest.vmid, pool: None, bind_mounts };
    let none = std::collections::BTreeMap::new();
    for delete in [&change.delete, &change.revert] {
        rights.require_changes(Changes { old, set: &none, delete, unprivileged })?;
        if delete.iter().any(|key| key == "tags") {
            require_tags(&app, &caller, &rules, tags, "").await?;
        }
    }
    change.check_names()?;
    rights.require_changes(Changes { old, set: &change.set, delete: &[], unprivileged })?;
    if let Some(new) = change.set.get("tags") {
        require_tags(&app, &caller, &rules, tags, new).await?;
    }
    app.guests().change(guest.vmid, change, digest).await?;
    Ok(Data::new(None))
}
