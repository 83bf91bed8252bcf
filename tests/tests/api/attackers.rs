//! What an attacker sends. Each is refused in PVE's words where PVE has some, within bounded time and
//! memory, and leaves the daemon as it was for everybody else.

mod bombs;
mod consoles;
mod credentials;
mod hoarding;
mod smuggling;
mod traversal;

use std::time::{Duration, Instant};

use tests::Daemon;

pub(crate) use credentials::as_root;

/// It still answers those who may ask, and at once.
fn assert_well(daemon: &Daemon) {
    let begun = Instant::now();
    assert_eq!(daemon.get("/version").status, 200);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
}
