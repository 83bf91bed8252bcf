//! The process that hears of calls. It looks at nothing of a caller itself: each call that needs a look is
//! a process of its own, so that one which takes its time keeps no other waiting.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::sys::signal::SigSet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::net::{SocketFlags, accept_with};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid,
};
use rustix::thread::CapabilitySet;
use seccomp_notify::{Answer, Call, Listener, in_child};

use super::call::{self, Node};
use super::caller::Host;
use super::{Orders, make};
use crate::crun::console;
use crate::error::{During, Result};
use crate::guest::warn;
use crate::lease::confine;

/// Calls that are answered at the same time. Others wait, and their callers may be killed meanwhile.
const MOST: usize = 16;
/// A caller's file system may be a program of its own that never answers.
const LONGEST: Duration = Duration::from_secs(10);

/// To read of callers and to enter where they are, with their ids; to make nodes; to end processes that
/// have a caller's ids.
const KEPT: CapabilitySet = CapabilitySet::SYS_PTRACE
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::SYS_ADMIN)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::KILL);

pub(crate) fn serve(orders: &Orders) -> Result<()> {
    let ended = prepare(orders).and_then(Server::run);
    // Calls fail from here on.
    ended.inspect_err(|err| warn("features", &format!("mknod: {}", crate::one_line(err))))
}

fn prepare(orders: &Orders) -> Result<Server> {
    // The monitor's are blocked in its children.
    SigSet::all().thread_unblock().during("cannot unblock signals")?;
    let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .during("cannot close standard input")?;
    let host = Host::open().during("cannot open /proc")?;
    let socket = fcntl_dupfd_cloexec(io::stdin(), 3).during("cannot keep the socket")?;
    rustix::stdio::dup2_stdin(&null).during("cannot close standard input")?;
    drop(null);
    heap::forget_code().during("cannot give memory back")?;
    confine::empty_root().during("cannot take an empty root")?;
    confine::keep_only(KEPT)?;
    confine::end_with(orders.parent, Signal::KILL)?;
    let (connections, listeners, running) = (Vec::new(), Vec::new(), Vec::new());
    Ok(Server { host, socket, connections, listeners, running })
}

struct Server {
    host: Host,
    socket: OwnedFd,
    /// Of libcrun, over which listeners come.
    connections: Vec<OwnedFd>,
    /// One of the container, and one of each program that was executed in it.
    listeners: Vec<Rc<Listener>>,
    running: Vec<Running>,
}

/// A process that answers one call.
struct Running {
    pid: Pid,
    pidfd: OwnedFd,
    listener: Rc<Listener>,
    call: u64,
    until: Instant,
}

/// What there is to do, by place in the lists.
#[derive(Default)]
struct Ready {
    socket: bool,
    connections: Vec<usize>,
    calls: Vec<usize>,
    /// Nobody is left who could call.
    over: Vec<usize>,
    ended: Vec<usize>,
}

impl Server {
    fn run(mut self) -> Result<()> {
        loop {
            let ready = self.wait()?;
            // From behind: what is removed moves nothing that is still to be looked at.
            for index in ready.ended.into_iter().rev() {
                self.running.swap_remove(index).finish();
            }
            let late = |running: &&Running| running.until <= Instant::now();
            self.running.iter().filter(late).for_each(Running::kill);
            let calling: Vec<_> =
                ready.calls.into_iter().map(|index| Rc::clone(&self.listeners[index])).collect();
            for index in ready.over.into_iter().rev() {
                self.listeners.swap_remove(index);
            }
            for listener in calling {
                self.hear(&listener);
            }
            for index in ready.connections.into_iter().rev() {
                self.receive(index);
            }
            if ready.socket {
                self.accept();
            }
        }
    }

    fn wait(&self) -> Result<Ready> {
        let input = PollFlags::IN;
        let calls = if self.running.len() < MOST { input } else { PollFlags::empty() };
        let mut fds = vec![PollFd::new(&self.socket, input)];
        fds.extend(self.connections.iter().map(|fd| PollFd::new(fd, input)));
        fds.extend(self.listeners.iter().map(|fd| PollFd::new(&**fd, calls)));
        fds.extend(self.running.iter().map(|running| PollFd::new(&running.pidfd, input)));
        let due = self.running.iter().map(|running| running.until).min();
        let wait = due.map(|due| due.saturating_duration_since(Instant::now()));
        let wait = wait.map(|wait| Timespec::try_from(wait).expect("a few seconds fit"));
        match poll(&mut fds, wait.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Ready::default()),
            Err(err) => return Err(err).during("cannot wait for events"),
        }
        let mut events = fds.iter().map(PollFd::revents);
        let socket = events.next().is_some_and(|events| !events.is_empty());
        let mut ready = Ready { socket, ..Ready::default() };
        let mut places = |count| -> Vec<(usize, PollFlags)> {
            let these = events.by_ref().take(count).enumerate();
            these.filter(|(_, events)| !events.is_empty()).collect()
        };
        let indices = |places: Vec<(usize, PollFlags)>| places.into_iter().map(|(at, _)| at);
        ready.connections = indices(places(self.connections.len())).collect();
        for (at, events) in places(self.listeners.len()) {
            if events.contains(input) { ready.calls.push(at) } else { ready.over.push(at) }
        }
        ready.ended = indices(places(self.running.len())).collect();
        Ok(ready)
    }

    fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // It is root's alone to connect, and libcrun tries no second time.
        while let Ok(peer) = accept_with(&self.socket, flags) {
            self.connections.push(peer);
        }
    }

    fn receive(&mut self, index: usize) {
        match console::receive(&self.connections[index]) {
            Ok(received) => {
                self.listeners.extend(received.map(|fd| Rc::new(Listener::from(fd))));
            }
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
            // Its end, most of all.
            Err(_) => drop(self.connections.swap_remove(index)),
        }
    }

    fn hear(&mut self, listener: &Rc<Listener>) {
        let call = match listener.receive() {
            Ok(Some(call)) => call,
            Ok(None) => return,
            Err(_) => {
                // It is none, and would wake us for ever.
                self.listeners.retain(|other| !Rc::ptr_eq(other, listener));
                return;
            }
        };
        let answer = match call::read(&call) {
            Ok(node) => match self.look(listener, &call, &node) {
                Ok(()) => return,
                Err(_) => Answer::Failed(Errno::AGAIN),
            },
            Err(answer) => answer,
        };
        // A caller that is gone needs none.
        listener.answer(call.id, answer).ok();
    }

    fn look(&mut self, listener: &Rc<Listener>, call: &Call, node: &Node) -> Result<()> {
        let what = "cannot look at a caller";
        let server = rustix::process::getpid().as_raw_nonzero().get();
        let (host, [proc, users]) = (&self.host, self.host.descriptors());
        let pid = in_child(&[proc, users, listener.as_fd()], || {
            make::answer(server, host, listener, call, node);
        })
        .during(what)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).during(what)?;
        let (listener, until) = (Rc::clone(listener), Instant::now() + LONGEST);
        self.running.push(Running { pid, pidfd, listener, call: call.id, until });
        Ok(())
    }
}

impl Running {
    fn kill(&self) {
        // One that has ended is as good.
        pidfd_send_signal(&self.pidfd, Signal::KILL).ok();
    }

    fn finish(self) {
        // It has ended, so this takes no time; what it said is for the caller.
        waitpid(Some(self.pid), WaitOptions::empty()).ok();
        // One that was killed has left its caller waiting. Every other call is answered by now.
        self.listener.answer(self.call, Answer::Failed(Errno::IO)).ok();
    }
}
