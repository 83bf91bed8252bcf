//! The two programs that watch over containers, and which of them does what.

use openapi::{NodeName, Vmid};
use pve_integration::layout::Root;

use super::RuntimeError;
use super::monitor::{How, Monitor};
use super::units::Units;
use crate::programs::Programs;

#[derive(Clone, Debug)]
pub(crate) struct Monitors {
    pub(super) crun: Monitor,
    /// Also for all that does not depend on what runs a container: it loads wherever the daemon does.
    pub(crate) lxc: Monitor,
}

impl Monitors {
    pub(crate) fn new(programs: Programs, root: &Root, node: &NodeName) -> Self {
        let monitor = |program| Monitor::new(program, root.clone(), node.clone());
        Self { crun: monitor(programs.crun), lxc: monitor(programs.lxc) }
    }

    pub(super) fn of(&self, how: &How) -> &Monitor {
        if how.lxc_start.is_some() { &self.lxc } else { &self.crun }
    }

    pub(super) fn units(&self) -> Option<Units> {
        let programs =
            Programs { crun: self.crun.program().to_owned(), lxc: self.lxc.program().to_owned() };
        Units::of(self.lxc.root(), self.lxc.node(), programs)
    }

    /// Remove what a dead monitor left. What libcrun knows of it libcrun removes, after the hooks for
    /// the container's end; where it cannot be used that goes without them.
    pub(super) async fn cleanup(
        &self,
        vmid: Vmid,
        libcrun_knows: bool,
    ) -> Result<(), RuntimeError> {
        if libcrun_knows {
            match self.crun.cleanup(vmid).await {
                Err(RuntimeError::Unusable(_)) => {}
                done => return done,
            }
        }
        self.lxc.cleanup(vmid).await
    }
}
