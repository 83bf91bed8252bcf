//! Which runtime a container has: what was asked for, else what its OCI file records, else the first
//! rule of the settings that matches, else what suits it. And what becomes of a start whose runtime
//! cannot be used here.

use std::collections::BTreeSet;

use openapi::Vmid;
use pve_integration::ct_config::ContainerConfig;
use pve_integration::oci_config::{ChosenBy, OciConfig, RuntimeKind};
use tokio_util::sync::CancellationToken;

use super::{GuestError, Guests};
use crate::runtime::RuntimeError;
use crate::runtime::rules::Subject;
use crate::tasks::TaskLog;

/// A runtime, and who chose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) runtime: RuntimeKind,
    pub(super) by: ChosenBy,
}

impl Guests {
    pub(super) fn oci_config(&self, vmid: Vmid) -> Result<Option<OciConfig>, GuestError> {
        OciConfig::read(&self.0.root.oci_config(&self.0.node, vmid))
            .map_err(|err| GuestError::io("oci file", err))
    }

    pub(super) fn write_oci_config(&self, vmid: Vmid, oci: &OciConfig) -> Result<(), GuestError> {
        oci.write(&self.0.root.oci_config(&self.0.node, vmid))
            .map_err(|err| GuestError::io("oci file", err))?;
        self.keep_unit(vmid, recorded(vmid, oci)? == Some(RuntimeKind::Crun))
    }

    /// PVE's service of a container runs our monitor while its runtime is crun.
    pub(super) fn keep_unit(&self, vmid: Vmid, crun: bool) -> Result<(), GuestError> {
        let Some(units) = self.0.supervised.units() else { return Ok(()) };
        units.keep_one(vmid, crun).map_err(|err| GuestError::io(format!("CT {vmid}"), err))
    }

    /// As the OCI files are now: other nodes change them too, and so may an administrator.
    pub(crate) async fn keep_units(&self) {
        let kept = self.blocking(|guests| {
            let Some(units) = guests.0.supervised.units() else { return Ok(()) };
            let mut crun = BTreeSet::new();
            if !units.on_pve() {
                return units.keep(&crun).map_err(|err| GuestError::io("units", err));
            }
            for vmid in guests.0.configs.list(&guests.0.root, &guests.0.node)?.keys() {
                // One whose file cannot be read keeps the others from nothing.
                let oci = guests.oci_config(*vmid).ok().flatten().unwrap_or_default();
                if recorded(*vmid, &oci).ok().flatten() == Some(RuntimeKind::Crun) {
                    crun.insert(*vmid);
                }
            }
            units.keep(&crun).map_err(|err| GuestError::io("units", err))
        });
        if let Err(err) = kept.await {
            tracing::error!(error = %err, "cannot tell PVE which containers are ours: {err}");
        }
    }

    /// As recorded, else as a start would choose.
    pub(super) fn choice(&self, vmid: Vmid) -> Result<Choice, GuestError> {
        let oci = self.oci_config(vmid)?;
        if oci.is_none() && self.0.runtimes.pct().is_some() {
            // PVE made it, or will: no rule of ours takes a container from it.
            return Ok(Choice { runtime: RuntimeKind::Lxc, by: ChosenBy::Auto });
        }
        let oci = oci.unwrap_or_default();
        if let Some(runtime) = recorded(vmid, &oci)? {
            return Ok(Choice { runtime, by: oci.chosen_by() });
        }
        Ok(self.choose(vmid, &self.read(vmid)?.config, &oci))
    }

    /// By rule, else by what the container is.
    pub(super) fn choose(&self, vmid: Vmid, config: &ContainerConfig, oci: &OciConfig) -> Choice {
        let subject = Subject {
            vmid,
            hostname: config.hostname().unwrap_or_default(),
            tags: config.get("tags").unwrap_or_default(),
            image: oci.image(),
        };
        if let Some(runtime) = self.0.choice.choose(&subject) {
            return Choice { runtime, by: ChosenBy::Rule };
        }
        let lxc = !config.is_application() && self.0.runtimes.has_lxc();
        let runtime = if lxc { RuntimeKind::Lxc } else { RuntimeKind::Crun };
        Choice { runtime, by: ChosenBy::Auto }
    }

