//! A tar header: what it says about one entry, and whether it is one at all.

use crate::error::{Place, printable};
use crate::sparse::Map;
use crate::{Refusal, UnpackError};

pub(crate) const BLOCK: usize = 512;

/// What an entry becomes on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds and nanoseconds.
    pub(crate) mtime: (i64, u32),
    pub(crate) device: (u32, u32),
    /// Bytes of data that follow in the archive.
    pub(crate) size: u64,
    pub(crate) sparse: Option<Map>,
    pub(crate) attributes: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) foreign_attributes: u64,
}

/// Is this a tar header? Its checksum says so, as unsigned or (old writers) as signed bytes.
pub(crate) fn is_header(block: &[u8]) -> bool {
    let Some(stored) = block.get(148..156).and_then(number) else { return false };
    if block.len() < BLOCK {
        return false;
    }
    let byte = |at: usize| if (148..156).contains(&at) { b' ' } else { block[at] };
    let unsigned: u64 = (0..BLOCK).map(|at| u64::from(byte(at))).sum();
    let signed: i64 = (0..BLOCK).map(|at| i64::from(byte(at).cast_signed())).sum();
    stored == unsigned || i64::try_from(stored) == Ok(signed)
}

/// Octal text, or GNU's big-endian form where the first bit is set. Blank is zero.
pub(crate) fn number(field: &[u8]) -> Option<u64> {
    if let Some(&first) = field.first().filter(|&&first| first & 0x80 != 0) {
        if first & 0x40 != 0 {
            return None; // negative: only a time may be, see `signed`
        }
        return field[1..].iter().try_fold(u64::from(first & 0x3f), |sum, &byte| {
            sum.checked_mul(256)?.checked_add(byte.into())
        });
    }
    let text = field.split(|&b| b == 0).next().unwrap_or_default().trim_ascii();
    text.iter().try_fold(0_u64, |sum, &byte| {
        let digit = matches!(byte, b'0'..=b'7').then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(8)?.checked_add(digit)
    })
}

/// As `number`; GNU's form is two's complement for times before 1970.
fn signed(field: &[u8]) -> Option<i64> {
    if field.first() == Some(&0xff) {
        return field.iter().try_fold(-1_i64, |sum, &b| Some(sum.checked_mul(256)? | i64::from(b)));
    }
    number(field).and_then(|n| i64::try_from(n).ok())
}

pub(crate) fn text(field: &[u8]) -> &[u8] {
    field.split(|&b| b == 0).next().unwrap_or_default()
}

/// The path in a plain header.
pub(crate) fn path(block: &[u8; BLOCK]) -> Vec<u8> {
    let gnu = &block[257..265] == b"ustar  \0";
    let ustar = &block[257..262] == b"ustar" && !gnu;
    let prefix = if ustar { text(&block[345..500]) } else { b"" };
    match prefix {
        [] => text(&block[..100]).to_vec(),
        prefix => [prefix, b"/", text(&block[..100])].concat(),
    }
}

/// An entry as its plain header has it; `long_path` and `long_link` are from GNU's headers before it.
pub(crate) fn parse(
    block: &[u8; BLOCK],
    size: u64,
    long_path: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
) -> Result<Entry, UnpackError> {
    let path = long_path.unwrap_or_else(|| path(block));
    let id = |field: &[u8]| number(field).and_then(|id| u32::try_from(id).ok());
    let wrong = |what| {
        let place = Place::In(printable(&path));
        UnpackError::Damaged { place, reason: format!("its {what} is not a number") }
    };
    let folder = path.ends_with(b"/");
    let kind = match block[156] {
        b'0' | 0 | b'7' if folder => Kind::Directory,
        b'0' | 0 | b'7' | b'S' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::CharDevice,
        b'4' => Kind::BlockDevice,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        other => {
            let reason = Refusal::Kind(char::from(other).escape_default().last().unwrap_or('?'));
            return Err(UnpackError::Refused { entry: printable(&path), reason });
        }
    };
    let device = match kind {
        Kind::CharDevice | Kind::BlockDevice => (
            id(&block[329..337]).ok_or_else(|| wrong("device number"))?,
            id(&block[337..345]).ok_or_else(|| wrong("device number"))?,
        ),
        Kind::File | Kind::HardLink | Kind::Symlink | Kind::Directory | Kind::Fifo => (0, 0),
    };
    Ok(Entry {
        link: long_link.unwrap_or_else(|| text(&block[157..257]).to_vec()),
        kind,
        mode: id(&block[100..108]).ok_or_else(|| wrong("mode"))? & 0o7777,
        uid: id(&block[108..116]).ok_or_else(|| wrong("owner"))?,
        gid: id(&block[116..124]).ok_or_else(|| wrong("group"))?,
        mtime: (signed(&block[136..148]).ok_or_else(|| wrong("time"))?, 0),
        device,
        size,
        sparse: None,
        attributes: Vec::new(),
        foreign_attributes: 0,
        path,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::{is_header, number, signed};

    #[rstest]
    #[case::octal(b"0000644\0".as_slice(), Some(0o644))]
    #[case::blanks(b"   755 \0".as_slice(), Some(0o755))]
    #[case::empty(b"\0\0\0\0".as_slice(), Some(0))]
    #[case::binary(b"\x80\0\0\0\0\x01\x86\xa0".as_slice(), Some(100_000))]
    #[case::not_octal(b"0000689\0".as_slice(), None)]
    #[case::huge(b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff".as_slice(), None)]
    fn reads_numbers(#[case] field: &[u8], #[case] want: Option<u64>) {
        assert_eq!(number(field), want);
    }

    #[rstest]
    #[case::before_1970(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe".as_slice(), Some(-2))]
    #[case::after(b"00000000017\0".as_slice(), Some(15))]
    fn reads_times(#[case] field: &[u8], #[case] want: Option<i64>) {
        assert_eq!(signed(field), want);
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>) {
            let _: bool = is_header(&bytes);
            let _: Option<_> = number(&bytes);
            let _: Option<_> = signed(&bytes);
        }
    }
}
