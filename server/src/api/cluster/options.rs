//! `/cluster/options`: datacenter.cfg as PVE tells it.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use openapi::Privilege;
use openapi::answer::ErrorBody;
use pve_integration::settings::{KeyValues, MAC_PREFIX, change_datacenter, parts};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::api::blocking;
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{AllParams, Caller, Params};

/// Told to everyone.
const OPEN: [&str; 2] = ["console", "tag-style"];
/// Keys whose values are property strings, told as objects.
const STRUCTURED: [&str; 10] = [
    "crs",
    "ha",
    "migration",
    "next-id",
    "notify",
    "replication",
    "tag-style",
    "u2f",
    "user-tag-access",
    "webauthn",
];

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Options {
    /// Tags that the caller may set.
    #[serde(rename = "allowed-tags")]
    allowed_tags: BTreeSet<String>,
    /// What datacenter.cfg says, by name; property strings are objects.
    #[serde(flatten)]
    #[schema(value_type = BTreeMap<String, Value>)]
    set: BTreeMap<String, Value>,
}

/// What holds for all nodes. Without `Sys.Audit` there is little of it.
#[utoipa::path(
    get, path = "/cluster/options", tag = "cluster",
    responses(
        (status = 200, description = "Values by name", body = Data<Options>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn cluster_options(
    State(app): State<App>,
    caller: Caller,
) -> Result<Data<Options>, ApiError> {
    let text = fs_err::read_to_string(app.root().datacenter_cfg()).unwrap_or_default();
    let mut set = parse(&text);
    let privileged = caller.may(Privilege::SysModify, "/");
    let mut allowed_tags = BTreeSet::new();
    let access = set.get("user-tag-access");
    let mode = access.and_then(|access| access["user-allow"].as_str()).unwrap_or("free").to_owned();
    if mode == "list" || mode == "existing" {
        allowed_tags.extend(texts(access.map(|access| &access["user-allow-list"])));
    }
    if privileged || mode == "free" || mode == "existing" {
        let guests = app.guests().resources(&caller).await?;
        let tags = guests.into_iter().filter_map(|row| row.tags);
        allowed_tags.extend(tags.flat_map(|tags| split(&tags)));
    }
    if privileged {
        allowed_tags.extend(texts(set.get("registered-tags")));
    }
    if !caller.may(Privilege::SysAudit, "/") {
        set.retain(|key, _| OPEN.contains(&key.as_str()));
    }
    Ok(Data::new(Options { allowed_tags, set }))
}

#[derive(Deserialize)]
pub(super) struct Deleted {
    delete: Option<String>,
}

/// Set and delete what holds for all nodes.
#[utoipa::path(
    put, path = "/cluster/options", tag = "cluster",
    responses(
        (status = 200, description = "Nothing", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn set_cluster_options(
    State(app): State<App>,
    Params(Deleted { delete }): Params<Deleted>,
    AllParams(params): AllParams,
) -> Result<Data<Option<String>>, ApiError> {
    let set = params.iter().filter(|(name, _)| *name != "delete");
    let set: Map<_, _> = set.map(|(name, value)| (name.clone(), value.clone())).collect();
    let delete = delete.unwrap_or_default();
    blocking(move || change_datacenter(app.root(), &set, &delete)).await??;
    Ok(Data::new(None))
}

fn texts(list: Option<&Value>) -> Vec<String> {
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|text| Some(text.as_str()?.to_owned())).collect()
}

fn split(tags: &str) -> Vec<String> {
    tags.split([';', ',', ' ']).filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
}

fn parse(text: &str) -> BTreeMap<String, Value> {
    let options = KeyValues::parse(text);
    let mut set: BTreeMap<_, _> =
        options.values.iter().map(|(key, value)| (key.clone(), told(key, value))).collect();
    set.insert("description".to_owned(), options.description.into());
    set.entry("mac_prefix".to_owned()).or_insert_with(|| MAC_PREFIX.into());
    set
}

fn told(key: &str, value: &str) -> Value {
    if key == "registered-tags" {
        return json!(value.split(';').collect::<Vec<_>>());
    }
    if key == "max_workers" {
        return value.parse::<u64>().map_or_else(|_| value.into(), Value::from);
    }
    let parts = STRUCTURED.contains(&key).then(|| parts(key, value)).flatten();
    let Some(parts) = parts else { return value.into() };
    let object: Map<_, _> = parts
        .into_iter()
        .map(|(name, value)| match (name.as_str(), &value) {
            ("user-allow-list", Value::String(list)) => {
                let list = json!(list.split(';').collect::<Vec<_>>());
                (name, list)
            }
            // Perl makes numbers of flags only.
            ("lower" | "upper", Value::Number(number)) => (name, number.to_string().into()),
            _ => (name, value),
        })
        .collect();
    object.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_an_empty_file_means() {
        let set = parse("");
        assert_eq!(json!(set), json!({"description": "", "mac_prefix": "BC:24:11"}));
    }

    #[test]
    fn takes_property_strings_and_lists_apart() {
        let text = "#two%3A\n#lines\nkeyboard: de\nnext-id: lower=200,upper=300\n\
            registered-tags: a;b\nuser-tag-access: user-allow=list,user-allow-list=x;y\n";

        let expected = json!({
            "description": "two:\nlines\n",
            "keyboard": "de",
            "mac_prefix": "BC:24:11",
            "next-id": {"lower": "200", "upper": "300"},
            "registered-tags": ["a", "b"],
            "user-tag-access": {"user-allow": "list", "user-allow-list": ["x", "y"]},
        });
        assert_eq!(json!(parse(text)), expected);
    }
}
