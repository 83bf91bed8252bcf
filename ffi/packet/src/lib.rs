//! UDP over IPv4 on an interface that has no address yet, packet(7): what is sent and received are
//! whole IPv4 packets, and a filter in the kernel lets only one port's in.
#![expect(unsafe_code, reason = "no safe crate makes a link-layer address or attaches a filter")]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, socket_with};

/// A hardware address of Ethernet.
pub type Mac = [u8; 6];

/// Belongs to the network namespace it was opened in.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    index: i32,
}

impl PacketSocket {
    /// On the interface with this index, for datagrams to this UDP port.
    pub fn open(index: u32, port: u16) -> io::Result<Self> {
        let kind = SocketType::DGRAM;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // No protocol, no packets: nothing comes in before the filter is there.
        let fd = socket_with(AddressFamily::PACKET, kind, flags, None::<Protocol>)?;
        let socket = Self { fd, index: index.cast_signed() };
        attach(socket.fd.as_fd(), &filter(port))?;
        socket.bind()?;
        Ok(socket)
    }

    fn bind(&self) -> io::Result<()> {
        let address = self.address([0; 6]);
        // SAFETY: `address` is a whole `sockaddr_ll`, its size is given with it, and the kernel reads
        // it only during the call.
        let done = unsafe {
            libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), size_of_address())
        };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// A whole IPv4 packet to this neighbour.
    pub fn send(&self, to: Mac, packet: &[u8]) -> io::Result<()> {
        let address = self.address(to);
        // SAFETY: `packet` is readable for its length and `address` is a whole `sockaddr_ll` of the
        // given size; the kernel copies both during the call.
        let sent = unsafe {
            libc::sendto(
                self.fd.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                libc::MSG_NOSIGNAL,
                (&raw const address).cast(),
                size_of_address(),
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The next packet, cut to the buffer, or `None` if there is none now.
    pub fn receive<'b>(&self, buffer: &'b mut [u8]) -> io::Result<Option<&'b [u8]>> {
        match recv(&self.fd, &mut *buffer, RecvFlags::empty()) {
            Ok((count, _)) => Ok(buffer.get(..count)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(err) => Err(err.into()),
        }
    }

    fn address(&self, to: Mac) -> libc::sockaddr_ll {
        let mut bytes = [0; 8];
        bytes[..6].copy_from_slice(&to);
        libc::sockaddr_ll {
            sll_family: FAMILY,
            sll_protocol: ETHERTYPE_IP.to_be(),
            sll_ifindex: self.index,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 6,
            sll_addr: bytes,
        }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// ETH_P_IP
const ETHERTYPE_IP: u16 = 0x0800;
/// AF_PACKET
const FAMILY: u16 = 17;

fn size_of_address() -> libc::socklen_t {
    const SIZE: libc::socklen_t = 20;
    const { assert!(size_of::<libc::sockaddr_ll>() == SIZE as usize) };
    SIZE
}

/// Classic BPF, linux/filter.h: UDP, no later fragment, and this destination port; all of it.
fn filter(port: u16) -> [libc::sock_filter; 9] {
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    const LOAD_BYTE: u16 = 0x30;
    const LOAD_HALF: u16 = 0x28;
    const LOAD_HALF_BEHIND_X: u16 = 0x48;
    const X_IS_HEADER_LENGTH: u16 = 0xb1;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const JUMP_IF_ANY_BIT: u16 = 0x45;
    const RETURN: u16 = 0x06;
    [
        step(LOAD_BYTE, 0, 0, 9), // protocol
        step(JUMP_IF_EQUAL, 0, 6, 17),
        step(LOAD_HALF, 0, 0, 6), // fragment offset
        step(JUMP_IF_ANY_BIT, 4, 0, 0x1fff),
        step(X_IS_HEADER_LENGTH, 0, 0, 0),
        step(LOAD_HALF_BEHIND_X, 0, 0, 2),
        step(JUMP_IF_EQUAL, 0, 1, port.into()),
        step(RETURN, 0, 0, u32::MAX),
        step(RETURN, 0, 0, 0),
    ]
}

fn attach(fd: BorrowedFd<'_>, program: &[libc::sock_filter; 9]) -> io::Result<()> {
    const LENGTH: u16 = 9;
    const SIZE: libc::socklen_t = 16;
    const { assert!(size_of::<libc::sock_fprog>() == SIZE as usize) };
    let program = libc::sock_fprog { len: LENGTH, filter: program.as_ptr().cast_mut() };
    // SAFETY: `program` is a whole `sock_fprog` of the given size whose pointer is to as many
    // instructions as it says; the kernel copies them during the call and writes to neither.
    let done = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            SIZE,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
