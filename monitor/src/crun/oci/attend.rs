//! Staying with a process in the foreground: signals go to it, and if it has a terminal, what is typed
//! on ours goes to that and what it shows comes back.

use std::io::{self, IsTerminal as _, Stdin};
use std::os::fd::{AsFd as _, OwnedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal as Named, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use oci_verbs::Io;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitStatus, kill_process};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustix_libc_wrappers::process::SignalExt as _;

use super::error::{Error, Result};
use crate::error::During as _;
use crate::run::reap;

/// From here on every signal waits to be passed on.
pub(super) struct Attendant {
    signals: SignalFd,
}

impl Attendant {
    pub(super) fn new() -> Result<Self> {
        let all = SigSet::all();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&all), None).during("cannot block signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&all, flags).during("cannot wait for signals")?;
        Ok(Self { signals })
    }

    /// Until our child ends, and how it did. Signals go to `pid`: it, or whom it waits for.
    pub(super) fn attend(
        &self,
        child: Pid,
        pid: Pid,
        console: Option<OwnedFd>,
    ) -> Result<WaitStatus> {
        let mut screen = console.map(Screen::new).transpose()?;
        loop {
            if let Some(ended) = reap(child)? {
                if let Some(screen) = &mut screen {
                    screen.show_rest()?;
                }
                return Ok(ended);
            }
            let ready = self.wait(screen.as_ref())?;
            if let Some(screen) = &mut screen {
                if ready.shown {
                    screen.show()?;
                }
                if ready.typed {
                    screen.type_in()?;
                }
            }
            self.pass_signals(pid, screen.as_ref())?;
        }
    }

    fn wait(&self, screen: Option<&Screen>) -> Result<Ready> {
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        let (mut master, mut stdin) = (None, None);
        if let Some(screen) = screen {
            if !screen.gone {
                let more =
                    if screen.pending.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
                master = Some(fds.len());
                fds.push(PollFd::new(&screen.master, PollFlags::IN | more));
            }
            if screen.pending.is_empty() && !screen.input_ended {
                stdin = Some(fds.len());
                fds.push(PollFd::new(&screen.stdin, PollFlags::IN));
            }
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(err) => return Err(err).during("cannot wait for events")?,
        }
        let events = |at: Option<usize>| at.map_or(PollFlags::empty(), |at| fds[at].revents());
        let (master, stdin) = (events(master), events(stdin));
        Ok(Ready {
            shown: master.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR),
            typed: master.contains(PollFlags::OUT) || !stdin.is_empty(),
        })
    }

    fn pass_signals(&self, pid: Pid, screen: Option<&Screen>) -> Result<()> {
        while let Some(signal) = self.signals.read_signal().during("cannot read a signal")? {
            let number = signal.ssi_signo.cast_signed();
            if number == Named::SIGCHLD as i32 {
                continue;
            }
            if number == Named::SIGWINCH as i32
                && let Some(screen) = screen
            {
                screen.take_size();
                continue;
            }
            // One that has just ended needs no signal any more.
            if let Some(signal) = Signal::from_raw(number) {
                kill_process(pid, signal).ok();
            }
        }
        Ok(())
    }
}

struct Ready {
    shown: bool,
    typed: bool,
}

/// Our terminal, joined to the process's.
struct Screen {
    master: OwnedFd,
    stdin: Stdin,
    /// As our terminal was before, if it is one.
    before: Option<Termios>,
    /// Typed, but not yet taken.
    pending: Vec<u8>,
    input_ended: bool,
    /// Nobody has the other end open any more.
    gone: bool,
}

impl Screen {
    fn new(master: OwnedFd) -> Result<Self> {
        let stdin = io::stdin();
        let before = if stdin.is_terminal() {
            let before = tcgetattr(&stdin).during("cannot ask the terminal")?;
            let mut raw = before.clone();
            raw.make_raw();
            tcsetattr(&stdin, OptionalActions::Now, &raw).during("cannot prepare the terminal")?;
            Some(before)
        } else {
            None
        };
        let screen =
            Self { master, stdin, before, pending: Vec::new(), input_ended: false, gone: false };
        screen.take_size();
        Ok(screen)
    }

    /// A process's terminal is as large as ours. Without a size of our own it keeps what it has.
    fn take_size(&self) {
        if let Ok(size) = rustix::termios::tcgetwinsize(&self.stdin) {
            rustix::termios::tcsetwinsize(&self.master, size).ok();
        }
    }

    fn show(&mut self) -> Result<()> {
        let mut bytes = [0; 8192];
        match rustix::io::read(&self.master, &mut bytes) {
            Ok(0) | Err(Errno::IO) => {
                self.gone = true;
                self.pending.clear();
            }
            Ok(count) => io::Write::write_all(&mut io::stdout(), &bytes[..count])
                .and_then(|()| io::Write::flush(&mut io::stdout()))
                .map_err(Error::Output)?,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(err) => return Err(err).during("cannot read the terminal")?,
        }
        Ok(())
    }

    /// What it wrote before it ended. Others may still have the terminal open, so nothing is waited for.
    fn show_rest(&mut self) -> Result<()> {
        loop {
            let mut fds = [PollFd::new(&self.master, PollFlags::IN)];
            let ready = poll(&mut fds, Some(&Timespec::default()));
            let has_more =
                ready.is_ok_and(|count| count > 0) && fds[0].revents().contains(PollFlags::IN);
            if self.gone || !has_more {
                return Ok(());
            }
            self.show()?;
        }
    }

    fn type_in(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            let mut bytes = [0; 4096];
            match rustix::io::read(self.stdin.as_fd(), &mut bytes) {
                Ok(0) | Err(Errno::IO) => self.input_ended = true,
                Ok(count) => self.pending.extend_from_slice(&bytes[..count]),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(err) => return Err(err).during("cannot read standard input")?,
            }
        }
        match rustix::io::write(&self.master, &self.pending) {
            Ok(count) => drop(self.pending.drain(..count)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.pending.clear(),
        }
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // A terminal that has gone needs no care.
            tcsetattr(&self.stdin, OptionalActions::Now, before).ok();
        }
    }
}

/// Whole or not at all, for somebody may wait for it.
pub(super) fn write_pid_file(io: &Io, pid: Pid) -> Result<()> {
    let Some(path) = &io.pid_file else { return Ok(()) };
    let digits = pid.as_raw_nonzero().to_string();
    Ok(pve_integration::atomic::write(path, 0o644, digits.as_bytes())?)
}

/// As a shell tells it.
pub(super) fn exit_code(ended: WaitStatus) -> u8 {
    let signal = ended.terminating_signal().map(|signal| 128 + signal);
    let code = ended.exit_status().or(signal).unwrap_or(255);
    u8::try_from(code).unwrap_or(255)
}
