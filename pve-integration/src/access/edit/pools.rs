//! Pools: guests and storages under one name, with rights given to all of them at once.

use openapi::{AuthId, Privilege, StorageId, Vmid};

use super::{Edit, EditError, edit};
use crate::access::{Pool, UserConfig};
use crate::layout::Root;

const KIND: &str = "pool";

/// `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct PoolChange {
    pub comment: Option<String>,
    pub vms: Vec<Vmid>,
    pub storage: Vec<StorageId>,
    /// Take a guest out of the pool it is in.
    pub allow_move: bool,
    /// Remove the members instead of adding them.
    pub delete: bool,
}

/// What there is, as a pool may name what is gone.
#[derive(Clone, Copy)]
pub struct Inventory<'a> {
    pub guest: &'a dyn Fn(u64) -> bool,
    pub storage: &'a dyn Fn(&str) -> bool,
}

pub fn create_pool(root: &Root, name: &str, comment: String) -> Result<(), EditError> {
    edit(root, "create pool failed", |edit| {
        let pools = &mut edit.config.pools;
        if pools.contains_key(name) {
            return Err(EditError::Exists { kind: KIND, name: name.to_owned() });
        }
        let leaf = match name.rsplit_once('/') {
            Some((parent, _)) if !pools.contains_key(parent) => {
                let (parent, pool) = (parent.to_owned(), name.to_owned());
                return Err(EditError::NoParentPool { parent, pool });
            }
            Some((_, leaf)) => leaf,
            None => name,
        };
        if !leaf.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Err(EditError::PoolName);
        }
        pools.insert(name.to_owned(), Pool { comment, ..Pool::default() });
        Ok(())
    })
}

/// A guest that was just made. A pool that is gone is not missed.
pub fn add_guest_to_pool(root: &Root, vmid: Vmid, name: &str) -> Result<(), EditError> {
    let run = || {
        let mut edit = Edit::open(root)?;
        let pool = edit.config.pools.get_mut(name);
        let joined = pool.is_some_and(|pool| pool.vms.insert(u64::from(vmid.get())));
        if joined { edit.save() } else { Ok(()) }
    };
    run().map_err(|cause| EditError::during(format!("can't add VM {vmid} to pool '{name}'"), cause))
}

/// Whoever adds or removes a member must be able to give rights on it.
pub fn change_pool(
    root: &Root,
    who: &AuthId,
    name: &str,
    change: &PoolChange,
) -> Result<(), EditError> {
    edit(root, "update pools failed", |edit| apply(&mut edit.config, who, name, change))
}

fn apply(
    config: &mut UserConfig,
    who: &AuthId,
    name: &str,
    change: &PoolChange,
) -> Result<(), EditError> {
    if let Some(comment) = &change.comment {
        pool(config, name)?.comment.clone_from(comment);
    } else {
        pool(config, name)?;
    }
    for vmid in &change.vms {
        let id = u64::from(vmid.get());
        config.check_modify_acl(who, &format!("/vms/{vmid}"))?;
        if change.delete {
            if !pool(config, name)?.vms.remove(&id) {
                return Err(EditError::GuestNotMember(*vmid));
            }
            continue;
        }
        let mut pools = config.pools.iter();
        let current = pools.find(|(_, pool)| pool.vms.contains(&id)).map(|(pool, _)| pool.clone());
        match current {
            Some(current) if current == name => return Err(EditError::GuestIsMember(*vmid)),
            Some(pool) if !change.allow_move => {
                return Err(EditError::GuestInOtherPool { vmid: *vmid, pool });
            }
            Some(current) => {
                config.check(
                    who,
                    &format!("/pool/{current}"),
                    &[Privilege::PoolAllocate],
                    false,
                )?;
                pool(config, &current)?.vms.remove(&id);
            }
            None => {}
        }
        pool(config, name)?.vms.insert(id);
    }
    for storage in &change.storage {
        config.check_modify_acl(who, &format!("/storage/{storage}"))?;
        let members = &mut pool(config, name)?.storage;
        if change.delete {
            if !members.remove(storage.as_str()) {
                return Err(EditError::StorageNotMember(storage.clone()));
            }
        } else if !members.insert(storage.to_string()) {
            return Err(EditError::StorageIsMember(storage.clone()));
        }
    }
    Ok(())
}

fn pool<'a>(config: &'a mut UserConfig, name: &str) -> Result<&'a mut Pool, EditError> {
    config.pools.get_mut(name).ok_or_else(|| EditError::missing(KIND, name))
}

/// An empty pool, and what was granted on it.
pub fn delete_pool(root: &Root, name: &str, there: Inventory<'_>) -> Result<(), EditError> {
    edit(root, "delete pool failed", |edit| {
        let config = &mut edit.config;
        let found = config.pools.get(name).ok_or_else(|| EditError::missing(KIND, name))?;
        let parent = format!("{name}/");
        let below = config.pools.keys().find(|pool| pool.starts_with(&parent));
        let mut vms: Vec<String> =
            found.vms.iter().filter(|id| (there.guest)(**id)).map(u64::to_string).collect();
        vms.sort_unstable(); // the one Perl would name
        let member = below
            .map(|pool| format!("pool '{pool}'"))
            .or_else(|| vms.first().map(|vmid| format!("VM {vmid}")))
            .or_else(|| {
                let mut storages = found.storage.iter();
                let storage = storages.find(|storage| (there.storage)(storage))?;
                Some(format!("storage '{storage}'"))
            });
        if let Some(member) = member {
            return Err(EditError::PoolNotEmpty { pool: name.to_owned(), member });
        }
        config.pools.remove(name);
        // Upstream forgets those of a pool below another, and a new one of its name would have them.
        let (parents, leaf) = name.rsplit_once('/').unwrap_or(("", name));
        config.acl.at_mut(&format!("/pool/{parents}")).children.remove(leaf);
        Ok(())
    })
}
