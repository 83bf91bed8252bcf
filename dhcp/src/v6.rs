//! An IPv6 address from a server, RFC 8415: one address of one identity association. Where the default
//! route goes and what else is on the link routers announce; that is the kernel's.
//!
//! All is sent to every server on the link. A server is known by its identifier, so there is no need
//! for an address of it.

mod message;

use std::net::Ipv6Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::resolver::Resolver;
use crate::{Identity, Moment, seconds};
use message::{Ask, Kind, Reply};

pub const CLIENT: u16 = 546;
pub const SERVER: u16 = 547;
/// All servers and relays on the link.
pub const GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

/// RFC 8415 section 7.6: first wait, longest wait. A container that starts before its server should
/// not have to wait for an hour, so questions for any server follow the older RFC 3315.
const SOLICIT: (u32, u32) = (1, 120);
const REQUEST: (u32, u32) = (1, 30);
const EXTEND: (u32, u32) = (10, 600);
const MOST_REQUESTS: u32 = 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub address: Ipv6Addr,
    /// `None` is for ever.
    pub preferred: Option<Duration>,
    pub valid: Option<Duration>,
    pub resolver: Resolver,
    server: Vec<u8>,
    renewal: Option<Duration>,
    rebinding: Option<Duration>,
}

/// What whoever has the socket does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// To [`GROUP`].
    Send(Vec<u8>),
    Use(Lease),
    /// The address is no longer ours.
    Lose(Ipv6Addr),
}

/// What is worth knowing at the next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    pub address: Ipv6Addr,
}

#[derive(Debug)]
pub struct Client {
    identity: Identity,
    state: State,
    xid: u32,
    began: Moment,
    sent: u32,
    waited: Duration,
    wake: Option<Moment>,
    hint: Option<Ipv6Addr>,
}

#[derive(Debug)]
enum State {
    Soliciting,
    Requesting(Lease),
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
        self.lease.valid.map(|valid| self.since + valid)
    }
}

