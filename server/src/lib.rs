//! The daemon: PVE's HTTP API over containers.
//!
//! A request goes `listen` -> `guard` (who, may they, are the parameters right) -> a handler in
//! `api` -> `guests` or `tasks`. `router` is the table of contents.

mod config;
mod credentials;
pub mod envelope;
pub mod error;
mod host_status;
pub mod listen;
mod refusal;
mod target;
mod tls;
