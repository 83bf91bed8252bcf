//! `features: mknod=1`: some harmless device nodes for containers that cannot make any, as PVE's
//! pve-lxc-syscalld makes them. The kernel asks about each call; a process beside the monitor answers.
//!
//! Of each call it is first tried what the caller itself may: by a process in its namespaces, below its
//! root, with its ids and capabilities. What that one lacks is nothing but the right to make devices, which
//! no user namespace gives: then another one makes the node, in the folder that the first one has found.

mod call;
mod caller;
mod handler;
mod make;
mod serve;

use clap::Args;

pub(crate) use handler::Handler;
pub(crate) use serve::serve;

/// The hidden verb.
pub(crate) const CHILD: &str = "mknod";

/// Standard input is the socket that libcrun connects to.
#[derive(Args, Debug)]
pub(crate) struct Orders {
    /// The process that this one does not outlive
    #[arg(long)]
    pub(crate) parent: i32,
}
