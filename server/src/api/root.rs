//! `GET /`: what the API consists of.

use openapi::answer::ErrorBody;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Subdir, subdirs};
use crate::app::App;
use crate::envelope::Data;

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(root_index))
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
