//! A limit of what passes a link, each way, as PVE sets it (`setup_tc_rate_limit` of pve-common): a
//! hierarchical token bucket for what goes to the container, and what comes from it is dropped where
//! it is too much. linux/pkt_sched.h, pkt_cls.h and tc-police tell what lies where.

use std::io;

use netlink_packet_core::DefaultNla;
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcHeader, TcMessage, TcOption};
use rustix::io::Errno;

use super::rtnetlink::{CHANGE, NEW, Rtnetlink};

/// Bytes that may pass at once.
const BURST: u64 = 1 << 20;
/// A packet, as tc takes it where nothing is said.
const PACKET: u64 = 1600;
/// The largest packet that is policed, with all that the kernel makes of one.
const LARGEST: u64 = 64 << 10;

const ROOT: TcHandle = TcHandle { major: 1, minor: 0 };
const CLASS: TcHandle = TcHandle { major: 1, minor: 1 };
const INGRESS: TcHandle = TcHandle { major: 0xffff, minor: 0 };
/// PVE's number for its filter.
const PRIORITY: u32 = 50;
/// ETH_P_ALL in network byte order.
const EVERY_PROTOCOL: u32 = 0x0300;

const TCA_HTB_PARMS: u16 = 1;
const TCA_HTB_INIT: u16 = 2;
const TCA_HTB_RATE64: u16 = 6;
const TCA_HTB_CEIL64: u16 = 7;
const TCA_U32_CLASSID: u16 = 1;
const TCA_U32_SEL: u16 = 5;
const TCA_U32_POLICE: u16 = 6;
const TCA_POLICE_TBF: u16 = 1;
const TCA_POLICE_RATE: u16 = 2;
const TCA_POLICE_RATE64: u16 = 8;

const HTB_VERSION: u32 = 3;
const LINKLAYER_ETHERNET: u8 = 1;
const U32_TERMINAL: u8 = 1;
const POLICE_SHOT: u32 = 2;

/// `bytes` a second; `None` takes an earlier limit away.
pub(super) fn set(socket: &mut Rtnetlink, link: &str, bytes: Option<u64>) -> io::Result<()> {
    let index = socket.index(link)?.cast_signed();
    for parent in [TcHandle::ROOT, TcHandle::INGRESS] {
        let message = message(index, TcHandle::UNSPEC, parent, None, Vec::new());
        tolerate_absence(socket.send(Message::DelQueueDiscipline(message), CHANGE))?;
    }
    let Some(rate) = bytes else { return Ok(()) };

    let htb =
        message(index, ROOT, TcHandle::ROOT, Some("htb"), vec![nla(TCA_HTB_INIT, htb_init())]);
    socket.send(Message::NewQueueDiscipline(htb), NEW)?;
    let class = message(index, CLASS, ROOT, Some("htb"), htb_class(rate));
    socket.send(Message::NewTrafficClass(class), NEW)?;

    let ingress = message(index, INGRESS, TcHandle::INGRESS, Some("ingress"), Vec::new());
    socket.send(Message::NewQueueDiscipline(ingress), NEW)?;
    let mut filter = message(index, TcHandle::UNSPEC, INGRESS, Some("u32"), police(rate));
    filter.header.info = PRIORITY << 16 | EVERY_PROTOCOL;
    socket.send(Message::NewTrafficFilter(filter), NEW)
}

/// Where nothing was set there is nothing to remove; the kernel has more than one word for that.
fn tolerate_absence(removed: io::Result<()>) -> io::Result<()> {
    match removed.as_ref().err().and_then(io::Error::raw_os_error).map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::INVAL) => Ok(()),
        Some(_) | None => removed,
    }
}

fn message(
    index: i32,
    handle: TcHandle,
    parent: TcHandle,
    kind: Option<&str>,
    options: Vec<TcOption>,
) -> TcMessage {
    let header = TcHeader { index, handle, parent, ..TcHeader::default() };
    let mut attributes: Vec<_> =
        kind.map(|kind| TcAttribute::Kind(kind.to_owned())).into_iter().collect();
    if !options.is_empty() {
        attributes.push(TcAttribute::Options(options));
    }
    TcMessage::from_parts(header, attributes)
}

fn nla(kind: u16, value: Vec<u8>) -> TcOption {
    TcOption::Other(DefaultNla::new(kind, value))
}

/// `struct tc_htb_glob`: everything goes into class 1.
fn htb_init() -> Vec<u8> {
    let (quantum_divisor, default_class): (u32, u32) = (10, 1);
    let words = [HTB_VERSION, quantum_divisor, default_class, 0, 0];
    words.into_iter().flat_map(u32::to_ne_bytes).collect()
}

