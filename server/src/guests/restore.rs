//! Making a container from a backup. Which config and volumes it gets is `recovered`'s; this is the
//! work.
//!
//! PVE destroys the container that is overwritten before it unpacks, so a damaged archive costs it.
//! Here it stays until the new one is whole: the order on disk is journal, locked config, new
//! volumes, their content, all that to the disk, what is still to do into the journal, the new
//! config in place of the old, and only then the end of the old volumes. Up to the new config,
//! `undo_create` leads back, for the next daemon as for this one; from then on only forward, and
//! `settle_replaced` is that way.

use std::path::{Path, PathBuf};

use openapi::{Upid, Vmid, VolumeId};
use pve_integration::ct_config::{ConfigError, ContainerConfig, Locked};
use pve_integration::firewall;
use tokio_util::sync::CancellationToken;

use super::archive::Archive;
use super::change::{check_protection, is_owned};
use super::config::check_lock;
use super::create::{Arrival, LOCK, LOCK_TIMEOUT};
use super::disk::Source;
use super::journal::{Journal, Replacing, Worker};
use super::note::Note as _;
use super::operation::named_volumes;
use super::recovered::{Recovered, Remark, recover};
use super::volumes::Storages;
use super::{GuestError, Guests, Plan};
use crate::extract::Caller;
use crate::runtime::RuntimeError;
use crate::stats;
use crate::tasks::TaskLog;

/// Where PVE's archives have them.
const CONFIG: &str = "etc/vzdump/pct.conf";
const OPENVZ: &str = "etc/vzdump/vps.conf";
const FIREWALL: &str = "etc/vzdump/pct.fw";
/// No config comes near it.
const LARGEST: u64 = 4 << 20;

/// A request that was allowed.
#[derive(Clone)]
pub(crate) struct Restore {
    pub(crate) plan: Plan,
    /// A container of this number is there and may go.
    pub(crate) overwrite: bool,
    /// Each interface gets a new hardware address.
    pub(crate) unique: bool,
    /// How those addresses begin.
    pub(crate) mac_prefix: Option<String>,
    /// As asked for; else as the backup says.
    pub(crate) unprivileged: Option<bool>,
    /// Whether its firewall's rules come back, too.
    pub(crate) firewall: bool,
    /// What the backup's config takes is only known once it is read.
    pub(crate) caller: Caller,
}

/// What an archive tells of the container in it.
pub(super) struct Backup {
    path: PathBuf,
    pub(super) config: ContainerConfig,
    pub(super) firewall: Option<Vec<u8>>,
}

impl Guests {
    /// Whether there is such a container, which may then be overwritten.
    pub(crate) async fn check_overwrite(&self, vmid: Vmid) -> Result<bool, GuestError> {
        let entry = match self.entry(vmid).await {
            Ok(entry) => entry,
            Err(GuestError::Config(ConfigError::NotFound(..))) => return Ok(false),
            Err(err) => return Err(err),
        };
        self.require_stopped(vmid).await?;
        check_protection(&entry.config, &format!("unable to restore CT {vmid}"))?;
        Ok(true)
    }

    async fn require_stopped(&self, vmid: Vmid) -> Result<(), GuestError> {
        if self.is_running_now(vmid).await? {
            return Err(GuestError::die("can't overwrite running container"));
        }
        Ok(())
    }

    pub(crate) async fn restore(&self, restore: Restore) -> Result<Upid, GuestError> {
        let (vmid, overwrite) = (restore.plan.vmid, restore.overwrite);
        let storages = restore.plan.storages();
        let reserved = self.blocking(move |guests| {
            guests.reserve_restore(vmid, overwrite, &storages).map_err(|err| failed(vmid, err))
        });
        let journal = reserved.await?;
        let (guests, undo) = (self.clone(), journal.clone());
        let who = restore.caller.auth().clone();
        let spawned = self.task("vzrestore", vmid, &who, move |log, cancel| async move {
            guests.restore_now(restore, journal, &log, &cancel).await
        });
        if spawned.is_err() {
            self.blocking(move |guests| guests.undo_create(vmid, &undo)).await?;
        }
        spawned
    }

