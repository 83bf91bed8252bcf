//! What is in `user.cfg`: users, tokens, groups, pools, roles and ACLs. `parse` and `write` read and
//! write it line for line as pve-access-control does; changing it is `edit`'s, what the entries
//! allow `permissions`'; secrets are in other files.

mod parse;
mod write;

use std::collections::{BTreeMap, BTreeSet};

use openapi::{TokenId, UserId};

use super::roles::Privileges;

/// All of `user.cfg`. A line PVE would drop is dropped, and told of in `ignored`.
#[derive(Clone, Debug, Default)]
pub struct UserConfig {
    pub users: BTreeMap<UserId, User>,
    pub groups: BTreeMap<String, Group>,
    pub pools: BTreeMap<String, Pool>,
    /// The installation's own roles and the built-in ones.
    pub roles: BTreeMap<String, Privileges>,
    pub acl: AclNode,
    /// What could not be used, in PVE's words.
    pub ignored: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    pub enable: bool,
    /// Seconds since 1970; 0 is never.
    pub expire: u64,
    pub firstname: String,
    pub lastname: String,
    pub email: String,
    pub comment: String,
    /// Second factors: `x` when `priv/tfa.cfg` has them, else old key ids.
    pub keys: String,
    pub tokens: BTreeMap<String, Token>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Token {
    /// Seconds since 1970; 0 is never.
    pub expire: u64,
    /// Whether the token has only those of its user's rights that were also given to it.
    pub privsep: bool,
    pub comment: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    pub users: BTreeSet<UserId>,
    pub comment: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    pub comment: String,
    pub vms: BTreeSet<u64>,
    pub storage: BTreeSet<String>,
}

/// Roles by name, and whether each also holds below the path it was given at.
pub type RoleSet = BTreeMap<String, bool>;

/// What was granted at one path, and below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AclNode {
    pub children: BTreeMap<String, AclNode>,
    pub tokens: BTreeMap<TokenId, RoleSet>,
    pub users: BTreeMap<UserId, RoleSet>,
    pub groups: BTreeMap<String, RoleSet>,
}

impl AclNode {
    /// The node of a normalized path, made if need be.
    pub fn at_mut(&mut self, path: &str) -> &mut Self {
        path.split('/')
            .filter(|part| !part.is_empty())
            .fold(self, |node, part| node.children.entry(part.to_owned()).or_default())
    }

    /// Call `visit` with each node and its path, parents first, siblings in order.
    pub fn each<'a>(&'a self, visit: &mut impl FnMut(&str, &'a Self)) {
        self.each_below("/", visit);
    }

    /// Call `visit` with each node.
    pub fn each_mut(&mut self, visit: &mut impl FnMut(&mut Self)) {
        visit(self);
        for child in self.children.values_mut() {
            child.each_mut(visit);
        }
    }

    fn each_below<'a>(&'a self, path: &str, visit: &mut impl FnMut(&str, &'a Self)) {
        visit(path, self);
        let parent = if path == "/" { "" } else { path };
        for (name, child) in &self.children {
            child.each_below(&format!("{parent}/{name}"), visit);
        }
    }
}

impl UserConfig {
    pub fn find_token(&self, token: &TokenId) -> Option<&Token> {
        self.users.get(token.user())?.tokens.get(token.name())
    }
}

#[cfg(test)]
mod tests;
