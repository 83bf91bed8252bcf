//! An image as one tar file in the OCI image layout, entry by entry as skopeo writes `oci-archive:`.

use std::io::{self, Write};

use sha2::{Digest as _, Sha256};

use super::error::RegistryError;
use crate::oci::manifest::Blob;

const BLOCK: usize = 512;

pub(super) struct Archive<W> {
    out: W,
}

/// A blob that is being written. Its size stands before its bytes, so it is held to it.
pub(super) struct Entry<'a, W> {
    out: &'a mut W,
    blob: &'a Blob,
    written: u64,
    hash: Sha256,
}

impl<W: Write> Archive<W> {
    pub(super) fn begin(out: W) -> Result<Self, RegistryError> {
        let mut archive = Self { out };
        for folder in ["blobs/", "blobs/sha256/"] {
            archive.header(folder, 0, tar::EntryType::Directory)?;
        }
        Ok(archive)
    }

    pub(super) fn blob<'a>(&'a mut self, blob: &'a Blob) -> Result<Entry<'a, W>, RegistryError> {
        let name = format!("blobs/sha256/{}", blob.sha256);
        self.header(&name, blob.size, tar::EntryType::Regular)?;
        Ok(Entry { out: &mut self.out, blob, written: 0, hash: Sha256::new() })
    }

    /// The two files that make it a layout, and tar's end.
    pub(super) fn finish(mut self, manifest: &Blob) -> Result<W, RegistryError> {
        let (digest, size) = (manifest.digest(), manifest.size);
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":{size}}}]}}"#
        );
        self.file("index.json", index.as_bytes())?;
        self.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        self.out.write_all(&[0; 2 * BLOCK]).map_err(RegistryError::Write)?;
        self.out.flush().map_err(RegistryError::Write)?;
        Ok(self.out)
    }

    fn file(&mut self, name: &str, content: &[u8]) -> Result<(), RegistryError> {
        self.header(name, content.len() as u64, tar::EntryType::Regular)?;
        self.out.write_all(content).map_err(RegistryError::Write)?;
        pad(&mut self.out, content.len() as u64).map_err(RegistryError::Write)
    }

    fn header(&mut self, name: &str, size: u64, kind: tar::EntryType) -> Result<(), RegistryError> {
        let mut header = tar::Header::new_gnu(); // takes sizes beyond 8 GiB
        header.set_path(name).map_err(RegistryError::Write)?;
        header.set_entry_type(kind);
        header.set_mode(if kind == tar::EntryType::Directory { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        header.set_cksum();
        self.out.write_all(header.as_bytes()).map_err(RegistryError::Write)
    }
}

impl<W: Write> Entry<'_, W> {
    pub(super) fn write(&mut self, piece: &[u8]) -> Result<(), RegistryError> {
        let written = self.written + piece.len() as u64;
        if written > self.blob.size {
            let (digest, announced) = (self.blob.digest(), self.blob.size);
            return Err(RegistryError::Endless { digest, announced });
        }
        self.written = written;
        self.hash.update(piece);
        self.out.write_all(piece).map_err(RegistryError::Write)
    }

    pub(super) fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn finish(self) -> Result<(), RegistryError> {
        let digest = self.blob.digest();
        if self.written < self.blob.size {
            let (got, announced) = (self.written, self.blob.size);
            return Err(RegistryError::Short { digest, got, announced });
        }
        let got = hex::encode(self.hash.finalize());
        if got != self.blob.sha256 {
            return Err(RegistryError::Digest { digest, got });
        }
        pad(self.out, self.written).map_err(RegistryError::Write)
    }
}

fn pad(out: &mut impl Write, size: u64) -> io::Result<()> {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or_default();
    out.write_all(&[0; BLOCK][..(BLOCK - over) % BLOCK])
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn blob(content: &[u8]) -> Blob {
        Blob { sha256: hex::encode(Sha256::digest(content)), size: content.len() as u64 }
    }

    #[test]
    fn tar_reads_it() {
        let mut archive = Archive::begin(Vec::new()).unwrap();
        let (one, block) = (blob(b"x"), blob(&[7; BLOCK]));
        for (blob, content) in [(&one, &b"x"[..]), (&block, &[7; BLOCK])] {
            let mut entry = archive.blob(blob).unwrap();
            entry.write(content).unwrap();
            entry.finish().unwrap();
        }
        let bytes = archive.finish(&one).unwrap();

        let mut found = Vec::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            found.push((entry.path().unwrap().display().to_string(), content));
        }
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        let blobs = [&one, &block].map(|blob| format!("blobs/sha256/{}", blob.sha256));
        assert_eq!(
            names,
            ["blobs/", "blobs/sha256/", &blobs[0], &blobs[1], "index.json", "oci-layout"]
        );
        assert_eq!((found[2].1.as_slice(), found[3].1.as_slice()), (&b"x"[..], &[7; BLOCK][..]));
        let index: serde_json::Value = serde_json::from_slice(&found[4].1).unwrap();
        assert_eq!(index["manifests"][0]["digest"], one.digest());
    }

    #[test]
    fn takes_only_what_was_announced() {
        let mut archive = Archive::begin(Vec::new()).unwrap();
        let announced = blob(b"abc");

        let mut long = archive.blob(&announced).unwrap();
        long.write(b"abc").unwrap();
        assert!(matches!(long.write(b"d"), Err(RegistryError::Endless { announced: 3, .. })));
        let short = archive.blob(&announced).unwrap();
        assert!(matches!(short.finish(), Err(RegistryError::Short { got: 0, .. })));
        let mut other = archive.blob(&announced).unwrap();
        other.write(b"abd").unwrap();
        assert!(matches!(other.finish(), Err(RegistryError::Digest { .. })));
    }
}
