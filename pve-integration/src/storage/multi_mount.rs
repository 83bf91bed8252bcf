//! ext4's multi-mount protection in the copy of an image. Whoever mounts an image writes a mark into
//! it every few seconds, and who finds one waits, some ten seconds, to see whether it changes. The
//! copy of a mounted image has the mark of its source, and nobody behind it.

use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::Command;

use fs_err as fs;

use super::StorageError;
use super::copy::prepare;

/// Of the superblock, in bytes from the beginning.
const SUPERBLOCK: u64 = 1024;
/// Offsets in the superblock: the kernel's fs/ext4/ext4.h.
const MAGIC: (usize, [u8; 2]) = (0x38, 0xEF53_u16.to_le_bytes());
const INCOMPAT: usize = 0x60;
const INCOMPAT_MMP: u32 = 0x100;

/// Takes the mark out of an image that nobody has mounted. Anything but an ext4 that has marks is
/// left as it is.
pub(super) fn clear(image: &Path) -> Result<(), StorageError> {
    let failed = |err| StorageError::io("prepare the copy", image)(err);
    if !has_marks(image).map_err(failed)? {
        return Ok(());
    }
    let mut command = Command::new("tune2fs");
    prepare(command.args(["-f", "-E", "clear_mmp"]).arg(image));
    let output = command.output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let last = stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    Err(failed(io::Error::other(format!("tune2fs failed: {}", last.trim()))))
}

fn has_marks(image: &Path) -> io::Result<bool> {
    let mut file = fs::File::open(image)?;
    file.seek(SeekFrom::Start(SUPERBLOCK))?;
    let mut superblock = [0; 256];
    match file.read_exact(&mut superblock) {
        Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        other => other?,
    }
    let (at, magic) = MAGIC;
    let features: [u8; 4] = superblock[INCOMPAT..INCOMPAT + 4].try_into().expect("four bytes");
    Ok(superblock[at..at + 2] == magic && u32::from_le_bytes(features) & INCOMPAT_MMP != 0)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// As if it was copied while a kernel had it mounted.
    fn marked(dir: &tempfile::TempDir, features: &str) -> std::path::PathBuf {
        let path = dir.path().join("image");
        fs::File::create(&path).unwrap().set_len(16 << 20).unwrap();
        let mut mkfs = Command::new("mkfs.ext4");
        prepare(mkfs.args(["-q", "-F", "-O", features]).arg(&path));
        assert!(mkfs.status().unwrap().success());
        if features.starts_with("mmp") {
            let at = number(&path, "MMP block number:") * number(&path, "Block size:");
            let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.seek(SeekFrom::Start(at + 4)).unwrap(); // behind the magic number: the sequence
            file.write_all(&7_u32.to_le_bytes()).unwrap();
        }
        path
    }

    fn number(path: &Path, key: &str) -> u64 {
        let mut command = Command::new("dumpe2fs");
        prepare(command.arg("-h").arg(path));
        let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.trim().parse().unwrap()
    }

    /// What the kernel takes for: nobody has it mounted (EXT4_MMP_SEQ_CLEAN).
    fn is_clean(path: &Path) -> bool {
        let at = number(path, "MMP block number:") * number(path, "Block size:");
        let mut file = fs::File::open(path).unwrap();
        let mut sequence = [0; 4];
        file.seek(SeekFrom::Start(at + 4)).unwrap();
        file.read_exact(&mut sequence).unwrap();
        u32::from_le_bytes(sequence) == 0xFF4D_4D50
    }

    #[test]
    fn takes_the_mark_out() {
        let dir = tempfile::tempdir().unwrap();
        // Without checksums, as the mark that we make has none.
        let image = marked(&dir, "mmp,^metadata_csum");
        assert!(!is_clean(&image));

        clear(&image).unwrap();

        assert!(is_clean(&image));
    }

    #[test]
    fn leaves_alone_what_has_no_marks() {
        let dir = tempfile::tempdir().unwrap();
        let image = marked(&dir, "^mmp");
        let before = fs::read(&image).unwrap();
        clear(&image).unwrap();
        assert_eq!(fs::read(&image).unwrap(), before);

        fs::write(&image, "short").unwrap();
        clear(&image).unwrap();
        assert_eq!(fs::read(&image).unwrap(), b"short");
    }
}
