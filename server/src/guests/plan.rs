//! What a request to create a container asks for: parameters to a config and volumes. Pure; the
//! checks of privileges are the handler's, the work is `create`'s.

use std::collections::BTreeMap;
use std::path::Path;

use openapi::{StorageId, Vmid, VolumeId};
use pve_integration::bundle::{Reversed, Setting};
use pve_integration::ct_config::ContainerConfig;
use serde_json::{Map, Value};

use super::GuestError;
use super::apply::Host;
use super::archive::Archive;
use super::change::{Change, Facts, is_indexed, new_size_gib, text};
use super::disk::Disk;
use super::filling::Filling;
use super::here::check_device;

/// GiB of a root file system that was not asked for.
const DEFAULT_ROOTFS: &str = "4";
/// MiB.
const DEFAULT_MEMORY: &str = "512";
const DEFAULT_SWAP: &str = "512";

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) vmid: Vmid,
    pub(crate) archive: Archive,
    /// No disks were asked for: those of a backup are to be made here.
    pub(crate) default_storage: Option<StorageId>,
    /// `rootfs` first, then `mpN`.
    pub(crate) disks: Vec<Disk>,
    /// All keys but those of disks, as they are stored.
    pub(crate) config: ContainerConfig,
    pub(crate) start: bool,
    /// A pool that is there.
    pub(crate) pool: Option<String>,
    pub(crate) filling: Filling,
    /// What was said of the bundle that it is made from.
    pub(crate) bundle: Option<Reversed>,
}

impl Plan {
    /// Of checked parameters.
    pub(crate) fn new(params: &Map<String, Value>, cgroup_v2: bool) -> Result<Self, GuestError> {
        let given = |name: &str| params.get(name).map(text);
        let flag = |name: &str| given(name).as_deref() == Some("1");
        let vmid = given("vmid").unwrap_or_default();
        let vmid: Vmid = vmid.parse().map_err(|err| GuestError::param("vmid", format!("{err}")))?;
        let storage = given("storage").unwrap_or_else(|| "local".to_owned());
        let mut values: BTreeMap<String, String> = BTreeMap::new();
        let mut disks: BTreeMap<String, String> = BTreeMap::new();
        for (key, value) in Change::from_params(params).set {
            if key == "rootfs" || is_indexed(&key, "mp") {
                let default = new_size_gib(&value).is_some();
                disks.insert(key, if default { format!("{storage}:{value}") } else { value });
            } else if key != "unprivileged" && !is_indexed(&key, "unused") {
                values.insert(key, value);
            }
        }
        let default_storage = if disks.is_empty() {
            let storage = storage.parse();
            Some(storage.map_err(|err| GuestError::param("storage", format!("{err}")))?)
        } else {
            None
        };
        if default_storage.is_some() {
            disks.insert("rootfs".to_owned(), format!("{storage}:{DEFAULT_ROOTFS}"));
        }
        let Some(rootfs) = disks.remove("rootfs") else {
            return Err(GuestError::die(
                "mount points configured, but 'rootfs' not set - aborting",
            ));
        };
        let all = std::iter::once(("rootfs".to_owned(), rootfs)).chain(disks);
        let disks = all.map(|(key, value)| Disk::parse(key, value)).collect::<Result<_, _>>()?;

        let mut config = ContainerConfig::default();
        let change = Change { set: values, ..Change::default() };
        let facts = Facts { vmid, running: false, cgroup_v2, host_cpus: 0 };
        change.apply(&mut config, facts, &mut NoDisks)?;
        if params.get("unprivileged").is_none() || flag("unprivileged") {
            config.set("unprivileged", "1");
        }
        Ok(Self {
            vmid,
            archive: Archive::named(&given("ostemplate").unwrap_or_default()),
            default_storage,
            disks,
            config,
            start: flag("start"),
            pool: given("pool"),
            filling: Filling::from_params(params),
            bundle: None,
        })
    }

    /// Its keys are parameters by now.
    pub(crate) fn take_bundle(&mut self, bundle: Option<Reversed>) -> Result<(), GuestError> {
        let Some(bundle) = bundle else { return Ok(()) };
        bundle.add_raw(&mut self.config);
        if bundle.readonly {
            for rootfs in self.disks.iter_mut().filter(|disk| disk.key == "rootfs") {
                if !rootfs.value.contains(",ro=") {
                    *rootfs = Disk::parse(rootfs.key.clone(), format!("{},ro=1", rootfs.value))?;
                }
            }
        }
        self.bundle = Some(bundle);
        Ok(())
    }

