//! PVE's world as synchronous functions: config files, users, tickets, tasks, storage, config to OCI bundle.
