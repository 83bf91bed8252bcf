//! Answers of `/pools`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ResourceRow;

/// A pool; its members if it was asked for by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PoolRow {
    pub poolid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Guests and storages, as in `GET /cluster/resources`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<ResourceRow>>,
}
