//! Users.

use openapi::UserId;
use secrecy::SecretString;

use super::{EditError, edit, passwords, tfa};
use crate::access::{Realms, User, UserConfig};
use crate::layout::Root;

/// What a new user has, and what is changed of one that is there. `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct UserChange {
    pub enable: Option<bool>,
    pub expire: Option<u64>,
    pub firstname: Option<String>,
    pub lastname: Option<String>,
    pub email: Option<String>,
    pub comment: Option<String>,
    pub keys: Option<String>,
    pub groups: Option<Vec<String>>,
}

#[derive(Debug)]
pub struct NewUser {
    pub id: UserId,
    pub password: Option<SecretString>,
    pub settings: UserChange,
}

pub fn create_user(root: &Root, new: NewUser) -> Result<(), EditError> {
    let NewUser { id, password, settings } = new;
    edit(root, "create user failed", |edit| {
        let realms = passwords::realms(root)?;
        if let Some(known) = known_as(&edit.config, &realms, &id) {
            return Err(EditError::UserExists(known.clone()));
        }
        edit.config.users.insert(id.clone(), User { enable: true, ..User::default() });
        apply(&mut edit.config, &id, settings, true)?;
        // Last, so that a refused user leaves no password.
        match password {
            Some(password) => passwords::store(root, &realms, &id, &password),
            None => Ok(()),
        }
    })
}

/// With `append`, groups are added to those the user is in.
pub fn update_user(
    root: &Root,
    id: &UserId,
    change: UserChange,
    append: bool,
) -> Result<(), EditError> {
    edit(root, "update user failed", |edit| {
        edit.config.existing_user(id)?;
        apply(&mut edit.config, id, change, append)
    })
}

/// Also its tokens, password, second factors, memberships and ACL entries. One that is not there
/// is gone already, to PVE too.
pub fn delete_user(root: &Root, id: &UserId) -> Result<(), EditError> {
    edit(root, "delete user failed", |edit| {
        // Whatever fails below, nobody gets in without a password or a second factor.
        edit.config.users.entry(id.clone()).or_default().enable = false;
        edit.save()?;
        passwords::forget(root, id)?;
        tfa::forget(root, id)?;
        edit.config.users.remove(id);
        for group in edit.config.groups.values_mut() {
            group.users.remove(id);
        }
        edit.config.acl.each_mut(&mut |node| {
            node.users.remove(id);
        });
        Ok(())
    })
}

/// The user of that name, in realms that do not tell cases apart of any case.
fn known_as<'a>(config: &'a UserConfig, realms: &Realms, id: &UserId) -> Option<&'a UserId> {
    let sensitive = realms
        .get(id.realm())
        .and_then(|realm| realm.properties.get("case-sensitive"))
        .is_none_or(|value| value != "0");
    let wanted = id.as_str();
    config.users.keys().find(|known| {
        let known = known.as_str();
        known == wanted || (!sensitive && known.to_lowercase() == wanted.to_lowercase())
    })
}

fn apply(
    config: &mut UserConfig,
    id: &UserId,
    change: UserChange,
    append: bool,
) -> Result<(), EditError> {
    if let Some(groups) = change.groups {
        if !append {
            for group in config.groups.values_mut() {
                group.users.remove(id);
            }
        }
        for name in groups {
            let group = config.groups.get_mut(&name).ok_or(EditError::NoSuchGroup(name))?;
            group.users.insert(id.clone());
        }
    }
    let user = config.users.get_mut(id).ok_or_else(|| EditError::NoSuchUser(id.clone()))?;
    user.enable = change.enable.unwrap_or(user.enable);
    user.expire = change.expire.unwrap_or(user.expire);
    let texts = [
        (&mut user.firstname, change.firstname),
        (&mut user.lastname, change.lastname),
        (&mut user.email, change.email),
        (&mut user.comment, change.comment),
        (&mut user.keys, change.keys),
    ];
    for (text, new) in texts {
        if let Some(new) = new {
            *text = new;
        }
    }
    Ok(())
}
