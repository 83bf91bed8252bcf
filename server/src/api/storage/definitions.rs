//! `POST /storage`, `PUT` and `DELETE /storage/S`: which storages there are.

use std::collections::BTreeMap;

use axum::extract::State;
use openapi::StorageId;
use openapi::answer::ErrorBody;
use pve_integration::storage::{Change, change_storage, create_storage, delete_storage};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::blocking;
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::Params;

/// What there is now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Defined {
    storage: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
pub(super) struct New {
    storage: StorageId,
    #[serde(rename = "type")]
    kind: String,
    #[serde(flatten)]
    properties: BTreeMap<String, Value>,
}

/// As storage.cfg has them.
fn texts(properties: BTreeMap<String, Value>) -> BTreeMap<String, String> {
    let text = |value: Value| match value {
        Value::String(text) => text,
        Value::Bool(flag) => u8::from(flag).to_string(),
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    properties.into_iter().map(|(key, value)| (key, text(value))).collect()
}

/// Define a storage.
#[utoipa::path(
    post, path = "/storage", tag = "storage",
    responses(
        (status = 200, description = "The storage", body = Data<Defined>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn define_storage(
    State(app): State<App>,
    Params(new): Params<New>,
) -> Result<Data<Defined>, ApiError> {
    let answer = Defined { storage: new.storage.to_string(), kind: new.kind.clone() };
    let properties = texts(new.properties);
    let made = blocking(move || {
        create_storage(app.root(), app.node(), &new.storage, &new.kind, properties)
    });
    made.await??;
    Ok(Data::new(answer))
}

#[derive(Deserialize)]
pub(super) struct Changed {
    storage: StorageId,
    delete: Option<String>,
    digest: Option<String>,
    #[serde(flatten)]
    properties: BTreeMap<String, Value>,
}

/// Change a storage's definition.
#[utoipa::path(
    put, path = "/storage/{storage}", tag = "storage",
    responses(
        (status = 200, description = "The storage", body = Data<Defined>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn redefine_storage(
    State(app): State<App>,
    Params(changed): Params<Changed>,
) -> Result<Data<Defined>, ApiError> {
    let delete = changed.delete.unwrap_or_default();
    let words = delete.split([',', ';', ' ', '\0']).filter(|word| !word.is_empty());
    let change = Change {
        set: texts(changed.properties),
        delete: words.map(str::to_owned).collect(),
        digest: changed.digest,
    };
    let storage = changed.storage.to_string();
    let kind = blocking(move || change_storage(app.root(), &changed.storage, change)).await??;
    Ok(Data::new(Defined { storage, kind }))
}

#[derive(Deserialize)]
pub(super) struct Gone {
    storage: StorageId,
}

/// Forget a storage. What lies on it stays.
#[utoipa::path(
    delete, path = "/storage/{storage}", tag = "storage",
    responses(
        (status = 200, description = "Always null", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn delete(
    State(app): State<App>,
    Params(gone): Params<Gone>,
) -> Result<Data<Option<String>>, ApiError> {
    blocking(move || delete_storage(app.root(), &gone.storage)).await??;
    Ok(Data::new(None))
}
