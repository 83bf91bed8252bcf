//! What a restored container gets: the backup's config, what was asked for over it, and disks as
//! they were or as they were asked for. Pure; as `sanitize_and_merge_config` of pve-container's
//! `PVE/LXC/Create.pm` and the restore in its `PVE/API2/LXC.pm`.

use openapi::{Privilege, StorageId};
use pve_integration::ct_config::{ContainerConfig, MountPoint, MountSource};

use super::disk::{self, Disk};
use super::restore::Restore;
use super::{GuestError, bridge_path, is_indexed, net};
use crate::extract::Caller;

/// Keys of a backup that are not the new container's.
const NOT_MERGED: &[&str] =
    &["digest", "rootfs", "snapshots", "unprivileged", "parent", "template", "lock"];
const GIB: f64 = (1_u64 << 30) as f64;

#[derive(Clone, Debug)]
pub(super) struct Recovered {
    /// What was asked for, and what of the backup decides how its files are unpacked.
    pub(super) config: ContainerConfig,
    pub(super) disks: Vec<Disk>,
    /// Bind mounts and devices, which come back once the files have.
    delayed: Vec<(String, String)>,
    pub(super) was_template: bool,
    pub(super) remarks: Vec<Remark>,
}

/// For the task's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Remark {
    Line(String),
    Warning(String),
}

/// `old` is the backup's config, `there` that of the container that is overwritten.
pub(super) fn recover(
    restore: &Restore,
    old: &ContainerConfig,
    there: Option<&ContainerConfig>,
) -> Result<Recovered, GuestError> {
    let (caller, mut config) = (&restore.caller, restore.plan.config.clone());
    for (key, value) in old.current().iter().filter(|(key, _)| is_indexed(key, "net")) {
        if let (None, Some(path)) = (config.get(key), bridge_path(value)) {
            require(caller, Privilege::SdnUse, &path)?;
        }
    }
    if caller.is_root() {
        // They may map ids, and the files must come out as they will be seen.
        config.current_mut().set_lxc(old.current().lxc().to_vec());
    }
    config.remove("unprivileged");
    if restore.unprivileged.unwrap_or_else(|| old.unprivileged()) {
        config.set("unprivileged", "1");
    } else if there.is_none_or(ContainerConfig::unprivileged) {
        require(caller, Privilege::SysModify, "/")?;
    }
    let mut recovered = Recovered {
        config,
        disks: restore.plan.disks.clone(),
        delayed: Vec::new(),
        was_template: old.template(),
        remarks: Vec::new(),
    };
    if let Some(storage) = &restore.plan.default_storage {
        recovered.disks = Vec::new();
        recovered.take_disks(old, storage, caller.is_root())?;
    }
    Ok(recovered)
}

impl Recovered {
    /// The disks that the backup's config names.
    fn take_disks(
        &mut self,
        old: &ContainerConfig,
        storage: &StorageId,
        is_root: bool,
    ) -> Result<(), GuestError> {
        if old.get("rootfs").is_none() {
            return Err(GuestError::die(
                "rootfs configuration could not be recovered, please check and specify manually!",
            ));
        }
        let points = old.mount_points().into_iter().map(|(key, _)| key);
        for key in std::iter::once("rootfs").chain(points) {
            let Some(value) = old.get(key) else { continue };
            let point = MountPoint::parse(key, value).map_err(GuestError::value)?;
            let kind = match point.source {
                MountSource::Volume(_) => {
                    let size = point.size.ok_or_else(|| {
                        GuestError::die(format!(
                            "unable to detect disk size - please specify {key} (size)"
                        ))
                    })?;
                    self.disks.push(as_new(key, value, storage, size)?);
                    continue;
                }
                MountSource::Bind(_) => "bind",
                MountSource::Device(_) => "device",
            };
            if key == "rootfs" {
                return Err(GuestError::die(format!(
                    "restoring rootfs to {kind} mount is only possible by specifying -rootfs \
                     manually!"
                )));
            }
            if !is_root {
                return Err(GuestError::die(format!(
                    "restoring '{key}' to {kind} mount is only possible for root"
                )));
            }
            if point.backup == Some(true) {
                let mp = point.mp.display();
                let lines = [
                    "WARNING - unsupported configuration!".to_owned(),
                    format!("backup was enabled for {kind} mount point {key} ('{mp}')"),
                    "mount point configuration will be restored after archive extraction!"
                        .to_owned(),
                    "contained files will be restored to wrong directory!".to_owned(),
                ];
                self.remarks.extend(lines.map(Remark::Line));
            }
            self.delayed.push((key.to_owned(), disk::print(key, value, &[])?));
        }
        Ok(())
    }

