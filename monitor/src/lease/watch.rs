//! The keeper itself: one loop over what comes in, what time it is, and whether to end.

use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::time::Duration;

use dhcp::resolver::Resolver;
use dhcp::{Identity, Moment, routers, v4, v6};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;
use rustix::time::{ClockId, clock_gettime};

use super::apply::Link;
use super::record::{Record, ResolverFile};
use super::{Orders, confine, sockets};
use crate::error::{During, Error, Result};
use crate::guest::warn;
use crate::net::write_sysctl;
use crate::run::epoch_seconds;

/// A network that says more than this at once has to wait for its turn.
const AT_ONCE: usize = 64;

pub(crate) fn keep(orders: &Orders) -> Result<()> {
    let signals = take_signals()?;
    let process = io::stdin();
    let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .during("cannot close standard input")?;
    confine::join_network(process.as_fd())?;
    let mut keeper = Running::open(orders)?;
    // What comes is a small part of it, and none of what a start needs.
    heap::forget_code().during("cannot give memory back")?;
    confine::confine(process.as_fd(), orders.parent)?;
    rustix::stdio::dup2_stdin(&null).during("cannot close standard input")?;
    if orders.routers {
        // A start does not wait for them, but for whoever listens to them.
        let mut out = io::stdout();
        writeln!(out, "routers").and_then(|()| out.flush()).ok();
    }
    keeper.run(&signals)
}

fn take_signals() -> Result<SignalFd> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGTERM);
    // The monitor's are blocked in its children.
    SigSet::all().thread_unblock().during("cannot unblock signals")?;
    mask.thread_block().during("cannot block signals")?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .during("cannot take signals")
}

struct Running {
    interface: String,
    link: Link,
    record: Record,
    file: Option<ResolverFile>,
    search: Vec<String>,
    v4: Option<(v4::Client, sockets::V4)>,
    v6: Option<(v6::Client, sockets::V6)>,
    routers: Option<(routers::Client, sockets::Routers)>,
    told_v4: bool,
    told_v6: bool,
}

impl Running {
    fn open(orders: &Orders) -> Result<Self> {
        let name = orders.interface.clone();
        let failed = |source: io::Error| Error::Network {
            what: format!("open the interface '{name}'"),
            source,
        };
        let probe = rustix::net::socket(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::DGRAM,
            None,
        )?;
        let index = name_to_index(&probe, &name).map_err(|err| failed(err.into()))?;
        let link = Link::open(index).map_err(failed)?;
        // A fixed address of the same network, set meanwhile, would go with ours.
        write_sysctl(&format!("ipv4/conf/{name}/promote_secondaries"), "1").map_err(failed)?;
        let record = Record::open(&orders.record).during("cannot open the record of leases")?;
        let file = orders.resolver.as_ref().map(|path| ResolverFile::open(path, &name));
        let file = file.transpose().during("cannot open the resolver file")?;

        let (mac, hostname) = (link.mac, orders.hostname.clone());
        let identity = || Identity { mac, hostname: hostname.clone(), random: || rand::random() };
        let (past, now) = (record.past(), now());
        let v4 = if orders.v4 {
            let client = v4::Client::new(identity(), past.v4(epoch_seconds()), now);
            Some((client, sockets::V4::open(index, &name).map_err(failed)?))
        } else {
            None
        };
        let v6 = if orders.v6 {
            let client = v6::Client::new(identity(), past.v6(), now);
            Some((client, sockets::V6::open(index, &name).map_err(failed)?))
        } else {
            None
        };
        let routers = if orders.routers {
            let socket = sockets::Routers::open(index, &name).map_err(failed)?;
            Some((routers::Client::new(now), socket))
        } else {
            None
        };
        Ok(Self {
            interface: name,
            link,
            record,
            file,
            search: orders.search.clone(),
            v4,
            v6,
            routers,
            told_v4: false,
            told_v6: false,
        })
    }

    fn run(&mut self, signals: &SignalFd) -> Result<()> {
        loop {
            let now = now();
            self.tick(now);
            if self.wait(signals, now)? {
                self.release();
                return Ok(());
            }
            self.receive(self::now());
        }
    }

    fn tick(&mut self, now: Moment) {
        let steps = self.v4.as_mut().map(|(client, _)| client.tick(now));
        steps.into_iter().flatten().for_each(|step| self.take_v4(step));
        let steps = self.v6.as_mut().map(|(client, _)| client.tick(now));
        steps.into_iter().flatten().for_each(|step| self.take_v6(step));
        let steps = self.routers.as_mut().map(|(client, _)| client.tick(now));
        steps.into_iter().flatten().for_each(|step| self.take_routers(step));
    }

    fn receive(&mut self, now: Moment) {
        for _ in 0..AT_ONCE {
            let Some((client, socket)) = &mut self.v4 else { break };
            let Some(message) = socket.receive() else { break };
            client.receive(&message, now).into_iter().for_each(|step| self.take_v4(step));
        }
        for _ in 0..AT_ONCE {
            let Some((client, socket)) = &mut self.v6 else { break };
            let Some(message) = socket.receive() else { break };
            client.receive(&message, now).into_iter().for_each(|step| self.take_v6(step));
        }
        for _ in 0..AT_ONCE {
            let Some((client, socket)) = &mut self.routers else { break };
            let Some(options) = socket.receive() else { break };
            client.receive(&options, now).into_iter().for_each(|step| self.take_routers(step));
        }
    }

