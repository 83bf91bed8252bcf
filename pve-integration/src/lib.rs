//! PVE's world as plain synchronous functions: where its files lie, what they say, how they are
//! changed, and what a container config means as an OCI bundle or to LXC. No async runtime, no HTTP.

pub mod access;
pub mod accounts;
pub mod atomic;
pub mod bandwidth;
pub mod bundle;
pub mod calendar;
pub mod cluster_lock;
pub mod console;
pub mod ct_config;
pub mod datacenter;
pub mod errno;
pub mod exit;
mod file_lock;
pub mod firewall;
pub mod host;
pub mod interfaces;
pub mod jobs;
pub mod layout;
pub mod local_time;
pub mod lxc;
pub mod network;
pub mod oci_config;
pub mod oci_image;
pub mod policy;
pub mod rrd;
pub mod settings;
pub mod setup;
pub mod shell_quote;
pub mod stamp;
pub mod storage;
pub mod systemd;
pub mod tasks;
pub mod vzdump;
mod watch;
