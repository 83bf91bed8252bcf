//! The writing half: entries in POSIX's form with extended headers, as GNU tar writes them when it
//! is told to keep attributes.

use std::io::{self, Write};

use tar::{EntryType, Header};

use crate::header::BLOCK;
use crate::sparse::Map;

/// GNU tar's blocking factor; readers of tapes want whole records.
const RECORD: u64 = 20 * BLOCK as u64;
/// What eleven and seven octal digits hold.
const LARGEST_SIZE: u64 = 0o777_7777_7777;
const LARGEST_ID: u32 = 0o777_7777;

/// Keys and values of an extended header.
pub(super) type Records = Vec<(Vec<u8>, Vec<u8>)>;

/// What stands in front of an entry's data.
#[derive(Clone, Debug)]
pub(super) struct Head {
    /// With `./` in front, a folder's with a slash at its end.
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) kind: EntryType,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Seconds and nanoseconds.
    pub(super) mtime: (i64, u32),
    pub(super) device: (u32, u32),
    /// Of the file, with its holes.
    pub(super) size: u64,
    pub(super) records: Records,
}

pub(super) struct TarStream<W> {
    out: W,
    written: u64,
}

impl<W: Write> TarStream<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, written: 0 }
    }

    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// The header of an entry whose data, `size` bytes or what `map` says, the caller writes next.
    pub(super) fn head(&mut self, head: &Head, map: Option<&Map>) -> io::Result<()> {
        let mut records = head.records.clone();
        let mut path = head.path.clone();
        let (mut size, mut lines) = (head.size, Vec::new());
        if let Some(map) = map {
            lines = map_lines(map);
            size = lines.len() as u64 + map.chunks.iter().map(|chunk| chunk.length).sum::<u64>();
            for (key, value) in [
                ("GNU.sparse.major", b"1".to_vec()),
                ("GNU.sparse.minor", b"0".to_vec()),
                ("GNU.sparse.name", std::mem::replace(&mut path, b"./GNUSparseFile.0/f".to_vec())),
                ("GNU.sparse.realsize", head.size.to_string().into_bytes()),
            ] {
                records.push((key.as_bytes().to_vec(), value));
            }
        }
        let mut header = Header::new_ustar();
        let fields = header.as_ustar_mut().expect("it was made as one");
        if !put(&mut fields.name, &path) {
            records.push((b"path".to_vec(), path));
        }
        if !put(&mut fields.linkname, &head.link) {
            records.push((b"linkpath".to_vec(), head.link.clone()));
        }
        let id = |key: &str, id: u32, records: &mut Records| {
            if id <= LARGEST_ID {
                return u64::from(id);
            }
            records.push((key.as_bytes().to_vec(), id.to_string().into_bytes()));
            0
        };
        header.set_uid(id("uid", head.uid, &mut records));
        header.set_gid(id("gid", head.gid, &mut records));
        if size > LARGEST_SIZE {
            records.push((b"size".to_vec(), size.to_string().into_bytes()));
        }
        header.set_size(if size > LARGEST_SIZE { 0 } else { size });
        let (seconds, nanoseconds) = head.mtime;
        let plain = u64::try_from(seconds).ok().filter(|seconds| *seconds <= LARGEST_SIZE);
        if nanoseconds != 0 || plain.is_none() {
            records.push((b"mtime".to_vec(), time(seconds, nanoseconds).into_bytes()));
        }
        header.set_mtime(plain.unwrap_or_default());
        header.set_mode(head.mode);
        header.set_entry_type(head.kind);
        header.set_device_major(head.device.0)?;
        header.set_device_minor(head.device.1)?;
        header.set_cksum();
        if !records.is_empty() {
            self.extended(&records)?;
        }
        self.write(header.as_bytes())?;
        self.write(&lines)
    }

    fn extended(&mut self, records: &[(Vec<u8>, Vec<u8>)]) -> io::Result<()> {
        let bytes: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        let mut header = Header::new_ustar();
        let fields = header.as_ustar_mut().expect("it was made as one");
        put(&mut fields.name, b"./PaxHeaders/x");
        header.set_entry_type(EntryType::XHeader);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        self.write(header.as_bytes())?;
        self.write(&bytes)?;
        self.pad(BLOCK as u64)
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// The end of an entry's data.
    pub(super) fn end_entry(&mut self) -> io::Result<()> {
        self.pad(BLOCK as u64)
    }

    pub(super) fn finish(mut self) -> io::Result<(W, u64)> {
        self.write(&[0; 2 * BLOCK])?;
        self.pad(RECORD)?;
        Ok((self.out, self.written))
    }

    fn pad(&mut self, unit: u64) -> io::Result<()> {
        let zeros = [0; BLOCK];
        let mut left = self.written.next_multiple_of(unit) - self.written;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
            self.write(&zeros[..most])?;
            left -= most as u64;
        }
        Ok(())
    }
}

/// Whether it fits; what does not is cut off.
fn put(field: &mut [u8; 100], bytes: &[u8]) -> bool {
    let length = bytes.len().min(field.len());
    field[..length].copy_from_slice(&bytes[..length]);
    length == bytes.len()
}

/// `LENGTH KEY=VALUE\n`, where the length counts its own digits.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length.to_string().len() + rest != length {
        length += 1;
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

fn time(seconds: i64, nanoseconds: u32) -> String {
    match (seconds, nanoseconds) {
        (seconds, 0) => seconds.to_string(),
        // Half a second before the second before 1970 is "-1.5".
        (..0, nanoseconds) => {
            let whole = seconds + 1;
            let sign = if whole == 0 { "-" } else { "" };
            format!("{sign}{whole}.{:09}", 1_000_000_000 - nanoseconds)
        }
        (seconds, nanoseconds) => format!("{seconds}.{nanoseconds:09}"),
    }
}

/// Version 1.0's map, which lies in front of the data.
fn map_lines(map: &Map) -> Vec<u8> {
    let mut text = format!("{}\n", map.chunks.len());
    for chunk in &map.chunks {
        text.push_str(&format!("{}\n{}\n", chunk.offset, chunk.length));
    }
    let mut bytes = text.into_bytes();
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pax;

    proptest! {
        #[test]
        fn records_read_back(key in "[a-zA-Z.]{1,30}", value: Vec<u8>) {
            let bytes = record(key.as_bytes(), &value);
            prop_assert_eq!(pax::records(&bytes), Some(vec![(key.as_bytes(), value.as_slice())]));
        }

        #[test]
        fn times_read_back(seconds in -10_000_000_000_i64..10_000_000_000, nanoseconds in 0..1_000_000_000_u32) {
            prop_assert_eq!(pax::time(time(seconds, nanoseconds).as_bytes()), Some((seconds, nanoseconds)));
        }
    }
}
