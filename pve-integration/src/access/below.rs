//! One check for the many children of one path, say all guests of a list. Children of which nothing
//! is said by name share their parent's answer, and members of the same pools share theirs.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;

use openapi::{AuthId, Privilege, Vmid};

use super::user_config::{AclNode, UserConfig};

/// Answers as `UserConfig::check` does with `any`, for `{parent}/{child}`.
pub struct Below<'a> {
    config: &'a UserConfig,
    who: &'a AuthId,
    parent: &'a str,
    privileges: &'a [Privilege],
    node: Option<&'a AclNode>,
    /// By the pools that a child is in, most often none.
    answers: RefCell<BTreeMap<Vec<&'a str>, bool>>,
    /// Guests of which something is said by name, sorted; worked out for the first guest.
    named: OnceCell<Vec<u32>>,
    /// Of all guests of which nothing is said, and that are in no pool.
    others: OnceCell<bool>,
}

impl<'a> Below<'a> {
    /// `parent` is a normalized path.
    pub(super) fn new(
        config: &'a UserConfig,
        who: &'a AuthId,
        parent: &'a str,
        privileges: &'a [Privilege],
    ) -> Self {
        let mut parts = parent.split('/').filter(|part| !part.is_empty());
        let node = parts.try_fold(&config.acl, |node, part| node.children.get(part));
        Self {
            config,
            who,
            parent,
            privileges,
            node,
            answers: RefCell::default(),
            named: OnceCell::new(),
            others: OnceCell::new(),
        }
    }

    pub fn may(&self, child: &str) -> bool {
        let named = self.node.is_some_and(|node| node.children.contains_key(child));
        // Anything else is no name of a child, or would be normalized into another.
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if named || child.is_empty() || !child.bytes().all(plain) {
            return self.check(child);
        }
        let pools = self.pools_of(child);
        if let Some(answer) = self.answers.borrow().get(&pools) {
            return *answer;
        }
        let answer = self.check(child);
        self.answers.borrow_mut().insert(pools, answer);
        answer
    }

    /// The same of a guest, where `parent` is `/vms`, without a text for each.
    pub fn may_guest(&self, vmid: Vmid) -> bool {
        debug_assert_eq!(self.parent, "/vms");
        let number = u64::from(vmid.get());
        let named =
            self.named.get_or_init(|| self.named_guests()).binary_search(&vmid.get()).is_ok();
        if named || self.config.pools.values().any(|pool| pool.vms.contains(&number)) {
            return self.may(&vmid.to_string());
        }
        *self.others.get_or_init(|| self.check(&vmid.to_string()))
    }

    fn named_guests(&self) -> Vec<u32> {
        let names = self.node.into_iter().flat_map(|node| node.children.keys());
        let mut named: Vec<u32> = names.filter_map(|name| name.parse().ok()).collect();
        named.sort_unstable();
        named
    }

    fn check(&self, child: &str) -> bool {
        let path = format!("{}/{child}", self.parent);
        self.config.check(self.who, &path, self.privileges, true).is_ok()
    }

    fn pools_of(&self, child: &str) -> Vec<&'a str> {
        let pools = self.config.pools.iter();
        match self.parent {
            "/vms" => {
                let vmid = child.parse::<u64>().ok().filter(|vmid| vmid.to_string() == child);
                let Some(vmid) = vmid else { return Vec::new() };
                pools.filter(|(_, pool)| pool.vms.contains(&vmid)).map(name).collect()
            }
            "/storage" => {
                pools.filter(|(_, pool)| pool.storage.contains(child)).map(name).collect()
            }
            _ => Vec::new(),
        }
    }
}

fn name<T>((name, _): (&String, T)) -> &str {
    name
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BASE: &str = "user:u@pve:1:0::::::\ntoken:u@pve!t1:0:1::\ntoken:u@pve!t0:0:0::\n\
        token:root@pam!t2:0:1::\ngroup:g:u@pve::\nrole:a:VM.Audit:\nrole:b:VM.Console:\n\
        pool:p::100,101:local:\npool:q::101,0102::\n";

    fn acl() -> impl Strategy<Value = String> {
        let path = prop::sample::select(vec![
            "/",
            "/vms",
            "/vms/100",
            "/vms/103",
            "/vms/100/x",
            "/pool/p",
            "/pool/q",
            "/pool",
            "/storage",
            "/storage/local",
        ]);
        let who = prop::sample::select(vec!["u@pve", "@g", "u@pve!t1", "u@pve!t0", "root@pam!t2"]);
        let role = prop::sample::select(vec!["a", "b", "NoAccess"]);
        (0..2_u8, path, who, role)
            .prop_map(|(below, path, who, role)| format!("acl:{below}:{path}:{who}:{role}:\n"))
    }

    proptest! {
        #[test]
        fn answers_as_a_check_of_each(acls in prop::collection::vec(acl(), 0..8)) {
            let config = UserConfig::parse(&format!("{BASE}{}", acls.concat()));
            for who in ["u@pve", "u@pve!t1", "u@pve!t0", "root@pam!t2", "root@pam", "u@pve!none"] {
                let who: AuthId = who.parse().unwrap();
                for (parent, children) in [
                    ("/vms", ["104", "100", "101", "102", "0102", "103", "105", "a/b", ""]),
                    ("/storage", ["x", "local", "y", "local", "", "100", "a b", "z", "local"]),
                ] {
                    let privileges = [Privilege::VmAudit];
                    let below = Below::new(&config, &who, parent, &privileges);
                    for child in children {
                        let path = format!("{parent}/{child}");
                        let alone = config.check(&who, &path, &privileges, true).is_ok();
                        prop_assert_eq!(below.may(child), alone, "{} {}", &who, &path);
                        if let (Ok(vmid), "/vms") = (child.parse::<Vmid>(), parent) {
                            let path = format!("/vms/{vmid}");
                            let alone = config.check(&who, &path, &privileges, true).is_ok();
                            prop_assert_eq!(below.may_guest(vmid), alone, "{} {}", &who, &path);
                        }
                        let all = super::super::normalize_path(&path)
                            .map(|path| config.permissions(&who, &path))
                            .unwrap_or_default();
                        let held = who.is_root() || all.contains_key(&Privilege::VmAudit);
                        prop_assert_eq!(alone, held, "{} {}", &who, &path);
                    }
                }
            }
        }
    }
}
