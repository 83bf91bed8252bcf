//! New containers that are PVE's own: `pct create` and `pct restore`. Which ones those are is decided
//! as for any other container, before there is one; what the caller may is checked by then, but for
//! what only a backup tells: `pct` is root and restores all of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use images::oci::Layout;
use openapi::{AuthId, StorageId, Upid, Vmid};
use pve_integration::atomic;
use pve_integration::ct_config::ContainerConfig;
use pve_integration::oci_config::{ChosenBy, OciConfig, RuntimeKind};
use serde_json::{Map, Value};

use super::super::change::{Change, text};
use super::super::lifecycle::Start;
use super::super::recovered::recover;
use super::super::restore::{Backup, backup_config};
use super::super::volumes::Storages;
use super::super::{GuestError, Guests, Plan, Restore};
use super::without_nul;
use crate::runtime::pct::{Creation, PctCall};

/// Of the request, what is no option of the command: known by its place, or told otherwise.
const NO_OPTIONS: &[&str] =
    &["bwlimit", "node", "ostemplate", "password", "restore", "ssh-public-keys", "vmid"];

/// What the task does.
struct Work {
    creation: Creation,
    ssh_keys: Option<String>,
    /// Cannot be told to `pct`, and so is set once the container is there.
    rest: BTreeMap<String, String>,
    start: bool,
}

impl Work {
    fn of(plan: &Plan, params: &Map<String, Value>, restore: bool) -> Self {
        let named = params.iter().filter(|(name, _)| !NO_OPTIONS.contains(&name.as_str()));
        let options = named.map(|(name, value)| (name.clone(), text(value))).collect();
        let (mut options, rest) = without_nul(options);
        if let Some(limit) = plan.filling.bwlimit() {
            options.insert("bwlimit".to_owned(), limit.to_string());
        }
        let start = !rest.is_empty() && options.remove("start").as_deref() == Some("1");
        let (password, ssh_keys) = plan.filling.secrets();
        let (vmid, archive) = (plan.vmid, plan.archive.to_string());
        let creation = Creation { vmid, archive, restore, options, password, ssh_keys: None };
        Self { creation, ssh_keys, rest, start }
    }
}

impl Guests {
    /// Whether PVE is to make it. `overwrite`: one of this number is there.
    pub(crate) async fn makes_by_pct(
        &self,
        plan: &Plan,
        restore: bool,
        overwrite: bool,
    ) -> Result<bool, GuestError> {
        if self.0.runtimes.pct().is_none() {
            return Ok(false);
        }
        let plan = plan.clone();
        self.blocking(move |guests| {
            if overwrite {
                return Ok(guests.choice(plan.vmid)?.runtime == RuntimeKind::Lxc);
            }
            let storages = Storages::read(&guests.0.root, &guests.0.node)?;
            let path = storages.archive(&plan.archive).ok();
            let mut config = plan.config.clone();
            if let Some(backup) =
                path.as_ref().filter(|_| restore).and_then(|path| backup_config(path))
            {
                for (key, value) in backup.current().iter() {
                    if config.get(key).is_none() {
                        config.set(key, value);
                    }
                }
            }
            let mut oci = OciConfig::default();
            oci.set_image(&plan.archive.to_string(), None);
            let choice = guests.choose(plan.vmid, &config, &oci);
            if choice.by == ChosenBy::Rule {
                return Ok(choice.runtime == RuntimeKind::Lxc);
            }
            let image = !restore && path.is_some_and(is_image);
            let ours = choice.runtime == RuntimeKind::Crun || image;
            // Nobody asked for crun, and PVE can put volumes where we cannot.
            let elsewhere = plan.storages().iter().any(|id| storages.require(id).is_err());
            Ok(!ours || elsewhere)
        })
        .await
    }

    /// That a storage takes containers, of whatever kind it is.
    pub(crate) async fn check_rootdir(&self, id: StorageId) -> Result<(), GuestError> {
        self.blocking(move |guests| {
            Storages::read(&guests.0.root, &guests.0.node)?.allows_rootdir(&id)
        })
        .await
    }

