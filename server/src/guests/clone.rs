//! Copying a container: all checks at once, the copying in a task. The source is locked with `disk`
//! while its volumes are read, the new one with `create` until it is whole. Both are noted before:
//! the new one as any that is being made, so that a killed daemon leaves nothing of it, the source
//! as one that is worked on.

use openapi::{AuthId, StorageId, Upid, Vmid, VolumeId};
use pve_integration::ct_config::{ContainerConfig, Locked, MountPoint, MountSource, Section};
use pve_integration::firewall;
use pve_integration::storage::{Allocation, Version, VolumeFormat};
use tokio_util::sync::CancellationToken;

use super::change::is_indexed;
use super::config::check_lock;
use super::copying::copy_paced;
use super::create::{LOCK, LOCK_TIMEOUT, Taken};
use super::disk::with_volume;
use super::journal::Journal;
use super::note::Note as _;
use super::operation::Operation;
use super::volumes::Storages;
use super::{GuestError, Guests, net, pve, snapshot};
use crate::runtime::pct::PctCall;
use crate::tasks::TaskLog;

/// What is not the new container's.
const NOT_COPIED: &[&str] = &["lock", "parent", "snapstate", "snaptime", "template"];

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct CloneRequest {
    pub(crate) source: Vmid,
    pub(crate) target: Vmid,
    pub(crate) snapshot: Option<String>,
    pub(crate) storage: Option<StorageId>,
    pub(crate) full: Option<bool>,
    pub(crate) hostname: Option<String>,
    pub(crate) description: Option<String>,
    /// A pool that is there.
    pub(crate) pool: Option<String>,
}

/// What there is to do.
#[derive(Clone, Debug)]
pub(crate) struct ClonePlan {
    request: CloneRequest,
    /// Without the disks.
    config: ContainerConfig,
    disks: Vec<Copied>,
    /// PVE makes it, and says itself what it cannot copy.
    pves: bool,
    /// KiB a second, for PVE.
    limit: Option<f64>,
}

#[derive(Clone, Debug, PartialEq)]
struct Copied {
    key: String,
    value: String,
    volume: VolumeId,
    storage: StorageId,
    /// KiB a second.
    limit: Option<f64>,
}

