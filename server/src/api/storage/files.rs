//! The rules by which a file of a user's becomes one of a storage's.

use std::path::PathBuf;

use openapi::StorageId;
use pve_integration::storage::{ContentType, DirStorage, VolumeName};
use serde::Deserialize;

use crate::checksum::Checksum;
use crate::error::ApiError;

/// What `upload` and `download-url` both take.
#[derive(Deserialize)]
pub(super) struct NewFile {
    pub(super) storage: StorageId,
    content: String,
    filename: String,
    checksum: Option<String>,
    #[serde(rename = "checksum-algorithm")]
    checksum_algorithm: Option<String>,
}

impl NewFile {
    /// The method table lets three words pass.
    pub(super) fn content(&self) -> Result<ContentType, ApiError> {
        let content = ContentType::from_word(&self.content);
        content.ok_or_else(|| {
            let message = format_args!("upload content type '{}' not allowed", self.content);
            ApiError::param("content", message)
        })
    }

    pub(super) fn checksum(&self) -> Option<Checksum> {
        Checksum::of(self.checksum_algorithm.clone(), self.checksum.clone())
    }

    pub(super) fn name(&self) -> Result<String, ApiError> {
        let content = self.content()?;
        let name = normal(&self.filename);
        let volume = format!("{content}/{name}").parse::<VolumeName>();
        // An OVF file alone is no image.
        let hidden = name.strip_prefix('.').is_some_and(|rest| !rest.contains('.'));
        if volume.is_ok() && !name.ends_with(".ovf") && !hidden {
            return Ok(name);
        }
        let message = match content {
            ContentType::Import => "invalid filename or wrong extension",
            ContentType::Backup
            | ContentType::Images
            | ContentType::Iso
            | ContentType::Rootdir
            | ContentType::Snippets
            | ContentType::Vztmpl => "wrong file extension",
        };
        Err(ApiError::param("filename", message))
    }

    pub(super) fn target(&self, dir: &DirStorage) -> Result<PathBuf, ApiError> {
        Ok(dir.folder(self.content()?).join(self.name()?))
    }
}

/// The last part of a path of any system, with what could mean something replaced.
pub(super) fn normal(name: &str) -> String {
    let name = name.trim_end_matches('\n').rsplit(['/', '\\']).next().unwrap_or_default();
    let safe = |c: char| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '_' };
    name.chars().map(safe).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn file(content: &str, filename: &str) -> NewFile {
        NewFile {
            storage: "local".parse().unwrap(),
            content: content.to_owned(),
            filename: filename.to_owned(),
            checksum: None,
            checksum_algorithm: None,
        }
    }

    #[rstest]
    #[case("vztmpl", "a.tar.gz", "a.tar.gz")]
    #[case("vztmpl", "C:\\templates\\my box.tar", "my_box.tar")]
    #[case("vztmpl", "../../../etc/x.tar.zst", "x.tar.zst")]
    #[case("iso", "a.ISO", "a.ISO")]
    #[case("import", "ä.qcow2", "_.qcow2")]
    fn names(#[case] content: &str, #[case] filename: &str, #[case] name: &str) {
        assert_eq!(file(content, filename).name().as_deref(), Ok(name));
    }

    #[rstest]
    #[case("vztmpl", "a.zip", "wrong file extension")]
    #[case("vztmpl", "a.tar.lz4", "wrong file extension")]
    #[case("iso", ".iso", "wrong file extension")]
    #[case("vztmpl", "..", "wrong file extension")]
    #[case("import", "a.ovf", "invalid filename or wrong extension")]
    fn refuses(#[case] content: &str, #[case] filename: &str, #[case] message: &str) {
        let err = file(content, filename).name().unwrap_err();
        assert_eq!(err.errors()["filename"], message);
    }
}
