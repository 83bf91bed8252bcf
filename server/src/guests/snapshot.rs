//! Snapshots: the config's section, and a copy of each volume beside it. As `snapshot_create`,
//! `snapshot_delete` and `snapshot_rollback` of pve-guest-common's `PVE/AbstractConfig.pm`, but that
//! `dir` storages take snapshots here.

use std::time::{SystemTime, UNIX_EPOCH};

use openapi::answer::{ConfigAnswer, SnapshotRow};
use openapi::{AuthId, Upid, Vmid, VolumeId};
use pve_integration::ct_config::{ContainerConfig, MountSource, Section};
use pve_integration::storage::{Version, VolumeFormat};
use tokio_util::sync::CancellationToken;

use super::apply::add_unused;
use super::change::is_indexed;
use super::config::check_lock;
use super::lifecycle::Start;
use super::note::Note as _;
use super::operation::{Operation, copy};
use super::view::{self, Values};
use super::volumes::Storages;
use super::{GuestError, Guests};
use crate::runtime::pct::PctCall;
use crate::tasks::TaskLog;

/// What the section of a snapshot does not take over.
const NOT_KEPT: &[&str] = &["snapstate", "snaptime", "vmstate", "lock", "digest", "description"];

/// What a client asks of a guest's volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feature {
    Snapshot,
    Clone,
    Copy,
}

impl Guests {
    pub(crate) async fn snapshots(&self, vmid: Vmid) -> Result<Vec<SnapshotRow>, GuestError> {
        self.blocking(move |guests| {
            let entry = guests.read(vmid)?;
            let mut rows: Vec<_> =
                entry.config.snapshots().map(|(name, section)| row(name, section)).collect();
            rows.push(SnapshotRow {
                name: "current".to_owned(),
                description: "You are here!".to_owned(),
                digest: Some(entry.digest.to_string()),
                running: Some(u8::from(guests.is_running(vmid)?)),
                parent: entry.config.get("parent").map(str::to_owned),
                ..SnapshotRow::default()
            });
            Ok(rows)
        })
        .await
    }

    pub(crate) async fn snapshot_config(
        &self,
        vmid: Vmid,
        name: String,
    ) -> Result<ConfigAnswer, GuestError> {
        let entry = self.entry(vmid).await?;
        let mut config = view::config(&entry.config, &entry.digest, &Values::Snapshot(name))?;
        for key in ["digest", "lxc"] {
            config.0.remove(key);
        }
        Ok(config)
    }

    pub(crate) async fn describe_snapshot(
        &self,
        vmid: Vmid,
        name: String,
        description: String,
    ) -> Result<(), GuestError> {
        self.blocking(move |guests| {
            let mut locked = guests.lock(vmid)?;
            check_lock(&locked.config, &[])?;
            let mut section = section(&locked.config, &name)?.clone();
            section.set("description", description);
            locked.config.set_snapshot(&name, &section);
            locked.commit()?;
            Ok(())
        })
        .await
    }

    pub(crate) async fn has_feature(
        &self,
        vmid: Vmid,
        feature: Feature,
        snapshot: Option<String>,
    ) -> Result<bool, GuestError> {
        self.blocking(move |guests| {
            let entry = guests.read(vmid)?;
            let storages = Storages::read(&guests.0.root, &guests.0.node)?;
            let values = match &snapshot {
                Some(name) => section(&entry.config, name)?,
                None => entry.config.current(),
            };
            Ok(supports(values, &storages, feature, snapshot.as_deref()))
        })
        .await
    }

