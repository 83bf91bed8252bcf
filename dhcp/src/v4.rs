//! An IPv4 lease, RFC 2131 section 4.4:
//!
//! ```text
//!  new ──▶ Selecting ──offer──▶ Requesting ──ack──▶ Bound ──T1──▶ Renewing ──T2──▶ Rebinding
//!            ▲  ▲                   │                 ▲               │ack            │ack
//!            │  └──nak, no answer───┘                 └───────────────┴───────────────┘
//!            └──────────────────────nak, the lease has run out───────────────────────┘
//!  new, with an address that is ours still ──▶ Rebooting ──ack──▶ Bound, or ──▶ Selecting
//! ```

mod message;

use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::resolver::Resolver;
use crate::{Identity, Moment, seconds};
use message::{Ask, Kind, Reply};

/// The wait for an answer, RFC 2131 section 4.1, give or take a second.
const FIRST_WAIT: Duration = Duration::from_secs(4);
const LONGEST_WAIT: Duration = Duration::from_secs(64);
/// How often one server is asked for what it offered, and for the address we had.
const MOST_REQUESTS: u32 = 4;
const MOST_REBOOTS: u32 = 2;
/// Two servers that quarrel must not keep us busy.
const AFTER_NAK: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub address: Ipv4Addr,
    pub prefix: u8,
    pub routes: Vec<Route>,
    pub mtu: Option<u16>,
    pub resolver: Resolver,
    /// `None` is for ever.
    pub lifetime: Option<Duration>,
    server: Ipv4Addr,
    renewal: Duration,
    rebinding: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    pub to: Ipv4Net,
    /// Without one it is on the same network.
    pub gateway: Option<Ipv4Addr>,
}

/// What whoever has the sockets does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Broadcast(Vec<u8>),
    /// From our address to this server.
    Send {
        to: Ipv4Addr,
        message: Vec<u8>,
    },
    /// This is ours now, or still.
    Use(Lease),
    /// The address is no longer ours.
    Lose,
}

/// What is worth knowing at the next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    pub address: Ipv4Addr,
    /// It was not given back and its time is not over.
    pub ours: bool,
}

#[derive(Debug)]
pub struct Client {
    identity: Identity,
    state: State,
    xid: u32,
    /// Of the exchange that is under way.
    began: Moment,
    sent: u32,
    wake: Option<Moment>,
    /// An address to ask for, as we had it before.
    hint: Option<Ipv4Addr>,
}

#[derive(Debug)]
enum State {
    Selecting,
    Requesting(Lease),
    Rebooting(Ipv4Addr),
    Bound(Held),
    Renewing(Held),
    Rebinding(Held),
}

#[derive(Clone, Debug)]
struct Held {
    lease: Lease,
    since: Moment,
}

impl Held {
    fn end(&self) -> Option<Moment> {
        self.lease.lifetime.map(|lifetime| self.since + lifetime)
    }
}

impl Client {
    /// Its first step is due at once.
    pub fn new(identity: Identity, memory: Option<Memory>, now: Moment) -> Self {
        let hint = memory.map(|memory| memory.address).filter(|address| is_usable(*address));
        let state = match (hint, memory) {
            (Some(address), Some(Memory { ours: true, .. })) => State::Rebooting(address),
            (_, _) => State::Selecting,
        };
        let xid = (identity.random)();
        Self { identity, state, xid, began: now, sent: 0, wake: Some(now), hint }
    }

    /// When [`Self::tick`] is due.
    pub fn wake(&self) -> Option<Moment> {
        self.wake
    }

    pub fn lease(&self) -> Option<&Lease> {
        self.held().map(|held| &held.lease)
    }

    fn held(&self) -> Option<&Held> {
        match &self.state {
            State::Bound(held) | State::Renewing(held) | State::Rebinding(held) => Some(held),
            State::Selecting | State::Requesting(_) | State::Rebooting(_) => None,
        }
    }

    /// It is later. Does nothing before its time.
    pub fn tick(&mut self, now: Moment) -> Vec<Step> {
        if self.wake.is_none_or(|wake| now < wake) {
            return Vec::new();
        }
        if self.held().and_then(Held::end).is_some_and(|end| now >= end) {
            self.start_over(now);
            return [vec![Step::Lose], self.tick(now)].concat();
        }
        match &self.state {
            State::Bound(held) => {
                let held = held.clone();
                self.enter(State::Renewing(held), now);
            }
            State::Renewing(held) if now >= held.since + held.lease.rebinding => {
                let held = held.clone();
                self.enter(State::Rebinding(held), now);
            }
            State::Requesting(_) if self.sent >= MOST_REQUESTS => self.start_over(now),
            State::Rebooting(_) if self.sent >= MOST_REBOOTS => self.start_over(now),
            State::Selecting
            | State::Requesting(_)
            | State::Rebooting(_)
            | State::Renewing(_)
            | State::Rebinding(_) => {}
        }
        vec![self.ask(now)]
    }