    /// As `reserve` of a create, but that the container may be there.
    pub(super) fn reserve_restore(
        &self,
        vmid: Vmid,
        overwrite: bool,
        storages: &[openapi::StorageId],
    ) -> Result<Journal, GuestError> {
        let known = Storages::read(&self.0.root, &self.0.node)?;
        let locked = if overwrite {
            let locked = Locked::open(&self.0.root, &self.0.node, vmid, LOCK_TIMEOUT)?;
            check_lock(&locked.config, &[])?;
            locked
        } else {
            Locked::create(&self.0.root, &self.0.node, vmid, LOCK_TIMEOUT)?
        };
        let journal = Journal { existing: overwrite, ..Journal::on(&known, vmid, storages)? };
        self.note_and_lock(vmid, locked, &journal)?;
        Ok(journal)
    }

    async fn restore_now(
        &self,
        restore: Restore,
        journal: Journal,
        log: &TaskLog,
        cancel: &CancellationToken,
    ) -> Result<(), GuestError> {
        let vmid = restore.plan.vmid;
        let arrival = Arrival::of(&restore.plan, "restored");
        if let Err(source) = self.rebuild(restore, &journal, log, cancel).await {
            let undone = self.blocking(move |guests| guests.undo_create(vmid, &journal)).await;
            if let Err(err) = undone {
                log.warn(format!("cleaning up after the failure failed as well: {err}"));
            }
            return Err(failed(vmid, source));
        }
        self.arrive(vmid, arrival, log, cancel).await
    }

    async fn rebuild(
        &self,
        restore: Restore,
        journal: &Journal,
        log: &TaskLog,
        cancel: &CancellationToken,
    ) -> Result<(), GuestError> {
        let vmid = restore.plan.vmid;
        // It may have been started between the request's check and the lock.
        self.require_stopped(vmid).await?;
        log.line(format!("recovering backed-up configuration from '{}'", restore.plan.archive));
        let (archive, task_log) = (restore.plan.archive.clone(), log.clone());
        let backup = self.blocking(move |guests| guests.read_backup(&archive, &task_log)).await?;
        let there = match journal.existing {
            true => Some(self.entry(vmid).await?),
            false => None,
        };
        let there = there.as_ref().map(|entry| &entry.config);
        let recovered = recover(&restore, &backup.config, there)?;
        let taken = there.map(named_volumes).unwrap_or_default();
        tell(&recovered.remarks, log);
        let (to_make, task_log) = (recovered.clone(), log.clone());
        let made = self.blocking(move |guests| guests.make(&to_make, &taken, vmid, &task_log));
        let mut config = made.await?;
        if cancel.is_cancelled() {
            return Err(RuntimeError::Cancelled.into());
        }
        log.line(format!("restoring '{}' now..", restore.plan.archive));
        log.line(format!("extracting archive '{}'", backup.path.display()));
        let (root, mut noted) = (self.0.root.clone(), journal.clone());
        let note = move |pid: u32| {
            let start = stats::init_start("/proc".as_ref(), pid).unwrap_or_default();
            noted.worker = Some(Worker { pid, start });
            noted.write(&root, vmid)
        };
        let filling = restore.plan.filling.clone();
        for name in filling.for_new_systems() {
            log.line(format!("{name} is not applied: the files in the backup stay as they are"));
        }
        let what = filling.unpacking_backup(backup.path, config.to_bytes());
        let unpacked = self.0.monitor.unpack(vmid, &what, log, cancel, note).await?;
        log.line("merging backed-up and given configuration..");
        tell(&recovered.merge(&mut config, &restore, &backup.config)?, log);
        unpacked.complete(&mut config);
        Plan::finish(&mut config, vmid);
        let rules = self.kept_rules(vmid, backup.firewall, restore.firewall, log);
        let (journal, template, task_log) = (journal.clone(), recovered.was_template, log.clone());
        self.blocking(move |guests| {
            if template {
                task_log.line("Convert restored container to template...");
                guests.make_base(&mut config)?;
            }
            guests.exchange(vmid, config, journal, rules, |text| task_log.warn(text))
        })
        .await
    }

