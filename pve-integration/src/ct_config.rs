//! Container config files.
