//! Limits that PVE's config has no key for: lines of the container's OCI file, which hold at once where
//! it runs. A change is made whole or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use openapi::answer::OciLimits;
use openapi::{Digest, Vmid};
use pve_integration::bundle::{DeviceNumber, LimitKey, OwnLimits};
use pve_integration::ct_config::{ConfigError, ContainerConfig, ValueError, digest};
use pve_integration::oci_config::OciConfig;

use super::change::split_list;
use super::config::check_lock;
use super::{GuestError, Guests};
use crate::stats::Cgroup;

/// What a request wants, read but for `delete`.
#[derive(Clone, Debug, Default)]
pub(crate) struct LimitsRequest {
    /// All values of a key. None of a list that is there is what deleting it is.
    pub(crate) set: BTreeMap<LimitKey, Vec<String>>,
    pub(crate) delete: Option<String>,
    pub(crate) digest: Option<String>,
}

/// The same, checked.
struct LimitsChange {
    set: BTreeSet<LimitKey>,
    /// Set or deleted.
    touched: BTreeSet<LimitKey>,
    wanted: OwnLimits,
}

impl LimitsChange {
    fn new(request: &LimitsRequest) -> Result<Self, GuestError> {
        let mut change =
            Self { set: BTreeSet::new(), touched: BTreeSet::new(), wanted: OwnLimits::default() };
        for name in split_list(request.delete.as_deref().unwrap_or_default()) {
            let Some(key) = LimitKey::named(&name) else {
                return Err(GuestError::param("delete", format!("unknown option '{name}'")));
            };
            if request.set.contains_key(&key) {
                // As of a config, where upstream's text lacks the quote, too.
                let text = format!("you can't use '-{key}' and -delete {key}' at the same time");
                return Err(GuestError::param("delete", text));
            }
            change.touched.insert(key);
        }
        for (key, values) in &request.set {
            for value in values {
                let added = change.wanted.add(*key, value);
                added.map_err(|err| GuestError::param(key.as_str(), err.to_string()))?;
            }
            if change.wanted.values(*key).len() != values.len() {
                return Err(GuestError::param(key.as_str(), "names one thing twice"));
            }
            change.touched.insert(*key);
            if !values.is_empty() {
                change.set.insert(*key);
            }
        }
        Ok(change)
    }

    /// What the file says of the keys that change. A line that nobody can apply is only replaced.
    fn before(&self, oci: &OciConfig) -> OwnLimits {
        let mut before = OwnLimits::default();
        for key in &self.touched {
            oci.all(key.as_str()).for_each(|value| drop(before.add(*key, value)));
        }
        before
    }
}

impl Guests {
    pub(crate) async fn limits(&self, vmid: Vmid) -> Result<OciLimits, GuestError> {
        self.blocking(move |guests| {
            guests.read(vmid)?;
            let oci = guests.oci_config(vmid)?.unwrap_or_default();
            let limits = OwnLimits::read(&oci).map_err(|err| {
                GuestError::value(ValueError::new(&format!("oci: {}", err.key), err.to_string()))
            })?;
            Ok(answer(&limits, digest_of(&oci)))
        })
        .await
    }

    pub(crate) async fn set_limits(
        &self,
        vmid: Vmid,
        request: LimitsRequest,
    ) -> Result<(), GuestError> {
        if request.set.is_empty() && request.delete.is_none() {
            return Err(GuestError::NoOptions);
        }
        let change = LimitsChange::new(&request)?;
        self.blocking(move |guests| {
            // The config's lock is that of the OCI file too.
            let locked = guests.lock(vmid)?;
            check_lock(&locked.config, &[])?;
            let old = guests.oci_config(vmid)?.unwrap_or_default();
            if request.digest.is_some_and(|given| given != digest_of(&old).as_str()) {
                return Err(ConfigError::Modified.into());
            }
            let pves = guests.is_pves_now(vmid)?;
            if pves && !change.set.is_empty() {
                let why = "is not applied to a container that PVE runs";
                let errors = change.set.iter().map(|key| (key.to_string(), why.to_owned()));
                return Err(GuestError::Params(errors.collect()));
            }
            let running = !pves && guests.0.cgroup_v2 && guests.is_running(vmid)?;
            guests.change_limits(vmid, &locked.config, &old, &change, running)
        })
        .await
    }

    /// The cgroup first: what the kernel refuses is not written down.
    fn change_limits(
        &self,
        vmid: Vmid,
        config: &ContainerConfig,
        old: &OciConfig,
        change: &LimitsChange,
        running: bool,
    ) -> Result<(), GuestError> {
        let before = change.before(old);
        let mut new = old.clone();
        change.touched.iter().for_each(|key| change.wanted.write(*key, &mut new));
        let tell = |limits: &OwnLimits, before: &OwnLimits| match running {
            true => self.tell_limits(vmid, config, &change.touched, limits, before),
            false => Ok(()),
        };
        let told = tell(&change.wanted, &before);
        // A file that says nothing new is not made: one that is there is how PVE's containers are told
        // from ours.
        let done = told.and_then(|()| match new == *old {
            true => Ok(()),
            false => self.write_oci_config(vmid, &new),
        });
        if done.is_err()
            && let Err(err) = tell(&before, &change.wanted)
        {
            tracing::warn!(guest.vmid = %vmid, error = %err, "CT {vmid}: limits are not as before: {err}");
        }
        done
    }

    fn tell_limits(
        &self,
        vmid: Vmid,
        config: &ContainerConfig,
        keys: &BTreeSet<LimitKey>,
        limits: &OwnLimits,
        before: &OwnLimits,
    ) -> Result<(), GuestError> {
        let cgroup = self.limiting_cgroup(vmid);
        let mut errors = BTreeMap::new();
        for key in keys {
            let mut settings = limits.change(*key, before, is_there);
            // Raw lines count more, as at a start.
            settings.retain(|setting| {
                let raw = format!("lxc.cgroup2.{}", setting.file);
                !config.current().lxc().iter().any(|(key, _)| *key == raw)
            });
            if let Err(err) = cgroup.limit(&settings) {
                errors.insert(key.to_string(), format!("unable to hotplug {key}: {err}\n"));
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(GuestError::Params(errors)) }
    }

    /// Above the cgroup that the processes are in, whatever the runtime.
    pub(super) fn limiting_cgroup(&self, vmid: Vmid) -> Cgroup {
        let root = &self.0.root;
        let cgroup = format!("{}/{vmid}", root.cgroup_parent());
        Cgroup::new(&root.cgroups(), cgroup.as_ref())
    }
}

/// Devices are the machine's, whichever root is served.
fn is_there(device: DeviceNumber) -> bool {
    Path::new("/sys/dev/block").join(device.to_string()).exists()
}

fn digest_of(oci: &OciConfig) -> Digest {
    digest(oci.to_string().as_bytes())
}

/// In the words of a request.
fn answer(limits: &OwnLimits, digest: Digest) -> OciLimits {
    let list = |key| limits.values(key).iter().map(|value| value.replace(' ', ",")).collect();
    OciLimits {
        digest,
        pids: limits.pids(),
        io_weight: limits.io_weight(),
        io_max: list(LimitKey::IoMax),
        hugepages: list(LimitKey::HugePages),
    }
}
