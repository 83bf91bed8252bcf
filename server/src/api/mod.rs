//! The handlers, a file per resource of PVE's. Thin: each takes what the guard proved, calls one
//! service and wraps the answer.

pub(crate) mod access;
pub(crate) mod bulk;
pub(crate) mod cluster;
mod console;
pub(crate) mod lxc;
pub(crate) mod nodes;
pub(crate) mod oci;
pub(crate) mod pools;
pub(crate) mod root;
pub(crate) mod rrd;
pub(crate) mod storage;
pub(crate) mod tasks;
pub(crate) mod version;

use serde::Serialize;
use utoipa::ToSchema;

use crate::error::ApiError;

/// One entry of a directory whose children PVE calls `name`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Name {
    name: &'static str,
}

/// One entry of a directory whose children PVE calls `subdir`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Subdir {
    subdir: &'static str,
}

fn names(names: &[&'static str]) -> Vec<Name> {
    names.iter().map(|name| Name { name }).collect()
}

fn subdirs(names: &[&'static str]) -> Vec<Subdir> {
    names.iter().map(|subdir| Subdir { subdir }).collect()
}

/// Files are read away from the threads that serve connections.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(ApiError::die)
}