    /// A message came in; what is none for us changes nothing.
    pub fn receive(&mut self, message: &[u8], now: Moment) -> Vec<Step> {
        let Some(reply) = Reply::parse(message) else { return Vec::new() };
        if reply.xid != self.xid || reply.mac != self.identity.mac {
            return Vec::new();
        }
        match (&self.state, reply.kind) {
            (State::Selecting, Kind::Offer(lease)) if self.sent > 0 => {
                let xid = self.xid;
                self.enter(State::Requesting(lease), now);
                // The exchange goes on, as the standard has it.
                self.xid = xid;
                vec![self.ask(now)]
            }
            (State::Requesting(offer), Kind::Ack(lease)) if offer.server == lease.server => {
                self.hold(lease, now)
            }
            (State::Rebooting(_) | State::Rebinding(_), Kind::Ack(lease)) => self.hold(lease, now),
            (State::Renewing(held), Kind::Ack(lease)) if held.lease.server == lease.server => {
                self.hold(lease, now)
            }
            (State::Requesting(lease), Kind::Nak(server)) if lease.server == server => {
                self.refused(now)
            }
            (State::Renewing(Held { lease, .. }), Kind::Nak(server)) if lease.server == server => {
                self.refused(now)
            }
            (State::Rebooting(_) | State::Rebinding(_), Kind::Nak(_)) => self.refused(now),
            (_, _) => Vec::new(),
        }
    }

    /// The end. Nobody answers to it.
    pub fn release(&mut self) -> Vec<Step> {
        let Some(lease) = self.lease().cloned() else { return Vec::new() };
        self.xid = (self.identity.random)();
        let ask = Ask::Release { ours: lease.address, server: lease.server };
        let message = ask.message(&self.identity, self.xid, Duration::ZERO);
        self.state = State::Selecting;
        self.wake = None;
        vec![Step::Send { to: lease.server, message }, Step::Lose]
    }

    fn enter(&mut self, state: State, now: Moment) {
        self.state = state;
        self.xid = (self.identity.random)();
        (self.began, self.sent) = (now, 0);
    }

    fn start_over(&mut self, now: Moment) {
        self.enter(State::Selecting, now);
        self.wake = Some(now);
    }

    fn refused(&mut self, now: Moment) -> Vec<Step> {
        let lost = self.held().is_some();
        self.hint = None;
        self.start_over(now);
        self.wake = Some(now + AFTER_NAK);
        if lost { vec![Step::Lose] } else { Vec::new() }
    }

    fn hold(&mut self, lease: Lease, now: Moment) -> Vec<Step> {
        // Another address than before takes the place of the old one.
        let other = self
            .lease()
            .is_some_and(|old| (old.address, old.prefix) != (lease.address, lease.prefix));
        // The server counts from when it was asked at the latest.
        let since = self.began;
        self.hint = Some(lease.address);
        self.wake = lease.lifetime.map(|_| (since + lease.renewal).max(now));
        self.state = State::Bound(Held { lease: lease.clone(), since });
        let lose = other.then_some(Step::Lose);
        lose.into_iter().chain([Step::Use(lease)]).collect()
    }

    /// Ask what the state is about, and note when to ask again.
    fn ask(&mut self, now: Moment) -> Step {
        let (ask, wake) = match &self.state {
            State::Selecting => (Ask::Discover { hint: self.hint }, now + self.wait()),
            State::Requesting(Lease { address, server, .. }) => {
                (Ask::Request { address: *address, server: *server }, now + self.wait())
            }
            State::Rebooting(address) => (Ask::Reboot { address: *address }, now + self.wait()),
            State::Bound(held) | State::Renewing(held) => {
                let until = held.since + held.lease.rebinding;
                (Ask::Extend { ours: held.lease.address }, patience(held, until, now))
            }
            State::Rebinding(held) => {
                let until = held.end().unwrap_or(now + LONGEST_WAIT);
                (Ask::Extend { ours: held.lease.address }, patience(held, until, now))
            }
        };
        self.sent += 1;
        self.wake = Some(wake);
        let message = ask.message(&self.identity, self.xid, now.saturating_sub(self.began));
        match &self.state {
            State::Bound(held) | State::Renewing(held) => {
                Step::Send { to: held.lease.server, message }
            }
            State::Selecting | State::Requesting(_) | State::Rebooting(_) | State::Rebinding(_) => {
                Step::Broadcast(message)
            }
        }
    }

    fn wait(&self) -> Duration {
        let doubled = FIRST_WAIT.saturating_mul(1 << self.sent.min(10)).min(LONGEST_WAIT);
        let second = self.identity.spread(Duration::from_secs(1), 1000);
        doubled + second - Duration::from_secs(1)
    }
}

/// RFC 2131 section 4.4.5: half of the time that is left, at least a minute; of a lease that is itself
/// of minutes, a part of it.
fn patience(held: &Held, until: Moment, now: Moment) -> Moment {
    let left = until.saturating_sub(now);
    let least = held.lease.lifetime.map_or(seconds(60), |lifetime| lifetime / 8);
    let wait = (left / 2).max(least.clamp(seconds(2), seconds(60)));
    (now + wait).min(until.max(now + Duration::from_secs(1)))
}

/// One that a machine can have.
fn is_usable(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first != 0 && first < 224 && !address.is_loopback()
}

#[cfg(test)]
mod tests;
