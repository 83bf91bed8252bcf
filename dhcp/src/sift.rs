//! Of a message only the options that a client reads, and of those only the ones of a fitting length.
//! Parts of a long option are joined (RFC 3396), and fields that are used for more options are read
//! (RFC 2131, "option overload").

use std::collections::BTreeMap;

/// Of a DHCPv4 message: the fixed part, the magic cookie.
const FIXED: usize = 236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const SNAME: std::ops::Range<usize> = 44..108;
const FILE: std::ops::Range<usize> = 108..236;

const OVERLOAD: u8 = 52;

/// A DHCPv4 message that dhcproto can be given.
pub fn v4(message: &[u8]) -> Option<Vec<u8>> {
    let fixed = message.get(..FIXED)?;
    // A longer hardware address than there is room for.
    if fixed[2] > 16 {
        return None;
    }
    let options = message.get(FIXED..)?.strip_prefix(&COOKIE)?;
    let mut found = BTreeMap::new();
    collect(options, &mut found);
    let overload = match found.get(&OVERLOAD).map(Vec::as_slice) {
        Some([which]) => *which,
        Some(_) | None => 0,
    };
    for (bit, field) in [(1, FILE), (2, SNAME)] {
        if overload & bit != 0 {
            collect(&fixed[field], &mut found);
        }
    }

    let mut sifted = [fixed, &COOKIE].concat();
    // dhcproto reads names that nobody wrote out of used fields otherwise.
    sifted[SNAME.start..FILE.end].fill(0);
    // It stops at what it cannot read: what matters most comes first, lists that may be odd last.
    for (code, data) in found.iter().filter(|(code, data)| fits(**code, data)) {
        for part in data.chunks(255) {
            sifted.push(*code);
            sifted.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
            sifted.extend(part);
        }
    }
    sifted.push(255);
    Some(sifted)
}

fn collect(mut options: &[u8], found: &mut BTreeMap<u8, Vec<u8>>) {
    loop {
        match options {
            [0, rest @ ..] => options = rest,
            [255, ..] | [] | [_] => return,
            [code, length, rest @ ..] => {
                let length = usize::from(*length);
                let Some(data) = rest.get(..length) else { return };
                found.entry(*code).or_default().extend(data);
                options = &rest[length..];
            }
        }
    }
}

fn fits(code: u8, data: &[u8]) -> bool {
    match code {
        // Mask, address asked for, time, server, T1, T2.
        1 | 50 | 51 | 54 | 58 | 59 => data.len() == 4,
        // Routers, name servers.
        3 | 6 => !data.is_empty() && data.len().is_multiple_of(4),
        // The domain.
        15 => data.is_ascii(),
        // MTU
        26 => data.len() == 2,
        // What kind of message it is.
        53 => data.len() == 1,
        // Domains to search, routes.
        119 | 121 => !data.is_empty(),
        _ => false,
    }
}

/// A DHCPv6 message that dhcproto can be given.
pub fn v6(message: &[u8]) -> Option<Vec<u8>> {
    let head = message.get(..4)?;
    let options = message.get(4..)?;
    Some([head, &nested(options, Level::Message)].concat())
}

#[derive(Clone, Copy)]
enum Level {
    Message,
    Association,
    Address,
}

fn nested(mut options: &[u8], level: Level) -> Vec<u8> {
    let mut sifted = Vec::new();
    while let [a, b, c, d, rest @ ..] = options {
        let (code, length) = (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
        let Some(data) = rest.get(..usize::from(length)) else { break };
        options = &rest[usize::from(length)..];
        if let Some(data) = fitting(code, data, level) {
            sifted.extend([*a, *b]);
            sifted.extend(u16::try_from(data.len()).unwrap_or(u16::MAX).to_be_bytes());
            sifted.extend(data);
        }
    }
    sifted
}

fn fitting(code: u16, data: &[u8], level: Level) -> Option<Vec<u8>> {
    let inner = |head: usize, level: Level| {
        let (head, options) = data.split_at_checked(head)?;
        Some([head, &nested(options, level)].concat())
    };
    let whole = |fits: bool| fits.then(|| data.to_vec());
    match (level, code) {
        // Client and server: RFC 8415 section 11.1 has at most 130 bytes.
        (Level::Message, 1 | 2) => whole((3..=130).contains(&data.len())),
        // A set of addresses, and one of them.
        (Level::Message, 3) => inner(12, Level::Association),
        (Level::Association, 5) => inner(24, Level::Address),
        // How it went: a number, and words that nobody reads.
        (_, 13) => data.get(..2).map(<[u8]>::to_vec),
        (Level::Message, 23) => whole(!data.is_empty() && data.len().is_multiple_of(16)),
        (Level::Message, 24) => whole(!data.is_empty()),
        _ => None,
    }
}
