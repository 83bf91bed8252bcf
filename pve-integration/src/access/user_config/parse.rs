//! Reading `user.cfg`. A line that PVE would drop is dropped, and told of in PVE's words.

use std::collections::BTreeMap;
use std::str::FromStr;

use openapi::{StorageId, TokenId, UserId};

use super::{Token, User, UserConfig};
use crate::access::roles;
use crate::access::text::{decode, is_true, normalize_path, split_list};

/// Letters, digits, dot, dash and underscore: groups, roles and the parts of pools.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

fn is_pool(text: &str) -> bool {
    text.split('/').count() <= 3 && text.split('/').all(is_name)
}

impl UserConfig {
    pub fn parse(text: &str) -> Self {
        let mut config = Self { roles: roles::builtin().clone(), ..Self::default() };
        // PVE has its administrator whatever the file says, hence also that user's tokens.
        let root = "root@pam".parse().expect("it is a user's id");
        config.users.insert(root, User { enable: true, ..User::default() });
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Err(reason) = config.line(line) {
                config.ignored.push(reason);
            }
        }
        config
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let fields: Vec<_> = line.split(':').map(str::trim).collect();
        let field = |at: usize| fields.get(at).copied().unwrap_or_default();
        match field(0) {
            "user" => self.user(&field),
            "token" => self.token(&field),
            "group" => self.group(&field),
            "role" => self.role(&field),
            "acl" => self.acl(&field),
            "pool" => self.pool(&field),
            _ => Err(format!("user config - ignore config line: {line}")),
        }
    }

    fn user<'a>(&mut self, field: &impl Fn(usize) -> &'a str) -> Result<(), String> {
        let id = field(1);
        let user: UserId = id
            .parse()
            .map_err(|_| format!("user config - ignore user '{id}' - invalid user name"))?;
        let expire = expire(field(3)).ok_or_else(|| {
            let illegal = field(3);
            format!("user config - ignore user '{id}' - (illegal characters in expire '{illegal}')")
        })?;
        let entry = User {
            enable: is_true(field(2)),
            expire,
            firstname: text(field(4)),
            lastname: text(field(5)),
            email: field(6).to_owned(),
            comment: text(field(7)),
            keys: field(8).to_owned(),
            tokens: BTreeMap::new(),
        };
        let again = self.users.insert(user.clone(), entry);
        if again.is_some_and(|before| !before.tokens.is_empty()) {
            // Upstream loses the tokens of the line before, too, and drops what they were granted
            // when it reads next what it has written.
            self.acl.each_mut(&mut |node| node.tokens.retain(|token, _| *token.user() != user));
        }
        Ok(())
    }

    fn token<'a>(&mut self, field: &impl Fn(usize) -> &'a str) -> Result<(), String> {
        let id = field(1);
        let token: TokenId =
            id.parse().map_err(|_| format!("user config - ignore invalid tokenid '{id}'"))?;
        let expire = expire(field(2)).ok_or_else(|| {
            let illegal = field(2);
            format!(
                "user config - ignore token '{id}' - (illegal characters in expire '{illegal}')"
            )
        })?;
        let owner = self
            .users
            .get_mut(token.user())
            .ok_or_else(|| format!("user config - ignore token '{id}' - user does not exist"))?;
        let entry = Token { expire, privsep: is_true(field(3)), comment: text(field(4)) };
        owner.tokens.insert(token.name().to_owned(), entry);
        Ok(())
    }

    fn group<'a>(&mut self, field: &impl Fn(usize) -> &'a str) -> Result<(), String> {
        let (name, members) = (field(1), field(2));
        if !is_name(name) {
            return Err(format!(
                "user config - ignore group '{name}' - invalid characters in group name"
            ));
        }
        let group = self.groups.entry(name.to_owned()).or_default();
        if is_true(field(3)) {
            group.comment = decode(field(3));
        }
        for member in split_list(members) {
            match member.parse::<UserId>() {
                Ok(user) => {
                    if !self.users.contains_key(&user) {
                        let note = format!("user config - ignore invalid group member '{member}'");
                        self.ignored.push(note);
                    }
                    group.users.insert(user); // also one that does not exist: so does PVE
                }
                Err(_) => self
                    .ignored
                    .push(format!("user config - ignore invalid group member '{member}'")),
            }
        }
        Ok(())
    }

    fn role<'a>(&mut self, field: &impl Fn(usize) -> &'a str) -> Result<(), String> {
        let name = field(1);
        if !is_name(name) {
            return Err(format!(
                "user config - ignore role '{name}' - invalid characters in role name"
            ));
        }
        if roles::builtin().contains_key(name) {
            // Upstream would widen the built-in role until the next restart.
            return Err(format!("user config - ignore role '{name}' - it is built in"));
        }
        let role = self.roles.entry(name.to_owned()).or_default();
        for privilege in split_list(field(2)) {
            match privilege.parse() {
                Ok(privilege) => {
                    role.insert(privilege);
                }
                Err(_) => self
                    .ignored
                    .push(format!("user config - ignore invalid privilege '{privilege}'")),
            }
        }
        Ok(())
    }

    fn pool<'a>(&mut self, field: &impl Fn(usize) -> &'a str) -> Result<(), String> {
        let name = field(1);
        if !is_pool(name) {
            return Err(format!(
                "user config - ignore pool '{name}' - invalid characters in pool name"
            ));
        }
        for (at, _) in name.match_indices('/') {
            self.pools.entry(name[..at].to_owned()).or_default();
        }
        self.pools.entry(name.to_owned()).or_default();
        for vmid in split_list(field(3)) {
            let number = vmid.bytes().all(|b| b.is_ascii_digit()).then(|| vmid.parse().ok());
            let taken = |vmid| self.pools.values().any(|pool| pool.vms.contains(&vmid));
            let note = match number.flatten() {
                None => format!("user config - ignore invalid vmid '{vmid}' in pool '{name}'"),
                Some(id) if taken(id) => {
                    format!("user config - ignore duplicate vmid '{id}' in pool '{name}'")
                }
                Some(id) => {
                    self.pools.entry(name.to_owned()).or_default().vms.insert(id);
                    continue;
                }
            };
            self.ignored.push(note);
        }
        let pool = self.pools.entry(name.to_owned()).or_default();
        if is_true(field(2)) {
            pool.comment = decode(field(2));
        }
        for storage in split_list(field(4)) {
            if storage.parse::<StorageId>().is_ok() {
                pool.storage.insert(storage.to_owned());
            } else {
                let note =
                    format!("user config - ignore invalid storage '{storage}' in pool '{name}'");
                self.ignored.push(note);
            }
        }
        Ok(())
    }

    fn acl<'a>(&mut self, field: &impl Fn(usize) -> &'a str) -> Result<(), String> {
        let path = normalize_path(field(2))
            .ok_or_else(|| format!("user config - ignore invalid path in acl '{}'", field(2)))?;
        let propagate = is_true(field(1));
        for role in split_list(field(4)) {
            if !self.roles.contains_key(role) {
                let what = if is_name(role) { "acl role" } else { "role name" };
                self.ignored.push(format!("user config - ignore invalid {what} '{role}'"));
                continue;
            }
            for member in split_list(field(3)) {
                if let Err(note) = self.grant(&path, member, role, propagate) {
                    self.ignored.push(note);
                }
            }
        }
        Ok(())
    }

    /// Give a group (`@name`), user or token a role, as one member of an `acl` line does.
    fn grant(
        &mut self,
        path: &str,
        member: &str,
        role: &str,
        propagate: bool,
    ) -> Result<(), String> {
        let group = member.strip_prefix('@').filter(|group| is_name(group));
        let roles = if let Some(group) = group {
            if !self.groups.contains_key(group) {
                let note = format!("user config - ignore invalid acl group '{group}'");
                self.ignored.push(note);
            }
            self.acl.at_mut(path).groups.entry(group.to_owned()).or_default()
        } else if let Ok(user) = member.parse::<UserId>() {
            if !self.users.contains_key(&user) {
                self.ignored.push(format!("user config - ignore invalid acl member '{member}'"));
            }
            self.acl.at_mut(path).users.entry(user).or_default()
        } else if let Ok(token) = member.parse::<TokenId>() {
            if self.find_token(&token).is_none() {
                return Err(format!("user config - ignore invalid acl token '{member}'"));
            }
            self.acl.at_mut(path).tokens.entry(token).or_default()
        } else {
            return Err(format!("user config - invalid user/group '{member}' in acl"));
        };
        roles.insert(role.to_owned(), propagate);
        Ok(())
    }
}

/// A `0` is no text, to Perl.
fn text(field: &str) -> String {
    if is_true(field) { decode(field) } else { String::new() }
}

/// Perl takes a missing or empty time for 0.
fn expire(field: &str) -> Option<u64> {
    if field.is_empty() {
        return Some(0);
    }
    if field.bytes().all(|b| b.is_ascii_digit()) { field.parse().ok() } else { None }
}

impl FromStr for UserConfig {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::parse(text))
    }
}
