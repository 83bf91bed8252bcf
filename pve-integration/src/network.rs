//! `netN` as steps on the host and in the container's network namespace: pure functions of config and
//! [`Facts`]. What goes where is PVE's (`PVE/Network.pm` of pve-common, `update_net` of pve-container's
//! `PVE/LXC.pm`) and LXC's own for addresses that are set from outside. Who takes the steps is the
//! monitor.
//!
//! Addresses are set from outside for `host-managed` interfaces, for an application, which brings no
//! program that would read a distribution's files, and, as with PVE, by a change while the container
//! runs. An init system configures the rest by itself.
//!
//! `firewall=1` means something only where somebody enforces it; elsewhere the task of a start says that
//! nobody does.

mod change;
mod facts;
mod interface;
mod plug;
mod step;

#[cfg(test)]
pub(crate) mod tests;

use openapi::Vmid;

use crate::bundle::Warning;
use crate::ct_config::{Section, ValueError};

pub use change::change;
pub use facts::{Bridge, Facts};
pub use interface::{Mac, is_of, lease, outer_name};
pub use step::{HostStep, InnerStep, Lease, Vlans};

use interface::Interface;

/// What is to be done, in this order: host, then inside, then whoever keeps leases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub host: Vec<HostStep>,
    pub inner: Vec<InnerStep>,
    pub leases: Vec<Lease>,
    pub warnings: Vec<Warning>,
}

/// Why an interface cannot be had here. The words are PVE's where PVE has them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    #[error(transparent)]
    Value(#[from] ValueError),
    #[error("bridge '{0}' does not exist")]
    NoBridge(String),
    #[error("{key}: '{bridge}' is no bridge of the kernel's; Open vSwitch is not supported")]
    OtherBridge { key: String, bridge: String },
    #[error("no physical interface on bridge '{0}'")]
    NoUplink(String),
    #[error("{key}: MTU size '{mtu}' is bigger than bridge MTU '{most}'")]
    Mtu { key: String, mtu: u32, most: u32 },
    #[error("{0}: SLAAC is not supported for host-managed network configuration.")]
    Slaac(String),
    #[error("{0}: ip6 is set, and this host has no IPv6")]
    NoIpv6(String),
}

/// For a container that starts.
pub fn start(vmid: Vmid, config: &Section, facts: &Facts) -> Result<Plan, NetworkError> {
    let mut plan = Plan::default();
    plan.inner.push(InnerStep::Up { name: "lo".to_owned() });
    for (key, net) in config.nets() {
        let net = net?;
        let interface = Interface::check(vmid, key, &net, facts)?;
        plug::create(&interface, facts, &mut plan)?;
        if net.host_managed || config.is_application() {
            interface.configure(facts, &mut plan)?;
        }
    }
    Ok(plan)
}
