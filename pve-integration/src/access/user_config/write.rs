//! Writing `user.cfg`, sorted as PVE sorts it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{AclNode, Group, Pool, Token, User, UserConfig};
use crate::access::roles;
use crate::access::text::encode;

fn join<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let texts: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    texts.join(",")
}

/// Numbers are listed in the order of their text: Perl's `sort`.
fn join_sorted(numbers: &BTreeSet<u64>) -> String {
    let mut texts: Vec<_> = numbers.iter().map(u64::to_string).collect();
    texts.sort_unstable();
    texts.join(",")
}

impl fmt::Display for UserConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, user) in &self.users {
            let User { enable, expire, email, keys, .. } = user;
            let texts = [&user.firstname, &user.lastname].map(|text| encode(text)).join(":");
            let (enable, comment) = (u8::from(*enable), encode(&user.comment));
            writeln!(
                f,
                "user:{}:{enable}:{expire}:{texts}:{email}:{comment}:{keys}:",
                id.as_str()
            )?;
            for (name, token) in &user.tokens {
                let Token { expire, privsep, comment } = token;
                let (privsep, comment) = (u8::from(*privsep), encode(comment));
                writeln!(f, "token:{id}!{name}:{expire}:{privsep}:{comment}:")?;
            }
        }
        writeln!(f)?;
        for (name, Group { users, comment }) in &self.groups {
            writeln!(f, "group:{name}:{}:{}:", join(users), encode(comment))?;
        }
        writeln!(f)?;
        for (name, Pool { comment, vms, storage }) in &self.pools {
            let (comment, vms) = (encode(comment), join_sorted(vms));
            writeln!(f, "pool:{name}:{comment}:{vms}:{}:", join(storage))?;
        }
        writeln!(f)?;
        for (name, privileges) in &self.roles {
            if !roles::builtin().contains_key(name) {
                writeln!(f, "role:{name}:{}:", join(privileges))?;
            }
        }
        writeln!(f)?;
        let mut lines = String::new();
        self.acl.each(&mut |path, node| lines.push_str(&acl_lines(path, node)));
        f.write_str(&lines)
    }
}

/// One line for all members that have the same roles at a path.
fn acl_lines(path: &str, node: &AclNode) -> String {
    let groups = node.groups.iter().map(|(group, roles)| (format!("@{group}"), roles));
    // root@pam may do everything anyway, and PVE does not write what it was given.
    let users = node.users.iter().filter(|(user, _)| user.as_str() != "root@pam");
    let users = users.map(|(user, roles)| (user.to_string(), roles));
    let tokens = node.tokens.iter().map(|(token, roles)| (token.to_string(), roles));

    let mut members = BTreeMap::<(bool, String), BTreeSet<String>>::new();
    for (member, roles) in groups.chain(users).chain(tokens) {
        for propagate in [false, true] {
            let list = join(roles.iter().filter(|(_, p)| **p == propagate).map(|(role, _)| role));
            if !list.is_empty() {
                members.entry((propagate, list)).or_default().insert(member.clone());
            }
        }
    }
    members
        .iter()
        .map(|((propagate, roles), members)| {
            format!("acl:{}:{path}:{}:{roles}:\n", u8::from(*propagate), join(members))
        })
        .collect()
}