fn htb_class(rate: u64) -> Vec<TcOption> {
    let speed = rate_spec(rate, 0, 0);
    // Of what is lent by nobody, tc lets a packet pass at once.
    let (buffer, ceiling_buffer) = (ticks(BURST, rate), ticks(PACKET, rate));
    // Left to the kernel, it would be a tenth of the rate, and a warning in the log.
    let quantum = u32::try_from((rate / 10).clamp(1500, 60_000)).unwrap_or(60_000);
    let words = [buffer, ceiling_buffer, quantum, 0, 0];
    let mut parms = [speed.clone(), speed].concat();
    parms.extend(words.into_iter().flat_map(u32::to_ne_bytes));
    let mut options = vec![nla(TCA_HTB_PARMS, parms)];
    if rate > u64::from(u32::MAX) {
        options.push(nla(TCA_HTB_RATE64, rate.to_ne_bytes().to_vec()));
        options.push(nla(TCA_HTB_CEIL64, rate.to_ne_bytes().to_vec()));
    }
    options
}

/// A filter that every packet matches, and its one action.
fn police(rate: u64) -> Vec<TcOption> {
    let (flags, keys) = (U32_TERMINAL, 1);
    let mut selector = vec![flags, 0, keys, 0];
    selector.extend([0; 12]);
    selector.extend([0; 16]); // a mask of no bit

    let cell_log = (0..32).find(|log| LARGEST >> log <= 255).unwrap_or(31);
    let mut tbf = Vec::new();
    for word in [0, POLICE_SHOT, 0, ticks(BURST, rate), u32::try_from(LARGEST).unwrap_or(u32::MAX)]
    {
        tbf.extend(word.to_ne_bytes());
    }
    tbf.extend(rate_spec(rate, cell_log, -1));
    tbf.extend([0; 12]); // no peak rate
    tbf.extend([0; 12]); // counters of the kernel's

    let table = (1..=256_u64).flat_map(|cell| ticks(cell << cell_log, rate).to_ne_bytes());
    let mut action = attribute(TCA_POLICE_TBF, &tbf);
    action.extend(attribute(TCA_POLICE_RATE, &table.collect::<Vec<_>>()));
    if rate > u64::from(u32::MAX) {
        action.extend(attribute(TCA_POLICE_RATE64, &rate.to_ne_bytes()));
    }
    vec![
        nla(TCA_U32_CLASSID, 1_u32.to_ne_bytes().to_vec()),
        nla(TCA_U32_SEL, selector),
        nla(TCA_U32_POLICE, action),
    ]
}

/// One within another's value. All of ours are of a length that needs no padding.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    [&length.to_ne_bytes(), &kind.to_ne_bytes(), value].concat()
}

/// `struct tc_ratespec`
fn rate_spec(rate: u64, cell_log: u8, cell_align: i16) -> Vec<u8> {
    let mut spec = vec![cell_log, LINKLAYER_ETHERNET, 0, 0];
    spec.extend(cell_align.to_ne_bytes());
    spec.extend(0_u16.to_ne_bytes()); // no smallest packet
    spec.extend(u32::try_from(rate).unwrap_or(u32::MAX).to_ne_bytes());
    spec
}

/// How long so many bytes take at this rate, in the kernel's ticks of 64 ns.
fn ticks(bytes: u64, rate: u64) -> u32 {
    let ns = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    u32::try_from(ns >> 6).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_so_many_ticks() {
        assert_eq!(ticks(1 << 20, 1 << 20), 15_625_000);
        assert_eq!(ticks(1 << 20, 1), u32::MAX);
        assert_eq!(ticks(1, 0), 15_625_000);
    }

    #[test]
    fn structures_have_the_kernels_size() {
        assert_eq!(htb_init().len(), 20);
        assert_eq!(rate_spec(1, 0, 0).len(), 12);
        let lengths = |options: Vec<TcOption>| -> Vec<_> {
            use netlink_packet_core::Nla as _;
            options.iter().map(|option| (option.kind(), option.value_len())).collect()
        };
        assert_eq!(lengths(htb_class(1000)), [(1, 44)]);
        assert_eq!(lengths(htb_class(8 << 30)), [(1, 44), (6, 8), (7, 8)]);
        assert_eq!(lengths(police(1000)), [(1, 4), (5, 32), (6, 4 + 56 + 4 + 1024)]);
    }
}