    /// Every storage of a volume.
    pub(crate) fn storages(&self) -> Vec<StorageId> {
        let mut storages: Vec<_> =
            self.disks.iter().filter_map(|disk| disk.storage().cloned()).collect();
        storages.sort();
        storages.dedup();
        storages
    }

    /// PVE's last touches, once the container is unpacked.
    pub(crate) fn finish(config: &mut ContainerConfig, vmid: Vmid) {
        let defaults = [
            ("hostname", format!("CT{vmid}")),
            ("memory", DEFAULT_MEMORY.to_owned()),
            ("swap", DEFAULT_SWAP.to_owned()),
        ];
        for (key, value) in defaults {
            if config.get(key).is_none() {
                config.set(key, value);
            }
        }
    }
}

/// Disks are planned by themselves, so the rest of a config asks nothing of the host.
struct NoDisks;

impl Host for NoDisks {
    fn check_content(&self, _: &StorageId) -> Result<(), GuestError> {
        Ok(())
    }

    fn allocate(&mut self, _: &StorageId, _: f64) -> Result<(VolumeId, u64), GuestError> {
        Err(GuestError::die("internal error: a disk among the other keys"))
    }

    fn size(&self, _: &VolumeId) -> Option<u64> {
        None
    }

    fn limit(&self, _: &[Setting]) -> std::io::Result<()> {
        Ok(())
    }

    fn mount(&self, _: &str, _: &str) -> Result<(), GuestError> {
        Err(GuestError::die("internal error: a container that is made does not run"))
    }

    fn plug(&self, _: &str, _: Option<&str>, _: Option<&str>) -> Result<bool, GuestError> {
        Ok(false)
    }

    fn check_device(&self, path: &Path) -> Result<(), GuestError> {
        check_device(path)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn plan(params: &Value) -> Result<Plan, GuestError> {
        let mut all = json!({"node": "pve1", "vmid": 200, "ostemplate": "local:vztmpl/x.tar.zst"});
        all.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
        Plan::new(all.as_object().unwrap(), true)
    }

    #[test]
    fn nothing_given_means_pves_defaults() {
        let plan = plan(&json!({})).unwrap();

        assert_eq!(plan.disks.len(), 1);
        assert_eq!(plan.disks[0].value, "local:4");
        assert!(!plan.start);
        let mut config = plan.config.clone();
        Plan::finish(&mut config, plan.vmid);
        assert_eq!(
            config.to_string(),
            "hostname: CT200\nmemory: 512\nswap: 512\nunprivileged: 1\n"
        );
    }

    #[test]
    fn a_bare_number_goes_to_the_default_storage() {
        let plan =
            plan(&json!({"storage": "big", "rootfs": "8", "mp0": "local:1,mp=/data"})).unwrap();

        let values: Vec<_> = plan.disks.iter().map(|disk| disk.value.as_str()).collect();
        assert_eq!(values, ["big:8", "local:1,mp=/data"]);
        let storages: Vec<_> = plan.storages().iter().map(ToString::to_string).collect();
        assert_eq!(storages, ["big", "local"]);
    }

    #[test]
    fn stores_what_was_given() {
        let plan = plan(&json!({
            "cores": 2, "memory": 64, "swap": 0, "hostname": "web", "unprivileged": 0, "start": 1,
            "tags": "a;b", "cpuunits": 50000, "entrypoint": "/bin/sleep 1",
        }))
        .unwrap();

        assert!(plan.start);
        let mut config = plan.config;
        Plan::finish(&mut config, plan.vmid);
        assert_eq!(
            config.to_string(),
            "cores: 2\ncpuunits: 10000\nentrypoint: /bin/sleep 1\nhostname: web\nmemory: 64\nswap: 0\ntags: a;b\n"
        );
    }

    #[rstest]
    #[case::no_rootfs(
        json!({"mp0": "local:1,mp=/x"}),
        "mount points configured, but 'rootfs' not set - aborting"
    )]
    fn refuses(#[case] params: Value, #[case] message: &str) {
        assert_eq!(plan(&params).unwrap_err().to_string(), message);
    }
}
