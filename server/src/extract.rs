//! What a handler may take for granted. Each of these exists only after `guard` proved what its
//! name says, so a handler that asks for one cannot forget the proof.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use openapi::{AuthId, NodeName, Privilege, Vmid};
use pve_integration::access::{Access, Below};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::app::App;
use crate::error::ApiError;

/// Who calls, proved by a ticket, a token or the unix socket. Rights are those at the moment of
/// the proof, so that one request sees one state of `user.cfg`.
#[derive(Clone)]
pub struct Caller {
    auth: AuthId,
    access: Arc<Access>,
}

impl Caller {
    /// Only `guard` may, when it has seen the proof.
    pub(crate) fn proved(auth: AuthId, access: Arc<Access>) -> Self {
        Self { auth, access }
    }

    pub fn auth(&self) -> &AuthId {
        &self.auth
    }

    /// root@pam itself, which PVE asks nothing. A token of it is not.
    pub fn is_root(&self) -> bool {
        self.auth.is_root()
    }

    /// For rules that no privilege expresses. `what` is PVE's wording of the rule, say
    /// `user != root@pam`.
    pub fn require_root(&self, what: &str) -> Result<(), ApiError> {
        if self.is_root() { Ok(()) } else { Err(ApiError::forbidden(what)) }
    }

    pub fn require(&self, privilege: Privilege, path: &str) -> Result<(), ApiError> {
        Ok(self.access.check(&self.auth, path, &[privilege], false)?)
    }

    /// One of them is enough.
    pub fn require_any(&self, privileges: &[Privilege], path: &str) -> Result<(), ApiError> {
        Ok(self.access.check(&self.auth, path, privileges, true)?)
    }

    /// For lists, which leave out what the caller may not see.
    pub fn may(&self, privilege: Privilege, path: &str) -> bool {
        self.require(privilege, path).is_ok()
    }

    pub fn may_any(&self, privileges: &[Privilege], path: &str) -> bool {
        self.require_any(privileges, path).is_ok()
    }

    /// `may_any` of many children of one path.
    pub(crate) fn below<'a>(&'a self, parent: &'a str, privileges: &'a [Privilege]) -> Below<'a> {
        self.access.below(&self.auth, parent, privileges)
    }

    pub(crate) fn access(&self) -> &Access {
        &self.access
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        parts.extensions.get().cloned().ok_or_else(|| ApiError::forbidden("user != null"))
    }
}

/// The parameters of the path, query and body, checked against the method's declaration.
#[derive(Clone, Debug)]
pub(crate) struct Checked(pub(crate) Arc<Map<String, Value>>);

impl Checked {
    fn of(parts: &Parts) -> &Map<String, Value> {
        // The guard adds it to each request it lets through; nothing else reaches a handler.
        &parts.extensions.get::<Self>().expect("the guard runs before every handler").0
    }
}

/// The checked parameters, path included, as a handler's own struct. Names it does not list are
/// ignored: the check has refused what the method does not declare.
#[derive(Clone, Debug)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<App> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        match T::deserialize(Checked::of(parts)) {
            Ok(params) => Ok(Self(params)),
            Err(err) => {
                tracing::error!(error = %err, "a handler reads other parameters than it declares: {err}");
                Err(ApiError::die(format_args!("cannot read the parameters: {err}")))
            }
        }
    }
}

/// All checked parameters, for a handler whose names are not known when it is compiled.
#[derive(Clone, Debug)]
pub struct AllParams(pub Arc<Map<String, Value>>);

impl FromRequestParts<App> for AllParams {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        let checked = parts.extensions.get::<Checked>();
        Ok(Self(Arc::clone(&checked.expect("the guard runs before every handler").0)))
    }
}

/// A node name that was compared with ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalNode(NodeName);

impl LocalNode {
    pub fn name(&self) -> &NodeName {
        &self.0
    }
}

#[derive(Deserialize)]
struct NodeParam {
    node: String,
}

impl FromRequestParts<App> for LocalNode {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let NodeParam { node } = read(parts)?;
        if node == app.node().as_str() {
            Ok(Self(app.node().clone()))
        } else {
            Err(unknown_node(&node))
        }
    }
}

/// `nodes/N/lxc/VMID`: this node, and a number that may be a guest's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestPath {
    pub node: LocalNode,
    pub vmid: Vmid,
}

#[derive(Deserialize)]
struct VmidParam {
    vmid: Vmid,
}

impl FromRequestParts<App> for GuestPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let VmidParam { vmid } = read(parts)?;
        Ok(Self { node: LocalNode::from_request_parts(parts, app).await?, vmid })
    }
}

fn read<T: DeserializeOwned>(parts: &Parts) -> Result<T, ApiError> {
    T::deserialize(Checked::of(parts)).map_err(ApiError::die)
}

/// PVE finds a node by its name's address; ours is the only one there is.
pub(crate) fn unknown_node(node: &str) -> ApiError {
    ApiError::die(format_args!(
        "hostname lookup '{node}' failed - failed to get address info for: {node}: \
         Name or service not known"
    ))
}
