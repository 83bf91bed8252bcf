//! Roles of the installation; the built-in ones are nobody's to change.

use super::{EditError, edit};
use crate::access::roles::{Privileges, builtin};
use crate::layout::Root;

const KIND: &str = "role";

pub fn create_role(root: &Root, name: &str, privileges: Privileges) -> Result<(), EditError> {
    edit(root, "create role failed", |edit| {
        let roles = &mut edit.config.roles;
        if roles.contains_key(name) {
            return Err(EditError::Exists { kind: KIND, name: name.to_owned() });
        }
        roles.insert(name.to_owned(), privileges);
        Ok(())
    })
}

/// Without `append`, the role has the given privileges and no other.
pub fn update_role(
    root: &Root,
    name: &str,
    privileges: Privileges,
    append: bool,
) -> Result<(), EditError> {
    own(name, "modified")?;
    edit(root, "update role failed", |edit| {
        let role = edit.config.roles.get_mut(name);
        let role = role.ok_or_else(|| EditError::missing(KIND, name))?;
        if !append {
            role.clear();
        }
        role.extend(privileges);
        Ok(())
    })
}

/// Where it was granted it stays written, and means nothing.
pub fn delete_role(root: &Root, name: &str) -> Result<(), EditError> {
    own(name, "deleted")?;
    edit(root, "delete role failed", |edit| {
        let removed = edit.config.roles.remove(name);
        removed.map(drop).ok_or_else(|| EditError::missing(KIND, name))
    })
}

fn own(role: &str, what: &'static str) -> Result<(), EditError> {
    if builtin().contains_key(role) {
        return Err(EditError::BuiltinRole { role: role.to_owned(), what });
    }
    Ok(())
}