impl ClonePlan {
    fn new(
        request: CloneRequest,
        source: &ContainerConfig,
        running: bool,
        pves: bool,
    ) -> Result<Self, GuestError> {
        let full = request.full.unwrap_or(!source.template());
        if request.storage.is_some() && !full {
            return Err(GuestError::die("parameter 'storage' not allowed for linked clones"));
        }
        let section: &Section = match &request.snapshot {
            Some(name) => snapshot::section(source, name)?,
            None => source.current(),
        };
        let (mut config, mut disks) = (ContainerConfig::default(), Vec::new());
        for (key, value) in section.iter().filter(|(key, _)| !is_indexed(key, "unused")) {
            if key == "rootfs" || is_indexed(key, "mp") {
                let volume = match MountPoint::parse(key, value).map_err(GuestError::value)?.source
                {
                    MountSource::Volume(volume) => volume,
                    MountSource::Bind(_) | MountSource::Device(_) if pves => continue,
                    MountSource::Bind(_) => return Err(cannot_clone(key, "bind")),
                    MountSource::Device(_) => return Err(cannot_clone(key, "device")),
                };
                if !full && !pves {
                    return Err(GuestError::die(format!(
                        "Linked clone feature for '{volume}' is not available"
                    )));
                }
                if running && !pves && request.snapshot.is_none() {
                    return Err(GuestError::die(
                        "Full clone of a running container is only possible from a snapshot",
                    ));
                }
                let storage = request.storage.clone().unwrap_or_else(|| volume.storage().clone());
                disks.push(Copied {
                    key: key.to_owned(),
                    value: value.to_owned(),
                    volume,
                    storage,
                    limit: None,
                });
            } else if is_indexed(key, "net") {
                config.set(key, net::with_new_address(key, value, None)?);
            } else if !NOT_COPIED.contains(&key) {
                config.set(key, value);
            }
        }
        config.current_mut().set_lxc(section.lxc().to_vec());
        let given = [("hostname", &request.hostname), ("description", &request.description)];
        for (key, value) in given {
            if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
                config.set(key, value.as_str());
            }
        }
        Ok(Self { request, config, disks, pves, limit: None })
    }

    fn call(self) -> PctCall {
        let CloneRequest { source, target, full, .. } = self.request;
        let options = pve::options([
            ("snapname", self.request.snapshot),
            ("storage", self.request.storage.map(|storage| storage.to_string())),
            ("full", full.map(|full| u8::from(full).to_string())),
            ("hostname", self.request.hostname),
            ("description", self.request.description),
            ("pool", self.request.pool),
            ("bwlimit", self.limit.map(|limit| limit.to_string())),
        ]);
        PctCall::Clone { vmid: source, to: target, options }
    }

    /// Those that get a volume.
    pub(crate) fn storages(&self) -> Vec<StorageId> {
        let mut storages: Vec<_> = self.disks.iter().map(|disk| disk.storage.clone()).collect();
        storages.sort();
        storages.dedup();
        storages
    }

    /// `limit` tells how fast a copy between storages may be for who `asked` for so many KiB a second.
    pub(crate) fn limit_by(
        &mut self,
        asked: Option<f64>,
        limit: impl Fn(&[StorageId]) -> Option<f64>,
    ) {
        if self.pves {
            // Who is not asked for a limit knows PVE's own.
            self.limit = asked.and_then(|_| limit(&self.storages()));
            return;
        }
        for disk in &mut self.disks {
            disk.limit = limit(&[disk.volume.storage().clone(), disk.storage.clone()]);
        }
    }

    pub(crate) fn nets(&self) -> Vec<&str> {
        let config = self.config.current().iter();
        config.filter(|(key, _)| is_indexed(key, "net")).map(|(_, value)| value).collect()
    }
}

fn cannot_clone(key: &str, kind: &str) -> GuestError {
    GuestError::die(format!("unable to clone mountpoint '{key}' (type {kind})"))
}

impl Guests {
    /// That a storage is there and in use.
    pub(crate) async fn require_storage(
        &self,
        source: Vmid,
        storage: StorageId,
    ) -> Result<(), GuestError> {
        let pves = self.is_pves(source).await?;
        self.blocking(move |guests| {
            let known = Storages::read(&guests.0.root, &guests.0.node)?;
            if pves {
                return Ok(known.section(&storage).map(drop)?);
            }
            Ok(known.require(&storage).map(drop)?)
        })
        .await
    }

    pub(crate) async fn plan_clone(&self, request: CloneRequest) -> Result<ClonePlan, GuestError> {
        let pves = self.is_pves(request.source).await?;
        self.blocking(move |guests| {
            let entry = guests.read(request.source)?;
            check_lock(&entry.config, &[])?;
            let taken = guests.taken()?.into_iter().find(|taken| taken.vmid == request.target);
            if let Some(Taken { kind, vmid, node }) = taken {
                return Err(GuestError::Taken { kind, vmid, node });
            }
            let running = guests.is_running(request.source)?;
            ClonePlan::new(request, &entry.config, running, pves)
        })
        .await
    }

    pub(crate) async fn clone_guest(
        &self,
        plan: ClonePlan,
        who: &AuthId,
    ) -> Result<Upid, GuestError> {
        let (source, target) = (plan.request.source, plan.request.target);
        if plan.pves {
            return self.pct_task("vzclone", source, who, plan.call());
        }
        let reserved = plan.clone();
        let (operation, journal) =
            self.blocking(move |guests| guests.reserve_clone(&reserved)).await?;
        let (guests, begun, undo) = (self.clone(), operation.clone(), journal.clone());
        let spawned = self.task("vzclone", source, who, move |log, cancel| async move {
            guests.clone_now(plan, begun, journal, &log, &cancel).await
        });
        if spawned.is_err() {
            self.blocking(move |guests| {
                guests.undo_create(target, &undo)?;
                guests.settle(source, &operation)
            })
            .await?;
        }
        spawned
    }

