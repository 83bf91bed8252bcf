//! The loop of a running container: its output, its end, and whoever asks on the command socket.
//! Nothing in here waits for anything but the next event.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use lxc_protocol::State;
use lxc_protocol::server::{self, Listener, Peer};
use lxc_protocol::wire::{MAX_STATE, Message};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::WaitStatus;

use super::command::{Action, Answer, Facts, answer};
use super::container::Container;
use super::terminal::Terminal;
use crate::cgroup::Cgroup;
use crate::error::{During, Result};
use crate::guest::Guest;
use crate::run::{CHANGED, reap, say_running};

/// Anybody on the host may connect; more than this many at once are turned away.
const MAX_CONNECTIONS: usize = 200;
/// Of those, the ones that are joined to the console; each has a pty.
const MAX_TERMINALS: usize = 16;
/// How often a freezer that takes its time is looked at.
const FREEZER_TICK: Duration = Duration::from_millis(10);

pub(crate) struct Supervisor<'a> {
    guest: &'a Guest,
    cgroup: &'a Cgroup,
    listener: &'a Listener,
    signals: &'a SignalFd,
    connections: Vec<Connection>,
    state: State,
    /// Whether the daemon knows that the container runs.
    told: bool,
}

struct Connection {
    peer: Peer,
    role: Role,
}

enum Role {
    /// Has asked nothing yet; PVE's stop connects like this and waits for our end.
    Idle,
    /// Waits for a state.
    Waiter(Vec<State>),
    /// Sent STOP; our end is the answer.
    Stopper,
    /// Waits until all is frozen (or thawed).
    Freezer { frozen: bool, until: Instant },
    /// Sees the console and types on it.
    Console(Terminal),
    /// Has this tty to itself.
    Tty(i32),
    /// Answered, or lost.
    Done,
}

impl<'a> Supervisor<'a> {
    pub(crate) fn new(
        guest: &'a Guest,
        cgroup: &'a Cgroup,
        listener: &'a Listener,
        signals: &'a SignalFd,
    ) -> Self {
        let (connections, state) = (Vec::new(), State::Starting);
        Self { guest, cgroup, listener, signals, connections, state, told: false }
    }

    /// Change state: waiters and `lxc-monitord` are told.
    pub(crate) fn enter(&mut self, state: State) {
        self.believe(state);
        self.guest.announce(&Message::State(state));
    }

    /// Until init ends; how it did.
    pub(crate) fn supervise(&mut self, container: &mut Container) -> Result<WaitStatus> {
        let mut ended = reap(container.pid())?;
        while ended.is_none() {
            if container.keepers.have_settled() {
                self.tell(container)?;
            }
            let ready = self.wait(container)?;
            if ready.output {
                container.output.copy_some(|bytes| show(&mut self.connections, bytes));
            }
            for index in ready.terminals {
                self.type_in(index, container);
            }
            for index in ready.connections {
                self.serve(index, container);
            }
            if ready.listener {
                self.accept();
            }
            self.look_at_freezer();
            self.connections.retain(|connection| !matches!(connection.role, Role::Done));
            if ready.signals {
                self.signalled(container);
            }
            ended = reap(container.pid())?;
        }
        let ended = ended.expect("the loop ends with it");
        self.tell(container)?;
        self.guest.announce(&Message::ExitCode(ended.as_raw()));
        Ok(ended)
    }

    fn wait(&self, container: &Container) -> Result<Ready> {
        let input = PollFlags::IN;
        let mut fds = vec![PollFd::new(self.signals, input), PollFd::new(self.listener, input)];
        fds.extend(self.connections.iter().map(|connection| PollFd::new(&connection.peer, input)));
        let terminals: Vec<_> = self.terminals().collect();
        let console = container.output.input();
        fds.extend(terminals.iter().map(|(_, terminal)| match console {
            // What was typed before must go first.
            Some(console) if terminal.has_pending() => {
                PollFd::from_borrowed_fd(console, PollFlags::OUT)
            }
            Some(_) | None => PollFd::new(terminal, input),
        }));
        let source = container.output.source();
        fds.extend(source.iter().map(|source| PollFd::new(source, input)));
        fds.extend(container.keepers.words().map(|words| PollFd::from_borrowed_fd(words, input)));

        let freezing = self.connections.iter().any(|c| matches!(c.role, Role::Freezer { .. }));
        let wait = [freezing.then_some(FREEZER_TICK), container.keepers.patience()];
        let wait = wait.into_iter().flatten().min();
        let wait = wait.map(|wait| Timespec::try_from(wait).expect("a few seconds fit"));
        match poll(&mut fds, wait.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(err) => return Err(err).during("cannot wait for events"),
        }
        let has_event = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let connections = 0..self.connections.len();
        let behind = 2 + self.connections.len();
        let typed = terminals.iter().enumerate().filter(|(at, _)| has_event(&fds[behind + at]));
        Ok(Ready {
            signals: has_event(&fds[0]),
            listener: has_event(&fds[1]),
            connections: connections.filter(|index| has_event(&fds[2 + index])).collect(),
            terminals: typed.map(|(_, (index, _))| *index).collect(),
            output: source.is_some() && has_event(&fds[behind + terminals.len()]),
        })
    }

