//! Building archives, and a folder to unpack them into that notices what escapes it.

use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;

use images::{Limits, Summary, UnpackError, unpack};
use tar::{Builder, EntryType, Header};

pub(crate) struct Target {
    folder: tempfile::TempDir,
}

impl Target {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs_err::create_dir(folder.path().join("root")).unwrap();
        fs_err::write(folder.path().join("outside"), "untouched").unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("root").join(name)
    }

    pub(crate) fn unpack(&self, archive: &[u8]) -> Result<Summary, UnpackError> {
        self.unpack_within(archive, &Limits::default())
    }

    /// Unpacks, and whatever the result checks that nothing beside the root changed.
    pub(crate) fn unpack_within(
        &self,
        archive: &[u8],
        limits: &Limits,
    ) -> Result<Summary, UnpackError> {
        let root = fs_err::File::open(self.path("")).unwrap();
        let result = unpack(root.as_fd(), archive, limits, &mut |_| {});
        self.check_outside();
        result
    }

    /// Nothing beside the root changed.
    pub(crate) fn check_outside(&self) {
        let beside: Vec<_> = fs_err::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name != "root")
            .collect();
        assert_eq!(beside, ["outside"]);
        assert_eq!(self.outside(), "untouched");
    }

    pub(crate) fn outside(&self) -> String {
        fs_err::read_to_string(self.folder.path().join("outside")).unwrap()
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs_err::read_to_string(self.path(name)).unwrap()
    }
}

/// The chain of an error's messages, as a task shows it.
pub(crate) fn chain(err: &UnpackError) -> String {
    let mut text = err.to_string();
    let mut source = std::error::Error::source(err);
    while let Some(err) = source {
        text = format!("{text}: {err}");
        source = err.source();
    }
    text
}

/// A header with the path and link exactly as given, which the builder's own setters would refuse.
pub(crate) fn header(kind: EntryType, path: &str, link: &str, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header.set_size(size);
    header.set_device_major(1).unwrap();
    header.set_device_minor(3).unwrap();
    header.set_cksum();
    header
}

#[derive(Clone, Default)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

impl Tar {
    pub(crate) fn entry(mut self, kind: EntryType, path: &str, link: &str) -> Self {
        self.0.extend(header(kind, path, link, 0).as_bytes());
        self
    }

    pub(crate) fn file(self, path: &str, content: &str) -> Self {
        self.data(&header(EntryType::Regular, path, "", content.len() as u64), content.as_bytes())
    }

    pub(crate) fn folder(self, path: &str) -> Self {
        self.entry(EntryType::Directory, path, "")
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path, target)
    }

    pub(crate) fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Link, path, target)
    }

    pub(crate) fn data(mut self, header: &Header, content: &[u8]) -> Self {
        self.0.extend(header.as_bytes());
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut builder = Builder::new(Vec::new());
        builder.append_pax_extensions(records.iter().copied()).unwrap();
        let mut bytes = builder.into_inner().unwrap();
        bytes.truncate(bytes.len() - 1024); // without the end marker
        Self([self.0, bytes].concat())
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zst(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
