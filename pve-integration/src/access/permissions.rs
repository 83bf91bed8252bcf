//! Who may do what: PVE's evaluation of `user.cfg`. Upstream: `roles` in pve-access-control's
//! `src/PVE/AccessControl.pm`, the rest in its `src/PVE/RPCEnvironment.pm`. What a method asks for
//! is `expression`'s.

use std::collections::{BTreeMap, BTreeSet};

use openapi::{AuthId, InvalidUserId, Privilege, TokenId, UserId};

use super::text::normalize_path;
use super::user_config::{AclNode, Pool, RoleSet, Token, UserConfig};

/// Privileges held at a path, and whether they also hold below it. The flag is for display:
/// inheritance is decided while walking, never by it.
pub type Permissions = BTreeMap<Privilege, bool>;

/// A check that failed. All but the last two are PVE's permission exception, a 403; those are
/// plain `die`s, so 500.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("Permission check failed")]
    Bare,
    #[error("Permission check failed ({0})")]
    Because(String),
    #[error("no such user ('{0}')")]
    NoSuchUser(UserId),
    #[error(transparent)]
    InvalidUser(#[from] InvalidUserId),
}

impl Denied {
    /// With PVE's parenthesis, say `user != root@pam`.
    pub fn because(what: impl Into<String>) -> Self {
        Self::Because(what.into())
    }

    /// Whether PVE answers 403 rather than 500.
    pub fn is_permission(&self) -> bool {
        match self {
            Self::Bare | Self::Because(_) => true,
            Self::NoSuchUser(_) | Self::InvalidUser(_) => false,
        }
    }
}