    pub(crate) fn snapshot(
        &self,
        vmid: Vmid,
        name: String,
        description: Option<String>,
        who: &AuthId,
    ) -> Result<Upid, GuestError> {
        if matches!(name.as_str(), "current" | "vzdump") {
            let text = format!("unable to use snapshot name '{name}' (reserved name)");
            return Err(GuestError::die(text));
        }
        let guests = self.clone();
        self.task("vzsnapshot", vmid, who, move |log, cancel| async move {
            if guests.is_pves(vmid).await? {
                let call = PctCall::Snapshot { vmid, name, description };
                return guests.pct(&call, &log, &cancel).await;
            }
            let (new, operation) = (name.clone(), Operation::new("snapshot"));
            let begun = operation.clone();
            let volumes = guests
                .blocking(move |guests| guests.prepare(vmid, &new, description, &begun))
                .await?;
            let work = guests.take(vmid, &name, volumes, &log, &cancel);
            let work = async { work.await.map(|()| operation.clone()) };
            guests.settled(vmid, operation.clone(), work).await
        })
    }

    /// The section is there before its copies, and `snapstate` says that they are not all there.
    fn prepare(
        &self,
        vmid: Vmid,
        name: &str,
        description: Option<String>,
        operation: &Operation,
    ) -> Result<Vec<VolumeId>, GuestError> {
        let mut locked = self.lock(vmid)?;
        if locked.config.template() {
            return Err(GuestError::die("you can't take a snapshot if it's a template"));
        }
        check_lock(&locked.config, &[])?;
        if locked.config.snapshot(name).is_some() {
            return Err(GuestError::die(format!("snapshot name '{name}' already used")));
        }
        let storages = Storages::read(&self.0.root, &self.0.node)?;
        if !supports(locked.config.current(), &storages, Feature::Snapshot, None) {
            return Err(GuestError::die("snapshot feature is not available"));
        }
        unlink_parent(&mut locked.config, name, None);
        let mut section = kept(locked.config.current());
        section.set("snapstate", "prepare");
        section.set("snaptime", now().to_string());
        if let Some(text) = description.filter(|text| !text.is_empty()) {
            section.set("description", text);
        }
        let volumes = volumes(&section);
        locked.config.set_snapshot(name, &section);
        self.begin(vmid, locked, operation)?;
        Ok(volumes)
    }

    async fn take(
        &self,
        vmid: Vmid,
        name: &str,
        volumes: Vec<VolumeId>,
        log: &TaskLog,
        cancel: &CancellationToken,
    ) -> Result<(), GuestError> {
        let frozen = self.is_running_now(vmid).await?;
        if frozen {
            self.0.supervised.suspend(vmid).await?;
            // Nobody writes now; what was written goes to the images.
            self.blocking(|_| {
                rustix::fs::sync();
                Ok(())
            })
            .await?;
        }
        let copied = self.copy_versions(volumes, Version::Current, name, log, cancel).await;
        if frozen && let Err(err) = self.0.supervised.resume(vmid).await {
            log.warn(format!("the container stands still: {err}"));
        }
        copied?;
        let name = name.to_owned();
        self.blocking(move |guests| {
            let mut locked = guests.lock(vmid)?;
            let mut done = section(&locked.config, &name)?.clone();
            done.remove("snapstate");
            locked.config.set_snapshot(&name, &done);
            locked.config.set("parent", name);
            locked.commit()?;
            Ok(())
        })
        .await
    }

    /// From the current state to snapshot `name`, or from it to the draft.
    pub(super) async fn copy_versions(
        &self,
        volumes: Vec<VolumeId>,
        from: Version<'_>,
        name: &str,
        log: &TaskLog,
        cancel: &CancellationToken,
    ) -> Result<(), GuestError> {
        let storages = Storages::read(&self.0.root, &self.0.node)?;
        for volume in volumes {
            let storage = storages.require(volume.storage())?;
            let to =
                if from == Version::Current { Version::Snapshot(name) } else { Version::Draft };
            let (from, to) = (storage.version(&volume, from)?, storage.version(&volume, to)?);
            log.line(format!("copying volume '{volume}'"));
            if to.format == VolumeFormat::Subvol {
                fs_err::create_dir(&to.path).map_err(|err| GuestError::io("snapshot", err))?;
            }
            copy(from.copy_to(&to.path), cancel).await?;
            storage.finish_copy(&to)?;
        }
        Ok(())
    }

