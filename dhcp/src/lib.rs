//! DHCP as a client speaks it, RFC 2131 and RFC 8415: the messages, and the course of a lease from the
//! first question to the last release. Nothing in here has a socket or a clock: a client is told what
//! came in and what time it is, and answers with the steps to take.
//!
//! What comes in was written by whoever is on the same network. [`sift`] lets through what this crate
//! reads, in the lengths that it may have, before dhcproto, which trusts lengths, gets to see it.

pub mod frame;
pub mod resolver;
pub mod routers;
pub mod sift;
pub mod v4;
pub mod v6;

#[cfg(test)]
mod hostile;

use std::time::Duration;

/// Time since some moment, by a clock that goes on while the machine sleeps.
pub type Moment = Duration;

/// Who asks.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Of the interface. The server knows us by it, so that a restart gets the same address.
    pub mac: [u8; 6],
    pub hostname: Option<String>,
    /// Any number, another one at each call.
    pub random: fn() -> u32,
}

impl Identity {
    /// `base` with up to this many thousandths more or less.
    fn spread(&self, base: Duration, thousandths: u32) -> Duration {
        let width = base / 1000 * thousandths;
        let part = (self.random)() % 2001;
        (base + width / 1000 * part).saturating_sub(width)
    }
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}

/// Servers of this kind of lease say "for ever" so.
const FOR_EVER: u32 = u32::MAX;