/// Whose entries are looked at: a token's own, or a user's and its groups'.
#[derive(Clone, Copy)]
enum Subject<'a> {
    User(&'a UserId),
    Token(&'a TokenId),
}

impl UserConfig {
    /// All that `who` holds at `path`, a normalized path.
    pub fn permissions(&self, who: &AuthId, path: &str) -> Permissions {
        match who {
            AuthId::User(user) => self.of_user(user, path),
            AuthId::Token(token) => match self.find_token(token) {
                None => Permissions::new(),
                Some(Token { privsep: false, .. }) => self.of_user(token.user(), path),
                Some(Token { privsep: true, .. }) => {
                    let own = self.compiled(Subject::Token(token), path);
                    let user = self.of_user(token.user(), path);
                    let both = |(privilege, below)| {
                        let users = *user.get(&privilege)?; // even where nothing is inherited
                        Some((privilege, below && users))
                    };
                    own.into_iter().filter_map(both).collect()
                }
            },
        }
    }

    fn of_user(&self, user: &UserId, path: &str) -> Permissions {
        if user.as_str() == "root@pam" {
            return Privilege::ALL.iter().map(|privilege| (*privilege, true)).collect();
        }
        self.compiled(Subject::User(user), path)
    }

    /// Whose roles decide what `who` holds at `path`: a privilege is held if each of them has it.
    /// `None` in the list is root@pam, who has them all.
    fn deciding(&self, who: &AuthId, path: &str) -> Option<Vec<Option<RoleSet>>> {
        let of_user = |user: &UserId| {
            let all = user.as_str() == "root@pam";
            (!all).then(|| self.roles_at(Subject::User(user), path))
        };
        match who {
            AuthId::User(user) => Some(vec![of_user(user)]),
            AuthId::Token(token) => {
                let own = self.find_token(token)?.privsep.then(|| {
                    let own = self.roles_at(Subject::Token(token), path);
                    Some(own)
                });
                Some(own.into_iter().chain([of_user(token.user())]).collect())
            }
        }
    }

    /// The privileges of the subject's roles, those from pools included.
    fn compiled(&self, subject: Subject<'_>, path: &str) -> Permissions {
        let roles = self.roles_at(subject, path);
        let mut permissions = Permissions::new();
        for (role, below) in &roles {
            for privilege in self.roles.get(role).into_iter().flatten() {
                *permissions.entry(*privilege).or_default() |= below;
            }
        }
        permissions
    }

    fn roles_at(&self, subject: Subject<'_>, path: &str) -> RoleSet {
        let mut roles = self.roles_of(subject, path);
        if !roles.contains_key("NoAccess") {
            let pool = self.pool_roles(subject, path);
            if pool.contains("NoAccess") {
                roles = RoleSet::from([("NoAccess".to_owned(), false)]);
            } else {
                for role in pool {
                    roles.entry(role).or_insert(false);
                }
            }
        }
        roles
    }

    /// The roles that a pool's ACL gives on its members. Only the members themselves, as paths
    /// `/vms/N` and `/storage/S`, are looked up.
    fn pool_roles(&self, subject: Subject<'_>, path: &str) -> BTreeSet<String> {
        let vmid = path.strip_prefix("/vms/").and_then(|id| {
            let id: u64 = id.parse().ok()?;
            (format!("/vms/{id}") == path).then_some(id)
        });
        let storage = path.strip_prefix("/storage/");
        let holds = |pool: &Pool| {
            vmid.is_some_and(|id| pool.vms.contains(&id))
                || storage.is_some_and(|id| pool.storage.contains(id))
        };
        let pools = self.pools.iter().filter(|(_, pool)| holds(pool));
        pools
            .flat_map(|(name, _)| self.roles_of(subject, &format!("/pool/{name}")).into_keys())
            .collect()
    }

    /// Walk from `/` to the path. At each level the subject's own entries, else those of its
    /// groups, replace what was inherited, if any of them holds at the path.
    fn roles_of(&self, subject: Subject<'_>, path: &str) -> RoleSet {
        let mut roles = RoleSet::new();
        let mut parts = path.split('/').filter(|part| !part.is_empty()).peekable();
        let mut node = &self.acl;
        loop {
            let holding = |given: &RoleSet, last: bool| -> RoleSet {
                let holds = given.iter().filter(|(_, below)| last || **below);
                holds.map(|(role, below)| (role.clone(), *below)).collect()
            };
            let last = parts.peek().is_none();
            let own = match subject {
                Subject::Token(token) => node.tokens.get(token),
                Subject::User(user) => node.users.get(user),
            };
            let mut new = own.map(|given| holding(given, last)).unwrap_or_default();
            if new.is_empty() {
                new =
                    self.groups_of(subject, node).flat_map(|given| holding(given, last)).collect();
            }
            if !new.is_empty() {
                roles = new;
            }
            let Some(child) = parts.next() else { break };
            match node.children.get(child) {
                Some(child) => node = child,
                None => break, // nothing is granted further down, so what was inherited stands
            }
        }
        match roles.remove("NoAccess") {
            Some(below) => RoleSet::from([("NoAccess".to_owned(), below)]),
            None => roles,
        }
    }

    /// What the node gives to groups of the subject. A token is in none.
    fn groups_of<'a>(
        &'a self,
        subject: Subject<'a>,
        node: &'a AclNode,
    ) -> impl Iterator<Item = &'a RoleSet> {
        let member = move |group: &str| match subject {
            Subject::User(user) => self.groups.get(group).is_some_and(|g| g.users.contains(user)),
            Subject::Token(_) => false,
        };
        node.groups.iter().filter(move |(group, _)| member(group)).map(|(_, given)| given)
    }

    /// PVE's check of one path: all privileges, or any of them. `path` need not be normalized.
    pub fn check(
        &self,
        who: &AuthId,
        path: &str,
        privileges: &[Privilege],
        any: bool,
    ) -> Result<(), Denied> {
        if who.is_root() {
            return Ok(());
        }
        let path = normalize_path(path).unwrap_or_default();
        // As `permissions`, without making the list of all that is held.
        let deciding = if path.is_empty() { None } else { self.deciding(who, &path) };
        let has = |roles: &RoleSet, privilege: &Privilege| {
            let mut roles = roles.keys().filter_map(|role| self.roles.get(role));
            roles.any(|privileges| privileges.contains(privilege))
        };
        let holds = |privilege: &&Privilege| {
            deciding.as_ref().is_some_and(|all| {
                all.iter().all(|roles| roles.as_ref().is_none_or(|roles| has(roles, privilege)))
            })
        };
        let lacking = if any {
            if privileges.iter().any(|privilege| holds(&privilege)) {
                return Ok(());
            }
            privileges.iter().map(|privilege| privilege.as_str()).collect::<Vec<_>>().join("|")
        } else {
            match privileges.iter().find(|privilege| !holds(privilege)) {
                None => return Ok(()),
                Some(privilege) => privilege.to_string(),
            }
        };
        Err(Denied::because(format!("{path}, {lacking}")))
    }

    /// The map that a login answers with, for the UI to know what to offer: area -> privileges.
    pub fn capabilities(&self, who: &AuthId) -> BTreeMap<&'static str, BTreeSet<Privilege>> {
        const AREAS: [&str; 7] = ["access", "dc", "mapping", "nodes", "sdn", "storage", "vms"];
        let mut paths: BTreeSet<String> =
            ["/", "/nodes", "/access/groups", "/vms", "/storage", "/sdn", "/mapping"]
                .map(str::to_owned)
                .into();
        self.acl.each(&mut |path, _| {
            paths.insert(path.to_owned());
        });
        let mut map: BTreeMap<_, BTreeSet<_>> = AREAS.map(|area| (area, BTreeSet::new())).into();
        for path in paths {
            let top = path.split('/').nth(1).filter(|top| !top.is_empty()).unwrap_or("dc");
            for privilege in self.permissions(who, &path).into_keys() {
                for area in AREAS.iter().filter(|area| shows_in(area, top, privilege)) {
                    map.entry(area).or_default().insert(privilege);
                }
            }
        }
        map
    }

    /// `GET /access/permissions`: each path that is mentioned anywhere, with what holds there.
    pub fn effective(&self, who: &AuthId) -> BTreeMap<String, Permissions> {
        let mut paths: BTreeSet<String> =
            ["/", "/access", "/access/groups", "/nodes", "/pool", "/sdn", "/storage", "/vms"]
                .map(str::to_owned)
                .into();
        self.acl.each(&mut |path, _| {
            paths.insert(path.to_owned());
        });
        for pool in self.pools.values() {
            paths.extend(pool.vms.iter().map(|vmid| format!("/vms/{vmid}")));
            paths.extend(pool.storage.iter().map(|storage| format!("/storage/{storage}")));
        }
        paths
            .into_iter()
            .map(|path| (self.permissions(who, &path), path))
            .filter(|(permissions, _)| !permissions.is_empty())
            .map(|(permissions, path)| (path, permissions))
            .collect()
    }
}

/// Whether a privilege held below the path's first part shows in an area of the login's map.
fn shows_in(area: &str, top: &str, privilege: Privilege) -> bool {
    let name = privilege.as_str();
    let of = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    let modify = "Permissions.Modify";
    if top == "pool" {
        return match area {
            "vms" => of(&["VM.", modify]),
            "storage" => of(&["Datastore.", modify]),
            _ => false,
        };
    }
    area == top
        && match area {
            "vms" => of(&["VM.", modify]),
            "access" => of(&["User.", "Group.", modify]),
            "storage" => of(&["Datastore.", modify]),
            "nodes" => of(&["Sys.", modify]),
            "sdn" => of(&["SDN.", modify]),
            "dc" => of(&["Sys.Audit", "Sys.Modify", "SDN."]),
            "mapping" => of(&["Mapping.", modify]),
            _ => false,
        }
}

#[cfg(test)]
mod tests;
