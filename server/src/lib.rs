//! The daemon: PVE's HTTP API over containers.