    /// The backup's keys, under those that were asked for.
    pub(super) fn merge(
        &self,
        config: &mut ContainerConfig,
        restore: &Restore,
        old: &ContainerConfig,
    ) -> Result<Vec<Remark>, GuestError> {
        let restricted = !restore.caller.is_root();
        let mut remarks = Vec::new();
        for (key, value) in old.current().iter() {
            if NOT_MERGED.contains(&key) || is_indexed(key, "unused") {
                continue;
            }
            if is_indexed(key, "mp") {
                if restore.plan.default_storage.is_none() && config.get(key).is_none() {
                    let text = format!("{key} of the backup is left out, other disks were given");
                    remarks.push(Remark::Line(text));
                }
                continue;
            }
            if restricted && key == "features" && !config.unprivileged() && old.unprivileged() {
                let text = "changing from unprivileged to privileged, skipping features";
                remarks.push(Remark::Line(text.to_owned()));
            } else if restore.unique && is_indexed(key, "net") {
                let prefix = restore.mac_prefix.as_deref();
                config.set(key, net::with_new_address(key, value, prefix)?);
            } else if config.get(key).is_none() {
                config.set(key, value);
            }
        }
        let lxc = old.current().lxc();
        if restricted && !lxc.is_empty() {
            const RULE: &str = "--------------------------------";
            let lines = lxc.iter().map(|(key, value)| Remark::Line(format!("{key}: {value}")));
            let text = "skipping custom lxc options, restore manually as root:";
            remarks.push(Remark::Warning(text.to_owned()));
            remarks.push(Remark::Line(RULE.to_owned()));
            remarks.extend(lines);
            remarks.push(Remark::Line(RULE.to_owned()));
        }
        for (key, value) in &self.delayed {
            config.set(key, value.as_str());
        }
        Ok(remarks)
    }
}

/// The same disk, to be made on `storage`.
fn as_new(key: &str, value: &str, storage: &StorageId, size: u64) -> Result<Disk, GuestError> {
    #[expect(clippy::cast_precision_loss, reason = "exact for whole KiB up to 8 EiB")]
    let gib = size as f64 / GIB;
    let volume = format!("{storage}:{gib}");
    Disk::parse(key.to_owned(), disk::print(key, value, &[("volume", &volume)])?)
}

