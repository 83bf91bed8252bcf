//! Writes that are there whole or not at all: beside the file, synced, then renamed over it.

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use fs_err as fs;

/// After `Ok`, `path` holds `bytes` with `mode`, also after a power cut; after `Err`, what was
/// there before is untouched and nothing else is left. The directory must exist.
pub fn write(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        Some(_) | None => Path::new("."),
    };
    let named = |err: io::Error| {
        io::Error::new(err.kind(), format!("unable to write '{}' - {err}", path.display()))
    };
    // A hidden name, as readers of these directories take every other one for a config.
    let mut beside = tempfile::Builder::new()
        .prefix(".lxcri-")
        .suffix(".tmp")
        .permissions(PermissionsExt::from_mode(0o600))
        .tempfile_in(dir)
        .map_err(named)?;
    beside.write_all(bytes).map_err(named)?;
    // Not by `open`'s mode, from which the umask would take bits.
    beside.as_file().set_permissions(PermissionsExt::from_mode(mode)).map_err(named)?;
    beside.as_file().sync_all().map_err(named)?;
    beside.persist(path).map_err(|err| named(err.error))?;
    // The rename itself must not be lost either. Some filesystems (FUSE) cannot sync a directory;
    // the file is in place then, and saying otherwise would be wrong.
    if let Ok(dir) = fs::File::open(dir) {
        drop(dir.sync_all());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_bytes_and_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("100.conf");
        fs::write(&path, "old and longer").unwrap();

        write(&path, 0o640, b"new").unwrap();

        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn leaves_nothing_when_it_fails() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        fs::create_dir(&path).unwrap(); // a directory cannot be replaced by a file

        let err = write(&path, 0o600, b"x").unwrap_err();

        assert!(err.to_string().contains("taken"), "{err}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn names_the_file_when_its_directory_is_missing() {
        let dir = tempfile::tempdir().unwrap();

        let err = write(&dir.path().join("none/x"), 0o600, b"x").unwrap_err();

        assert_eq!(err.kind(), io::ErrorKind::NotFound);
        assert!(err.to_string().contains("none/x"), "{err}");
    }
}
