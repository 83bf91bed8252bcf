//! Commands that need no daemon: they work on a root's files, under the locks the daemon takes too.

pub mod access;
