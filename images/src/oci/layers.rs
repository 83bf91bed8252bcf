//! Layers, the lowest first. Each is read twice: once to compare it with its digests, count what it
//! asks for and take away what it hides, and once to unpack it. So a whiteout hides what lower layers
//! have and nothing of its own, wherever it stands, and memory does not grow with a layer.

use std::io::{self, Read, Seek};
use std::os::fd::BorrowedFd;
use std::rc::Rc;

use sha2::{Digest as _, Sha256};

use super::error::ImageError;
use super::layout::{Image, Layout};
use super::manifest::Blob;
use crate::error::{Place, printable};
use crate::header::{Entry, Kind};
use crate::place::{CleanPath, Root};
use crate::tape::{Meter, Tape};
use crate::unpack::Unpacking;
use crate::whiteout::Whiteout;
use crate::{Limits, Progress, Refusal, Summary, UnpackError, compression};

/// Unpack `image` of `layout` into the folder `root`, a descriptor open for reading. What is promised
/// of `unpack` for archives is promised here; the limits are those of all layers together.
pub fn unpack<R: Read + Seek>(
    root: BorrowedFd<'_>,
    layout: &mut Layout<R>,
    image: &Image,
    limits: &Limits,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Summary, ImageError> {
    let meter = Meter::default();
    let mut survey = Survey { limits, entries: 0, bytes: 0, kept: 0 };
    let mut unpacking = Unpacking::new(Root::of_layers(root), limits, meter.clone(), progress);
    for (blob, diff_id) in &image.layers {
        let failed = |source| ImageError::Layer { digest: blob.digest(), source };
        let root = &mut unpacking.root;
        check(layout, blob, diff_id, &meter, limits, &mut |tape| survey.layer(tape, root))?;
        let raw = layout.open_blob(blob)?;
        let stream = decompressed(raw, blob, &meter).map_err(failed)?;
        let mut tape = Tape::of_layer(stream, limits, meter.clone());
        unpacking.layer(&mut tape).map_err(failed)?;
    }
    let summary = unpacking.finish().map_err(ImageError::Finish)?;
    Ok(Summary { skipped_whiteouts: survey.kept, ..summary })
}

/// Let `look` read a layer that is what its digests say.
fn check<R: Read + Seek>(
    layout: &mut Layout<R>,
    blob: &Blob,
    diff_id: &str,
    meter: &Meter,
    limits: &Limits,
    look: &mut dyn FnMut(Tape<'_>) -> Result<(), UnpackError>,
) -> Result<(), ImageError> {
    let failed = |source| ImageError::Layer { digest: blob.digest(), source };
    let mut raw = Hashed::new(layout.open_blob(blob)?);
    let mut unpacked = String::new();
    let looked = decompressed(&mut raw, blob, meter).and_then(|stream| {
        let mut plain = Hashed::new(stream);
        look(Tape::of_layer(Box::new(&mut plain), limits, meter.clone()))?;
        unpacked = plain.digest();
        Ok(())
    });
    // What is wrong with a damaged layer is that it is damaged, whatever its bytes led to.
    io::copy(&mut raw, &mut io::sink()).map_err(ImageError::Read)?;
    let got = raw.digest();
    if got != blob.sha256 {
        return Err(ImageError::Digest { digest: blob.digest(), got });
    }
    looked.map_err(failed)?;
    if unpacked != diff_id {
        return Err(ImageError::DiffId { digest: blob.digest(), got: unpacked });
    }
    Ok(())
}

fn decompressed<'a>(
    raw: impl Read + 'a,
    blob: &Blob,
    meter: &Meter,
) -> Result<Box<dyn Read + 'a>, UnpackError> {
    if blob.size == 0 {
        return Ok(Box::new(io::empty()));
    }
    compression::open(raw, Rc::clone(&meter.taken))
}

struct Hashed<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Hashed<R> {
    fn new(inner: R) -> Self {
        Self { inner, hash: Sha256::new() }
    }

    fn digest(self) -> String {
        hex::encode(self.hash.finalize())
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

/// The first look at all layers.
struct Survey<'a> {
    limits: &'a Limits,
    entries: u64,
    bytes: u64,
    /// Whiteouts that something mounted withstood.
    kept: u64,
}

impl Survey<'_> {
    fn layer(&mut self, mut tape: Tape<'_>, root: &mut Root<'_>) -> Result<(), UnpackError> {
        while let Some(entry) = tape.next_entry()? {
            self.count(&entry)?;
            let refused = |reason| UnpackError::Refused { entry: printable(&entry.path), reason };
            let path = CleanPath::new(&entry.path, self.limits.path).map_err(refused)?;
            let Some(whiteout) = Whiteout::of(&path) else { continue };
            // AUFS made whiteouts by linking, so some are links to each other.
            if !matches!(entry.kind, Kind::File | Kind::HardLink) {
                return Err(refused(Refusal::Whiteout));
            }
            let removed = match whiteout {
                Whiteout::Content(folder) => root.empty(&folder),
                Whiteout::Path(path) => root.hide(&path),
                Whiteout::Nothing => Ok(true),
            };
            let removed = removed.map_err(|errno| UnpackError::Io {
                action: "hide what is below",
                entry: printable(&entry.path),
                source: errno.into(),
            })?;
            self.kept += u64::from(!removed);
        }
        Ok(())
    }

    /// Before anything of this layer is written.
    fn count(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(UnpackError::TooManyEntries(self.limits.entries));
        }
        self.bytes = self.bytes.saturating_add(entry.size);
        if self.bytes > self.limits.bytes {
            let place = Place::In(printable(&entry.path));
            return Err(UnpackError::TooLarge { limit: self.limits.bytes, place });
        }
        Ok(())
    }
}
