//! The archive that a container is made from, as a request names it.

use std::fmt;
use std::path::{Path, PathBuf};

use openapi::VolumeId;

use super::GuestError;
use super::volumes::Storages;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Archive {
    Volume(VolumeId),
    /// Of the host; root's alone to name.
    Path(String),
    /// Standard input, which only a command has.
    Pipe,
}

impl Archive {
    pub(crate) fn named(text: &str) -> Self {
        match text.parse() {
            Ok(volume) => Self::Volume(volume),
            Err(_) if text == "-" => Self::Pipe,
            Err(_) => Self::Path(text.to_owned()),
        }
    }
}

impl fmt::Display for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volume(volume) => volume.fmt(f),
            Self::Path(path) => f.write_str(path),
            Self::Pipe => f.write_str("-"),
        }
    }
}

impl Storages<'_> {
    /// Where it lies. It must be there, and be called as PVE's archives are.
    pub(super) fn archive(&self, archive: &Archive) -> Result<PathBuf, GuestError> {
        let missing = || GuestError::die(format!("can't find file '{archive}'"));
        let path = match archive {
            Archive::Volume(volume) => self.require(volume.storage())?.existing(volume)?.path,
            Archive::Path(path) => fs_err::canonicalize(self.below(path)).map_err(|_| missing())?,
            Archive::Pipe => return Err(GuestError::die("pipe requires cli environment")),
        };
        if !path.is_file() {
            return Err(missing());
        }
        check_name(&path)?;
        Ok(path)
    }
}

/// PVE goes by the name: `.tar`, and one ending of a packing it knows.
fn check_name(path: &Path) -> Result<(), GuestError> {
    let shown = path.display();
    let no_archive =
        || GuestError::die(format!("file does not look like a template archive: {shown}"));
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(no_archive)?;
    let (stem, ending) = name.rsplit_once('.').ok_or_else(no_archive)?;
    if ending == "tar" {
        return Ok(());
    }
    if !stem.ends_with(".tar") || ending.is_empty() {
        return Err(no_archive());
    }
    if matches!(ending, "gz" | "bz2" | "xz" | "lzo" | "zst") {
        return Ok(());
    }
    Err(GuestError::die(format!("unrecognized compression format: .{ending}")))
}

#[cfg(test)]
mod tests {
    use openapi::NodeName;
    use pve_integration::layout::Root;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::volume("local:vztmpl/x.tar.gz", "volume 'local:vztmpl/x.tar.gz' does not exist")]
    #[case::storage("nope:vztmpl/x.tar.gz", "storage 'nope' does not exist")]
    #[case::path("/srv/none.tar", "can't find file '/srv/none.tar'")]
    #[case::folder("/srv", "can't find file '/srv'")]
    #[case::relative("x", "can't find file 'x'")]
    #[case::pipe("-", "pipe requires cli environment")]
    fn must_be_there(#[case] text: &str, #[case] message: &str) {
        let dir = tempfile::tempdir().unwrap();
        let (root, node) = (Root::new(dir.path()).unwrap(), "pve1".parse::<NodeName>().unwrap());
        fs_err::create_dir_all(dir.path().join("srv")).unwrap();
        let storages = Storages::read(&root, &node).unwrap();

        let archive = Archive::named(text);

        assert_eq!(archive.to_string(), text);
        assert_eq!(storages.archive(&archive).unwrap_err().to_string(), message);
    }

    #[rstest]
    #[case("/a/x.tar", None)]
    #[case("/a/x.tar.zst", None)]
    #[case("/etc/passwd", Some("file does not look like a template archive: /etc/passwd"))]
    #[case("/a/tar", Some("file does not look like a template archive: /a/tar"))]
    #[case("/a/x.tgz", Some("file does not look like a template archive: /a/x.tgz"))]
    #[case("/a/x.tar.rar", Some("unrecognized compression format: .rar"))]
    fn is_called_as_one(#[case] path: &str, #[case] message: Option<&str>) {
        let refused = check_name(Path::new(path)).err().map(|err| err.to_string());
        assert_eq!(refused.as_deref(), message);
    }
}
