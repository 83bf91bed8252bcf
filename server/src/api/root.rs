//! `GET /`: what the API consists of.

use openapi::answer::ErrorBody;

use super::{Subdir, subdirs};
use crate::api_router::{ApiRouter, routes};
use crate::envelope::Data;

pub(crate) fn router() -> ApiRouter {
    ApiRouter::default().routes(routes!(root_index))
}

/// The parts of the API.
#[utoipa::path(
    get, path = "/", tag = "version",
    responses(
        (status = 200, description = "The parts", body = Data<Vec<Subdir>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn root_index() -> Data<Vec<Subdir>> {
    Data::new(subdirs(&["version", "cluster", "nodes", "storage", "access", "pools"]))
}