    /// Of a new container; a clone keeps what its source has.
    pub(super) fn record_runtime(
        &self,
        vmid: Vmid,
        config: &ContainerConfig,
        mut oci: OciConfig,
    ) -> Result<(), GuestError> {
        if recorded(vmid, &oci)?.is_none() {
            let Choice { runtime, by } = self.choose(vmid, config, &oci);
            oci.choose(runtime, by);
        }
        self.write_oci_config(vmid, &oci)
    }

    /// `None` is the wish to have it chosen anew.
    pub(crate) async fn set_runtime(
        &self,
        vmid: Vmid,
        runtime: Option<RuntimeKind>,
    ) -> Result<(), GuestError> {
        self.blocking(move |guests| {
            // The config's lock is that of the OCI file too.
            let locked = guests.lock(vmid)?;
            super::config::check_lock(&locked.config, &[])?;
            if guests.is_running(vmid)? {
                return Err(GuestError::RuntimeInUse(vmid));
            }
            let mut oci = guests.oci_config(vmid)?.unwrap_or_default();
            let choice = match runtime {
                Some(runtime) => Choice { runtime, by: ChosenBy::Request },
                None => guests.choose(vmid, &locked.config, &oci),
            };
            oci.choose(choice.runtime, choice.by);
            guests.write_oci_config(vmid, &oci)
        })
        .await
    }

    /// Start it under its runtime, or under another if its own cannot be used here and nobody asked
    /// for that one by name. What is usable is found out only after a start has failed: one that
    /// works needs no probe.
    pub(super) async fn launch(
        &self,
        vmid: Vmid,
        debug: bool,
        log: &TaskLog,
        cancel: &CancellationToken,
    ) -> Result<(), GuestError> {
        let Choice { runtime, by } = self.blocking(move |guests| guests.choice(vmid)).await?;
        let failed = match self.0.runtimes.of(runtime).start(vmid, debug, log, cancel).await {
            Ok(()) => return Ok(()),
            Err(err @ (RuntimeError::Unusable(_) | RuntimeError::Failed(_))) => err,
            Err(err) => return Err(err.into()),
        };
        let Some(reason) = self.unusable(runtime).await else { return Err(failed.into()) };
        let on_pve = self.0.runtimes.pct().is_some();
        // PVE would not know that somebody else runs its container. Such a one comes here only if its
        // choice was changed since the start began.
        let pves = runtime == RuntimeKind::Lxc && on_pve;
        if by == ChosenBy::Request || pves {
            return Err(RuntimeError::Failed(reason).into());
        }
        let other = match runtime {
            RuntimeKind::Crun => RuntimeKind::Lxc,
            RuntimeKind::Lxc => RuntimeKind::Crun,
        };
        if let Some(also) = self.unusable(other).await {
            let both = reasons([(runtime, reason), (other, also)], on_pve);
            return Err(RuntimeError::Neither(both).into());
        }
        log.warn(format!("{runtime} cannot be used, starting under {other}: {reason}"));
        if other == RuntimeKind::Lxc {
            // Or the service that PVE starts would run our monitor once more.
            self.blocking(move |guests| guests.keep_unit(vmid, false)).await?;
        }
        Ok(self.0.runtimes.of(other).start(vmid, debug, log, cancel).await?)
    }

    /// Why not, if not, as it is now.
    async fn unusable(&self, runtime: RuntimeKind) -> Option<String> {
        let probe = self.0.runtimes.of(runtime).probe().await;
        super::inspect::answer(runtime, probe).reason
    }
}

fn recorded(vmid: Vmid, oci: &OciConfig) -> Result<Option<RuntimeKind>, GuestError> {
    oci.runtime().map_err(|err| GuestError::die(format!("CT {vmid}: oci file: {err}")))
}

/// What brings each of them.
fn package(runtime: RuntimeKind, on_pve: bool) -> &'static str {
    match runtime {
        RuntimeKind::Crun => "proxmox-lxcri",
        RuntimeKind::Lxc if on_pve => "pve-container",
        RuntimeKind::Lxc => "lxc",
    }
}

/// A reason that names a package already has the better advice.
fn reasons(all: [(RuntimeKind, String); 2], on_pve: bool) -> String {
    let one = |(runtime, reason): (RuntimeKind, String)| {
        let package = package(runtime, on_pve);
        if reason.contains("install the package") {
            format!("{runtime} ({package}): {reason}")
        } else {
            format!("{runtime}: {reason}; it is of the package {package}")
        }
    };
    all.map(one).join(", ")
}
