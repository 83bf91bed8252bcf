//! Where the data of a file with holes goes: GNU tar's maps, the old one in the header (as
//! `tar --sparse` writes it) and version 1.0 in front of the data (as `tar --sparse --xattrs` does).

use crate::Refusal;
use crate::pax::decimal;

/// A backup of a badly fragmented disk image has some thousand; more is not a file but an attack on
/// our memory.
pub(crate) const MAX_CHUNKS: usize = 1 << 18;

/// Pieces of data in the order in which they lie in the archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Map {
    pub(crate) chunks: Vec<Chunk>,
    /// The file's length, holes included.
    pub(crate) size: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl Map {
    pub(crate) fn of_size(size: u64) -> Self {
        Self { chunks: Vec::new(), size }
    }

    pub(crate) fn push(&mut self, offset: u64, length: u64) -> Result<(), Refusal> {
        if self.chunks.len() >= MAX_CHUNKS {
            return Err(Refusal::SparseMap);
        }
        self.chunks.push(Chunk { offset, length });
        Ok(())
    }

    /// Chunks ascend, do not overlap, end within the file and need just the `data` bytes there are.
    pub(crate) fn check(self, data: u64) -> Result<Self, Refusal> {
        let mut end = 0_u64;
        let mut sum = 0_u64;
        for chunk in &self.chunks {
            if chunk.offset < end {
                return Err(Refusal::SparseMap);
            }
            end = chunk.offset.checked_add(chunk.length).ok_or(Refusal::SparseMap)?;
            sum += chunk.length; // cannot overflow: the chunks do not overlap and `end` did not
        }
        let fits = end <= self.size && self.size <= i64::MAX.unsigned_abs() && sum == data;
        if fits { Ok(self) } else { Err(Refusal::SparseMap) }
    }
}

/// Version 1.0's map, read line by line: a count, then an offset and a length per chunk.
#[derive(Debug)]
pub(crate) struct Lines {
    map: Map,
    expected: Option<u64>,
    offset: Option<u64>,
    digits: Vec<u8>,
}

impl Lines {
    pub(crate) fn new(size: u64) -> Self {
        Self { map: Map::of_size(size), expected: None, offset: None, digits: Vec::new() }
    }

    /// Take one block; true when the map is complete. The rest of that block is padding.
    pub(crate) fn feed(&mut self, block: &[u8]) -> Result<bool, Refusal> {
        for &byte in block {
            if byte == b'\n' {
                let number = decimal(&self.digits).ok_or(Refusal::SparseMap)?;
                self.digits.clear();
                self.number(number)?;
                if self.expected == Some(self.map.chunks.len() as u64) {
                    return Ok(true);
                }
            } else if self.digits.len() < 20 {
                self.digits.push(byte);
            } else {
                return Err(Refusal::SparseMap);
            }
        }
        Ok(false)
    }

    fn number(&mut self, number: u64) -> Result<(), Refusal> {
        match (self.expected, self.offset.take()) {
            (None, _) if number > MAX_CHUNKS as u64 => Err(Refusal::SparseMap),
            (None, _) => {
                self.expected = Some(number);
                Ok(())
            }
            (Some(_), None) => {
                self.offset = Some(number);
                Ok(())
            }
            (Some(_), Some(offset)) => self.map.push(offset, number),
        }
    }

    pub(crate) fn into_map(self) -> Map {
        self.map
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::{Chunk, Lines, Map};
    use crate::Refusal;

    #[test]
    fn reads_a_map_across_blocks() {
        let mut lines = Lines::new(100);
        assert_eq!(lines.feed(b"2\n0\n1"), Ok(false));
        assert_eq!(lines.feed(b"0\n50\n5\n\0\0\0"), Ok(true));
        let map = lines.into_map().check(15).unwrap();
        let want = [Chunk { offset: 0, length: 10 }, Chunk { offset: 50, length: 5 }];
        assert_eq!(map.chunks, want);
    }

    #[rstest]
    #[case::overlap(&[(0, 10), (5, 5)], 15)]
    #[case::beyond_the_end(&[(95, 10)], 10)]
    #[case::overflow(&[(u64::MAX, 10)], 10)]
    #[case::data_missing(&[(0, 10)], 9)]
    fn refuses(#[case] chunks: &[(u64, u64)], #[case] data: u64) {
        let mut map = Map::of_size(100);
        for &(offset, length) in chunks {
            map.push(offset, length).unwrap();
        }
        assert_eq!(map.check(data), Err(Refusal::SparseMap));
    }

    proptest! {
        #[test]
        fn never_panics(block: Vec<u8>, size: u64, data: u64) {
            let mut lines = Lines::new(size);
            if lines.feed(&block) == Ok(true) {
                let checked = lines.into_map().check(data);
                prop_assert!(checked.is_err() || checked.is_ok_and(|map| map.size == size));
            }
        }
    }
}
