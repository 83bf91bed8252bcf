//! Name servers and domains to search as routers announce them, RFC 8106, each for a time of its own. The
//! kernel hears the announcements, checks that they come from this link and takes addresses and routes
//! out of them; the options that are not its own it passes on.

use std::net::{IpAddr, Ipv6Addr};

use crate::resolver::Resolver;
use crate::{FOR_EVER, Moment, seconds};

const RDNSS: u8 = 25;
const DNSSL: u8 = 31;

/// More are not kept: those that end first go.
const MOST: usize = 8;
/// Routers are asked so often, with twice the time in between each time. RFC 4861 asks thrice, but by then
/// it has an address of the link, which takes a new interface a second.
const MOST_QUESTIONS: u32 = 5;

/// What whoever has the sockets does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send [`SOLICITATION`].
    Solicit,
    /// [`Client::resolver`] says something else now.
    Changed,
}

/// To [`GROUP`], by ICMPv6; the checksum is the kernel's.
pub const SOLICITATION: [u8; 8] = [133, 0, 0, 0, 0, 0, 0, 0];
/// All routers on the link.
pub const GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

#[derive(Debug)]
pub struct Client {
    servers: Vec<Entry<Ipv6Addr>>,
    domains: Vec<Entry<String>>,
    questions: u32,
    ask: Option<Moment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry<T> {
    what: T,
    /// `None` is never.
    end: Option<Moment>,
}

impl Client {
    /// Its first step is due at once.
    pub fn new(now: Moment) -> Self {
        Self { servers: Vec::new(), domains: Vec::new(), questions: 0, ask: Some(now) }
    }

    /// When [`Self::tick`] is due.
    pub fn wake(&self) -> Option<Moment> {
        let ends = self.servers.iter().filter_map(|entry| entry.end);
        let ends = ends.chain(self.domains.iter().filter_map(|entry| entry.end));
        ends.chain(self.ask).min()
    }

    pub fn resolver(&self) -> Resolver {
        let servers = self.servers.iter().map(|entry| IpAddr::V6(entry.what));
        Resolver::new(servers, self.domains.iter().map(|entry| entry.what.clone()))
    }

    /// It is later. Does nothing before its time.
    pub fn tick(&mut self, now: Moment) -> Vec<Step> {
        let before = self.resolver();
        self.servers.retain(|entry| entry.end.is_none_or(|end| now < end));
        self.domains.retain(|entry| entry.end.is_none_or(|end| now < end));
        let mut steps = Vec::new();
        if self.ask.is_some_and(|ask| now >= ask) {
            steps.push(Step::Solicit);
            self.questions += 1;
            let next = now + seconds(1 << (self.questions - 1));
            self.ask = (self.questions < MOST_QUESTIONS).then_some(next);
        }
        steps.extend((self.resolver() != before).then_some(Step::Changed));
        steps
    }

    /// The options of an announcement, or some of them.
    pub fn receive(&mut self, options: &[u8], now: Moment) -> Vec<Step> {
        let before = self.resolver();
        for option in each(options) {
            let (lifetime, end) = match option.lifetime {
                FOR_EVER => (FOR_EVER, None),
                lifetime => (lifetime, Some(now + seconds(lifetime))),
            };
            self.ask = None;
            match option.kind {
                RDNSS => {
                    for bytes in option.data.as_chunks::<16>().0 {
                        keep(&mut self.servers, (*bytes).into(), lifetime, end);
                    }
                }
                _ => {
                    for name in names(option.data) {
                        keep(&mut self.domains, name, lifetime, end);
                    }
                }
            }
        }
        if self.resolver() == before { Vec::new() } else { vec![Step::Changed] }
    }
}

/// No lifetime is the end of it.
fn keep<T: PartialEq>(all: &mut Vec<Entry<T>>, what: T, lifetime: u32, end: Option<Moment>) {
    let at = all.iter().position(|entry| entry.what == what);
    match at {
        Some(at) if lifetime == 0 => drop(all.remove(at)),
        Some(at) => all[at].end = end,
        None if lifetime == 0 => {}
        None => {
            if all.len() >= MOST {
                let first = |entry: &Entry<T>| entry.end.unwrap_or(Moment::MAX);
                let at = (0..all.len()).min_by_key(|at| first(&all[*at]));
                at.map(|at| all.remove(at));
            }
            all.push(Entry { what, end });
        }
    }
}

struct Announced<'a> {
    kind: u8,
    lifetime: u32,
    data: &'a [u8],
}

/// Those of RFC 8106 whose length is one that they may have; at one of no length all is over.
fn each(mut options: &[u8]) -> Vec<Announced<'_>> {
    let mut found = Vec::new();
    while let [kind, length, ..] = *options {
        let length = usize::from(length) * 8;
        let Some((option, rest)) = options.split_at_checked(length) else { break };
        if length == 0 {
            break;
        }
        options = rest;
        if let [_, _, _, _, a, b, c, d, data @ ..] = option {
            let lifetime = u32::from_be_bytes([*a, *b, *c, *d]);
            let fits = match kind {
                RDNSS => !data.is_empty() && data.len().is_multiple_of(16),
                DNSSL => !data.is_empty(),
                _ => false,
            };
            found.extend(fits.then_some(Announced { kind, lifetime, data }));
        }
    }
    found
}

/// One after another as RFC 1035 writes them, without pointers; zeros fill up what is left.
fn names(mut data: &[u8]) -> Vec<String> {
    let (mut found, mut labels) = (Vec::new(), Vec::new());
    while let [length, rest @ ..] = data {
        if *length == 0 {
            if !labels.is_empty() {
                found.push(std::mem::take(&mut labels).join("."));
            }
            data = rest;
            continue;
        }
        let Some((label, rest)) = rest.split_at_checked((*length).into()) else { break };
        labels.push(String::from_utf8_lossy(label).into_owned());
        data = rest;
    }
    found
}

