//! What datacenter.cfg says of a guest's tags and hardware addresses, applied to a request.

use std::collections::BTreeSet;

use openapi::Privilege;
use pve_integration::access::split_list;
use pve_integration::datacenter::Datacenter;
use serde_json::{Map, Value};

use crate::app::App;
use crate::error::ApiError;
use crate::extract::Caller;
use crate::guests::{is_indexed, with_mac_prefix};

pub(super) fn read(app: &App) -> Datacenter {
    // One that is not there says nothing.
    let text = fs_err::read_to_string(app.root().datacenter_cfg()).unwrap_or_default();
    Datacenter::parse(&text)
}

/// The request with tags as they are stored, and addresses for interfaces that have none.
pub(super) fn applied(rules: &Datacenter, params: &Map<String, Value>) -> Map<String, Value> {
    let mut params = params.clone();
    for (key, value) in &mut params {
        let Value::String(text) = value else { continue };
        if key == "tags" {
            *text = rules.tags(text);
        } else if let Some(prefix) = rules.mac_prefix().filter(|_| is_indexed(key, "net")) {
            *text = with_mac_prefix(text, prefix);
        }
    }
    params
}

/// Whoever may not change the cluster's settings is bound by its rules for tags.
pub(super) async fn require_tags(
    app: &App,
    caller: &Caller,
    rules: &Datacenter,
    old: &str,
    new: &str,
) -> Result<(), ApiError> {
    if caller.may(Privilege::SysModify, "/") {
        return Ok(());
    }
    let mut existing = BTreeSet::new();
    if rules.asks_for_existing() {
        let guests = app.guests().resources(caller).await?;
        let tags: Vec<String> = guests.into_iter().filter_map(|row| row.tags).collect();
        existing.extend(tags.iter().flat_map(|tags| split_list(tags)).map(str::to_owned));
    }
    match rules.forbidden_tag(old, new, &existing) {
        Some(tag) => {
            Err(ApiError::forbidden(format_args!("/, Sys.Modify for modifying tag '{tag}'")))
        }
        None => Ok(()),
    }
}
