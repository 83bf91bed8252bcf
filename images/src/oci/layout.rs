//! An image layout in a tar file: where its blobs lie, and which image in it is for a machine. The
//! file is read where it is; of layers only the place is noted.

use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};

use oci_spec::image::{Arch, Descriptor, Os};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::config::ConfigFile;
use super::error::ImageError;
use super::manifest::{self, Blob, Document, MAX_CONFIG, MAX_MANIFEST, Manifest};
use crate::header::{self, BLOCK, is_header, number, text};
use crate::pax;

/// More files than the largest image has. What has more is a root filesystem, as it comes.
const MAX_FILES: u64 = 10_000;
/// Extended headers of a file that is called by a digest.
const MAX_EXTENDED: u64 = 64 << 10;
/// Indexes in indexes, all together: an index may name the same one twice.
const MAX_INDEXES: u32 = 100;
const MAX_IMAGES: usize = 1000;
/// Images that do not say in the index what they are for, and are looked into.
const MAX_GUESSES: usize = 32;
const BLOBS: &[u8] = b"blobs/sha256/";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Where a file's content lies in the archive.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u64,
    size: u64,
}

/// An OCI archive.
#[derive(Debug)]
pub struct Layout<R> {
    file: R,
    index: Span,
    /// By their digests in hex.
    blobs: HashMap<String, Span>,
}

/// The image of an archive that is to be unpacked.
#[derive(Clone, Debug)]
pub struct Image {
    digest: String,
    config: Vec<u8>,
    /// Lowest first, each with the digest it has once it is decompressed.
    pub(super) layers: Vec<(Blob, String)>,
}

impl Image {
    /// Of the manifest, `sha256:` in front.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The config file, as JSON.
    pub fn config(&self) -> &[u8] {
        &self.config
    }
}

impl<R: Read + Seek> Layout<R> {
    /// `None` for any file but a layout in a tar file that is not compressed.
    pub fn open(mut file: R) -> Result<Option<Self>, ImageError> {
        let Some(mut found) = Files::scan(&mut file).map_err(ImageError::Read)? else {
            return Ok(None);
        };
        match (found.layout, found.index, found.blobs.is_empty()) {
            (true, Some(index), false) => Ok(Some(Self { file, index, blobs: found.blobs })),
            _ => match found.docker.take() {
                Some(list) if is_dockers(&mut file, list)? => Err(ImageError::Docker),
                Some(_) | None => Ok(None),
            },
        }
    }

    /// The image for a machine by PVE's name of it, else for this one.
    pub fn image(&mut self, arch: Option<&str>) -> Result<Image, ImageError> {
        let wanted = wanted(arch);
        let index = self.content(self.index, "index.json", MAX_MANIFEST as u64)?;
        let Document::Index(index) = Document::parse(&index)? else {
            return Err(ImageError::Index("index.json is no index"));
        };
        let mut found = Vec::new();
        self.collect(index, &mut found, &mut 0)?;
        for arch in &wanted {
            if let Ok(blob) = manifest::choose(&found, arch) {
                return self.load(&blob, &wanted);
            }
        }
        // An index of one image need not say what it is for; its config does.
        let silent = found.iter().filter(|descriptor| descriptor.platform().is_none());
        let mut first = None;
        for descriptor in silent.take(MAX_GUESSES) {
            match self.load(&Blob::of(descriptor)?, &wanted) {
                Err(err @ ImageError::Architecture(..)) => first = first.or(Some(err)),
                result => return result,
            }
        }
        Err(match (first, found.is_empty()) {
            (Some(err), _) => err,
            (None, true) => ImageError::Index("index.json names no image"),
            (None, false) => ImageError::Architecture(platforms(&found), names(&wanted)),
        })
    }

    /// The images of an index and those within it.
    fn collect(
        &mut self,
        index: Vec<Descriptor>,
        found: &mut Vec<Descriptor>,
        indexes: &mut u32,
    ) -> Result<(), ImageError> {
        let mut open = vec![index.into_iter()];
        while let Some(innermost) = open.last_mut() {
            if found.len() > MAX_IMAGES {
                return Err(ImageError::Index("it has too many images"));
            }
            let Some(descriptor) = innermost.next() else {
                open.pop();
                continue;
            };
            match descriptor.media_type().as_ref() {
                OCI_MANIFEST | DOCKER_MANIFEST => found.push(descriptor),
                OCI_INDEX | DOCKER_INDEX => open.push(self.inner(&descriptor, indexes)?),
                // Signatures and other things that are kept beside images.
                _ => {}
            }
        }
        Ok(())
    }

