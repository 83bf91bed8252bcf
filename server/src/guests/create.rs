//! Making a container: numbers and rights are checked at once, the work is a task. The order on disk
//! is: journal, locked config, volumes, content, final config, end of the journal. Whatever fails in
//! between is undone here, and by the next daemon if this one is killed (`recover`).

use std::path::PathBuf;
use std::time::Duration;

use openapi::{AuthId, StorageId, Upid, Vmid, VolumeId};
use pve_integration::bundle::Warning;
use pve_integration::ct_config::{ConfigError, ContainerConfig, Locked};
use pve_integration::firewall;
use pve_integration::oci_config::OciConfig;
use pve_integration::oci_image::{self, Said};
use tokio_util::sync::CancellationToken;

use super::journal::{Journal, Worker};
use super::lifecycle::Start;
use super::note::Note as _;
use super::volumes::Storages;
use super::{GuestError, Guests, Plan};
use crate::runtime::RuntimeError;
use crate::stats;
use crate::tasks::TaskLog;

/// PVE waits less for the lock of a container that is only to be.
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
pub(super) const LOCK: &str = "create";

/// What follows once the config is there.
pub(super) struct Arrival {
    pool: Option<String>,
    start: bool,
    ha_managed: bool,
    /// What was done to it, in a sentence.
    done: &'static str,
}

impl Arrival {
    pub(super) fn of(plan: &Plan, done: &'static str) -> Self {
        let (pool, ha_managed) = (plan.pool.clone(), plan.filling.ha_managed);
        Self { pool, start: plan.start, ha_managed, done }
    }
}

/// A number that is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) vmid: Vmid,
    pub(super) kind: &'static str,
    pub(super) node: openapi::NodeName,
}

impl Guests {
    /// The numbers of containers and virtual machines, on all nodes.
    pub(super) fn taken(&self) -> Result<Vec<Taken>, GuestError> {
        let nodes = self.0.root.etc_pve().join("nodes");
        let mut taken = Vec::new();
        for node in names(&nodes)? {
            let Ok(name) = node.parse::<openapi::NodeName>() else { continue };
            for (kind, dir) in [("CT", "lxc"), ("VM", "qemu-server")] {
                let files = names(&nodes.join(&node).join(dir))?;
                let vmids =
                    files.iter().filter_map(|file| file.strip_suffix(".conf")?.parse().ok());
                taken.extend(vmids.map(|vmid| Taken { vmid, kind, node: name.clone() }));
            }
        }
        Ok(taken)
    }

    pub(crate) async fn require_unused(&self, vmid: Vmid) -> Result<(), GuestError> {
        self.blocking(move |guests| {
            match guests.taken()?.into_iter().find(|taken| taken.vmid == vmid) {
                None => Ok(()),
                Some(Taken { kind, vmid, node }) => Err(GuestError::Taken { kind, vmid, node }),
            }
        })
        .await
    }

    /// That a storage is there, and takes containers.
    pub(crate) async fn check_storage(&self, id: StorageId) -> Result<(), GuestError> {
        self.blocking(move |guests| {
            Storages::read(&guests.0.root, &guests.0.node)?.require_rootdir(&id)
        })
        .await
    }

    /// That it can be used at once.
    pub(crate) async fn activate_storage(&self, id: StorageId) -> Result<(), GuestError> {
        self.blocking(move |guests| {
            Ok(Storages::read(&guests.0.root, &guests.0.node)?.require(&id)?.activate()?)
        })
        .await
    }

    pub(crate) async fn create(&self, plan: Plan, who: &AuthId) -> Result<Upid, GuestError> {
        let vmid = plan.vmid;
        let storages = plan.storages();
        let journal = self.blocking(move |guests| guests.reserve(vmid, &storages)).await?;
        let (guests, undo) = (self.clone(), journal.clone());
        let spawned = self.task("vzcreate", vmid, who, move |log, cancel| async move {
            guests.create_now(plan, journal, &log, &cancel).await
        });
        if spawned.is_err() {
            self.blocking(move |guests| guests.undo_create(vmid, &undo)).await?;
        }
        spawned
    }