    fn kept_rules(
        &self,
        vmid: Vmid,
        rules: Option<Vec<u8>>,
        allowed: bool,
        log: &TaskLog,
    ) -> Option<Vec<u8>> {
        let rules = rules.filter(|rules| !rules.is_empty())?;
        if allowed {
            return Some(rules);
        }
        log.line(
            "ignoring firewall config from backup archive, lacking API permission to modify \
             firewall.",
        );
        if firewall::is_there(&self.0.root, vmid) {
            log.line(format!(
                "old firewall configuration in '/etc/pve/firewall/{vmid}.fw' left in place!"
            ));
        }
        None
    }

    pub(super) fn read_backup(
        &self,
        archive: &Archive,
        log: &TaskLog,
    ) -> Result<Backup, GuestError> {
        let path = Storages::read(&self.0.root, &self.0.node)?.archive(archive)?;
        let find = |names: &[&str]| {
            let file = fs_err::File::open(&path).map_err(|err| GuestError::io("archive", err))?;
            // PVE's tar says what it stumbled over, and the search goes on without what it did not
            // find.
            let found = images::find(file, names, LARGEST).unwrap_or_else(|err| {
                log.line(err.to_string());
                None
            });
            Ok::<_, GuestError>(found)
        };
        let (name, bytes) = find(&[CONFIG, OPENVZ])?
            .ok_or_else(|| GuestError::die("ERROR: archive contains no configuration file"))?;
        if name == OPENVZ {
            return Err(GuestError::die("backups of OpenVZ containers are not supported"));
        }
        let config = ContainerConfig::parse(&bytes);
        for warning in config.warnings() {
            log.warn(format!("configuration in the backup: {warning}"));
        }
        let firewall = find(&[FIREWALL])?.map(|(_, bytes)| bytes);
        Ok(Backup { path, config, firewall })
    }

    /// The volumes, and the config that has them. `taken` are those of the container that is
    /// overwritten: filled again, they would be lost to it.
    fn make(
        &self,
        recovered: &Recovered,
        taken: &[VolumeId],
        vmid: Vmid,
        log: &TaskLog,
    ) -> Result<ContainerConfig, GuestError> {
        let storages = Storages::read(&self.0.root, &self.0.node)?;
        for disk in &recovered.disks {
            if let Source::Volume(volume) = &disk.source
                && taken.contains(volume)
            {
                return Err(GuestError::die(format!(
                    "volume '{volume}' is one of the container that is overwritten"
                )));
            }
        }
        let mut config = recovered.config.clone();
        storages.make_disks(&recovered.disks, vmid, &mut config, log)?;
        Ok(config)
    }

    fn make_base(&self, config: &mut ContainerConfig) -> Result<(), GuestError> {
        let storages = Storages::read(&self.0.root, &self.0.node)?;
        for (key, value, volume) in super::template::disks(config)? {
            let storage = storages.require(volume.storage())?;
            let (bytes, base) = (storage.size(&volume)?, storage.make_base(&volume)?);
            config.set(&key, super::disk::with_volume(&key, &value, &base, bytes)?);
            if base != volume {
                storages.free(&volume)?;
            }
        }
        config.set("template", "1");
        Ok(())
    }

