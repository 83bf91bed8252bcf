//! Files of lzop, which older backups are packed with: a header, then blocks of LZO1X, each with its
//! lengths and checksums. Laid out as lzop's own `lzop.c` and `p_lzo.c` write them.

use std::io::{self, Read};

use flate2::Crc;

use crate::lzo::decompress;

pub(crate) const MAGIC: [u8; 9] = [0x89, b'L', b'Z', b'O', 0, b'\r', b'\n', 0x1a, b'\n'];

/// Since when the header has a level and tells which version reads it.
const VERSION_0_94: u16 = 0x0940;
/// The newest that lzop wrote.
const VERSION_NEEDED: u16 = 0x1040;
/// All of LZO1X, which differ in how they were packed.
const METHODS: [u8; 3] = [1, 2, 3];
const LARGEST_BLOCK: u32 = 64 << 20;

const ADLER32_OF_DATA: u32 = 0x1;
const ADLER32_OF_PACKED: u32 = 0x2;
const EXTRA_FIELD: u32 = 0x40;
const CRC32_OF_DATA: u32 = 0x100;
const CRC32_OF_PACKED: u32 = 0x200;
const FILTER: u32 = 0x800;
const CRC32_OF_HEADER: u32 = 0x1000;

/// Unpacks what it reads.
pub(crate) struct Lzop<R> {
    inner: R,
    flags: u32,
    block: Vec<u8>,
    /// Bytes of the block that were handed out.
    taken: usize,
    ended: bool,
}

impl<R: Read> Lzop<R> {
    /// Reads the header.
    pub(crate) fn new(inner: R) -> io::Result<Self> {
        let mut this = Self { inner, flags: 0, block: Vec::new(), taken: 0, ended: false };
        if !this.begin()? {
            return Err(invalid("it is no file of lzop"));
        }
        Ok(this)
    }

    /// The header of a file, or of the next in a row of them. Whether there is one.
    fn begin(&mut self) -> io::Result<bool> {
        let mut magic = Vec::new();
        self.inner.by_ref().take(MAGIC.len() as u64).read_to_end(&mut magic)?;
        if magic.is_empty() {
            return Ok(false);
        }
        if magic != MAGIC {
            return Err(invalid("what follows is no file of lzop"));
        }
        let mut header = Header { inner: &mut self.inner, bytes: Vec::new() };
        let version = header.u16()?;
        header.u16()?; // of the library
        let (mut needed, newer) = (version, version >= VERSION_0_94);
        if newer {
            needed = header.u16()?;
        }
        let method = header.array::<1>()?[0];
        if newer {
            header.array::<1>()?; // how hard it tried
        }
        let flags = header.u32()?;
        if needed > VERSION_NEEDED || !METHODS.contains(&method) || flags & FILTER != 0 {
            return Err(invalid("this kind of lzop file is not supported"));
        }
        header.u32()?; // mode
        header.u32()?; // time
        if newer {
            header.u32()?;
        }
        let name = header.array::<1>()?[0];
        header.take(u64::from(name))?;
        let crc = flags & CRC32_OF_HEADER != 0;
        header.check(crc)?;
        if flags & EXTRA_FIELD != 0 {
            header.bytes.clear();
            let length = header.u32()?;
            header.take(u64::from(length.min(LARGEST_BLOCK)))?;
            header.check(crc)?;
        }
        self.flags = flags;
        Ok(true)
    }

    /// Whether there is one more.
    fn next_block(&mut self) -> io::Result<bool> {
        (self.block, self.taken) = (Vec::new(), 0);
        let mut length = self.u32()?;
        while length == 0 {
            if !self.begin()? {
                return Ok(false);
            }
            length = self.u32()?;
        }
        let packed = self.u32()?;
        if length > LARGEST_BLOCK || packed == 0 || packed > length {
            return Err(invalid("the length of a block is not valid"));
        }
        let of_data = self.sums(ADLER32_OF_DATA, CRC32_OF_DATA)?;
        let of_packed = match packed < length {
            true => self.sums(ADLER32_OF_PACKED, CRC32_OF_PACKED)?,
            false => Sums::default(),
        };
        let mut bytes = Vec::new();
        self.inner.by_ref().take(u64::from(packed)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != u64::from(packed) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        of_packed.check(&bytes)?;
        self.block = if packed < length {
            let length = usize::try_from(length).map_err(io::Error::other)?;
            decompress(&bytes, length).map_err(|err| invalid(&err.to_string()))?
        } else {
            bytes
        };
        of_data.check(&self.block)?;
        Ok(true)
    }

    fn sums(&mut self, adler: u32, crc: u32) -> io::Result<Sums> {
        let mut sum = |flag| (self.flags & flag != 0).then(|| self.u32()).transpose();
        Ok(Sums { adler: sum(adler)?, crc: sum(crc)? })
    }

    fn u32(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.inner.read_exact(&mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    }
}

impl<R: Read> Read for Lzop<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.ended && self.taken == self.block.len() {
            self.ended = !self.next_block()?;
        }
        let count = (&self.block[self.taken..]).read(buffer)?;
        self.taken += count;
        Ok(count)
    }
}

/// What was read of it, which its checksum is over.
struct Header<'a, R> {
    inner: &'a mut R,
    bytes: Vec<u8>,
}

impl<R: Read> Header<'_, R> {
    fn take(&mut self, count: u64) -> io::Result<()> {
        let read = self.inner.by_ref().take(count).read_to_end(&mut self.bytes)?;
        if read as u64 == count { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.inner.read_exact(&mut bytes)?;
        self.bytes.extend(bytes);
        Ok(bytes)
    }

    fn u16(&mut self) -> io::Result<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> io::Result<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn check(&mut self, crc: bool) -> io::Result<()> {
        let mut sum = [0; 4];
        self.inner.read_exact(&mut sum)?;
        let sum = Some(u32::from_be_bytes(sum));
        let sums =
            if crc { Sums { adler: None, crc: sum } } else { Sums { adler: sum, crc: None } };
        sums.check(&self.bytes)
    }
}

#[derive(Default)]
struct Sums {
    adler: Option<u32>,
    crc: Option<u32>,
}

impl Sums {
    fn check(&self, bytes: &[u8]) -> io::Result<()> {
        let crc32 = || {
            let mut crc = Crc::new();
            crc.update(bytes);
            crc.sum()
        };
        let same = self.adler.is_none_or(|sum| sum == adler32(bytes))
            && self.crc.is_none_or(|sum| sum == crc32());
        if same { Ok(()) } else { Err(invalid("a checksum does not match")) }
    }
}

fn adler32(bytes: &[u8]) -> u32 {
    const MODULUS: u32 = 65521;
    // So many bytes overflow neither sum.
    let (low, high) = bytes.chunks(5552).fold((1, 0), |sums, chunk| {
        let (low, high) = chunk.iter().fold(sums, |(low, high): (u32, u32), byte| {
            (low + u32::from(*byte), high + low + u32::from(*byte))
        });
        (low % MODULUS, high % MODULUS)
    });
    high << 16 | low
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("lzop: {why}"))
}

#[cfg(test)]
mod tests;