    /// The number is ours once its config is there. The journal is older, so that no config is ever
    /// left that nobody knows to be half made.
    fn reserve(&self, vmid: Vmid, storages: &[StorageId]) -> Result<Journal, GuestError> {
        let known = Storages::read(&self.0.root, &self.0.node)?;
        let journal = Journal::on(&known, vmid, storages)?;
        let failed = |source: GuestError| GuestError::Creating { vmid, source: Box::new(source) };
        let locked = Locked::create(&self.0.root, &self.0.node, vmid, LOCK_TIMEOUT)
            .map_err(|err| failed(err.into()))?;
        self.note_and_lock(vmid, locked, &journal).map_err(failed)?;
        Ok(journal)
    }

    pub(super) fn note_and_lock(
        &self,
        vmid: Vmid,
        mut locked: Locked,
        journal: &Journal,
    ) -> Result<(), GuestError> {
        locked.config.set("lock", LOCK);
        journal.write(&self.0.root, vmid).map_err(|err| GuestError::io("journal", err))?;
        if let Err(err) = locked.commit() {
            self.end_journal(vmid)?;
            return Err(err.into());
        }
        Ok(())
    }

    async fn create_now(
        &self,
        plan: Plan,
        journal: Journal,
        log: &TaskLog,
        cancel: &CancellationToken,
    ) -> Result<(), GuestError> {
        let vmid = plan.vmid;
        let arrival = Arrival::of(&plan, "created");
        if let Err(source) = self.build(plan, &journal, log, cancel).await {
            let undone = self.blocking(move |guests| guests.undo_create(vmid, &journal)).await;
            if let Err(err) = undone {
                log.warn(format!("cleaning up after the failure failed as well: {err}"));
            }
            return Err(GuestError::Creating { vmid, source: Box::new(source) });
        }
        self.arrive(vmid, arrival, log, cancel).await
    }

    pub(super) async fn arrive(
        &self,
        vmid: Vmid,
        arrival: Arrival,
        log: &TaskLog,
        cancel: &CancellationToken,
    ) -> Result<(), GuestError> {
        self.join_pool(vmid, arrival.pool).await?;
        if arrival.start {
            let done = arrival.done;
            self.start_now(vmid, Start::default(), log, cancel).await.map_err(|err| {
                GuestError::die(format!("CT {vmid} was {done} but did not start - {err}"))
            })?;
        }
        if arrival.ha_managed {
            log.line("Add as HA resource");
            log.warn("no HA manager runs on this host: the container is not managed by one");
        }
        Ok(())
    }

    async fn build(
        &self,
        plan: Plan,
        journal: &Journal,
        log: &TaskLog,
        cancel: &CancellationToken,
    ) -> Result<(), GuestError> {
        let vmid = plan.vmid;
        let task_log = log.clone();
        let (filling, template) = (plan.filling.clone(), plan.archive.to_string());
        let bundle = plan.bundle.clone();
        if let Some(bundle) = &bundle {
            let line = |said: &Warning| format!("bundle: {}: {}", said.key, said.reason);
            bundle.notes.iter().for_each(|note| log.line(line(note)));
            bundle.warnings.iter().for_each(|warning| log.warn(line(warning)));
        }
        let (archive, mut config) =
            self.blocking(move |guests| guests.allocate(&plan, &task_log)).await?;
        let what = self.blocking(move |_| filling.unpacking(archive)).await?;
        if cancel.is_cancelled() {
            return Err(RuntimeError::Cancelled.into());
        }
        log.line(match what.image {
            true => "Detected OCI archive".to_owned(),
            false => format!("extracting archive '{}'", what.archive.display()),
        });
        let (root, mut journal) = (self.0.root.clone(), journal.clone());
        let note = move |pid: u32| {
            let start = stats::init_start("/proc".as_ref(), pid).unwrap_or_default();
            journal.worker = Some(Worker { pid, start });
            journal.write(&root, vmid)
        };
        let unpacked = self.0.monitor.unpack(vmid, &what, log, cancel, note).await?;
        let said = match (&unpacked.image, &bundle) {
            // It says more than its image's config does, and what it leaves out was left out there.
            (_, Some(_)) => oci_image::complete_application(&mut config),
            (Some(image), None) => image.apply(&mut config),
            (None, None) => Ok(Said::default()),
        };
        let said = said.map_err(|err| GuestError::die(err.to_string()))?;
        said.lines.into_iter().for_each(|line| log.line(line));
        said.warnings.into_iter().for_each(|line| log.warn(line));
        let digest = unpacked.image.as_ref().map(|image| image.digest.clone());
        unpacked.complete(&mut config);
        Plan::finish(&mut config, vmid);
        let mut oci = OciConfig::default();
        oci.set_image(&template, digest.as_deref());
        for (key, value) in bundle.iter().flat_map(|bundle| &bundle.oci) {
            oci.add(key, value);
        }
        self.blocking(move |guests| guests.finish(vmid, config, oci)).await
    }

