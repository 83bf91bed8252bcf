//! `query-oci-repo-tags`: which images a repository has.

use std::time::Duration;

use axum::extract::State;
use images::registry::Registry;
use openapi::answer::ErrorBody;
use serde::Deserialize;

use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{LocalNode, Params};
use crate::fetch;

/// A client waits for the answer, and pveproxy gives up after half a minute.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
pub(super) struct Repository {
    reference: String,
}

/// The tags of a repository.
#[utoipa::path(
    get, path = "/nodes/{node}/query-oci-repo-tags", tag = "nodes",
    responses(
        (status = 200, description = "In the registry's order", body = Data<Vec<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn repository_tags(
    State(app): State<App>,
    _: LocalNode,
    Params(repository): Params<Repository>,
) -> Result<Data<Vec<String>>, ApiError> {
    let builder = fetch::builder(app.root()).map_err(ApiError::die)?;
    let ask = async { Registry::open(&repository.reference, builder).await?.tags().await };
    let asked = tokio::time::timeout(PATIENCE, ask).await;
    let asked = asked.map_err(|_| ApiError::die("the registry did not answer in time"))?;
    Ok(Data::new(asked.map_err(|err| ApiError::die(fetch::chain(&err)))?))
}