/// Of a message of the kernel's group ND_USEROPT, rtnetlink(7), the options of a router's announcement on
/// the interface `index`.
pub fn of_kernel(message: &[u8], index: u32) -> Option<&[u8]> {
    const NEW_OPTIONS: u16 = 68;
    const INET6: u8 = 10;
    const ANNOUNCEMENT: u8 = 134;

    let (header, rest) = message.split_first_chunk::<16>()?;
    let kind = u16::from_ne_bytes([header[4], header[5]]);
    let (about, options) = rest.split_first_chunk::<16>()?;
    let length = usize::from(u16::from_ne_bytes([about[2], about[3]]));
    let link = u32::from_ne_bytes([about[4], about[5], about[6], about[7]]);
    let ours = kind == NEW_OPTIONS && about[0] == INET6 && about[8] == ANNOUNCEMENT;
    if ours && link == index { options.get(..length) } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn option(kind: u8, lifetime: u32, data: &[u8]) -> Vec<u8> {
        let mut data = data.to_vec();
        data.resize(data.len().next_multiple_of(8), 0);
        let length = u8::try_from(1 + data.len() / 8).unwrap();
        [&[kind, length, 0, 0][..], &lifetime.to_be_bytes(), &data].concat()
    }

    fn server(last: u8) -> [u8; 16] {
        let mut bytes = [0; 16];
        (bytes[0], bytes[15]) = (0xfd, last);
        bytes
    }

    fn expected(servers: &[&str], domains: &[&str]) -> Resolver {
        let servers = servers.iter().map(|ip| ip.parse().unwrap());
        Resolver::new(servers, domains.iter().map(|name| (*name).to_owned()))
    }

    #[test]
    fn what_is_announced_ends_in_its_time() {
        let mut client = Client::new(seconds(0));
        assert_eq!(client.tick(seconds(0)), [Step::Solicit]);
        let domains = b"\x03lan\x04test\x00\x05other\x00";
        let both =
            [option(RDNSS, 60, &[server(1), server(2)].concat()), option(DNSSL, 90, domains)];
        assert_eq!(client.receive(&both.concat(), seconds(10)), [Step::Changed]);
        let all = expected(&["fd00::1", "fd00::2"], &["lan.test", "other"]);
        assert_eq!(client.resolver(), all);
        assert_eq!(client.wake(), Some(seconds(70)), "nobody is asked any more");
        assert_eq!(client.receive(&both.concat(), seconds(20)), []);
        assert_eq!(client.receive(&option(RDNSS, 0, &server(1)), seconds(30)), [Step::Changed]);
        assert_eq!(client.resolver(), expected(&["fd00::2"], &["lan.test", "other"]));
        assert_eq!(client.tick(seconds(79)), []);
        assert_eq!(client.tick(seconds(80)), [Step::Changed]);
        assert_eq!(client.resolver(), expected(&[], &["lan.test", "other"]));
        client.receive(&option(DNSSL, FOR_EVER, b"\x01x\x00"), seconds(90));
        client.tick(seconds(1_000_000));
        assert_eq!((client.resolver(), client.wake()), (expected(&[], &["x"]), None));
    }

    #[test]
    fn nobody_is_asked_for_ever() {
        let mut client = Client::new(seconds(0));
        let mut asked = Vec::new();
        while let Some(wake) = client.wake() {
            asked.extend(client.tick(wake).iter().map(|_| wake.as_secs()));
        }
        assert_eq!(asked, [0, 1, 3, 7, 15]);
    }

    #[test]
    fn of_too_many_those_that_end_first_go() {
        let mut client = Client::new(seconds(0));
        for last in 1..=20 {
            client.receive(&option(RDNSS, u32::from(last), &server(last)), seconds(0));
        }
        assert_eq!(client.servers.len(), MOST);
        assert_eq!(client.resolver(), expected(&["fd00::d", "fd00::e", "fd00::f"], &[]));
    }

    #[test]
    fn reads_what_the_kernel_passes_on() {
        let words = [&68_u16.to_ne_bytes()[..], &[0; 10], &[10, 0], &24_u16.to_ne_bytes()].concat();
        let head = [&[0; 4][..], &words, &3_u32.to_ne_bytes(), &[134], &[0; 7]].concat();
        let options = option(RDNSS, 60, &server(1));
        let message = [&head[..], &options, &[1; 20]].concat();
        assert_eq!(of_kernel(&message, 3), Some(&options[..]));
        assert_eq!(of_kernel(&message, 4), None);
        assert_eq!(of_kernel(&message[..40], 3), None);
    }

    proptest! {
        #[test]
        fn takes_whatever_a_neighbour_sends(
            options in vec((prop::sample::select(vec![0_u8, 1, 24, 25, 31, 38]), any::<u32>(), vec(any::<u8>(), 0..70)), 0..12),
            cut in 0..40_usize,
            noise in vec(any::<u8>(), 0..80),
        ) {
            let mut bytes: Vec<u8> =
                options.iter().flat_map(|(kind, lifetime, data)| option(*kind, *lifetime, data)).collect();
            bytes.truncate(bytes.len().saturating_sub(cut));
            bytes.extend(&noise);
            let mut client = Client::new(seconds(0));
            for now in 0..4 {
                client.receive(&bytes, seconds(now));
                client.tick(seconds(now));
                prop_assert!(client.servers.len() <= MOST && client.domains.len() <= MOST);
                prop_assert!(client.wake().is_none_or(|wake| wake > seconds(now)));
            }
            let _options = of_kernel(&noise, 3);
        }
    }
}