    fn terminals(&self) -> impl Iterator<Item = (usize, &Terminal)> {
        self.connections.iter().enumerate().filter_map(|(index, connection)| {
            match &connection.role {
                Role::Console(terminal) => Some((index, terminal)),
                Role::Idle
                | Role::Waiter(_)
                | Role::Stopper
                | Role::Freezer { .. }
                | Role::Tty(_)
                | Role::Done => None,
            }
        })
    }

    /// From a joined terminal to the container.
    fn type_in(&mut self, index: usize, container: &Container) {
        let connection = &mut self.connections[index];
        if let Role::Console(terminal) = &mut connection.role
            && !terminal.type_in(container.output.input())
        {
            connection.role = Role::Done;
        }
    }

    /// What the container wrote before it ended.
    pub(crate) fn drain(&mut self, container: &mut Container) {
        container.output.drain(|bytes| show(&mut self.connections, bytes));
    }

    fn accept(&mut self) {
        while let Ok(Some(peer)) = self.listener.accept() {
            if self.connections.len() < MAX_CONNECTIONS {
                self.connections.push(Connection { peer, role: Role::Idle });
            }
        }
    }

    /// Something came in on this connection, or its other end closed.
    fn serve(&mut self, index: usize, container: &Container) {
        let connection = &mut self.connections[index];
        let frame = match connection.peer.read_request() {
            Ok(None) => return,
            Ok(Some(request)) if request.is_permitted() => request.frame,
            Ok(Some(_)) => {
                connection.role =
                    finish(connection.peer.reply(-Errno::PERM.raw_os_error(), 0, &[], &[]));
                return;
            }
            Err(_) => {
                connection.role = Role::Done;
                return;
            }
        };
        let facts = Facts {
            guest: self.guest,
            cgroup: self.cgroup,
            state: reported(self.state, self.cgroup),
            pid: container.pid(),
            pidfd: container.pidfd.as_fd(),
            clone_flags: container.clone_flags,
            items: &container.items,
        };
        let peer = &connection.peer;
        let sent = match answer(&facts, &frame) {
            Answer::Number(number) => peer.reply(0, number, &[], &[]),
            Answer::Bytes(bytes) => peer.reply(0, 0, &bytes, &[]),
            Answer::Failure(errno) => peer.reply(-errno, 0, &[], &[]),
            Answer::Descriptors(payload, fds) => {
                let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
                peer.reply(0, 0, &payload, &fds)
            }
            Answer::Action(action) => {
                let current = facts.state;
                self.act(index, action, current, container);
                return;
            }
        };
        connection.role = finish(sent);
    }

    fn act(&mut self, index: usize, action: Action, current: State, container: &Container) {
        match action {
            Action::Stop => {
                self.connections[index].role = Role::Stopper;
                self.stop(container);
            }
            Action::Await(wanted) => {
                let connection = &mut self.connections[index];
                let reached = wanted.contains(&current);
                let number =
                    if reached { current.number().into() } else { MAX_STATE.cast_signed() };
                let sent = connection.peer.reply(number, number, &[], &[]);
                connection.role = match sent {
                    Ok(()) if !reached => Role::Waiter(wanted),
                    other => finish(other),
                };
            }
            Action::Believe(state) => {
                self.believe(state);
                self.connections[index].role =
                    finish(self.connections[index].peer.reply(0, 0, &[], &[]));
            }
            Action::Attach => self.attach(index),
            // Whoever takes any wants to see something: without ttys that is the console.
            Action::Tty(None) if container.ttys.is_empty() => self.attach(index),
            Action::Tty(wanted) => self.hand_out(index, wanted, container),
            Action::Resize => {
                if let Some(console) = container.output.input() {
                    for connection in &mut self.connections {
                        if let Role::Console(terminal) = &mut connection.role {
                            terminal.pass_size(console);
                        }
                    }
                }
                self.connections[index].role =
                    finish(self.connections[index].peer.reply(0, 0, &[], &[]));
            }
            Action::Freeze(timeout) => self.freeze(index, true, timeout),
            Action::Unfreeze(timeout) => self.freeze(index, false, timeout),
        }
    }

    fn attach(&mut self, index: usize) {
        let full = self.terminals().count() >= MAX_TERMINALS;
        let opened = if full { Err(Errno::BADF) } else { Terminal::open() };
        let connection = &mut self.connections[index];
        connection.role = match opened {
            Ok((terminal, master)) => match connection.peer.reply(0, 0, &[], &[master.as_fd()]) {
                Ok(()) => Role::Console(terminal),
                failed @ Err(_) => finish(failed),
            },
            Err(err) => finish(connection.peer.reply(-err.raw_os_error(), 0, &[], &[])),
        };
    }

