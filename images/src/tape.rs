//! A tar stream, entry by entry, in bounded memory. The `tar` crate reads long names and extended
//! headers whole, however long they claim to be, and cuts PAX records at newlines; a reader for
//! hostile files needs both otherwise, so the blocks are read here.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use crate::error::{Place, printable};
use crate::header::{self, BLOCK, Entry, is_header, number, text};
use crate::pax;
use crate::sparse::{Lines, Map};
use crate::{Limits, Refusal, UnpackError};

/// Long names and extended headers above this are refused. Linux takes 64 KiB per attribute.
const MAX_EXTENDED: u64 = 1 << 20;

/// Bytes of an archive and what they unpacked to, of all layers where it has some.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter {
    pub(crate) taken: Rc<Cell<u64>>,
    given: Rc<Cell<u64>>,
}

pub(crate) struct Tape<'a> {
    stream: Box<dyn Read + 'a>,
    limits: &'a Limits,
    meter: Meter,
    /// It may end without tar's mark.
    open_end: bool,
    /// Data of the current entry not read yet, and the padding behind it.
    data: u64,
    padding: u64,
    place: Place,
}

/// What extended headers said about the entry that follows them.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<'a> Tape<'a> {
    pub(crate) fn new(stream: Box<dyn Read + 'a>, limits: &'a Limits, meter: Meter) -> Self {
        let place = Place::Start;
        Self { stream, limits, meter, open_end: false, data: 0, padding: 0, place }
    }

    /// Of a stream that is known by its digest: that says where it ends, and some writers set no
    /// mark there.
    pub(crate) fn of_layer(stream: Box<dyn Read + 'a>, limits: &'a Limits, meter: Meter) -> Self {
        Self { open_end: true, ..Self::new(stream, limits, meter) }
    }

    /// The next entry, or `None` at the end of the archive, which has then been read to its very
    /// end: compressed streams keep their checksum there.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, UnpackError> {
        let mut extended = Extended::default();
        loop {
            self.skip_rest()?;
            let Some(block) = self.header()? else { return Ok(None) };
            if block.iter().all(|&b| b == 0) {
                self.drain()?;
                return Ok(None);
            }
            if !is_header(&block) {
                return Err(match self.place {
                    Place::Start => UnpackError::NotAnArchive,
                    Place::After(_) | Place::In(_) => self.damaged("a header's checksum is wrong"),
                });
            }
            let size =
                number(&block[124..136]).ok_or_else(|| self.damaged("a size is not a number"))?;
            match block[156] {
                b'L' => extended.path = Some(text(&self.extended(size, &block)?).to_vec()),
                b'K' => extended.link = Some(text(&self.extended(size, &block)?).to_vec()),
                b'x' | b'X' => {
                    let bytes = self.extended(size, &block)?;
                    let records = pax::records(&bytes)
                        .ok_or_else(|| self.damaged("an extended header is malformed"))?;
                    extended.pax =
                        records.into_iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
                }
                // A global header (git writes one with a commit's id) and a volume's label.
                b'g' | b'V' => self.expect_data(size)?,
                _ => return self.entry(&block, size, extended).map(Some),
            }
        }
    }

    fn entry(
        &mut self,
        block: &[u8; BLOCK],
        size: u64,
        extended: Extended,
    ) -> Result<Entry, UnpackError> {
        let mut entry = header::parse(block, size, extended.path, extended.link)?;
        let mut sparse = SparseKeys::default();
        for (key, value) in extended.pax {
            self.apply(&mut entry, &mut sparse, &key, value)?;
        }
        self.place = Place::In(printable(&entry.path));
        self.expect_data(entry.size)?;
        if block[156] == b'S' {
            entry.sparse = Some(self.old_sparse_map(block, &entry)?);
        } else if sparse.used {
            entry.sparse = Some(self.sparse_map(&sparse, &mut entry)?);
        }
        Ok(entry)
    }

    /// One record of a PAX header overrides what the plain header says.
    fn apply(
        &self,
        entry: &mut Entry,
        sparse: &mut SparseKeys,
        key: &[u8],
        value: Vec<u8>,
    ) -> Result<(), UnpackError> {
        let bad = || self.damaged("an extended header holds a value that is not a number");
        let id = |value: &[u8]| {
            pax::decimal(value).and_then(|id| u32::try_from(id).ok()).ok_or_else(bad)
        };
        match key {
            b"path" => entry.path = value,
            b"linkpath" => entry.link = value,
            b"size" => entry.size = pax::decimal(&value).ok_or_else(bad)?,
            b"uid" => entry.uid = id(&value)?,
            b"gid" => entry.gid = id(&value)?,
            b"mtime" => entry.mtime = pax::time(&value).ok_or_else(bad)?,
            b"GNU.sparse.name" => {
                sparse.used = true;
                entry.path = value;
            }
            b"GNU.sparse.major" => {
                sparse.used = true;
                sparse.major = pax::decimal(&value);
            }
            b"GNU.sparse.realsize" => {
                sparse.used = true;
                sparse.size = pax::decimal(&value);
            }
            _ => match key.strip_prefix(b"SCHILY.xattr.") {
                Some(name) => entry.attributes.push((name.to_vec(), value)),
                None if key.starts_with(b"SCHILY.acl.") => acl(entry, key, &value),
                None if key.starts_with(b"GNU.sparse.") => sparse.used = true,
                None => {}
            },
        }
        Ok(())
    }

    fn old_sparse_map(&mut self, block: &[u8; BLOCK], entry: &Entry) -> Result<Map, UnpackError> {
        let refused = |reason| UnpackError::Refused { entry: printable(&entry.path), reason };
        let wrong = || refused(Refusal::SparseMap);
        let mut map = Map::of_size(number(&block[483..495]).ok_or_else(wrong)?);
        let mut pairs = block[386..482].to_vec();
        let mut more = block[482] != 0;
        loop {
            for pair in pairs.chunks_exact(24).take_while(|pair| pair[0] != 0) {
                let offset = number(&pair[..12]).ok_or_else(wrong)?;
                map.push(offset, number(&pair[12..]).ok_or_else(wrong)?).map_err(refused)?;
            }
            if !more {
                return map.check(entry.size).map_err(refused);
            }
            // These blocks lie between the header and the data and are not part of its size.
            let block = self.block()?;
            pairs = block[..504].to_vec();
            more = block[504] != 0;
        }
    }

    fn sparse_map(&mut self, keys: &SparseKeys, entry: &mut Entry) -> Result<Map, UnpackError> {
        let name = printable(&entry.path);
        let refused = |reason| UnpackError::Refused { entry: name.clone(), reason };
        let (Some(1), Some(size)) = (keys.major, keys.size) else {
            return Err(refused(Refusal::SparseMap)); // 0.0 and 0.1, which tar stopped writing in 2006
        };
        let mut lines = Lines::new(size);
        let mut block = [0; BLOCK];
        loop {
            if self.data < BLOCK as u64 {
                return Err(refused(Refusal::SparseMap));
            }
            self.fill(&mut block)?;
            self.data -= BLOCK as u64;
            entry.size -= BLOCK as u64;
            if lines.feed(&block).map_err(refused)? {
                return lines.into_map().check(entry.size).map_err(refused);
            }
        }
    }

    /// Data of the current entry; 0 at its end.
    pub(crate) fn read_data(&mut self, buffer: &mut [u8]) -> Result<usize, UnpackError> {
        let most = usize::try_from(self.data).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(UnpackError::Truncated(self.place.clone()));
        }
        self.data -= count as u64;
        Ok(count)
    }

    fn extended(&mut self, size: u64, block: &[u8]) -> Result<Vec<u8>, UnpackError> {
        if size > MAX_EXTENDED {
            let entry = printable(text(&block[..100]));
            return Err(UnpackError::Refused { entry, reason: Refusal::LongHeader(MAX_EXTENDED) });
        }
        self.expect_data(size)?;
        let mut bytes = vec![0; usize::try_from(size).expect("at most MAX_EXTENDED")];
        self.fill(&mut bytes)?;
        self.data = 0;
        Ok(bytes)
    }

    fn expect_data(&mut self, size: u64) -> Result<(), UnpackError> {
        if size > i64::MAX.unsigned_abs() {
            return Err(self.damaged("a size is not possible"));
        }
        self.data = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(())
    }

    fn skip_rest(&mut self) -> Result<(), UnpackError> {
        let mut scratch = [0; 16 * BLOCK];
        while self.read_data(&mut scratch)? > 0 {}
        let padding = std::mem::take(&mut self.padding);
        self.fill(&mut scratch[..usize::try_from(padding).expect("less than a block")])?;
        if let Place::In(entry) = &mut self.place {
            self.place = Place::After(std::mem::take(entry));
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<(), UnpackError> {
        let mut scratch = [0; 16 * BLOCK];
        while self.read(&mut scratch)? > 0 {}
        Ok(())
    }

    /// `None` at an end without a mark, where there may be one.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>, UnpackError> {
        let mut block = [0; BLOCK];
        let count = self.read(&mut block)?;
        if count == 0 && self.open_end {
            return Ok(None);
        }
        self.fill(&mut block[count..])?;
        Ok(Some(block))
    }

    fn block(&mut self) -> Result<[u8; BLOCK], UnpackError> {
        let mut block = [0; BLOCK];
        self.fill(&mut block)?;
        Ok(block)
    }

    fn fill(&mut self, mut buffer: &mut [u8]) -> Result<(), UnpackError> {
        while !buffer.is_empty() {
            let count = self.read(buffer)?;
            if count == 0 {
                return Err(UnpackError::Truncated(self.place.clone()));
            }
            buffer = &mut buffer[count..];
        }
        Ok(())
    }

    /// The one place where the stream is read: counts, and stops what unpacks to too much.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, UnpackError> {
        let count = loop {
            match self.stream.read(buffer) {
                Ok(count) => break count,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(self.unreadable(err)),
            }
        };
        let Meter { taken, given } = &self.meter;
        given.set(given.get() + count as u64);
        let Limits { ratio, ratio_from, .. } = *self.limits;
        if given.get() > ratio_from && given.get() > taken.get().saturating_mul(ratio) {
            return Err(UnpackError::Bomb { ratio, place: self.place.clone() });
        }
        Ok(count)
    }

    /// Decoders report what is wrong with a stream as I/O errors; only one with an errno is about
    /// the file we read from.
    fn unreadable(&self, err: io::Error) -> UnpackError {
        let place = self.place.clone();
        if err.kind() == io::ErrorKind::UnexpectedEof {
            UnpackError::Truncated(place)
        } else if err.raw_os_error().is_none() {
            UnpackError::Damaged { place, reason: err.to_string() }
        } else {
            UnpackError::Read { place, source: err }
        }
    }

    fn damaged(&self, reason: &str) -> UnpackError {
        UnpackError::Damaged { place: self.place.clone(), reason: reason.to_owned() }
    }
}

/// Set like any attribute; `system.posix_acl_access` also sets the group's bits of the mode.
fn acl(entry: &mut Entry, key: &[u8], value: &[u8]) {
    let name: Option<&[u8]> = match key {
        b"SCHILY.acl.access" => Some(b"system.posix_acl_access"),
        b"SCHILY.acl.default" => Some(b"system.posix_acl_default"),
        _ => None,
    };
    match name.zip(crate::acl::from_text(value)) {
        Some((name, bytes)) => entry.attributes.push((name.to_vec(), bytes)),
        None => entry.foreign_attributes += 1,
    }
}

#[derive(Default)]
struct SparseKeys {
    used: bool,
    major: Option<u64>,
    size: Option<u64>,
}
