//! `/access/permissions`: what somebody may do.

use std::collections::BTreeMap;

use openapi::answer::ErrorBody;
use openapi::{AuthId, Privilege};
use pve_integration::access::Permissions;
use serde::Deserialize;

use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, Params};

#[derive(Deserialize)]
pub(super) struct Whose {
    userid: Option<String>,
    path: Option<String>,
}

/// Privileges by path, each with a 1 if it also holds below.
type ByPath = BTreeMap<String, BTreeMap<String, u8>>;

/// The caller's rights, those of a token of the caller's or, for an auditor, anybody's.
#[utoipa::path(
    get, path = "/access/permissions", tag = "access",
    responses(
        (status = 200, description = "Privileges by path",
            body = Data<BTreeMap<String, BTreeMap<String, u8>>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn permissions(
    caller: Caller,
    Params(whose): Params<Whose>,
) -> Result<Data<ByPath>, ApiError> {
    // A name too long to be a user's is nobody's, and nobody has rights.
    let who = match &whose.userid {
        None => Some(caller.auth().clone()),
        Some(name) => name.parse::<AuthId>().ok(),
    };
    let own = who.as_ref().is_some_and(|who| {
        let owned = who.token().map(|token| AuthId::User(token.user().clone()));
        who == caller.auth() || owned.as_ref() == Some(caller.auth())
    });
    if !own {
        caller.require(Privilege::SysAudit, "/access")?;
    }
    let config = &caller.access().config;
    let answer = match (whose.path.filter(|path| !matches!(path.as_str(), "" | "0")), &who) {
        (Some(path), None) => [(path, BTreeMap::new())].into(),
        (Some(path), Some(who)) => {
            let held = shown(config.permissions(who, &path));
            [(path, held)].into()
        }
        (None, None) => ByPath::new(),
        (None, Some(who)) => {
            config.effective(who).into_iter().map(|(path, held)| (path, shown(held))).collect()
        }
    };
    Ok(Data::new(answer))
}

fn shown(held: Permissions) -> BTreeMap<String, u8> {
    let shown = |(privilege, below): (Privilege, bool)| (privilege.to_string(), u8::from(below));
    held.into_iter().map(shown).collect()
}