    pub(crate) fn delete_snapshot(
        &self,
        vmid: Vmid,
        name: String,
        force: bool,
        who: &AuthId,
    ) -> Result<Upid, GuestError> {
        let guests = self.clone();
        self.task("vzdelsnapshot", vmid, who, move |log, cancel| async move {
            if guests.is_pves(vmid).await? {
                let call = PctCall::DeleteSnapshot { vmid, name, force };
                return guests.pct(&call, &log, &cancel).await;
            }
            guests
                .blocking(move |guests| guests.delete_snapshot_now(vmid, &name, force, &log))
                .await
        })
    }

    fn delete_snapshot_now(
        &self,
        vmid: Vmid,
        name: &str,
        force: bool,
        log: &TaskLog,
    ) -> Result<(), GuestError> {
        let mut locked = self.lock(vmid)?;
        let mut doomed = section(&locked.config, name)?.clone();
        check_lock(&locked.config, &[])?;
        if locked.config.template() {
            return Err(GuestError::die("you can't delete a snapshot if vm is a template"));
        }
        let storages = Storages::read(&self.0.root, &self.0.node)?;
        for volume in volumes(&doomed) {
            if !has_version(&storages, &volume, Version::Snapshot(name)) {
                let text = "can't delete snapshot for this image format";
                if !force {
                    return Err(GuestError::die(text));
                }
                log.line(text);
            }
        }
        doomed.set("snapstate", "delete");
        locked.config.set_snapshot(name, &doomed);
        let operation = Operation::new("snapshot-delete");
        self.begin(vmid, locked, &operation)?;
        self.settle(vmid, &operation)
    }

    pub(crate) fn rollback(
        &self,
        vmid: Vmid,
        name: String,
        start: bool,
        who: &AuthId,
    ) -> Result<Upid, GuestError> {
        let guests = self.clone();
        self.task("vzrollback", vmid, who, move |log, cancel| async move {
            if guests.is_pves(vmid).await? {
                let call = PctCall::Rollback { vmid, name, start };
                return guests.pct(&call, &log, &cancel).await;
            }
            guests.rollback_now(vmid, &name, &log, &cancel).await?;
            if start {
                guests.start_now(vmid, Start::default(), &log, &cancel).await?;
            }
            Ok(())
        })
    }

    async fn rollback_now(
        &self,
        vmid: Vmid,
        name: &str,
        log: &TaskLog,
        cancel: &CancellationToken,
    ) -> Result<(), GuestError> {
        let wanted = name.to_owned();
        self.blocking(move |guests| {
            let locked = guests.lock(vmid)?;
            guests.check_rollback(&locked.config, &wanted).map(drop)
        })
        .await?;
        if self.is_running_now(vmid).await? {
            self.stop_now(vmid, log, cancel).await?;
        }
        let (wanted, operation) = (name.to_owned(), Operation::new("rollback"));
        let begun = operation.clone();
        let volumes = self
            .blocking(move |guests| {
                let locked = guests.lock(vmid)?;
                let volumes = guests.check_rollback(&locked.config, &wanted)?;
                if guests.is_running(vmid)? {
                    let text = format!("unable to rollback vm {vmid}: vm is running");
                    return Err(GuestError::die(text));
                }
                guests.begin(vmid, locked, &begun)?;
                Ok(volumes)
            })
            .await?;
        let work = async {
            let from = Version::Snapshot(name);
            self.copy_versions(volumes, from, name, log, cancel).await?;
            let ready = Operation { restoring: Some(name.to_owned()), ..operation.clone() };
            ready.write(&self.0.root, vmid).map_err(|err| GuestError::io("journal", err))?;
            Ok(ready)
        };
        self.settled(vmid, operation.clone(), work).await
    }

