//! An image's config, as far as unpacking needs it: what it is for, and its layers' digests once they
//! are decompressed. What it asks for a container is its reader's affair.

use serde::Deserialize;

use super::error::ImageError;
use super::manifest::DocumentError;
use crate::error::printable;

#[derive(Debug, Deserialize)]
pub(super) struct ConfigFile {
    pub(super) architecture: String,
    pub(super) os: String,
    rootfs: RootFs,
}

#[derive(Debug, Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

impl ConfigFile {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        serde_json::from_slice(bytes).map_err(ImageError::Config)
    }

    /// 64 hex digits each, lowest layer first.
    pub(super) fn diff_ids(&self) -> Result<Vec<String>, ImageError> {
        let hex = |id: &String| {
            let digits = id.strip_prefix("sha256:").filter(|digits| {
                digits.len() == 64 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            });
            let id = || printable(id.as_bytes());
            digits.map(str::to_owned).ok_or_else(|| {
                DocumentError::Manifest(format!("digest {} is no sha256", id())).into()
            })
        };
        self.rootfs.diff_ids.iter().map(hex).collect()
    }

    /// As in error messages.
    pub(super) fn platform(&self) -> String {
        printable(format!("{}/{}", self.os, self.architecture).as_bytes())
    }
}
