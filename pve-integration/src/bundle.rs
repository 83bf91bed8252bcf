//! Container config and host facts to an OCI bundle.