    fn check_rollback(
        &self,
        config: &ContainerConfig,
        name: &str,
    ) -> Result<Vec<VolumeId>, GuestError> {
        if config.template() {
            return Err(GuestError::die("you can't rollback if vm is a template"));
        }
        let snapshot = section(config, name)?;
        if let Some(state) = snapshot.get("snapstate") {
            return Err(GuestError::die(format!(
                "unable to rollback to incomplete snapshot (snapstate = {state})"
            )));
        }
        check_lock(config, &[])?;
        let storages = Storages::read(&self.0.root, &self.0.node)?;
        let volumes = volumes(snapshot);
        for volume in &volumes {
            if !has_version(&storages, volume, Version::Snapshot(name)) {
                return Err(GuestError::die("can't rollback snapshot this image format"));
            }
        }
        Ok(volumes)
    }
}

fn row(name: &str, section: &Section) -> SnapshotRow {
    let text = |key: &str| section.get(key).map(str::to_owned);
    SnapshotRow {
        name: name.to_owned(),
        snaptime: Some(text("snaptime").and_then(|time| time.parse().ok()).unwrap_or_default()),
        description: text("description").unwrap_or_default(),
        parent: text("parent"),
        snapstate: text("snapstate"),
        ..SnapshotRow::default()
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

pub(super) fn section<'a>(
    config: &'a ContainerConfig,
    name: &str,
) -> Result<&'a Section, GuestError> {
    config.snapshot(name).ok_or_else(|| GuestError::NoSnapshot(name.to_owned()))
}

/// Of the disks, without what is only mounted there.
fn volumes(section: &Section) -> Vec<VolumeId> {
    section.volumes().iter().filter_map(|text| text.parse().ok()).collect()
}

fn has_version(storages: &Storages<'_>, volume: &VolumeId, version: Version<'_>) -> bool {
    storages.require(volume.storage()).is_ok_and(|storage| storage.has_version(volume, version))
}

/// As PVE: of every disk, or not at all; what is bound in from the host has no feature.
pub(super) fn supports(
    section: &Section,
    storages: &Storages<'_>,
    feature: Feature,
    snapshot: Option<&str>,
) -> bool {
    let points = section.mount_points().into_iter().filter_map(|(_, point)| point.ok());
    let mut points = section.rootfs().into_iter().chain(points);
    points.all(|point| {
        let MountSource::Volume(volume) = &point.source else { return false };
        let Ok(storage) = storages.require(volume.storage()) else { return false };
        let raw = storage.path_of(volume).is_ok_and(|place| place.format == VolumeFormat::Raw);
        match (feature, snapshot) {
            // A linked clone is a qcow2 image, which no container has.
            (Feature::Clone, _) => false,
            (Feature::Copy, None) => raw,
            (Feature::Snapshot, None) => storage.existing(volume).is_ok(),
            (Feature::Copy | Feature::Snapshot, Some(name)) => {
                storage.has_version(volume, Version::Snapshot(name))
            }
        }
    })
}

/// What a snapshot keeps of a config.
fn kept(current: &Section) -> Section {
    let mut section = Section::default();
    let keys =
        current.iter().filter(|(key, _)| !NOT_KEPT.contains(key) && !is_indexed(key, "unused"));
    keys.for_each(|(key, value)| section.set(key, value));
    section.set_lxc(current.lxc().to_vec());
    section
}

/// Whoever descends from `name` now descends from `parent`.
fn unlink_parent(config: &mut ContainerConfig, name: &str, parent: Option<&str>) {
    let relink = |section: &mut Section| {
        if section.get("parent") == Some(name) {
            match parent {
                Some(parent) => section.set("parent", parent),
                None => drop(section.remove("parent")),
            }
        }
    };
    let others: Vec<(String, Section)> = config
        .snapshots()
        .filter(|(other, section)| *other != name && section.get("parent") == Some(name))
        .map(|(other, section)| (other.to_owned(), section.clone()))
        .collect();
    for (other, mut section) in others {
        relink(&mut section);
        config.set_snapshot(&other, &section);
    }
}

