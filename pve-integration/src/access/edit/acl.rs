//! Granting roles at a path, and taking them away.

use openapi::{AuthId, Privilege, TokenId, UserId};

use super::{EditError, edit};
use crate::access::permissions::Permissions;
use crate::access::roles::Privileges;
use crate::access::{RoleSet, UserConfig};
use crate::layout::Root;

#[derive(Clone, Debug, Default)]
pub struct AclChange {
    /// Normalized.
    pub path: String,
    pub roles: Vec<String>,
    pub users: Vec<UserId>,
    pub groups: Vec<String>,
    pub tokens: Vec<TokenId>,
    pub propagate: bool,
    pub delete: bool,
}

/// Whoever lacks `Permissions.Modify` at the path hands out no more than they hold there.
pub fn change_acl(root: &Root, who: &AuthId, change: &AclChange) -> Result<(), EditError> {
    edit(root, "ACL update failed", |edit| apply(&mut edit.config, who, change))
}

fn apply(config: &mut UserConfig, who: &AuthId, change: &AclChange) -> Result<(), EditError> {
    let held = config.permissions(who, &change.path);
    for role in &change.roles {
        let privileges = config.roles.get(role).ok_or_else(|| EditError::missing("role", role))?;
        may_hand_out(&held, role, privileges, change)?;
        for group in &change.groups {
            if !config.groups.contains_key(group) {
                return Err(EditError::missing("group", group));
            }
        }
        for user in &change.users {
            if !config.users.contains_key(user) {
                return Err(EditError::missing("user", user.as_str()));
            }
        }
        for token in &change.tokens {
            config.existing_token(token)?;
        }
        let node = config.acl.at_mut(&change.path);
        let set = |roles: &mut RoleSet| {
            if change.delete {
                roles.remove(role);
            } else {
                roles.insert(role.clone(), change.propagate);
            }
        };
        for group in &change.groups {
            set(node.groups.entry(group.clone()).or_default());
        }
        for user in &change.users {
            set(node.users.entry(user.clone()).or_default());
        }
        for token in &change.tokens {
            set(node.tokens.entry(token.clone()).or_default());
        }
    }
    Ok(())
}

fn may_hand_out(
    held: &Permissions,
    role: &str,
    privileges: &Privileges,
    change: &AclChange,
) -> Result<(), EditError> {
    if held.contains_key(&Privilege::PermissionsModify) {
        return Ok(());
    }
    let verb = if change.delete { "remove" } else { "add" };
    let refuse = |text: String| Err(EditError::Param { name: "role", text });
    for privilege in privileges {
        let Some(below) = held.get(privilege) else {
            return refuse(format!(
                "Cannot {verb} role '{role}' - requires 'Permissions.Modify' or superset of \
                 privileges."
            ));
        };
        if change.propagate && !below && !change.delete {
            return refuse(format!(
                "Cannot {verb} role '{role}' with propagation - requires 'Permissions.Modify' or \
                 propagated superset of privileges."
            ));
        }
    }
    // It takes rights away and has none itself that could be compared.
    if role == "NoAccess" {
        return refuse(format!("Cannot {verb} role '{role}' - requires 'Permissions.Modify'"));
    }
    Ok(())
}

/// Whether PVE lets something be granted at a normalized path. The characters of its parts were
/// checked when it was normalized.
pub fn is_acl_path(path: &str) -> bool {
    let alphanumeric = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric());
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        []
        | ["access" | "nodes" | "pool" | "sdn" | "storage" | "vms" | "mapping"]
        | ["access", "groups" | "realm"]
        | ["access", "groups" | "realm", _]
        | ["nodes" | "storage" | "mapping" | "pool", _]
        | ["mapping" | "pool", _, _]
        | ["pool", _, _, _]
        | ["sdn", "zones", _]
        | ["sdn", "zones", _, _] => true,
        ["vms", id] => id.len() >= 3 && is_number(id),
        ["sdn", kind] => is_sdn(kind),
        ["sdn", "controllers", name] => !name.contains('.'),
        ["sdn", kind, name] => is_sdn(kind) && alphanumeric(name),
        ["sdn", "zones", _, _, vlan] => vlan.len() <= 4 && is_number(vlan),
        _ => false,
    }
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0')
}

fn is_sdn(kind: &str) -> bool {
    const KINDS: [&str; 7] =
        ["controllers", "dns", "fabrics", "ipams", "prefix-lists", "route-maps", "zones"];
    KINDS.contains(&kind)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/", true)]
    #[case("/vms/100", true)]
    #[case("/vms/99", false)]
    #[case("/vms/0100", false)]
    #[case("/vms/100/x", false)]
    #[case("/pool/a/b/c", true)]
    #[case("/pool/a/b/c/d", false)]
    #[case("/access/realm/pve", true)]
    #[case("/access/users", false)]
    #[case("/sdn/zones/localnetwork/vmbr0/12", true)]
    #[case("/sdn/zones/localnetwork/vmbr0/x", false)]
    #[case("/sdn/dns/a-b", false)]
    #[case("/nowhere", false)]
    fn knows_where_something_can_be_granted(#[case] path: &str, #[case] known: bool) {
        assert_eq!(is_acl_path(path), known);
    }

    const CONFIG: &str = "user:ann@pve:1:0:::::\nuser:joe@pve:1:0:::::\nrole:Look:VM.Audit:\n\
        role:None::\nacl:1:/vms/100:ann@pve:PVEVMAdmin:\nacl:0:/vms/101:ann@pve:PVEVMAdmin:\n\
        acl:1:/:root@pam!x1:PVEAdmin:\n";

    #[rstest]
    #[case::within("/vms/100", "Look", true, None)]
    #[case::more(
        "/vms/100",
        "Administrator",
        true,
        Some(
            "Cannot add role 'Administrator' - requires 'Permissions.Modify' or superset of privileges."
        )
    )]
    #[case::below(
        "/vms/101",
        "Look",
        true,
        Some(
            "Cannot add role 'Look' with propagation - requires 'Permissions.Modify' or propagated superset of privileges."
        )
    )]
    #[case::here("/vms/101", "Look", false, None)]
    #[case::no_access(
        "/vms/100",
        "NoAccess",
        true,
        Some("Cannot add role 'NoAccess' - requires 'Permissions.Modify'")
    )]
    fn nobody_hands_out_more_than_they_hold(
        #[case] path: &str,
        #[case] role: &str,
        #[case] propagate: bool,
        #[case] refused: Option<&str>,
    ) {
        let mut config = UserConfig::parse(CONFIG);
        let change = AclChange {
            path: path.to_owned(),
            roles: vec![role.to_owned()],
            users: vec!["joe@pve".parse().unwrap()],
            propagate,
            ..AclChange::default()
        };
        let done = apply(&mut config, &"ann@pve".parse().unwrap(), &change);
        let text =
            refused.map(|text| format!("400 Parameter verification failed.\nrole: {text}\n"));
        assert_eq!(done.err().map(|err| err.to_string()), text);
        let joe = "joe@pve".parse().unwrap();
        assert_eq!(config.acl.at_mut(path).users.contains_key(&joe), refused.is_none());
    }
}
