//! What a container's firewall would do and does not: it is kept, and only PVE's own programs enforce
//! it.

use openapi::Vmid;
use pve_integration::firewall;

use super::{GuestError, Guests};

impl Guests {
    /// What a start has to warn about.
    pub(super) fn unenforced(&self, vmid: Vmid) -> Result<Vec<String>, GuestError> {
        if firewall::is_enforced(&self.0.root) {
            return Ok(Vec::new());
        }
        let mut warnings = Vec::new();
        for (key, net) in self.read(vmid)?.config.nets() {
            if net.is_ok_and(|net| net.firewall) {
                warnings.push(format!(
                    "{key}: firewall=1 has no effect, this host does not run PVE's firewall"
                ));
            }
        }
        if firewall::load(&self.0.root, vmid)?.guest.is_enabled() {
            warnings.push(format!(
                "firewall/{vmid}.fw: its rules are not enforced, this host does not run PVE's firewall"
            ));
        }
        Ok(warnings)
    }
}
