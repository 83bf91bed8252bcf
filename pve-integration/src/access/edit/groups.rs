//! Groups. Who is in them is set with the users.

use super::{EditError, edit};
use crate::access::Group;
use crate::layout::Root;

const KIND: &str = "group";

pub fn create_group(root: &Root, name: &str, comment: String) -> Result<(), EditError> {
    edit(root, "create group failed", |edit| {
        let groups = &mut edit.config.groups;
        if groups.contains_key(name) {
            return Err(EditError::Exists { kind: KIND, name: name.to_owned() });
        }
        groups.insert(name.to_owned(), Group { comment, ..Group::default() });
        Ok(())
    })
}

pub fn update_group(root: &Root, name: &str, comment: Option<String>) -> Result<(), EditError> {
    edit(root, "update group failed", |edit| {
        let group = edit.config.groups.get_mut(name);
        let group = group.ok_or_else(|| EditError::missing(KIND, name))?;
        if let Some(comment) = comment {
            group.comment = comment;
        }
        Ok(())
    })
}

/// Also what was granted to it.
pub fn delete_group(root: &Root, name: &str) -> Result<(), EditError> {
    edit(root, "delete group failed", |edit| {
        let removed = edit.config.groups.remove(name);
        removed.ok_or_else(|| EditError::missing(KIND, name))?;
        edit.config.acl.each_mut(&mut |node| {
            node.groups.remove(name);
        });
        Ok(())
    })
}
