//! Reading and changing a guest's config. What a change means is `change`'s, how a config is shown
//! `view`'s.

use std::sync::Arc;

use openapi::Vmid;
use openapi::answer::{ConfigAnswer, PendingRow};
use pve_integration::ct_config::{ConfigError, ContainerConfig, Entry, LOCK_TIMEOUT, Locked};

use super::change::{Change, Facts};
use super::here::Here;
use super::view::{self, Values};
use super::volumes::Storages;
use super::{GuestError, Guests};

impl Guests {
    /// A `stat` and, after a change, one small file: done at once, for a hop to another thread costs
    /// more.
    pub(crate) async fn entry(&self, vmid: Vmid) -> Result<Arc<Entry>, GuestError> {
        self.read(vmid)
    }

    pub(super) fn read(&self, vmid: Vmid) -> Result<Arc<Entry>, GuestError> {
        Ok(self.0.configs.get(&self.0.root, &self.0.node, vmid)?)
    }

    pub(crate) async fn config(
        &self,
        vmid: Vmid,
        values: &Values,
    ) -> Result<ConfigAnswer, GuestError> {
        let entry = self.entry(vmid).await?;
        view::config(&entry.config, &entry.digest, values)
    }

    pub(crate) async fn pending(&self, vmid: Vmid) -> Result<Vec<PendingRow>, GuestError> {
        let entry = self.entry(vmid).await?;
        Ok(view::pending_rows(&entry.config, &entry.digest))
    }

    /// The config that a change would meet, if it may be changed at all: for checks of privileges
    /// that depend on it. `change` makes sure again.
    pub(crate) async fn changeable(
        &self,
        vmid: Vmid,
        digest: Option<&str>,
    ) -> Result<Arc<Entry>, GuestError> {
        let entry = self.entry(vmid).await?;
        check_lock(&entry.config, &[])?;
        match digest {
            Some(digest) if digest != entry.digest.as_str() => Err(ConfigError::Modified.into()),
            Some(_) | None => Ok(entry),
        }
    }

    /// Applied at once if the container is stopped, else as far as it goes.
    pub(crate) async fn change(
        &self,
        vmid: Vmid,
        change: Change,
        digest: Option<String>,
    ) -> Result<(), GuestError> {
        if self.is_pves(vmid).await? {
            return self.change_by_pct(vmid, change, digest).await;
        }
        self.blocking(move |guests| guests.change_blocking(vmid, &change, digest.as_deref())).await
    }

    pub(super) fn change_blocking(
        &self,
        vmid: Vmid,
        change: &Change,
        digest: Option<&str>,
    ) -> Result<(), GuestError> {
        let mut locked = self.lock(vmid)?;
        check_lock(&locked.config, &[])?;
        if let Some(digest) = digest {
            locked.check_digest(digest)?;
        }
        change.check_names()?;
        if let Some(script) = change.set.get("hookscript") {
            Storages::read(&self.0.root, &self.0.node)?.hookscript(script)?;
        }
        let running = self.is_running(vmid)?;
        let (cgroup_v2, host_cpus) = (self.0.cgroup_v2, self.0.host_cpus);
        let facts = Facts { vmid, running, cgroup_v2, host_cpus };
        let mut here = Here::new(self, vmid, &locked.config)?;
        let before = locked.config.clone();
        let applied = change.apply(&mut locked.config, facts, &mut here);
        here.conclude(locked, before, applied)
    }

    pub(super) fn lock(&self, vmid: Vmid) -> Result<Locked, GuestError> {
        Ok(Locked::open(&self.0.root, &self.0.node, vmid, LOCK_TIMEOUT)?)
    }
}

/// PVE's `lock:` stops whoever does not tolerate it.
pub(super) fn check_lock(config: &ContainerConfig, tolerated: &[&str]) -> Result<(), GuestError> {
    match config.lock() {
        Some(lock) if !lock.is_empty() && !tolerated.contains(&lock) => {
            Err(GuestError::Locked(lock.to_owned()))
        }
        Some(_) | None => Ok(()),
    }
}
