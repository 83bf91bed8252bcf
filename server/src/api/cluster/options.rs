//! `/cluster/options`: datacenter.cfg as PVE tells it.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use openapi::Privilege;
use openapi::answer::ErrorBody;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::Caller;

/// Of a MAC address that nobody chose.
const MAC_PREFIX: &str = "BC:24:11";
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
    #[schema(value_type = BTreeMap<String, String>)]
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

fn texts(list: Option<&Value>) -> Vec<String> {
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|text| Some(text.as_str()?.to_owned())).collect()
}

fn split(tags: &str) -> Vec<String> {
    tags.split([';', ',', ' ']).filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
}

fn parse(text: &str) -> BTreeMap<String, Value> {
    let mut set = BTreeMap::new();
    let mut description = String::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix('#') {
            let decoded = percent_encoding::percent_decode_str(comment).decode_utf8_lossy();
            description += &decoded;
            description.push('\n');
        } else if let Some((key, value)) = line.split_once(':') {
            let (key, value) = (key.trim(), value.trim());
            set.insert(key.to_owned(), told(key, value));
        }
    }
    set.insert("description".to_owned(), description.into());
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
    if !STRUCTURED.contains(&key) {
        return value.into();
    }
    let pairs = value.split(',').filter_map(|pair| pair.split_once('='));
    let object: Map<_, _> = pairs
        .map(|(name, value)| match (name.trim(), value.trim()) {
            ("user-allow-list", list) => {
                ("user-allow-list".to_owned(), json!(list.split(';').collect::<Vec<_>>()))
            }
            (name, value) => (name.to_owned(), value.into()),
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
