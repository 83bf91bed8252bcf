//! The command line beside `serve`. What works on a root's files takes the daemon's locks.

pub mod access;
pub mod oci;
