//! `/cluster/ha`: high availability, which nothing here manages. So no guest is a resource of it, and
//! none can become one; clients that ask whether a guest is one get PVE's answer for a guest that is
//! not. As pve-ha-manager's `PVE/API2/HA/Resources.pm` and `Groups.pm`.

use std::fmt;

use axum::extract::State;
use openapi::Vmid;
use openapi::answer::{ErrorBody, HaStatusRow};
use serde::Deserialize;

use crate::api::blocking;
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::Params;

/// Below `etc/pve`; what an administrator may have put there nobody acts on.
const RESOURCES: &str = "ha/resources.cfg";
const GROUPS: &str = "ha/groups.cfg";
const NOBODY: &str = "no HA manager runs on this host";

#[derive(Deserialize)]
pub(super) struct OfType {
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Given {
    sid: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    group: Option<String>,
}

/// What a resource is called: a kind and a name, `ct:100`.
struct Sid {
    kind: String,
    name: String,
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
    }
}

impl Sid {
    /// A number alone is that of a guest, which says what kind it is.
    async fn of(app: &App, text: &str) -> Result<Self, ApiError> {
        if let Some((kind, name)) = text.split_once(':') {
            return Ok(Self { kind: kind.to_owned(), name: name.to_owned() });
        }
        let kind = match text.parse::<Vmid>() {
            Ok(vmid) => app.guests().resource_kind(vmid).await?,
            Err(_) => None,
        };
        let kind = kind.ok_or_else(|| {
            let text = format_args!("unable to detect SID from VMID - VM/CT {text} does not exist");
            ApiError::die(text)
        })?;
        Ok(Self { kind: kind.to_owned(), name: text.to_owned() })
    }

    /// Whether it could be put under HA, were there one.
    async fn check(&self, app: &App) -> Result<(), ApiError> {
        if !matches!(self.kind.as_str(), "ct" | "vm") {
            return Err(ApiError::die(format_args!("unknown section type '{}'", self.kind)));
        }
        let digits = self.name.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || self.name.len() < 2 || self.name.starts_with('0') {
            return Err(ApiError::die("invalid VMID"));
        }
        let kind = match self.name.parse::<Vmid>() {
            Ok(vmid) => app.guests().resource_kind(vmid).await?,
            Err(_) => None,
        };
        match kind {
            Some(kind) if kind == self.kind => Ok(()),
            Some(_) => {
                let wanted = if self.kind == "ct" { "container" } else { "VM" };
                let text = format_args!(
                    "resource '{self}' - guest with ID {} is not a {wanted}",
                    self.name
                );
                Err(ApiError::die(text))
            }
            None => Err(ApiError::die(format_args!("resource '{self}' does not exist in cluster"))),
        }
    }
}

