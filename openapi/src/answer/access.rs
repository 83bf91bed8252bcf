//! Answers of `/access`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{TokenId, UserId};

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

/// A value that was given in this request comes back as text, any other as a number: Perl prints
/// what it was handed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum PerlScalar {
    Number(u64),
    Text(String),
}

/// What is known of a user. Empty texts are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserFields {
    /// 1 for one who may log in.
    pub enable: u8,
    /// Seconds since 1970; 0 is never.
    pub expire: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firstname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lastname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// `x` if `tfa.cfg` has second factors, else ids of old keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<String>,
}

/// A row of `GET /access/users`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserRow {
    pub userid: UserId,
    #[serde(flatten)]
    pub user: UserFields,
    #[serde(rename = "realm-type", skip_serializing_if = "Option::is_none")]
    pub realm_type: Option<String>,
    /// With `full`, and then null for a user who has none.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_even_if_null"
    )]
    pub tokens: Option<Option<Vec<TokenRow>>>,
    /// With `full`; separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<String>,
}

/// Tells a null from a key that is not there.
fn some_even_if_null<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(from).map(Some)
}

/// `GET /access/users/{userid}/tfa`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserFactors {
    /// What the realm asks of everyone: `oath` or `yubico`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realm: Option<String>,
    /// With `multiple`: the kinds the user has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Vec<String>>,
}

/// `GET /access/users/{userid}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserAnswer {
    #[serde(flatten)]
    pub user: UserFields,
    pub groups: Vec<String>,
    /// By name; null for a user who has none.
    pub tokens: Option<BTreeMap<String, TokenInfo>>,
}

/// A token without its secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenInfo {
    /// Seconds since 1970; 0 is never.
    pub expire: u64,
    /// 1 if rights have to be given to the token itself.
    pub privsep: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// A token in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenRow {
    pub tokenid: String,
    #[serde(flatten)]
    pub info: TokenInfo,
}

/// A token as it was just made or changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GivenToken {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire: Option<PerlScalar>,
    pub privsep: PerlScalar,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// A new token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewTokenAnswer {
    #[serde(rename = "full-tokenid")]
    pub full_tokenid: TokenId,
    pub info: GivenToken,
    /// The secret, which is not shown again.
    pub value: String,
}

/// A changed token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangedTokenAnswer {
    #[serde(flatten)]
    pub info: GivenToken,
    #[serde(rename = "full-tokenid", skip_serializing_if = "Option::is_none")]
    pub full_tokenid: Option<TokenId>,
    /// The secret, if it was made anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// A row of `GET /access/groups`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupRow {
    pub groupid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Separated by commas.
    pub users: String,
}

/// `GET /access/groups/{groupid}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupAnswer {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    pub members: Vec<UserId>,
}

/// A row of `GET /access/roles`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RoleRow {
    pub roleid: String,
    /// Separated by commas.
    pub privs: String,
    /// 1 for a role that every PVE has.
    pub special: u8,
}

/// What somebody was granted at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AclRow {
    pub path: String,
    /// `user`, `group` or `token`.
    #[serde(rename = "type")]
    pub kind: String,
    pub ugid: String,
    pub roleid: String,
    /// 1 if it also holds below the path.
    pub propagate: u8,
}