    fn inner(
        &mut self,
        descriptor: &Descriptor,
        indexes: &mut u32,
    ) -> Result<std::vec::IntoIter<Descriptor>, ImageError> {
        *indexes += 1;
        if *indexes > MAX_INDEXES {
            return Err(ImageError::Index("it has too many indexes"));
        }
        let blob = Blob::of(descriptor)?;
        match Document::parse(&self.document(&blob, "an index", MAX_MANIFEST as u64)?)? {
            Document::Index(index) => Ok(index.into_iter()),
            Document::Image(_) => Err(ImageError::Index("an index in it is an image")),
        }
    }

    fn load(&mut self, blob: &Blob, wanted: &[Arch]) -> Result<Image, ImageError> {
        let manifest =
            match Document::parse(&self.document(blob, "a manifest", MAX_MANIFEST as u64)?)? {
                Document::Image(manifest) => manifest,
                Document::Index(_) => return Err(ImageError::Index("an image in it is an index")),
            };
        let config = self.document(&manifest.config, "a config", MAX_CONFIG)?;
        let file = ConfigFile::parse(&config)?;
        let arch = Arch::from(file.architecture.as_str());
        if Os::from(file.os.as_str()) != Os::Linux || !wanted.contains(&arch) {
            return Err(ImageError::Architecture(file.platform(), names(wanted)));
        }
        let layers = self.layers(manifest, file.diff_ids()?)?;
        Ok(Image { digest: blob.digest(), config, layers })
    }

    /// Paired with their digests; that they are there is known before the first is unpacked.
    fn layers(
        &self,
        manifest: Manifest,
        diff_ids: Vec<String>,
    ) -> Result<Vec<(Blob, String)>, ImageError> {
        let (layers, diff_ids_there) = (manifest.layers.len(), diff_ids.len());
        if layers != diff_ids_there {
            return Err(ImageError::Count { layers, diff_ids: diff_ids_there });
        }
        for layer in &manifest.layers {
            self.span(layer)?;
        }
        Ok(manifest.layers.into_iter().zip(diff_ids).collect())
    }

    fn span(&self, blob: &Blob) -> Result<Span, ImageError> {
        let digest = blob.digest();
        let span = self.blobs.get(&blob.sha256);
        let span = *span.ok_or_else(|| ImageError::Missing(digest.clone()))?;
        if span.size != blob.size {
            let (found, announced) = (span.size, blob.size);
            return Err(ImageError::Size { digest, found, announced });
        }
        Ok(span)
    }

    /// A blob that is read whole, compared with its digest.
    fn document(
        &mut self,
        blob: &Blob,
        what: &'static str,
        most: u64,
    ) -> Result<Vec<u8>, ImageError> {
        let span = self.span(blob)?;
        if span.size > most {
            return Err(ImageError::Large { digest: blob.digest(), size: span.size, what });
        }
        let bytes = self.content(span, what, most)?;
        let got = hex::encode(Sha256::digest(&bytes));
        if got != blob.sha256 {
            return Err(ImageError::Digest { digest: blob.digest(), got });
        }
        Ok(bytes)
    }

    fn content(
        &mut self,
        span: Span,
        what: &'static str,
        most: u64,
    ) -> Result<Vec<u8>, ImageError> {
        if span.size > most {
            return Err(ImageError::Large { digest: what.to_owned(), size: span.size, what });
        }
        read(&mut self.file, span).map_err(ImageError::Read)
    }

    /// A blob from its beginning; nobody compared it with its digest.
    pub(super) fn open_blob(&mut self, blob: &Blob) -> Result<io::Take<&mut R>, ImageError> {
        let span = self.span(blob)?;
        self.file.seek(SeekFrom::Start(span.start)).map_err(ImageError::Read)?;
        Ok((&mut self.file).take(span.size))
    }
}

fn read(file: &mut (impl Read + Seek), span: Span) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(span.start))?;
    let mut bytes = vec![0; usize::try_from(span.size).map_err(io::Error::other)?];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// By Go's names. A 64-bit machine also runs what is for its 32-bit kin, unless told for what.
fn wanted(arch: Option<&str>) -> Vec<Arch> {
    let of_pve = |name: &str| match name {
        "i386" => Arch::i386,
        "armhf" => Arch::ARM,
        other => Arch::from(other),
    };
    if let Some(arch) = arch {
        return vec![of_pve(arch)];
    }
    let host = manifest::host_arch();
    let kin = [(Arch::Amd64, Arch::i386), (Arch::ARM64, Arch::ARM)];
    let kin = kin.into_iter().find(|(wide, _)| *wide == host).map(|(_, narrow)| narrow);
    std::iter::once(host).chain(kin).collect()
}

