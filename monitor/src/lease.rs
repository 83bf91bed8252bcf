//! The verb `lease`: keeps the addresses of one interface that a server gives for a time, for a
//! container that has no program for it. A process of its own, so that a network full of strangers
//! talks to one that owns nothing: it lives in the container's namespaces, in an empty root, with the
//! one capability that sets addresses. The course of a lease is the crate `dhcp`'s.
//!
//! Each address has the lease's time in the kernel, too: of a keeper that was killed none outlives it.

mod apply;
pub(crate) mod confine;
mod keeper;
pub(crate) mod keepers;
mod orders;
mod record;
mod sockets;
mod wanted;
mod watch;

pub(crate) use orders::{CHILD, Orders};
pub(crate) use wanted::{Wanted, want};
pub(crate) use watch::keep;
