//! A keeper's sockets, all of them bound to its interface.

use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use dhcp::{frame, routers, v6};
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::sys::socket::{setsockopt, sockopt::BindToDevice};
use packet::PacketSocket;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, ipproto, recv, sendto,
    socket_with, sockopt,
};

/// More than any link of a container carries.
const LARGEST: usize = 10_000;

/// IPv4: packets while there may be no address, and a socket for what goes to one server.
pub(super) struct V4 {
    packets: PacketSocket,
    /// Answers come in here as well, and are read from `packets`; without it the kernel would tell
    /// the server that nobody listens.
    socket: OwnedFd,
}

impl V4 {
    pub(super) fn open(index: u32, interface: &str) -> io::Result<Self> {
        let socket = udp(AddressFamily::INET, interface)?;
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, frame::CLIENT))?;
        Ok(Self { packets: PacketSocket::open(index, frame::CLIENT)?, socket })
    }

    pub(super) fn broadcast(&self, message: &[u8]) -> io::Result<()> {
        self.packets.send([0xff; 6], &frame::broadcast(message))
    }

    pub(super) fn send(&self, to: Ipv4Addr, message: &[u8]) -> io::Result<()> {
        let to = SocketAddrV4::new(to, frame::SERVER);
        sendto(&self.socket, message, SendFlags::NOSIGNAL, &to)?;
        Ok(())
    }

    /// The next message, if there is one now.
    pub(super) fn receive(&self) -> Option<Vec<u8>> {
        // What is there was seen, or will be, as a packet.
        while receive(&self.socket).is_some() {}
        let mut buffer = vec![0; LARGEST];
        // Each packet that is none is one less, so this ends.
        while let Ok(Some(packet)) = self.packets.receive(&mut buffer) {
            if let Some(message) = frame::to_client(packet) {
                return Some(message.to_vec());
            }
        }
        None
    }
}

impl AsFd for V4 {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.packets.as_fd()
    }
}

pub(super) struct V6 {
    socket: OwnedFd,
    index: u32,
}

impl V6 {
    pub(super) fn open(index: u32, interface: &str) -> io::Result<Self> {
        let socket = udp(AddressFamily::INET6, interface)?;
        sockopt::set_ipv6_v6only(&socket, true)?;
        bind(&socket, &SocketAddrV6::new([0; 16].into(), v6::CLIENT, 0, 0))?;
        Ok(Self { socket, index })
    }

    pub(super) fn send(&self, message: &[u8]) -> io::Result<()> {
        let to = SocketAddrV6::new(v6::GROUP, v6::SERVER, 0, self.index);
        sendto(&self.socket, message, SendFlags::NOSIGNAL, &to)?;
        Ok(())
    }

    /// The next message, if there is one now.
    pub(super) fn receive(&self) -> Option<Vec<u8>> {
        receive(&self.socket)
    }
}

impl AsFd for V6 {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What routers announce, as the kernel passes it on, and a question for them.
pub(super) struct Routers {
    announced: netlink_sys::Socket,
    socket: OwnedFd,
    index: u32,
}

impl Routers {
    pub(super) fn open(index: u32, interface: &str) -> io::Result<Self> {
        /// RTNLGRP_ND_USEROPT
        const OPTIONS: u32 = 20;

        let mut announced = netlink_sys::Socket::new(NETLINK_ROUTE)?;
        announced.bind_auto()?;
        announced.add_membership(OPTIONS)?;
        announced.set_non_blocking(true)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let protocol = Some(ipproto::ICMPV6);
        let socket = socket_with(AddressFamily::INET6, SocketType::RAW, flags, protocol)?;
        setsockopt(&socket, BindToDevice, &OsString::from(interface))?;
        // From farther away nothing has that many left, so whoever hears it knows that it is near.
        sockopt::set_ipv6_multicast_hops(&socket, 255)?;
        // What comes in here is read by nobody: as little of it as can be.
        sockopt::set_socket_recv_buffer_size(&socket, 0)?;
        Ok(Self { announced, socket, index })
    }

    pub(super) fn solicit(&self) -> io::Result<()> {
        let to = SocketAddrV6::new(routers::GROUP, 0, 0, self.index);
        sendto(&self.socket, &routers::SOLICITATION, SendFlags::NOSIGNAL, &to)?;
        Ok(())
    }

    /// The options of the next announcement, if there is one now.
    pub(super) fn receive(&self) -> Option<Vec<u8>> {
        // Each message that is none is one less, so this ends.
        loop {
            let (message, from) = match self.announced.recv_from_full() {
                Ok(received) => received,
                // Too many came at once: routers repeat themselves.
                Err(err) if Errno::from_io_error(&err) == Some(Errno::NOBUFS) => continue,
                Err(_) => return None,
            };
            let options = routers::of_kernel(&message, self.index);
            if let Some(options) = options.filter(|_| from.port_number() == 0) {
                return Some(options.to_vec());
            }
        }
    }
}

impl AsFd for Routers {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.announced.as_fd()
    }
}

fn udp(family: AddressFamily, interface: &str) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::DGRAM, flags, None)?;
    setsockopt(&socket, BindToDevice, &OsString::from(interface))?;
    Ok(socket)
}

fn receive(socket: &OwnedFd) -> Option<Vec<u8>> {
    let mut buffer = vec![0; LARGEST];
    loop {
        match recv(socket, buffer.as_mut_slice(), RecvFlags::empty()) {
            Ok((count, _)) => {
                buffer.truncate(count);
                return Some(buffer);
            }
            Err(Errno::INTR) => {}
            // Nothing there, or the answer to something sent earlier: that nobody is.
            Err(_) => return None,
        }
    }
}
