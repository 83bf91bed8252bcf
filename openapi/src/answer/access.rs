//! Answers of `/access`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::UserId;

/// A successful login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TicketAnswer {
    pub username: UserId,
    /// Goes into the cookie `PVEAuthCookie`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// Goes into the header of this name with each call that changes something.
    #[serde(rename = "CSRFPreventionToken", skip_serializing_if = "Option::is_none")]
    pub csrf: Option<String>,
    /// Privileges by area (`vms`, `storage`, ...), each with a 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap: Option<BTreeMap<String, BTreeMap<String, u8>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clustername: Option<String>,
}

impl TicketAnswer {
    /// Who it is, and nothing else: what a check of privileges answers.
    #[must_use]
    pub fn new(username: UserId) -> Self {
        Self { username, ticket: None, csrf: None, cap: None, clustername: None }
    }
}

/// A realm that one can log in with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DomainRow {
    pub realm: String,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// The kind of second factor, if the realm asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tfa: Option<String>,
    /// 1 for the realm that login pages propose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<u8>,
}