    /// `params` are the request's, checked.
    pub(crate) fn create_by_pct(
        &self,
        plan: &Plan,
        params: &Map<String, Value>,
        who: &AuthId,
    ) -> Result<Upid, GuestError> {
        let (guests, work) = (self.clone(), Work::of(plan, params, false));
        self.task("vzcreate", plan.vmid, who, move |log, cancel| async move {
            let vmid = work.creation.vmid;
            // Of a container that PVE destroyed without us.
            guests.blocking(move |guests| guests.remove_oci(vmid)).await?;
            guests.make_by_pct(work, &log, &cancel).await
        })
    }

    pub(crate) fn restore_by_pct(
        &self,
        restore: Restore,
        params: &Map<String, Value>,
    ) -> Result<Upid, GuestError> {
        let (guests, work) = (self.clone(), Work::of(&restore.plan, params, true));
        let who = restore.caller.auth().clone();
        self.task("vzrestore", restore.plan.vmid, &who, move |log, cancel| async move {
            if !restore.caller.is_root() {
                let task_log = log.clone();
                guests
                    .blocking(move |guests| {
                        let backup = guests.read_backup(&restore.plan.archive, &task_log)?;
                        let there = match restore.overwrite {
                            true => Some(guests.read(restore.plan.vmid)?),
                            false => None,
                        };
                        let there = there.as_ref().map(|entry| &entry.config);
                        recover(&restore, &backup.config, there)?;
                        check_backup(&restore, &backup)
                    })
                    .await?;
            }
            guests.make_by_pct(work, &log, &cancel).await
        })
    }

    async fn make_by_pct(
        &self,
        work: Work,
        log: &crate::tasks::TaskLog,
        cancel: &tokio_util::sync::CancellationToken,
    ) -> Result<(), GuestError> {
        let Work { mut creation, ssh_keys, rest, start } = work;
        let vmid = creation.vmid;
        creation.ssh_keys = ssh_keys.map(|keys| self.write_keys(vmid, &keys)).transpose()?;
        let keys = creation.ssh_keys.clone();
        let made = self.pct(&PctCall::Create(creation), log, cancel).await;
        if let Some(Err(err)) = keys.map(fs_err::remove_file) {
            log.warn(format!("cannot remove a file: {err}"));
        }
        made?;
        if !rest.is_empty() {
            let change = Change { set: rest, ..Change::default() };
            self.change(vmid, change, None).await?;
        }
        if start {
            self.start_now(vmid, Start::default(), log, cancel).await?;
        }
        Ok(())
    }

    /// Public ones; `pct` takes the name of a file.
    fn write_keys(&self, vmid: Vmid, keys: &str) -> Result<PathBuf, GuestError> {
        let path = self.0.root.run_dir().join(format!("{vmid}.ssh-public-keys"));
        atomic::write(&path, 0o600, keys.as_bytes())
            .map_err(|err| GuestError::io("ssh-public-keys", err))?;
        Ok(path)
    }
}

fn is_image(path: PathBuf) -> bool {
    let layout = fs_err::File::open(path).ok().map(Layout::open);
    matches!(layout, Some(Ok(Some(_))))
}

/// What PVE leaves out of a backup that another than root restores, root's `pct` would bring back.
fn check_backup(restore: &Restore, backup: &Backup) -> Result<(), GuestError> {
    let old: &ContainerConfig = &backup.config;
    let refused = if !old.current().lxc().is_empty() {
        Some("custom lxc options")
    } else if old.get("features").is_some() && !old.unprivileged() {
        Some("features of a privileged container")
    } else if old.get("features").is_some() && restore.unprivileged == Some(false) {
        Some("features, and it is to become privileged")
    } else if !restore.firewall && backup.firewall.as_ref().is_some_and(|rules| !rules.is_empty()) {
        Some("a firewall configuration")
    } else {
        None
    };
    match refused {
        None => Ok(()),
        Some(what) => {
            Err(GuestError::die(format!("the backup has {what}: only root may restore it")))
        }
    }
}