fn names(wanted: &[Arch]) -> String {
    let names: Vec<_> = wanted.iter().map(|arch| format!("linux/{arch}")).collect();
    names.join(" or ")
}

fn platforms(found: &[Descriptor]) -> String {
    let names = found.iter().filter_map(|descriptor| {
        let platform = descriptor.platform().as_ref()?;
        let name = format!("{}/{}", platform.os(), platform.architecture());
        Some(crate::error::printable(name.as_bytes()))
    });
    let names: std::collections::BTreeSet<_> = names.take(20).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// What a tar file holds of the names that count.
#[derive(Default)]
struct Files {
    layout: bool,
    index: Option<Span>,
    docker: Option<Span>,
    blobs: HashMap<String, Span>,
}

/// What the entry in front says of the next.
#[derive(Default)]
struct Told {
    path: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Files {
    /// `None` for what is no tar file, or one too full of files; what is wrong with it is told by
    /// who unpacks it.
    fn scan(file: &mut (impl Read + Seek)) -> io::Result<Option<Self>> {
        let end = file.seek(SeekFrom::End(0))?;
        let (mut files, mut told) = (Self::default(), Told::default());
        let mut at = 0;
        for _ in 0..MAX_FILES {
            if end.saturating_sub(at) < BLOCK as u64 {
                break;
            }
            let mut block = [0; BLOCK];
            file.seek(SeekFrom::Start(at))?;
            file.read_exact(&mut block)?;
            if block == [0; BLOCK] {
                return Ok(Some(files));
            }
            let Some(mut size) = number(&block[124..136]).filter(|_| is_header(&block)) else {
                return Ok(None);
            };
            let kind = block[156];
            if !matches!(kind, b'x' | b'X' | b'L' | b'K' | b'g') {
                size = told.size.unwrap_or(size);
            }
            let start = at + BLOCK as u64;
            let next = size.checked_next_multiple_of(BLOCK as u64);
            let Some(next) = next.and_then(|size| start.checked_add(size)) else {
                return Ok(None);
            };
            if size > end.saturating_sub(start) {
                return Ok(None);
            }
            let span = Span { start, size };
            match kind {
                b'x' | b'X' | b'L' if size > MAX_EXTENDED => return Ok(None),
                b'x' | b'X' => told.extended(&read(file, span)?),
                b'L' => told.path = Some(text(&read(file, span)?).to_vec()),
                b'K' | b'g' => {}
                _ => files.note(&block, kind, &std::mem::take(&mut told), span),
            }
            at = next;
        }
        // Cut off behind an entry: some writers set no mark at the end.
        Ok((at >= end.saturating_sub(BLOCK as u64)).then_some(files))
    }

    fn note(&mut self, block: &[u8; BLOCK], kind: u8, told: &Told, span: Span) {
        if !matches!(kind, b'0' | 0 | b'7') {
            return;
        }
        let path = told.path.clone().unwrap_or_else(|| header::path(block));
        let path = path.strip_prefix(b"./").unwrap_or(&path);
        match path {
            b"oci-layout" => self.layout = true,
            b"index.json" => self.index = Some(span),
            b"manifest.json" => self.docker = Some(span),
            _ => {
                if let Some(name) = path.strip_prefix(BLOBS)
                    && let Ok(name) = str::from_utf8(name)
                {
                    self.blobs.insert(name.to_owned(), span);
                }
            }
        }
    }
}

impl Told {
    fn extended(&mut self, bytes: &[u8]) {
        for (key, value) in pax::records(bytes).unwrap_or_default() {
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"size" => self.size = pax::decimal(value),
                _ => {}
            }
        }
    }
}

/// What `docker save` lists its images in.
#[derive(Deserialize)]
struct Saved {
    #[serde(rename = "Config")]
    _config: String,
    #[serde(rename = "Layers")]
    _layers: Vec<String>,
}

fn is_dockers(file: &mut (impl Read + Seek), list: Span) -> Result<bool, ImageError> {
    if list.size > MAX_MANIFEST as u64 {
        return Ok(false);
    }
    let bytes = read(file, list).map_err(ImageError::Read)?;
    let saved: Result<Vec<Saved>, _> = serde_json::from_slice(&bytes);
    Ok(saved.is_ok_and(|images| !images.is_empty()))
}
