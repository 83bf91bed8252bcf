//! Pulling: the tag's manifest, the one for this machine, then each blob once.

use std::collections::HashSet;
use std::io::Write;

use oci_spec::image::Arch;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::archive::Archive;
use super::connection::Registry;
use super::error::RegistryError;
use crate::oci::DocumentError;
use crate::oci::manifest::{self, Blob, Document, MAX_CONFIG, MAX_MANIFEST, Manifest};

const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";
/// A line of progress each time so much of a blob has come.
const REPORT_BYTES: u64 = 64 << 20;
/// Of an archive's own: headers, padding, index.
const OVERHEAD: u64 = 1 << 20;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// Of the image's manifest in the archive.
    pub digest: String,
    /// What the image says it is for, if that is another machine.
    pub foreign: Option<String>,
}

#[derive(Deserialize)]
struct ConfigFile {
    architecture: Option<String>,
}

impl Registry {
    /// Write the image as an OCI archive of no more than `available` bytes. What is in `out` after
    /// an error is no archive. Writing blocks, so this is for a thread of its own; it ends wherever
    /// it is dropped.
    pub async fn pull(
        &mut self,
        out: impl Write,
        available: u64,
        progress: &mut impl FnMut(String),
    ) -> Result<Pulled, RegistryError> {
        progress("Getting image source signatures".to_owned());
        let image = self.image().await?;
        require_space(&image, available)?;
        let mut archive = Archive::begin(out)?;
        let mut there = HashSet::new();
        for layer in image.layers.iter().filter(|layer| there.insert(&layer.sha256)) {
            progress(format!("Copying blob {}", layer.digest()));
            self.copy(layer, &mut archive, progress).await?;
        }
        progress(format!("Copying config {}", image.config.digest()));
        let config = self.config(&image.config).await?;
        // Some tools give an empty config and an empty layer the same bytes.
        if there.insert(&image.config.sha256) {
            write(&mut archive, &image.config, &config)?;
        }
        progress("Writing manifest to image destination".to_owned());
        let manifest = Blob {
            sha256: hex::encode(Sha256::digest(&image.bytes)),
            size: image.bytes.len() as u64,
        };
        write(&mut archive, &manifest, &image.bytes)?;
        archive.finish(&manifest)?;
        let made_for: ConfigFile = self.parse(&config, "a config")?;
        let host = manifest::host_arch();
        let foreign = made_for.architecture.filter(|name| Arch::from(name.as_str()) != host);
        Ok(Pulled { digest: manifest.digest(), foreign })
    }

    async fn image(&mut self) -> Result<Manifest, RegistryError> {
        let tag = self.reference.tag().unwrap_or("latest").to_owned();
        let index = match Document::parse(&self.manifest(&tag).await?)? {
            Document::Image(image) => return Ok(image),
            Document::Index(index) => index,
        };
        let chosen = manifest::choose(&index, &manifest::host_arch())?;
        let bytes = self.manifest(&chosen.digest()).await?;
        let got = hex::encode(Sha256::digest(&bytes));
        if got != chosen.sha256 {
            return Err(RegistryError::Digest { digest: chosen.digest(), got });
        }
        match Document::parse(&bytes)? {
            Document::Image(image) => Ok(image),
            Document::Index(_) => {
                Err(DocumentError::Manifest("it is an index within an index".to_owned()).into())
            }
        }
    }

    async fn manifest(&mut self, reference: &str) -> Result<Vec<u8>, RegistryError> {
        let url = self.url(&format!("manifests/{reference}"))?;
        let response = self.get(url, ACCEPT, true).await?;
        self.bytes(response, MAX_MANIFEST, "a manifest").await
    }

    async fn config(&mut self, blob: &Blob) -> Result<Vec<u8>, RegistryError> {
        let url = self.url(&format!("blobs/{}", blob.digest()))?;
        let response = self.get(url, "*/*", true).await?;
        // `require_space` saw that it is no more than this.
        let limit = usize::try_from(MAX_CONFIG).unwrap_or(usize::MAX);
        self.bytes(response, limit, "a config").await
    }

    async fn copy(
        &mut self,
        blob: &Blob,
        archive: &mut Archive<impl Write>,
        progress: &mut impl FnMut(String),
    ) -> Result<(), RegistryError> {
        let url = self.url(&format!("blobs/{}", blob.digest()))?;
        let mut response = self.get(url, "*/*", false).await?;
        let mut entry = archive.blob(blob)?;
        let mut report = REPORT_BYTES;
        while let Some(piece) = response.chunk().await.map_err(|source| self.failed(source))? {
            entry.write(&piece)?;
            if entry.written() >= report && entry.written() < blob.size {
                let (got, all) = (entry.written(), blob.size);
                let (got_mib, all_mib, percent) = (got >> 20, all >> 20, got / (all / 100).max(1));
                progress(format!("{got_mib} of {all_mib} MiB ({percent}%)"));
                report = got + REPORT_BYTES;
            }
        }
        entry.finish()
    }
}

fn write(
    archive: &mut Archive<impl Write>,
    blob: &Blob,
    content: &[u8],
) -> Result<(), RegistryError> {
    let mut entry = archive.blob(blob)?;
    entry.write(content)?;
    entry.finish()
}

/// By what the manifest says, to which each blob is held later.
fn require_space(image: &Manifest, available: u64) -> Result<(), RegistryError> {
    if image.config.size > MAX_CONFIG {
        let size = image.config.size;
        return Err(DocumentError::Manifest(format!("its config has {size} bytes")).into());
    }
    let layers = image.layers.iter().map(|layer| layer.size);
    let needed = layers.fold(image.config.size.saturating_add(OVERHEAD), u64::saturating_add);
    if needed > available {
        return Err(RegistryError::Space { needed, available });
    }
    Ok(())
}