/// Snapshots that were being made or deleted are no more.
pub(super) fn drop_unfinished(config: &mut ContainerConfig) {
    let unfinished: Vec<(String, Option<String>)> = config
        .snapshots()
        .filter(|(_, section)| section.get("snapstate").is_some())
        .map(|(name, section)| (name.to_owned(), section.get("parent").map(str::to_owned)))
        .collect();
    for (name, parent) in unfinished {
        unlink_parent(config, &name, parent.as_deref());
        if config.get("parent") == Some(&name) {
            match parent {
                Some(parent) => config.set("parent", parent),
                None => drop(config.remove("parent")),
            }
        }
        config.remove_snapshot(&name);
    }
}

/// The drafts take their places, and the snapshot's values that of the config's. What the snapshot
/// does not know of the volumes is unused then.
pub(super) fn restore(
    config: &mut ContainerConfig,
    storages: &Storages<'_>,
    name: &str,
    vmid: Vmid,
) -> Result<(), GuestError> {
    let snapshot = section(config, name)?.clone();
    for volume in volumes(&snapshot) {
        storages.require(volume.storage())?.put_in_place(&volume)?;
    }
    apply(config, &snapshot, name, vmid);
    Ok(())
}

fn apply(config: &mut ContainerConfig, snapshot: &Section, name: &str, vmid: Vmid) {
    let before = volumes(config.current());
    let mut next = kept(snapshot);
    let stay = |key: &str| is_indexed(key, "unused") || matches!(key, "description" | "lock");
    for (key, value) in config.current().iter().filter(|(key, _)| stay(key)) {
        next.set(key, value);
    }
    next.set("parent", name);
    *config.current_mut() = next;
    let after = volumes(config.current());
    for volume in before.iter().filter(|volume| !after.contains(volume)) {
        if super::change::is_owned(volume, vmid) {
            add_unused(config, volume);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &[u8] = b"#mine\nhostname: box\nmemory: 512\nmp0: local:100/vm-100-disk-1.raw,mp=/new\n\
        parent: s2\nrootfs: local:100/vm-100-disk-0.raw,size=1G\nunused0: local:100/vm-100-disk-7.raw\n\n\
        [s1]\n#first\nhostname: old\nmemory: 256\nrootfs: local:100/vm-100-disk-0.raw,size=1G\nsnaptime: 1\n\n\
        [s2]\nhostname: old\nmemory: 256\nparent: s1\nrootfs: local:100/vm-100-disk-0.raw,size=1G\nsnaptime: 2\n";

    fn config() -> ContainerConfig {
        ContainerConfig::parse(CONFIG)
    }

    #[test]
    fn a_snapshot_keeps_neither_description_nor_unused_volumes() {
        let kept = kept(config().current());

        let keys: Vec<&str> = kept.iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["hostname", "memory", "mp0", "parent", "rootfs"]);
    }

    #[test]
    fn going_back_keeps_the_description_and_loses_no_volume() {
        let mut config = config();
        let snapshot = config.snapshot("s1").unwrap().clone();

        apply(&mut config, &snapshot, "s1", "100".parse().unwrap());

        let of = |key: &str| config.get(key);
        assert_eq!(of("hostname"), Some("old"));
        assert_eq!(of("parent"), Some("s1"));
        assert_eq!(of("description"), Some("mine\n"));
        assert_eq!(of("mp0"), None);
        assert_eq!(of("unused0"), Some("local:100/vm-100-disk-7.raw"));
        assert_eq!(of("unused1"), Some("local:100/vm-100-disk-1.raw"));
        assert_eq!(of("snaptime"), None);
        assert_eq!(config.snapshots().count(), 2);
    }

    #[test]
    fn what_descended_from_a_deleted_one_descends_from_its_parent() {
        let mut config = config();
        let mut doomed = config.snapshot("s2").unwrap().clone();
        doomed.set("snapstate", "delete");
        config.set_snapshot("s2", &doomed);
        drop_unfinished(&mut config);
        assert_eq!(config.get("parent"), Some("s1"));

        let mut doomed = config.snapshot("s1").unwrap().clone();
        doomed.set("snapstate", "prepare");
        config.set_snapshot("s1", &doomed);
        drop_unfinished(&mut config);
        assert_eq!(config.get("parent"), None);
        assert_eq!(config.snapshots().count(), 0);
    }
}