    fn hand_out(&mut self, index: usize, wanted: Option<i32>, container: &Container) {
        let is_busy = |number: i32| {
            let has = |other: &Connection| matches!(other.role, Role::Tty(its) if its == number);
            self.connections.iter().any(has)
        };
        let found = container.ttys.find(wanted, is_busy);
        let connection = &mut self.connections[index];
        connection.role = match found {
            Ok((number, master)) => match connection.peer.reply(0, number, &[], &[master]) {
                Ok(()) => Role::Tty(number),
                failed @ Err(_) => finish(failed),
            },
            Err(err) => finish(connection.peer.reply(-err.raw_os_error(), 0, &[], &[])),
        };
    }

    /// Kill init; the end of the loop is the answer.
    fn stop(&mut self, container: &Container) {
        container.kill();
        // A frozen process does not die. That there is no freezer is no reason to worry then.
        self.cgroup.thaw().ok();
    }

    fn freeze(&mut self, index: usize, frozen: bool, timeout: Duration) {
        let begun = if frozen { self.cgroup.freeze() } else { self.cgroup.thaw() };
        self.connections[index].role = match begun {
            Ok(()) => Role::Freezer { frozen, until: Instant::now() + timeout },
            Err(err) => {
                let errno = err.raw_os_error().unwrap_or(Errno::NOENT.raw_os_error());
                finish(self.connections[index].peer.reply(-errno, 0, &[], &[]))
            }
        };
    }

    fn look_at_freezer(&mut self) {
        if !self.connections.iter().any(|c| matches!(c.role, Role::Freezer { .. })) {
            return;
        }
        let now_frozen = self.cgroup.is_frozen();
        let mut reached = None;
        for connection in &mut self.connections {
            let Role::Freezer { frozen, until } = connection.role else { continue };
            if frozen == now_frozen {
                reached = Some(if frozen { State::Frozen } else { State::Running });
                connection.role = finish(connection.peer.reply(0, 0, &[], &[]));
            } else if Instant::now() > until {
                if frozen {
                    // Half a freeze helps nobody.
                    self.cgroup.thaw().ok();
                }
                let late = -Errno::TIMEDOUT.raw_os_error();
                connection.role = finish(connection.peer.reply(late, 0, &[], &[]));
            }
        }
        if let Some(state) = reached {
            self.enter(state);
        }
    }

    /// As [`Self::enter`], but for the fifo: whoever used LXC's tools has told it already.
    pub(crate) fn believe(&mut self, state: State) {
        self.state = if state == State::Thawed { State::Running } else { state };
        let message = Message::State(state).encode(&self.guest.name());
        for connection in &mut self.connections {
            if let Role::Waiter(wanted) = &connection.role
                && wanted.contains(&state)
            {
                connection.role = finish(connection.peer.send(&message));
            }
        }
    }

    /// At the end: what still hangs on us, to be closed last.
    pub(crate) fn into_connections(self) -> Vec<Peer> {
        self.connections.into_iter().map(|connection| connection.peer).collect()
    }

    /// If we are asked to end, the container is, and we with it.
    fn signalled(&mut self, container: &mut Container) {
        let signals = self.signals;
        while let Ok(Some(signal)) = signals.read_signal() {
            if signal.ssi_signo == Signal::SIGTERM as u32 {
                self.stop(container);
            } else if signal.ssi_signo == CHANGED as u32 {
                container.keepers.adjust(self.guest, container.pidfd.as_fd());
            }
        }
    }

    /// Once: it waits for the first life.
    fn tell(&mut self, container: &Container) -> Result<()> {
        if !std::mem::replace(&mut self.told, true) {
            say_running(Some(container.pid()))?;
        }
        Ok(())
    }
}

struct Ready {
    signals: bool,
    listener: bool,
    output: bool,
    connections: Vec<usize>,
    terminals: Vec<usize>,
}

fn show(connections: &mut [Connection], bytes: &[u8]) {
    for connection in connections {
        if let Role::Console(terminal) = &mut connection.role {
            terminal.show(bytes);
        }
    }
}

/// An answered connection is closed, and so is one that could not be.
fn finish(_sent: std::result::Result<(), server::Error>) -> Role {
    Role::Done
}

/// Frozen is what the freezer says, whoever used it; lxc-unfreeze does nothing unless told so.
fn reported(state: State, cgroup: &Cgroup) -> State {
    match state {
        State::Running | State::Frozen if cgroup.is_frozen() => State::Frozen,
        State::Running | State::Frozen => State::Running,
        State::Stopped
        | State::Starting
        | State::Stopping
        | State::Aborting
        | State::Freezing
        | State::Thawed => state,
    }
}