    fn reserve_clone(&self, plan: &ClonePlan) -> Result<(Operation, Journal), GuestError> {
        let (source, target) = (plan.request.source, plan.request.target);
        let locked = self.lock(source)?;
        check_lock(&locked.config, &[])?;
        let operation = Operation::new("disk");
        self.begin(source, locked, &operation)?;
        let reserved = self.reserve_target(plan, target);
        if reserved.is_err() {
            self.settle(source, &operation)?;
        }
        Ok((operation, reserved?))
    }

    fn reserve_target(&self, plan: &ClonePlan, target: Vmid) -> Result<Journal, GuestError> {
        let known = Storages::read(&self.0.root, &self.0.node)?;
        let mut journal = Journal::default();
        for storage in plan.storages() {
            let before = known.volumes_of(&storage, target)?;
            journal.before.extend(before.iter().map(ToString::to_string));
            journal.storages.push(storage.to_string());
        }
        let mut locked = Locked::create(&self.0.root, &self.0.node, target, LOCK_TIMEOUT)?;
        locked.config = plan.config.clone();
        locked.config.set("lock", LOCK);
        journal.write(&self.0.root, target).map_err(|err| GuestError::io("journal", err))?;
        if let Err(err) = locked.commit() {
            self.end_journal(target)?;
            return Err(err.into());
        }
        Ok(journal)
    }

    async fn clone_now(
        &self,
        plan: ClonePlan,
        operation: Operation,
        journal: Journal,
        log: &TaskLog,
        cancel: &CancellationToken,
    ) -> Result<(), GuestError> {
        let (source, target) = (plan.request.source, plan.request.target);
        let pool = plan.request.pool.clone();
        log.line(format!("creating a clone of container {source} with ID {target}"));
        let work = async {
            self.blocking(move |guests| Ok(firewall::copy(&guests.0.root, source, target)?))
                .await?;
            let config = self.copy_disks(plan, log, cancel).await?;
            self.blocking(move |guests| {
                let oci = guests.oci_config(source)?.unwrap_or_default();
                guests.finish(target, config, oci)
            })
            .await?;
            Ok(operation.clone())
        };
        let done = self.settled(source, operation.clone(), work).await;
        let Err(err) = done else { return self.join_pool(target, pool).await };
        let undone = self.blocking(move |guests| guests.undo_create(target, &journal)).await;
        if let Err(err) = undone {
            log.warn(format!("cleaning up after the failure failed as well: {err}"));
        }
        Err(GuestError::die(format!("clone failed: {err}")))
    }

    async fn copy_disks(
        &self,
        plan: ClonePlan,
        log: &TaskLog,
        cancel: &CancellationToken,
    ) -> Result<ContainerConfig, GuestError> {
        let ClonePlan { request, mut config, disks, .. } = plan;
        let storages = Storages::read(&self.0.root, &self.0.node)?;
        for disk in disks {
            log.line(format!("create full clone of mountpoint {} ({})", disk.key, disk.volume));
            let version = request.snapshot.as_deref().map_or(Version::Current, Version::Snapshot);
            let copies = Copies { storages: &storages, limit: disk.limit, cancel };
            let to = (&disk.storage, request.target);
            let (volume, bytes) = copies.copy_volume((&disk.volume, version), to).await?;
            config.set(&disk.key, with_volume(&disk.key, &disk.value, &volume, bytes)?);
        }
        Ok(config)
    }
}

/// How volumes are copied.
pub(super) struct Copies<'a> {
    pub(super) storages: &'a Storages<'a>,
    /// KiB a second.
    pub(super) limit: Option<f64>,
    pub(super) cancel: &'a CancellationToken,
}