    fn release(&mut self) {
        let steps = self.v4.as_mut().map(|(client, _)| client.release());
        steps.into_iter().flatten().for_each(|step| self.take_v4(step));
        let steps = self.v6.as_mut().map(|(client, _)| client.release());
        steps.into_iter().flatten().for_each(|step| self.take_v6(step));
    }

    /// Until something comes in or is due. True if it is time to end.
    fn wait(&self, signals: &SignalFd, now: Moment) -> Result<bool> {
        let due = [
            self.v4.as_ref().and_then(|(client, _)| client.wake()),
            self.v6.as_ref().and_then(|(client, _)| client.wake()),
            self.routers.as_ref().and_then(|(client, _)| client.wake()),
        ];
        let wait = due.into_iter().flatten().min().map(|wake| wake.saturating_sub(now));
        let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
        let mut fds = vec![PollFd::new(signals, PollFlags::IN)];
        fds.extend(self.v4.iter().map(|(_, socket)| PollFd::new(socket, PollFlags::IN)));
        fds.extend(self.v6.iter().map(|(_, socket)| PollFd::new(socket, PollFlags::IN)));
        fds.extend(self.routers.iter().map(|(_, socket)| PollFd::new(socket, PollFlags::IN)));
        match poll(&mut fds, wait.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(err) => return Err(err).during("cannot wait for events"),
        }
        Ok(!fds[0].revents().is_empty())
    }

    /// What fails here is tried again in its time: a link that is down, a server that is gone.
    fn take_v4(&mut self, step: v4::Step) {
        let Some((_, socket)) = &self.v4 else { return };
        match step {
            v4::Step::Broadcast(message) => {
                socket.broadcast(&message).ok();
            }
            v4::Step::Send { to, message } => {
                socket.send(to, &message).ok();
            }
            v4::Step::Use(lease) => {
                let done = self.link.use_v4(&lease).and_then(|()| self.record.hold_v4(&lease));
                self.say("use the address that a server gave", done);
                self.resolve();
                if !std::mem::replace(&mut self.told_v4, true) {
                    self.settle(lease.address.into());
                }
            }
            v4::Step::Lose => {
                let done = self.link.lose_v4().and_then(|()| self.record.lose_v4());
                self.say("remove an address that was given", done);
            }
        }
    }

    fn take_v6(&mut self, step: v6::Step) {
        let Some((_, socket)) = &self.v6 else { return };
        match step {
            v6::Step::Send(message) => {
                socket.send(&message).ok();
            }
            v6::Step::Use(lease) => {
                let done = self.link.use_v6(&lease).and_then(|()| self.record.hold_v6(&lease));
                self.say("use the address that a server gave", done);
                self.resolve();
                if !std::mem::replace(&mut self.told_v6, true) {
                    self.settle(lease.address.into());
                }
            }
            v6::Step::Lose(address) => {
                let done = self.link.lose_v6(address);
                self.say("remove an address that was given", done);
            }
        }
    }

    fn take_routers(&self, step: routers::Step) {
        let Some((_, socket)) = &self.routers else { return };
        match step {
            // While the link has no address of its own yet this fails.
            routers::Step::Solicit => {
                socket.solicit().ok();
            }
            routers::Step::Changed => self.resolve(),
        }
    }

    /// An address that is gone leaves its servers behind: they are as good as none.
    fn resolve(&self) {
        let Some(file) = &self.file else { return };
        let v4 = self.v4.as_ref().and_then(|(client, _)| client.lease());
        let v6 = self.v6.as_ref().and_then(|(client, _)| client.lease());
        let resolver = v4.map_or_else(Resolver::default, |lease| lease.resolver.clone());
        let resolver = v6.map_or(resolver.clone(), |lease| resolver.and(&lease.resolver));
        let routers = self.routers.as_ref().map(|(client, _)| client.resolver());
        let resolver = routers.map_or(resolver.clone(), |routers| resolver.and(&routers));
        if !resolver.is_empty() {
            let resolver = resolver.searching(&self.search);
            self.say("write where names are looked up", file.set(&resolver));
        }
    }

    /// The first lease of a family: from here on there is mostly nothing to do.
    fn settle(&self, address: IpAddr) {
        let family = if address.is_ipv4() { 4 } else { 6 };
        let mut out = io::stdout();
        // Whoever started us may have stopped listening.
        writeln!(out, "{family} {address}").and_then(|()| out.flush()).ok();
        heap::give_back();
    }

    fn say(&self, what: &str, done: io::Result<()>) {
        if let Err(err) = done {
            warn(&self.interface, &format!("cannot {what}: {err}"));
        }
    }
}

/// By a clock that goes on while the machine sleeps.
fn now() -> Moment {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}
