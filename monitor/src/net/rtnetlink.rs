//! rtnetlink(7), one request after another, each with the kernel's acknowledgement.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;

/// Must be new.
pub(crate) const NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;
/// New, or in the place of another.
pub(crate) const REPLACE: u16 = NLM_F_CREATE | NLM_F_REPLACE;
/// Of what is there.
pub(crate) const CHANGE: u16 = 0;

/// Belongs to the network namespace it was opened in.
pub(crate) struct Rtnetlink {
    socket: Socket,
    sequence: u32,
}

impl Rtnetlink {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        Ok(Self { socket, sequence: 0 })
    }

    pub(crate) fn send(&mut self, message: Message, flags: u16) -> io::Result<()> {
        self.ask(message, flags).map(drop)
    }

    /// The answers, of which a change has none.
    pub(crate) fn ask(&mut self, message: Message, flags: u16) -> io::Result<Vec<Message>> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut answers = Vec::new();
        loop {
            let (bytes, _) = self.socket.recv_from_full()?;
            let answer = NetlinkMessage::<Message>::deserialize(&bytes)
                .map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err.to_string()))?;
            if answer.header.sequence_number != self.sequence {
                continue;
            }
            if let NetlinkPayload::InnerMessage(message) = answer.payload {
                answers.push(message);
            } else if let NetlinkPayload::Error(err) = answer.payload {
                // Zero is the acknowledgement.
                return err.code.map_or(Ok(answers), |_| Err(err.to_io()));
            }
        }
    }

    /// Of a link by name.
    pub(crate) fn index(&self, name: &str) -> io::Result<u32> {
        Ok(name_to_index(&self.socket, name)?)
    }

    /// Change a link that is there.
    pub(super) fn set(&mut self, name: &str, attributes: Vec<LinkAttribute>) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = self.index(name)?;
        link.attributes = attributes;
        self.send(Message::SetLink(link), CHANGE)
    }

    pub(super) fn set_up(&mut self, name: &str, up: bool) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = self.index(name)?;
        link.header.change_mask = LinkFlags::Up;
        link.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        self.send(Message::SetLink(link), CHANGE)
    }

    /// One that is gone already is as good. The kernel is to look the name up: it waits for whoever removes
    /// links, while a link whose removal has begun has no index any more and is still there to see.
    pub(super) fn remove_link(&mut self, name: &str) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.attributes = vec![LinkAttribute::IfName(name.to_owned())];
        match self.send(Message::DelLink(link), CHANGE) {
            Err(err) if err.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => Ok(()),
            removed => removed,
        }
    }
}