impl Copies<'_> {
    /// A volume of `to` with what `from` holds; and its size.
    pub(super) async fn copy_volume(
        &self,
        from: (&VolumeId, Version<'_>),
        to: (&StorageId, Vmid),
    ) -> Result<(VolumeId, u64), GuestError> {
        let (volume, version) = from;
        let source = self.storages.require(volume.storage())?;
        if version == Version::Current {
            source.existing(volume)?;
        }
        let place = source.version(volume, version)?;
        let subvol = place.format == VolumeFormat::Subvol;
        let target = self.storages.require(to.0)?;
        let made = target.allocate(to.1, Allocation::Copy { subvol }, (0, 0))?;
        let there = target.path_of(&made)?;
        let copied = async {
            copy_paced(&place, &there.path, self.limit, self.cancel).await?;
            target.finish_copy(&there)?;
            Ok(target.size(&made)?)
        };
        match copied.await {
            Ok(bytes) => Ok((made, bytes)),
            Err(err) => {
                // The first failure is the one to tell, and the journal knows of the volume.
                drop(target.free(&made));
                Err(err)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const SOURCE: &[u8] = b"#about\nhostname: box\nmemory: 512\n\
        mp0: local:100/vm-100-disk-1.raw,mp=/data,size=1G\n\
        net0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:01,type=veth\nparent: s1\n\
        rootfs: local:100/vm-100-disk-0.raw,size=1G\nunused0: local:100/vm-100-disk-9.raw\n\
        lxc.cap.drop: sys_admin\n\n\
        [s1]\nhostname: old\nmemory: 256\nrootfs: local:100/vm-100-disk-0.raw,size=1G\nsnaptime: 1\n";

    fn request() -> CloneRequest {
        CloneRequest {
            source: "100".parse().unwrap(),
            target: "200".parse().unwrap(),
            snapshot: None,
            storage: None,
            full: None,
            hostname: None,
            description: None,
            pool: None,
        }
    }

    fn plan(request: CloneRequest, running: bool) -> Result<ClonePlan, GuestError> {
        ClonePlan::new(request, &ContainerConfig::parse(SOURCE), running, false)
    }

    #[test]
    fn copies_all_but_what_is_the_sources_own() {
        let plan =
            plan(CloneRequest { hostname: Some("new".to_owned()), ..request() }, false).unwrap();

        let keys: Vec<&str> = plan.config.current().iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["description", "hostname", "memory", "net0"]);
        assert_eq!(plan.config.get("hostname"), Some("new"));
        assert_eq!(plan.config.current().lxc().len(), 1);
        assert_eq!(
            plan.disks.iter().map(|d| d.key.as_str()).collect::<Vec<_>>(),
            ["mp0", "rootfs"]
        );
        let net = plan.nets()[0];
        assert!(net.contains("bridge=vmbr0") && !net.contains("BC:24:11:00:00:01"), "{net}");
    }

    #[test]
    fn of_a_snapshot_it_copies_the_snapshots_values() {
        let request = CloneRequest { snapshot: Some("s1".to_owned()), ..request() };

        let plan = plan(request, true).unwrap();

        assert_eq!(plan.config.get("memory"), Some("256"));
        assert_eq!(plan.config.get("snaptime"), None);
        assert_eq!(plan.disks.len(), 1);
    }

    #[rstest]
    #[case::linked(
        CloneRequest { full: Some(false), ..request() }, false,
        "Linked clone feature for 'local:100/vm-100-disk-1.raw' is not available"
    )]
    #[case::linked_elsewhere(
        CloneRequest { full: Some(false), storage: Some("other".parse().unwrap()), ..request() }, false,
        "parameter 'storage' not allowed for linked clones"
    )]
    #[case::no_snapshot(
        CloneRequest { snapshot: Some("zz".to_owned()), ..request() }, false,
        "snapshot 'zz' does not exist"
    )]
    #[case::running(
        request(),
        true,
        "Full clone of a running container is only possible from a snapshot"
    )]
    fn refuses(#[case] request: CloneRequest, #[case] running: bool, #[case] message: &str) {
        assert_eq!(plan(request, running).unwrap_err().to_string(), message);
    }

    #[test]
    fn a_bind_mount_cannot_be_copied() {
        let config = ContainerConfig::parse(b"mp3: /srv,mp=/srv\n");
        let err = ClonePlan::new(request(), &config, false, false).unwrap_err();
        assert_eq!(err.to_string(), "unable to clone mountpoint 'mp3' (type bind)");
    }
}