/// The guests that are managed.
#[utoipa::path(
    get, path = "/cluster/ha/resources", tag = "cluster",
    responses(
        (status = 200, description = "Always empty", body = Data<Vec<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn ha_resources(
    State(app): State<App>,
    Params(wanted): Params<OfType>,
) -> Result<Data<Vec<String>>, ApiError> {
    let known = sections(&app, RESOURCES).await?;
    match known
        .iter()
        .find(|known| wanted.kind.is_none() || wanted.kind == Some(known.kind.clone()))
    {
        // To say that there are none would be wrong.
        Some(_) => Err(ApiError::die(format_args!("{NOBODY}, and {RESOURCES} has resources"))),
        None => Ok(Data::new(Vec::new())),
    }
}

/// What is wanted of a managed guest: there is none.
#[utoipa::path(
    get, path = "/cluster/ha/resources/{sid}", tag = "cluster",
    responses((status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn ha_resource(
    State(app): State<App>,
    Params(given): Params<Given>,
) -> Result<Data<Option<String>>, ApiError> {
    let sid = Sid::of(&app, &given.sid).await?;
    Err(unmanaged(&app, &sid, format!("no such resource '{sid}'")).await?)
}

/// Refused: nobody would restart the guest elsewhere.
#[utoipa::path(
    post, path = "/cluster/ha/resources", tag = "cluster",
    responses((status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn create_ha_resource(
    State(app): State<App>,
    Params(given): Params<Given>,
) -> Result<Data<Option<String>>, ApiError> {
    let sid = Sid::of(&app, &given.sid).await?;
    require_kind(&sid, given.kind.as_deref())?;
    if given.group.is_some() {
        return Err(migrated("invalid parameter 'group'"));
    }
    sid.check(&app).await?;
    Err(ApiError::die(format_args!("create resource failed: {NOBODY}")))
}

/// Refused: no guest is managed.
#[utoipa::path(
    put, path = "/cluster/ha/resources/{sid}", tag = "cluster",
    responses((status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn update_ha_resource(
    State(app): State<App>,
    Params(given): Params<Given>,
) -> Result<Data<Option<String>>, ApiError> {
    let sid = Sid::of(&app, &given.sid).await?;
    if given.group.is_some_and(|group| !matches!(group.as_str(), "" | "0")) {
        return Err(migrated("invalid parameter 'group'"));
    }
    let missing = format!("update resources config failed: no such resource '{sid}'");
    Err(unmanaged(&app, &sid, missing).await?)
}

/// Refused: no guest is managed.
#[utoipa::path(
    delete, path = "/cluster/ha/resources/{sid}", tag = "cluster",
    responses((status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn delete_ha_resource(
    State(app): State<App>,
    Params(given): Params<Given>,
) -> Result<Data<Option<String>>, ApiError> {
    let sid = Sid::of(&app, &given.sid).await?;
    let missing = format!("cannot delete service '{sid}', not HA managed!");
    Err(unmanaged(&app, &sid, missing).await?)
}

/// Groups of nodes. PVE 9 turns them into rules, and then refuses to list them.
#[utoipa::path(
    get, path = "/cluster/ha/groups", tag = "cluster",
    responses((status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn ha_groups(State(app): State<App>) -> Result<Data<Option<String>>, ApiError> {
    Err(no_group(&app, "cannot index groups").await?)
}

/// One group of nodes.
#[utoipa::path(
    get, path = "/cluster/ha/groups/{group}", tag = "cluster",
    responses((status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn ha_group(State(app): State<App>) -> Result<Data<Option<String>>, ApiError> {
    Err(no_group(&app, "cannot read group").await?)
}

/// How HA does. A node without a cluster has its quorum, and no manager.
#[utoipa::path(
    get, path = "/cluster/ha/status/current", tag = "cluster",
    responses(
        (status = 200, description = "The quorum alone", body = Data<Vec<HaStatusRow>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn ha_status(State(app): State<App>) -> Data<Vec<HaStatusRow>> {
    Data::new(vec![HaStatusRow {
        id: "quorum".to_owned(),
        kind: "quorum".to_owned(),
        node: app.node().to_string(),
        status: "OK".to_owned(),
        quorate: 1,
    }])
}

fn require_kind(sid: &Sid, kind: Option<&str>) -> Result<(), ApiError> {
    match kind {
        Some(kind) if kind != sid.kind => Err(ApiError::die("types does not match")),
        Some(_) | None => Ok(()),
    }
}

fn migrated(what: &str) -> ApiError {
    ApiError::die(format_args!("{what}: ha groups have been migrated to rules"))
}

/// `missing`, unless an administrator's file has the resource all the same.
async fn unmanaged(app: &App, sid: &Sid, missing: String) -> Result<ApiError, ApiError> {
    let known = sections(app, RESOURCES).await?;
    let known = known.iter().any(|known| known.to_string() == sid.to_string());
    Ok(ApiError::die(if known {
        format!("{NOBODY}: '{sid}' is only in {RESOURCES}")
    } else {
        missing
    }))
}

async fn no_group(app: &App, what: &str) -> Result<ApiError, ApiError> {
    Ok(match sections(app, GROUPS).await?.is_empty() {
        true => migrated(what),
        false => ApiError::die(format_args!("{NOBODY}, and {GROUPS} has groups")),
    })
}

/// The heads of the sections of a file below `etc/pve`, none without the file.
async fn sections(app: &App, file: &'static str) -> Result<Vec<Sid>, ApiError> {
    let path = app.root().etc_pve().join(file);
    let text = blocking(move || fs_err::read_to_string(path).unwrap_or_default()).await?;
    let head = |line: &str| {
        let (kind, name) = line.split_once(':').filter(|_| !line.starts_with(['#', ' ', '\t']))?;
        Some(Sid { kind: kind.to_owned(), name: name.trim().to_owned() })
    };
    Ok(text.lines().filter_map(head).collect())
}
