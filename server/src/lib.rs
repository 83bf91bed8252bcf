//! The daemon: PVE's HTTP API over containers.
//!
//! A request goes `listen` -> `guard` (who, may they, are the parameters right) -> a handler in
//! `api` -> `guests` or `tasks`. `router` is the table of contents.

mod access_store;
mod api;
mod api_router;
pub mod app;
mod bind_mounts;
mod body;
mod checksum;
pub mod cli;
mod config;
mod console;
mod credentials;
mod docs;
pub mod envelope;
pub mod error;
pub mod extract;
mod fetch;
mod format;
mod guard;
pub mod guests;
mod host_status;
pub mod listen;
mod metrics;
mod packing;
pub mod programs;
pub mod pveproxy;
mod refusal;
pub mod router;
mod routes;
pub mod runtime;
mod scheduler;
pub mod serve;
pub mod stats;
mod target;
pub mod tasks;
mod tls;
mod turns;
mod upload;
