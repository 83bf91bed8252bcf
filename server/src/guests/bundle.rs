//! The bundle that a container's next start would use, made of what the monitor makes it of, without
//! starting or changing anything. And the list of containers by runtime.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use openapi::answer::{GuestState, OciBundle, OciContainerRow, OciExplained};
use openapi::{StorageId, Vmid, VolumeId};
use pve_integration::bundle::{
    self, BundleError, Explained, Guest, Setting, Surroundings, device_nodes, rootfs_path,
};
use pve_integration::ct_config::ContainerConfig;
use pve_integration::host::{HostFacts, missing_bridge};
use serde_json::Value;

use super::apply::{self, Host};
use super::lifecycle::check_quota;
use super::view::RESTRICTED;
use super::{GuestError, Guests};
use crate::fetch::chain;

/// How a bundle is to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) explain: bool,
    /// With the limits, which a start does not leave to the runtime.
    pub(crate) limits: bool,
    /// Programs are given passwords in their environment.
    pub(crate) env: bool,
}

impl Guests {
    pub(crate) async fn oci_rows(&self) -> Result<Vec<OciContainerRow>, GuestError> {
        self.blocking(|guests| {
            let running = guests.listening()?;
            let configs = guests.0.configs.list(&guests.0.root, &guests.0.node)?;
            let row = |vmid: &Vmid| {
                let (vmid, running) = (*vmid, running.contains(vmid));
                // One whose file cannot be read keeps the others from nothing.
                let choice = guests.choice(vmid).ok();
                let oci = guests.oci_config(vmid).ok().flatten().unwrap_or_default();
                OciContainerRow {
                    vmid,
                    state: if running { GuestState::Running } else { GuestState::Stopped },
                    runtime: choice.map(|choice| choice.runtime.to_string()),
                    runtime_by: choice.map(|choice| choice.by.as_str().to_owned()),
                    runs_under: running.then(|| guests.0.supervised.runtime_of(vmid).to_string()),
                    image: oci.image().map(str::to_owned),
                }
            };
            Ok(configs.keys().map(row).collect())
        })
        .await
    }

    pub(crate) async fn bundle(&self, vmid: Vmid, wanted: Wanted) -> Result<OciBundle, GuestError> {
        self.blocking(move |guests| {
            let config = guests.config_of_a_start(vmid, wanted.env)?;
            if wanted.explain {
                let rows = guests.with_described(vmid, &config, bundle::explain)?;
                let shown = rows.into_iter().filter(|row| wanted.env || !is_env(row));
                return Ok(OciBundle::Explained(shown.map(answer).collect()));
            }
            let made = guests.with_described(vmid, &config, bundle::spec)?;
            let document = match wanted.limits {
                true => made.with_limits(),
                false => bundle::to_value(&made.spec),
            };
            let Value::Object(document) = document else {
                return Err(GuestError::die("internal error: a bundle is no object"));
            };
            let mut document: BTreeMap<String, Value> = document.into_iter().collect();
            if !wanted.env
                && let Some(Value::Object(process)) = document.get_mut("process")
            {
                process.remove("env");
            }
            Ok(OciBundle::Config(document))
        })
        .await
    }

    /// With what waits for the start, and refused as it would be.
    fn config_of_a_start(&self, vmid: Vmid, env: bool) -> Result<ContainerConfig, GuestError> {
        let mut config = self.read(vmid)?.config.clone();
        apply::pending(&mut config, |_| true, vmid, &mut Nothing { vmid });
        if !env {
            config.remove(RESTRICTED);
        }
        if config.template() {
            return Err(GuestError::Template);
        }
        check_quota(&config)?;
        match missing_bridge(&config).map_err(GuestError::value)? {
            Some(bridge) => Err(GuestError::die(format!("bridge '{bridge}' does not exist"))),
            None => Ok(config),
        }
    }

    fn with_described<T>(
        &self,
        vmid: Vmid,
        config: &ContainerConfig,
        tell: impl FnOnce(&Guest<'_>, &HostFacts) -> Result<T, BundleError>,
    ) -> Result<T, GuestError> {
        let root = &self.0.root;
        let found = Surroundings::read(root, &self.0.node, vmid);
        let found = found.and_then(|found| found.with_seccomp(config));
        let found = found.map_err(|err| failed(&err))?;
        let maps = found.id_maps(config).map_err(|err| failed(&err))?;
        let rootfs = rootfs_path(root, vmid, &maps).map_err(|err| failed(&err))?;
        let nodes = device_nodes(config, &root.device_dir(vmid), &maps);
        let nodes: Vec<_> =
            nodes.map_err(|err| failed(&err))?.into_iter().map(|owned| owned.node).collect();
        // Which of the host's they are is only known once they are open.
        let ttys = config.ttys().map_err(GuestError::value)?;
        let ttys: Vec<_> = (0..ttys).map(|number| format!("/dev/pts/{number}")).collect();
        let guest = found.guest(config, &rootfs, &nodes, &ttys);
        tell(&guest, &found.facts).map_err(|err| failed(&err))
    }
}

/// In the words of the task that a start would be.
fn failed(err: &dyn std::error::Error) -> GuestError {
    GuestError::die(chain(err))
}

fn is_env(row: &Explained) -> bool {
    row.path.as_deref() == Some("process.env")
}

fn answer(row: Explained) -> OciExplained {
    let Explained { key, path, value, why } = row;
    OciExplained { key, path, value, why }
}

/// Applies changes and does nothing to the host.
struct Nothing {
    vmid: Vmid,
}

impl Host for Nothing {
    fn check_content(&self, _: &StorageId) -> Result<(), GuestError> {
        Ok(())
    }

    /// The name of a volume that could be.
    fn allocate(&mut self, storage: &StorageId, _: f64) -> Result<(VolumeId, u64), GuestError> {
        let vmid = self.vmid;
        let volume = format!("{storage}:{vmid}/vm-{vmid}-disk-0.raw").parse();
        Ok((volume.map_err(|err| GuestError::die(format!("{err}")))?, 0))
    }

    fn size(&self, _: &VolumeId) -> Option<u64> {
        None
    }

    fn limit(&self, _: &[Setting]) -> io::Result<()> {
        Ok(())
    }

    fn mount(&self, _: &str, _: &str) -> Result<(), GuestError> {
        Ok(())
    }

    fn plug(&self, _: &str, _: Option<&str>, _: Option<&str>) -> Result<bool, GuestError> {
        Ok(false)
    }

    fn check_device(&self, _: &Path) -> Result<(), GuestError> {
        Ok(())
    }
}
