//! Which compression an archive has, by its first bytes, and the decoder for it. A decoder's
//! memory is bounded here: what an archive claims to need is the archive's word. And the encoders.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Cursor, Read, Write};
use std::rc::Rc;

use flate2::write::GzEncoder;

use crate::UnpackError;
use crate::error::Place;
use crate::header::{BLOCK, is_header};
use crate::lzop;

/// `xz -9` needs 65 MiB to decode; whoever asks for more than this has another aim.
const XZ_MEMORY: u64 = 256 << 20;

/// 2^27 is 128 MiB, what `zstd -d` itself accepts without being told to.
const ZSTD_WINDOW_LOG: u32 = 27;

const BUFFER: usize = 128 << 10;

/// The tar stream inside `archive`. `taken` counts the bytes read from `archive` itself.
pub(crate) fn open<'a>(
    mut archive: impl Read + 'a,
    taken: Rc<Cell<u64>>,
) -> Result<Box<dyn Read + 'a>, UnpackError> {
    let unreadable = |source| UnpackError::Read { place: Place::Start, source };
    let mut head = Vec::with_capacity(BLOCK);
    archive.by_ref().take(BLOCK as u64).read_to_end(&mut head).map_err(unreadable)?;
    let magic = |bytes: &[u8]| head.starts_with(bytes);

    let whole = |head: Vec<u8>| {
        let counted = Counted { inner: Cursor::new(head).chain(archive), taken };
        BufReader::with_capacity(BUFFER, counted)
    };
    Ok(match () {
        () if magic(&[0x1f, 0x8b]) => Box::new(flate2::bufread::MultiGzDecoder::new(whole(head))),
        () if magic(&[0xfd, b'7', b'z', b'X', b'Z', 0]) => {
            let stream = liblzma::stream::Stream::new_stream_decoder(
                XZ_MEMORY,
                liblzma::stream::CONCATENATED,
            )
            .map_err(|err| unreadable(io::Error::other(err)))?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(whole(head), stream))
        }
        () if magic(&[0x28, 0xb5, 0x2f, 0xfd]) => {
            let mut decoder =
                zstd::stream::read::Decoder::with_buffer(whole(head)).map_err(unreadable)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(unreadable)?;
            Box::new(decoder)
        }
        () if magic(&lzop::MAGIC) => Box::new(lzop::Lzop::new(whole(head)).map_err(unreadable)?),
        () if magic(b"BZh") => return Err(UnpackError::Compression("bzip2")),
        () if magic(b"LZIP") => return Err(UnpackError::Compression("lzip")),
        () if magic(&[0x04, 0x22, 0x4d, 0x18]) => return Err(UnpackError::Compression("lz4")),
        () if magic(b"PK\x03\x04") => return Err(UnpackError::Compression("zip")),
        () if is_header(&head) || (head.len() == BLOCK && head.iter().all(|&b| b == 0)) => {
            Box::new(whole(head))
        }
        () => return Err(UnpackError::NotAnArchive),
    })
}

struct Counted<R> {
    inner: R,
    taken: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.taken.set(self.taken.get() + count as u64);
        Ok(count)
    }
}

/// How an archive is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    #[default]
    None,
    Gzip,
    Zstd,
}

/// Writes what it is given to a file, compressed.
pub struct Compressor(Encoder);

enum Encoder {
    None(BufWriter<File>),
    Gzip(GzEncoder<File>),
    Zstd(zstd::stream::write::Encoder<'static, File>),
}

impl Compressor {
    pub fn new(file: File, compression: Compression) -> io::Result<Self> {
        Ok(Self(match compression {
            Compression::None => Encoder::None(BufWriter::with_capacity(BUFFER, file)),
            Compression::Gzip => {
                Encoder::Gzip(GzEncoder::new(file, flate2::Compression::default()))
            }
            Compression::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(file, 0)?;
                encoder.include_checksum(true)?;
                Encoder::Zstd(encoder)
            }
        }))
    }

    /// The stream's end, and the file.
    pub fn finish(self) -> io::Result<File> {
        match self.0 {
            Encoder::None(out) => out.into_inner().map_err(io::IntoInnerError::into_error),
            Encoder::Gzip(out) => out.finish(),
            Encoder::Zstd(out) => out.finish(),
        }
    }
}

impl Write for Compressor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Encoder::None(out) => out.write(bytes),
            Encoder::Gzip(out) => out.write(bytes),
            Encoder::Zstd(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Encoder::None(out) => out.flush(),
            Encoder::Gzip(out) => out.flush(),
            Encoder::Zstd(out) => out.flush(),
        }
    }
}
