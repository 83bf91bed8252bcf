//! A terminal joined to the container's console: a pty of its own, whose master goes to whoever asked
//! for it. What the container writes is shown on all of them; what is typed on any goes to it. As
//! LXC's proxy terminals, but more than one may look.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, Winsize};

/// The side that stays with us.
#[derive(Debug)]
pub(crate) struct Terminal {
    slave: OwnedFd,
    /// Typed, but not yet taken by the container.
    pending: Vec<u8>,
    size: Winsize,
}

impl Terminal {
    /// And the master for the client.
    pub(crate) fn open() -> rustix::io::Result<(Self, OwnedFd)> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags)?;
        rustix::pty::unlockpt(&master)?;
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
        // The console itself is the one terminal that interprets anything.
        let mut modes = rustix::termios::tcgetattr(&slave)?;
        modes.make_raw();
        rustix::termios::tcsetattr(&slave, OptionalActions::Now, &modes)?;
        rustix::io::ioctl_fionbio(&slave, true)?;
        let size = rustix::termios::tcgetwinsize(&slave)?;
        Ok((Self { slave, pending: Vec::new(), size }, master))
    }

    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// A client that does not read loses output; the container never waits for one.
    pub(crate) fn show(&mut self, mut bytes: &[u8]) {
        while let Ok(count @ 1..) = rustix::io::write(&self.slave, bytes) {
            bytes = &bytes[count..];
        }
    }

    /// Read once and pass it on; false when the client has gone. Without a console, as a program whose
    /// output is a pipe, what is typed goes nowhere.
    pub(crate) fn type_in(&mut self, console: Option<BorrowedFd<'_>>) -> bool {
        if self.pending.is_empty() {
            let mut bytes = [0; 4096];
            match rustix::io::read(&self.slave, &mut bytes) {
                Ok(count @ 1..) => self.pending.extend_from_slice(&bytes[..count]),
                Err(Errno::AGAIN | Errno::INTR) => return true,
                Ok(0) | Err(_) => return false,
            }
        }
        let Some(console) = console else {
            self.pending.clear();
            return true;
        };
        self.pass_size(console);
        match rustix::io::write(console, &self.pending) {
            Ok(count) => drop(self.pending.drain(..count)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.pending.clear(),
        }
        true
    }

    /// The console gets the size of the terminal that changed last.
    pub(crate) fn pass_size(&mut self, console: BorrowedFd<'_>) {
        let Ok(size) = rustix::termios::tcgetwinsize(&self.slave) else { return };
        let (old, new) = (&self.size, &size);
        if (old.ws_row, old.ws_col) != (new.ws_row, new.ws_col) {
            // A console without a size is still one.
            rustix::termios::tcsetwinsize(console, size).ok();
            self.size = size;
        }
    }
}

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.slave.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(master: &OwnedFd) -> Vec<u8> {
        let mut bytes = [0; 64];
        let count = rustix::io::read(master, &mut bytes).unwrap();
        bytes[..count].to_vec()
    }

    #[test]
    fn joins_a_client_to_a_console() {
        let (mut terminal, client) = Terminal::open().unwrap();
        // Another one of the same kind is as good a console as any.
        let (console, program) = Terminal::open().unwrap();

        terminal.show(b"login: \n");
        assert_eq!(read(&client), b"login: \n", "and no carriage return is added");

        let size = Winsize { ws_row: 50, ws_col: 132, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&client, size).unwrap();
        rustix::io::write(&client, b"root\x03").unwrap();
        assert!(terminal.type_in(Some(console.as_fd())));
        assert_eq!(read(&program), b"root\x03");
        assert!(!terminal.has_pending());
        let size = rustix::termios::tcgetwinsize(&program).unwrap();
        assert_eq!((size.ws_row, size.ws_col), (50, 132));

        assert!(terminal.type_in(Some(console.as_fd())), "nothing is there, and that is no end");
        drop(client);
        assert!(!terminal.type_in(Some(console.as_fd())));
    }

    #[test]
    fn never_waits_for_a_client_that_does_not_read() {
        let (mut terminal, _client) = Terminal::open().unwrap();
        for _ in 0..1000 {
            terminal.show(&[b'x'; 4096]);
        }
    }

    #[test]
    fn keeps_what_the_console_does_not_take_yet() {
        let (mut terminal, client) = Terminal::open().unwrap();
        let (console, program) = Terminal::open().unwrap();
        // The kernel passes on what is written in its own time, and then there is room again.
        while !terminal.has_pending() {
            while rustix::io::write(&console.slave, &[b'x'; 4096]).is_ok() {}
            rustix::io::write(&client, b"typed").unwrap();
            assert!(terminal.type_in(Some(console.as_fd())));
        }
        rustix::io::ioctl_fionbio(&program, true).unwrap();
        let mut seen = Vec::new();
        let mut bytes = [0; 4096];
        while terminal.has_pending() {
            while let Ok(count @ 1..) = rustix::io::read(&program, &mut bytes) {
                seen.extend_from_slice(&bytes[..count]);
            }
            assert!(terminal.type_in(Some(console.as_fd())));
        }
        while let Ok(count @ 1..) = rustix::io::read(&program, &mut bytes) {
            seen.extend_from_slice(&bytes[..count]);
        }
        assert!(seen.ends_with(b"typed"));
    }
}
