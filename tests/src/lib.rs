//! What black-box tests share: the real daemon on a root of its own, a raw HTTP client, a tiny root
//! filesystem, and a list of what a test left behind. The tests know the product only by its
//! command line, its HTTP interface and its files.
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod console;
mod daemon;
mod guest;
mod http;
mod left_behind;
mod machine;
mod rootfs;
mod stand_in;

pub use console::Terminal;
pub use daemon::{Builder, Daemon, NODE, binary};
pub use guest::{Guest, Task};
pub use http::{Client, Reply, form, send_raw};
pub use left_behind::{descriptors, left_behind, processes_of};
pub use machine::{LXC, lxc, lxcfs, require_machine};
pub use rootfs::{APPLETS, Content, rootfs};
pub use stand_in::StandIn;

/// `secret-word` as `shadow.cfg` may hold it.
pub const BCRYPT_OF_SECRET_WORD: &str =
    "$2b$04$NNzKkORFPThiYCSEMfJ56uIC6iL5D/PEpXrSK/7DU4T5ru3TZ0PBi";
pub const SHA256_OF_SECRET_WORD: &str =
    "$5$PXDPZWOEqWCyhspX$rAeOUyL.Rrwwe.ThJKj8RGRbJg1tsYMMxTetJuqR.n5";

/// Call `look` until it returns something; panic with `what` after `seconds`.
pub fn eventually<T>(seconds: u64, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(seconds);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(std::time::Instant::now() < deadline, "not within {seconds} s: {what}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
