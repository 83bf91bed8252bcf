//! `GET /version`, and the same below a node: which PVE's API this is.

use openapi::answer::{ErrorBody, VersionInfo};

use crate::api_router::{ApiRouter, routes};
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::LocalNode;

/// The release of pve-manager that is mirrored. Clients decide by it what they may call, so it says
/// what this API does and not what the daemon's own version is.
const VERSION: &str = "9.2.11";
const RELEASE: &str = "9.2";
/// That release's revision.
const REPOID: &str = "14a22df35955d97d";

pub(crate) fn router() -> ApiRouter {
    ApiRouter::default().routes(routes!(version)).routes(routes!(node_version))
}

/// As `nodes/N/status` words it.
pub(crate) fn pveversion() -> String {
    format!("pve-manager/{VERSION}/{REPOID}")
}

fn info() -> VersionInfo {
    VersionInfo {
        version: VERSION.to_owned(),
        release: RELEASE.to_owned(),
        repoid: REPOID.to_owned(),
    }
}

/// The API's version.
#[utoipa::path(
    get, path = "/version", tag = "version",
    responses(
        (status = 200, description = "The mirrored release", body = Data<VersionInfo>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn version() -> Data<VersionInfo> {
    Data::new(info())
}

/// The API's version, asked of a node.
#[utoipa::path(
    get, path = "/nodes/{node}/version", tag = "nodes",
    responses(
        (status = 200, description = "The mirrored release", body = Data<VersionInfo>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn node_version(_: LocalNode) -> Result<Data<VersionInfo>, ApiError> {
    Ok(Data::new(info()))
}