    /// Make the volumes and write the config that the monitor unpacks by; still locked.
    fn allocate(
        &self,
        plan: &Plan,
        log: &TaskLog,
    ) -> Result<(PathBuf, ContainerConfig), GuestError> {
        let storages = Storages::read(&self.0.root, &self.0.node)?;
        let archive = storages.archive(&plan.archive)?;
        let mut config = plan.config.clone();
        storages.make_disks(&plan.disks, plan.vmid, &mut config, log)?;
        let mut locked = self.lock(plan.vmid)?;
        locked.config = config.clone();
        locked.config.set("lock", LOCK);
        locked.commit()?;
        Ok((archive, config))
    }

    /// The config without its lock is what makes it a container; from then on nothing is undone.
    /// `oci` is what is known of it beside; who runs it is recorded now, so that later rules change
    /// nothing.
    pub(super) fn finish(
        &self,
        vmid: Vmid,
        config: ContainerConfig,
        oci: OciConfig,
    ) -> Result<(), GuestError> {
        self.record_runtime(vmid, &config, oci)?;
        let mut locked = self.lock(vmid)?;
        locked.config = config;
        locked.commit()?;
        self.end_journal(vmid)
    }

    pub(super) fn end_journal(&self, vmid: Vmid) -> Result<(), GuestError> {
        Journal::remove(&self.0.root, vmid).map_err(|err| GuestError::io("journal", err))
    }

    /// Remove all that a create or a restore made and did not finish. What is left when this fails,
    /// the journal among it, is the next start's.
    pub(super) fn undo_create(&self, vmid: Vmid, journal: &Journal) -> Result<(), GuestError> {
        let mut locked = match self.lock(vmid) {
            Ok(locked) => locked,
            Err(GuestError::Config(ConfigError::NotFound(..))) => {
                self.undo_volumes(vmid, journal)?;
                return self.end_journal(vmid);
            }
            Err(err) => return Err(err),
        };
        if locked.config.lock() != Some(LOCK) {
            // It was finished, only the journal was not ended; or it had not begun.
            return self.settle_replaced(vmid, &locked, journal);
        }
        self.undo_volumes(vmid, journal)?;
        if journal.existing {
            // Without the lock, this note would read as if the new config were there.
            let undone = Journal { replacing: None, ..journal.clone() };
            undone.write(&self.0.root, vmid).map_err(|err| GuestError::io("journal", err))?;
            locked.config.remove("lock");
            locked.save()?;
        } else {
            self.remove_oci(vmid)?;
            firewall::remove(&self.0.root, vmid).map_err(|err| GuestError::io("firewall", err))?;
            locked.remove()?;
        }
        // The lock is let go of last: the next work's note is not ours to remove.
        self.end_journal(vmid)
    }

    fn undo_volumes(&self, vmid: Vmid, journal: &Journal) -> Result<(), GuestError> {
        let known = Storages::read(&self.0.root, &self.0.node)?;
        for storage in journal.storages() {
            let now: Vec<VolumeId> = known.volumes_of(&storage, vmid)?;
            for volume in now.iter().filter(|volume| !journal.before.contains(&volume.to_string()))
            {
                known.free(volume)?;
            }
        }
        Ok(())
    }

    pub(super) fn remove_oci(&self, vmid: Vmid) -> Result<(), GuestError> {
        match fs_err::remove_file(self.0.root.oci_config(&self.0.node, vmid)) {
            Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
                Err(GuestError::io("oci file", err))
            }
            Ok(()) | Err(_) => self.keep_unit(vmid, false),
        }
    }
}

/// Empty if there is no such directory.
fn names(dir: &std::path::Path) -> Result<Vec<String>, GuestError> {
    let entries = match fs_err::read_dir(dir) {
        Ok(entries) => entries,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(err) => return Err(GuestError::io("guests", err)),
    };
    Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}
