//! The command line beside `serve`. What works on a root's files takes the daemon's locks; what asks the
//! daemon is a client of its API as any other.

pub mod access;
pub mod client;
pub mod ct;
pub mod documents;
mod follow;
pub mod oci;
pub mod report;
pub mod runtimes;
mod show;
pub mod task;
