//! IPv4 and UDP around a message, for an interface that has no address yet.

use std::net::Ipv4Addr;

pub const CLIENT: u16 = 68;
pub const SERVER: u16 = 67;

const IP: usize = 20;
const UDP: usize = 8;
const PROTOCOL_UDP: u8 = 17;

/// From a client to whoever serves.
pub fn broadcast(message: &[u8]) -> Vec<u8> {
    let length =
        |rest: usize| u16::try_from(rest + message.len()).unwrap_or(u16::MAX).to_be_bytes();
    let (from, to) = (Ipv4Addr::UNSPECIFIED.octets(), Ipv4Addr::BROADCAST.octets());

    let mut udp = Vec::with_capacity(UDP + message.len());
    udp.extend(CLIENT.to_be_bytes());
    udp.extend(SERVER.to_be_bytes());
    udp.extend(length(UDP));
    udp.extend([0, 0]);
    udp.extend(message);
    let pseudo = [&from[..], &to, &[0, PROTOCOL_UDP], &length(UDP)].concat();
    let sum = match checksum(&[pseudo, udp.clone()].concat()) {
        0 => u16::MAX, // zero would say that there is none
        sum => sum,
    };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());

    let mut packet = vec![0x45, 0x10];
    packet.extend(length(IP + UDP));
    packet.extend([0, 0, 0x40, 0, 64, PROTOCOL_UDP, 0, 0]);
    packet.extend(from);
    packet.extend(to);
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(udp);
    packet
}

/// The message in a packet to a client. UDP's checksum is not looked at: between two ends on one
/// machine nobody has computed it.
pub fn to_client(packet: &[u8]) -> Option<&[u8]> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let whole = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
    let fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x3fff;
    let plain = packet.first()? >> 4 == 4 && header >= IP && fragment == 0;
    if !plain || *packet.get(9)? != PROTOCOL_UDP {
        return None;
    }
    let udp = packet.get(header..whole)?;
    let number = |at: usize| Some(u16::from_be_bytes([*udp.get(at)?, *udp.get(at + 1)?]));
    if (number(0)?, number(2)?) != (SERVER, CLIENT) {
        return None;
    }
    udp.get(UDP..usize::from(number(4)?))
}

/// RFC 1071
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| {
        u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or_default()]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_right() {
        let packet = broadcast(b"odd");
        assert_eq!(checksum(&packet[..IP]), 0);
        let pseudo = [&packet[12..20], &[0, 17, 0, 11][..], &packet[IP..]].concat();
        assert_eq!(checksum(&pseudo), 0);
    }

    #[test]
    fn takes_a_message_out_of_its_packet() {
        let mut packet = broadcast(b"hello");
        assert_eq!(to_client(&packet), None);
        packet.swap(IP + 1, IP + 3);
        assert_eq!(to_client(&packet), Some(&b"hello"[..]));
        packet.push(b'x'); // Ethernet pads short packets
        assert_eq!(to_client(&packet), Some(&b"hello"[..]));
        for length in 0..packet.len() - 1 {
            assert_eq!(to_client(&packet[..length]), None);
        }
    }
}
