//! LXC's private command protocol, both sides, as `lxc-start` speaks it: a [`client`] for whoever
//! asks, a [`server`] for the process that supervises a container, the [`notify`] messages that
//! `lxc-monitord` passes on, and [`running`], the list of containers that answer.
//!
//! Wire structs are read and written byte by byte ([`wire`]); no `unsafe` is needed. What a
//! command *means* is left to the supervisor.

pub mod client;
mod listing;
mod name;
pub mod notify;
pub mod server;
pub mod wire;

pub use listing::{any_running, running};
pub use name::{guard_name, socket_name};
pub use wire::{Command, State};