    /// The moment at which the container becomes the one from the backup.
    pub(super) fn exchange(
        &self,
        vmid: Vmid,
        config: ContainerConfig,
        journal: Journal,
        firewall: Option<Vec<u8>>,
        warn: impl FnOnce(String),
    ) -> Result<(), GuestError> {
        self.flush(&journal)?;
        let mut locked = self.lock(vmid)?;
        if locked.config.lock() != Some(LOCK) {
            // Somebody took the lock away, and may have done anything to the container since.
            return Err(ConfigError::Modified.into());
        }
        let sealed = seal(&locked.config, &config, journal, firewall, vmid);
        sealed.write(&self.0.root, vmid).map_err(|err| GuestError::io("journal", err))?;
        locked.config = config;
        locked.save()?;
        // It is restored, whatever becomes of this; the next daemon tries again.
        if let Err(err) = self.settle_replaced(vmid, &locked, &sealed) {
            warn(format!("what was there before is not all removed: {err}"));
        }
        Ok(())
    }

    /// Not only this daemon may be cut off, but also the power: what the new container is made of is
    /// on the disk before the old one goes.
    fn flush(&self, journal: &Journal) -> Result<(), GuestError> {
        let storages = Storages::read(&self.0.root, &self.0.node)?;
        journal.storages().try_for_each(|storage| storages.flush(&storage))
    }

    /// The way on from the new config: what is left of the container that was there before goes.
    /// Without a word of that in the journal, nothing is left to do.
    pub(super) fn settle_replaced(
        &self,
        vmid: Vmid,
        locked: &Locked,
        journal: &Journal,
    ) -> Result<(), GuestError> {
        if let Some(Replacing { doomed, firewall }) = &journal.replacing {
            let mut oci = self.oci_config(vmid)?.unwrap_or_default();
            oci.forget_image();
            self.record_runtime(vmid, &locked.config, oci)?;
            if let Some(rules) = firewall {
                firewall::replace(&self.0.root, vmid, rules)?;
                // Once: what comes after may have to be tried again much later.
                let doomed = doomed.clone();
                let replacing = Some(Replacing { doomed, firewall: None });
                let rest = Journal { replacing, ..journal.clone() };
                rest.write(&self.0.root, vmid).map_err(|err| GuestError::io("journal", err))?;
            }
            let storages = Storages::read(&self.0.root, &self.0.node)?;
            let named = named_volumes(&locked.config);
            let doomed = doomed.iter().filter_map(|name| name.parse::<VolumeId>().ok());
            // A storage that nobody knows any more has nothing that could be removed.
            let known = |volume: &VolumeId| storages.section(volume.storage()).is_ok();
            for volume in doomed.filter(|volume| !named.contains(volume) && known(volume)) {
                storages.free(&volume)?;
            }
        }
        self.end_journal(vmid)
    }
}

/// That of a backup, if it can be read.
pub(super) fn backup_config(path: &Path) -> Option<ContainerConfig> {
    let (_, bytes) = images::find(fs_err::File::open(path).ok()?, &[CONFIG], LARGEST).ok()??;
    Some(ContainerConfig::parse(&bytes))
}

/// The journal of a restore that has all ready.
pub(super) fn seal(
    old: &ContainerConfig,
    new: &ContainerConfig,
    journal: Journal,
    firewall: Option<Vec<u8>>,
    vmid: Vmid,
) -> Journal {
    let kept = named_volumes(new);
    let mut doomed = named_volumes(old);
    doomed.retain(|volume| is_owned(volume, vmid) && !kept.contains(volume));
    let doomed = doomed.iter().map(ToString::to_string).collect();
    Journal { worker: None, replacing: Some(Replacing { doomed, firewall }), ..journal }
}

fn tell(remarks: &[Remark], log: &TaskLog) {
    for remark in remarks {
        match remark {
            Remark::Line(text) => log.line(text),
            Remark::Warning(text) => log.warn(text),
        }
    }
}

fn failed(vmid: Vmid, source: GuestError) -> GuestError {
    GuestError::Restoring { vmid, source: Box::new(source) }
}

#[cfg(test)]
mod tests;