/// PVE's exception within a task, whose text has its number.
fn require(caller: &Caller, privilege: Privilege, path: &str) -> Result<(), GuestError> {
    let allowed = caller.access().check(caller.auth(), path, &[privilege], false);
    allowed.map_err(|denied| GuestError::die(format!("403 {denied}")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pve_integration::access::Access;
    use pve_integration::layout::Root;
    use serde_json::{Value, json};

    use super::super::Plan;
    use super::*;

    const BACKUP: &[u8] = b"#it is mine\narch: amd64\nfeatures: nesting=1\nhostname: box\n\
        memory: 64\nmp0: local:100/vm-100-disk-1.raw,mp=/data,backup=1,size=512M\n\
        mp1: /srv,mp=/srv\n\
        net0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:01,type=veth\n\
        rootfs: local:100/subvol-100-disk-0.subvol,size=0T\nunprivileged: 1\n\
        unused0: local:100/vm-100-disk-7.raw\nlxc.cap.drop: sys_admin\n";
    /// joe may use the bridge, and nothing else.
    const USERS: &str = "user:root@pam:1:0:::::\nuser:joe@pve:1:0:::::\nuser:sam@pve:1:0:::::\n\
        \n\n\n\nacl:1:/sdn/zones/localnetwork:joe@pve:PVESDNUser:\n";

    fn caller(name: &str) -> Caller {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path()).unwrap();
        fs_err::create_dir_all(root.etc_pve()).unwrap();
        fs_err::write(root.etc_pve().join("user.cfg"), USERS).unwrap();
        Caller::proved(name.parse().unwrap(), Arc::new(Access::read(&root).unwrap()))
    }

    fn restore(params: &Value, who: &str) -> Restore {
        let mut all = json!({"vmid": 200, "ostemplate": "local:backup/vzdump-lxc-100-x.tar",
            "restore": 1, "storage": "big"});
        all.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
        Restore {
            plan: Plan::new(all.as_object().unwrap(), true).unwrap(),
            overwrite: false,
            unique: false,
            mac_prefix: None,
            unprivileged: None,
            firewall: true,
            caller: caller(who),
        }
    }

    fn merged(
        restore: &Restore,
        there: Option<&ContainerConfig>,
    ) -> (Recovered, ContainerConfig, Vec<Remark>) {
        let old = ContainerConfig::parse(BACKUP);
        let recovered = recover(restore, &old, there).unwrap();
        let mut config = recovered.config.clone();
        let remarks = recovered.merge(&mut config, restore, &old).unwrap();
        (recovered, config, remarks)
    }

    fn refusal(restore: &Restore, old: &[u8]) -> String {
        recover(restore, &ContainerConfig::parse(old), None).unwrap_err().to_string()
    }

    #[test]
    fn disks_are_made_anew_where_they_are_to_go() {
        let (recovered, config, remarks) =
            merged(&restore(&json!({"memory": 128, "description": "anew"}), "root@pam"), None);

        let disks: Vec<_> = recovered.disks.iter().map(|disk| disk.value.as_str()).collect();
        assert_eq!(disks, ["big:0,size=0T", "big:0.5,mp=/data,backup=1,size=512M"]);
        assert_eq!(
            config.to_string(),
            "#anew\narch: amd64\nfeatures: nesting=1\nhostname: box\nmemory: 128\n\
             mp1: /srv,mp=/srv\nnet0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:01,type=veth\n\
             unprivileged: 1\nlxc.cap.drop: sys_admin\n"
        );
        assert_eq!(remarks, []);
    }

    #[test]
    fn disks_that_are_asked_for_are_all_there_are() {
        let wanted = json!({"rootfs": "1", "mp0": "big:2,mp=/d"});
        let (recovered, config, remarks) = merged(&restore(&wanted, "root@pam"), None);
        let disks: Vec<_> = recovered.disks.iter().map(|disk| disk.value.as_str()).collect();
        assert_eq!((disks, config.get("mp1")), (vec!["big:1", "big:2,mp=/d"], None));
        let text = "mp1 of the backup is left out, other disks were given";
        assert!(remarks.contains(&Remark::Line(text.to_owned())), "{remarks:?}");
    }

    #[test]
    fn a_unique_one_has_another_address() {
        let restore = restore(&json!({}), "root@pam");
        let (prefix, unique) = (Some("0A:0B".to_owned()), true);
        let (_, config, _) = merged(&Restore { unique, mac_prefix: prefix, ..restore }, None);
        let net = config.get("net0").unwrap();
        assert!(net.starts_with("name=eth0,bridge=vmbr0,hwaddr=0A:0B:"), "{net}");
    }

    #[test]
    fn what_is_roots_stays_roots() {
        let bind = restore(&json!({}), "joe@pve");
        let message = "restoring 'mp1' to bind mount is only possible for root";
        assert_eq!(refusal(&bind, BACKUP), message);
        let bridge = restore(&json!({"rootfs": "1"}), "sam@pve");
        let message = "403 Permission check failed (/sdn/zones/localnetwork/vmbr0, SDN.Use)";
        assert_eq!(refusal(&bridge, BACKUP), message);
        let own = restore(&json!({"rootfs": "1", "net0": "name=eth0"}), "sam@pve");
        recover(&own, &ContainerConfig::parse(BACKUP), None).unwrap();

        let joe = restore(&json!({"rootfs": "local:1"}), "joe@pve");
        let (_, config, remarks) = merged(&joe, None);
        assert!(config.current().lxc().is_empty());
        assert!(matches!(remarks[remarks.len() - 4], Remark::Warning(_)), "{remarks:?}");
        let dropped = Remark::Line("lxc.cap.drop: sys_admin".to_owned());
        assert_eq!(remarks[remarks.len() - 2], dropped);
    }

    #[test]
    fn more_rights_than_there_were_take_a_right() {
        let made = restore(&json!({"rootfs": "1"}), "joe@pve");
        let privileged = Restore { unprivileged: Some(false), ..made };
        let message = "403 Permission check failed (/, Sys.Modify)";
        assert_eq!(refusal(&privileged, BACKUP), message);

        let there = ContainerConfig::parse(b"rootfs: local:200/vm-200-disk-0.raw\n");
        let (_, config, remarks) = merged(&privileged, Some(&there));
        assert_eq!((config.unprivileged(), config.get("features")), (false, None));
        let text = "changing from unprivileged to privileged, skipping features";
        assert_eq!(remarks[0], Remark::Line(text.to_owned()));
    }

    #[test]
    fn a_disk_that_says_too_little_must_be_named() {
        let root = restore(&json!({}), "root@pam");
        let message = "unable to detect disk size - please specify rootfs (size)";
        assert_eq!(refusal(&root, b"rootfs: local:100/vm-100-disk-0.raw\n"), message);
        let message =
            "rootfs configuration could not be recovered, please check and specify manually!";
        assert_eq!(refusal(&root, b"hostname: box\n"), message);
        let message =
            "restoring rootfs to bind mount is only possible by specifying -rootfs manually!";
        assert_eq!(refusal(&root, b"rootfs: /srv\n"), message);
    }

    #[test]
    fn what_goes_to_the_wrong_folder_is_said() {
        let old = ContainerConfig::parse(
            b"mp0: /srv,mp=/srv,backup=1\nrootfs: local:100/vm-100-disk-0.raw,size=1G\n",
        );
        let recovered = recover(&restore(&json!({}), "root@pam"), &old, None).unwrap();
        assert_eq!(recovered.remarks.len(), 4);
        let text = "backup was enabled for bind mount point mp0 ('/srv')";
        assert_eq!(recovered.remarks[1], Remark::Line(text.to_owned()));
    }
}
