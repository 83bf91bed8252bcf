//! What a method asks of its caller: the `permissions` of PVE's method table, evaluated as
//! `check_api2_permissions` and `exec_api2_perm_check` in pve-access-control's
//! `src/PVE/RPCEnvironment.pm`. Reading the table is `openapi::schema`'s.

use std::collections::BTreeSet;

use openapi::schema::{Permissions, Rule};
use openapi::{AuthId, Privilege, UserId};

use super::permissions::Denied;
use super::text::{is_true, normalize_path, split_list};
use super::user_config::UserConfig;

/// One evaluation: who asks, and with which parameters.
struct Evaluation<'a> {
    config: &'a UserConfig,
    who: &'a AuthId,
    param: &'a dyn Fn(&str) -> Option<String>,
}

/// `Ok(false)` is a refusal nobody has to hear of, as another branch may still allow it.
type Verdict = Result<bool, Denied>;

impl UserConfig {
    /// Whether `who` (nobody: not logged in) may call a method with these `permissions`. `param`
    /// gives the parameters as they came, before they are checked.
    pub fn allowed(
        &self,
        who: Option<&AuthId>,
        permissions: Option<&Permissions>,
        param: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(), Denied> {
        if permissions == Some(&Permissions::World) {
            return Ok(());
        }
        let Some(who) = who else { return Err(Denied::because("user != null")) };
        if who.is_root() {
            return Ok(());
        }
        match permissions {
            None => Err(Denied::because("user != root@pam")),
            Some(Permissions::World | Permissions::All) => Ok(()),
            Some(Permissions::Check(rule)) => {
                let evaluation = Evaluation { config: self, who, param };
                if evaluation.run(rule, false)? { Ok(()) } else { Err(Denied::Bare) }
            }
        }
    }

    /// Whether `who` may change the ACL at a path; none stands for `/access`.
    pub fn check_modify_acl(&self, who: &AuthId, path: &str) -> Result<(), Denied> {
        use Privilege::{DatastoreAllocate, PermissionsModify, PoolAllocate, VmAllocate};

        let below = |top| path.strip_prefix(top).is_some_and(|rest| !rest.is_empty());
        let mut privileges = vec![PermissionsModify];
        for (top, also) in
            [("/storage/", DatastoreAllocate), ("/vms/", VmAllocate), ("/pool/", PoolAllocate)]
        {
            if below(top) {
                privileges.push(also);
            }
        }
        self.check(who, path, &privileges, true)
    }
}

impl Evaluation<'_> {
    fn run(&self, rule: &Rule, quiet: bool) -> Verdict {
        match rule {
            // Upstream is not quiet here, even inside an `or`: the first failure is the answer.
            Rule::And(rules) => {
                for rule in rules {
                    if !self.run(rule, false)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Rule::Or(rules) => {
                for rule in rules {
                    if self.run(rule, true)? {
                        return Ok(true);
                    }
                }
                refuse(quiet, Denied::Bare)
            }
            Rule::Perm { path, privileges, any, require_param } => {
                let lacks = |name: &String| (self.param)(name).is_none();
                if require_param.as_ref().is_some_and(lacks) {
                    return refuse(quiet, Denied::Bare);
                }
                let path = self.fill(path);
                settle(self.config.check(self.who, &path, privileges, *any), quiet)
            }
            Rule::PermModify { path } => match normalize_path(&self.fill(path)) {
                None => refuse(quiet, Denied::Bare),
                Some(path) => settle(self.config.check_modify_acl(self.who, &path), quiet),
            },
            Rule::UserIsCaller => {
                self.userid()?;
                match self.existing_user(quiet)? {
                    None => Ok(false),
                    Some(user) if AuthId::User(user.clone()) == *self.who => Ok(true),
                    Some(_) => refuse(quiet, Denied::Bare),
                }
            }
            Rule::RealmOfUser => {
                let path = format!("/access/realm/{}", self.userid()?.realm());
                let privileges = [Privilege::RealmAllocateUser];
                settle(self.config.check(self.who, &path, &privileges, false), quiet)
            }
            Rule::UserGroup { privileges, groups_param } => {
                self.user_group(privileges, groups_param.as_deref(), quiet)
            }
        }
    }

    /// The `userid` parameter. Upstream parses it before it thinks of being quiet.
    fn userid(&self) -> Result<UserId, Denied> {
        Ok((self.param)("userid").unwrap_or_default().parse()?)
    }

    /// A path's `{name}`s replaced by parameters, missing ones by `-`.
    fn fill(&self, template: &str) -> String {
        let mut filled = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else { break };
            let value = (self.param)(name).filter(|value| is_true(value));
            filled.push_str(before);
            filled.push_str(value.as_deref().unwrap_or("-"));
            rest = after;
        }
        filled + rest
    }

    /// The `userid` parameter as a user that exists.
    fn existing_user(&self, quiet: bool) -> Result<Option<UserId>, Denied> {
        let user = match self.userid() {
            Ok(user) => user,
            Err(_) if quiet => return Ok(None),
            Err(invalid) => return Err(invalid),
        };
        if self.config.users.contains_key(&user) {
            return Ok(Some(user));
        }
        if quiet { Ok(None) } else { Err(Denied::NoSuchUser(user)) }
    }

    fn user_group(
        &self,
        privileges: &[Privilege],
        groups_param: Option<&str>,
        quiet: bool,
    ) -> Verdict {
        let existing = if groups_param == Some("create") {
            None
        } else {
            match self.existing_user(quiet)? {
                None => return Ok(false),
                user => user,
            }
        };
        let may = |path: &str| self.config.check(self.who, path, privileges, true);
        if may("/access/groups").is_ok() {
            return Ok(true);
        }
        let path = |group: &str| format!("/access/groups/{group}");
        if groups_param.is_some() {
            let groups = (self.param)("groups").unwrap_or_default();
            if split_list(&groups).next().is_none() {
                may("/access/groups")?;
            }
            for group in split_list(&groups) {
                let named = path(group);
                may(&named)?;
                if !self.config.groups.contains_key(group) {
                    let names: Vec<_> = privileges.iter().map(|p| p.as_str()).collect();
                    return Err(Denied::because(format!("{named}, {}", names.join("|"))));
                }
            }
        }
        let Some(user) = existing else { return Ok(true) };
        let mine = self.config.groups.iter().filter(|(name, _)| may(&path(name)).is_ok());
        let members: BTreeSet<_> = mine.flat_map(|(_, group)| &group.users).collect();
        if members.contains(&user) { Ok(true) } else { refuse(quiet, Denied::Bare) }
    }
}

fn settle(checked: Result<(), Denied>, quiet: bool) -> Verdict {
    match checked {
        Ok(()) => Ok(true),
        Err(denied) => refuse(quiet, denied),
    }
}

fn refuse(quiet: bool, denied: Denied) -> Verdict {
    if quiet { Ok(false) } else { Err(denied) }
}

#[cfg(test)]
mod tests;