impl Client {
    /// Its first step is due at once.
    pub fn new(identity: Identity, memory: Option<Memory>, now: Moment) -> Self {
        let hint = memory.map(|memory| memory.address).filter(is_usable);
        let xid = new_xid(&identity);
        Self {
            identity,
            state: State::Soliciting,
            xid,
            began: now,
            sent: 0,
            waited: Duration::ZERO,
            wake: Some(now),
            hint,
        }
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
            State::Soliciting | State::Requesting(_) => None,
        }
    }

    /// It is later. Does nothing before its time.
    pub fn tick(&mut self, now: Moment) -> Vec<Step> {
        if self.wake.is_none_or(|wake| now < wake) {
            return Vec::new();
        }
        if let Some(held) = self.held().filter(|held| held.end().is_some_and(|end| now >= end)) {
            let lost = Step::Lose(held.lease.address);
            self.enter(State::Soliciting, now);
            return vec![lost, self.ask(now)];
        }
        match &self.state {
            State::Bound(held) => {
                let held = held.clone();
                self.enter(State::Renewing(held), now);
            }
            State::Renewing(held)
                if held.lease.rebinding.is_some_and(|after| now >= held.since + after) =>
            {
                let held = held.clone();
                self.enter(State::Rebinding(held), now);
            }
            State::Requesting(_) if self.sent >= MOST_REQUESTS => {
                self.enter(State::Soliciting, now);
            }
            State::Soliciting | State::Requesting(_) | State::Renewing(_) | State::Rebinding(_) => {
            }
        }
        vec![self.ask(now)]
    }

    /// A message came in; what is none for us changes nothing.
    pub fn receive(&mut self, message: &[u8], now: Moment) -> Vec<Step> {
        let Some(reply) = Reply::parse(message, &self.identity) else { return Vec::new() };
        if reply.xid != self.xid || self.sent == 0 {
            return Vec::new();
        }
        match (&self.state, reply.kind) {
            (State::Soliciting, Kind::Advertise(lease)) => {
                self.enter(State::Requesting(lease), now);
                vec![self.ask(now)]
            }
            (State::Requesting(offer), Kind::Reply(lease)) if offer.server == lease.server => {
                self.hold(lease, now)
            }
            (State::Renewing(held), Kind::Reply(lease)) if held.lease.server == lease.server => {
                self.hold(lease, now)
            }
            (State::Rebinding(_), Kind::Reply(lease)) => self.hold(lease, now),
            (State::Requesting(offer), Kind::Refusal { server }) if offer.server == server => {
                self.refused(now)
            }
            (State::Renewing(held), Kind::Refusal { server }) if held.lease.server == server => {
                self.refused(now)
            }
            (State::Rebinding(_), Kind::Refusal { .. }) => self.refused(now),
            (_, _) => Vec::new(),
        }
    }

    /// The end. Nobody waits for an answer to it.
    pub fn release(&mut self) -> Vec<Step> {
        let Some(lease) = self.lease().cloned() else { return Vec::new() };
        let ask = Ask::Release { address: lease.address, server: &lease.server };
        let message = ask.message(&self.identity, new_xid(&self.identity), Duration::ZERO);
        self.state = State::Soliciting;
        self.wake = None;
        vec![Step::Send(message), Step::Lose(lease.address)]
    }

    fn enter(&mut self, state: State, now: Moment) {
        self.state = state;
        self.xid = new_xid(&self.identity);
        (self.began, self.sent, self.waited) = (now, 0, Duration::ZERO);
    }

    fn refused(&mut self, now: Moment) -> Vec<Step> {
        let lost = self.lease().map(|lease| Step::Lose(lease.address));
        self.hint = None;
        self.enter(State::Soliciting, now);
        self.wake = Some(now + Duration::from_secs(1));
        lost.into_iter().collect()
    }

    fn hold(&mut self, lease: Lease, now: Moment) -> Vec<Step> {
        let old = self.lease().map(|old| old.address);
        let lost = old.filter(|old| *old != lease.address).map(Step::Lose);
        let since = self.began;
        self.hint = Some(lease.address);
        let due = lease.renewal.or(lease.valid);
        self.wake = due.map(|after| (since + after).max(now));
        self.state = State::Bound(Held { lease: lease.clone(), since });
        lost.into_iter().chain([Step::Use(lease)]).collect()
    }

    fn ask(&mut self, now: Moment) -> Step {
        let ((first, longest), until) = match &self.state {
            State::Soliciting => (SOLICIT, None),
            State::Requesting(_) => (REQUEST, None),
            State::Bound(held) | State::Renewing(held) => {
                (EXTEND, held.lease.rebinding.map(|after| held.since + after))
            }
            State::Rebinding(held) => (EXTEND, held.end()),
        };
        // RFC 8415 section 15. A lease of minutes leaves no room for the usual waits.
        let room =
            until.map_or(Duration::MAX, |until| (until.saturating_sub(now) / 2).max(seconds(2)));
        let base = if self.waited.is_zero() { seconds(first) } else { self.waited * 2 };
        self.waited = self.identity.spread(base.min(seconds(longest)).min(room), 100);
        let wake = now + self.waited;
        self.wake = Some(until.map_or(wake, |until| wake.min(until.max(now + seconds(1)))));
        self.sent += 1;

        let ask = match &self.state {
            State::Soliciting => Ask::Solicit { hint: self.hint },
            State::Requesting(lease) => {
                Ask::Request { address: lease.address, server: &lease.server }
            }
            State::Bound(held) | State::Renewing(held) => {
                Ask::Renew { address: held.lease.address, server: &held.lease.server }
            }
            State::Rebinding(held) => Ask::Rebind { address: held.lease.address },
        };
        Step::Send(ask.message(&self.identity, self.xid, now.saturating_sub(self.began)))
    }
}

fn new_xid(identity: &Identity) -> u32 {
    (identity.random)() & 0x00ff_ffff
}

/// One that a machine can have and others can reach.
fn is_usable(address: &Ipv6Addr) -> bool {
    !address.is_unspecified()
        && !address.is_loopback()
        && !address.is_multicast()
        && !address.is_unicast_link_local()
        && address.to_ipv4_mapped().is_none()
}

#[cfg(test)]
mod tests;
