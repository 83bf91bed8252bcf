//! Copies of volumes: as fast as they go, or no faster than whoever runs the storages allows. Without a
//! limit `cp` may let the filesystem share blocks; with one every byte goes through here.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use fs_err::os::unix::fs::FileExt as _;
use pve_integration::storage::{VolumeFormat, VolumePath};
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, Command};
use tokio_util::sync::CancellationToken;

use super::GuestError;
use super::filling::whole;
use super::operation::copy;
use crate::runtime::RuntimeError;

/// What is read at once takes no longer than a part of a second.
const PARTS: u64 = 10;
const LARGEST: u64 = 256 << 10;
const SMALLEST: u64 = 512;

/// How fast, and how far.
struct Pace {
    /// Bytes a second.
    rate: u64,
    begun: Instant,
    done: u64,
}

impl Pace {
    /// Of KiB a second; `None` if there is no limit, which 0 is as well.
    fn of(limit: Option<f64>) -> Option<Self> {
        let kib = limit.map(whole).filter(|kib| *kib > 0)?;
        Some(Self { rate: kib.saturating_mul(1024), begun: Instant::now(), done: 0 })
    }

    fn buffer(&self) -> Vec<u8> {
        let length = (self.rate / PARTS).clamp(SMALLEST, LARGEST);
        vec![0; usize::try_from(length).unwrap_or_default()]
    }

    /// How long to wait after so many more bytes.
    fn after(&mut self, bytes: usize) -> Duration {
        self.done = self.done.saturating_add(bytes as u64);
        let millis = u128::from(self.done) * 1000 / u128::from(self.rate);
        let due = Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX));
        due.saturating_sub(self.begun.elapsed())
    }
}

/// What lies at `from` to `target`, which may be there already, empty. `limit` is in KiB a second.
pub(super) async fn copy_paced(
    from: &VolumePath,
    target: &Path,
    limit: Option<f64>,
    cancel: &CancellationToken,
) -> Result<(), GuestError> {
    let Some(pace) = Pace::of(limit) else { return copy(from.copy_to(target), cancel).await };
    match from.format {
        VolumeFormat::Subvol => folder(from, target, pace, cancel).await,
        VolumeFormat::Raw | VolumeFormat::Qcow2 | VolumeFormat::Vmdk => {
            let (from, target, cancel) = (from.path.clone(), target.to_owned(), cancel.clone());
            let copied =
                tokio::task::spawn_blocking(move || image(&from, &target, pace, &cancel)).await;
            let copied = copied.map_err(io::Error::other).and_then(|copied| copied);
            match copied.map_err(failed)? {
                true => Ok(()),
                false => Err(RuntimeError::Cancelled.into()),
            }
        }
    }
}

fn failed(err: io::Error) -> GuestError {
    GuestError::io("unable to copy a volume", err)
}

/// False if it was told to end. Holes stay holes.
fn image(
    from: &Path,
    target: &Path,
    mut pace: Pace,
    cancel: &CancellationToken,
) -> io::Result<bool> {
    let from = fs_err::File::open(from)?;
    let size = from.metadata()?.len();
    let mut options = fs_err::OpenOptions::new();
    let target = options.write(true).create(true).truncate(true).open(target)?;
    target.set_len(size)?;
    let mut buffer = pace.buffer();
    let mut at = 0;
    while let Some((start, end)) = data(&from, at)? {
        at = start;
        while at < end.min(size) {
            if cancel.is_cancelled() {
                return Ok(false);
            }
            let left = usize::try_from(end.min(size) - at).unwrap_or(usize::MAX);
            let wanted = buffer.len().min(left);
            let count = from.read_at(&mut buffer[..wanted], at)?;
            if count == 0 {
                return Ok(true); // it is shorter now
            }
            let read = &buffer[..count];
            if read.iter().any(|byte| *byte != 0) {
                target.write_all_at(read, at)?;
            }
            at += count as u64;
            std::thread::sleep(pace.after(count));
        }
    }
    Ok(true)
}

/// Where data begins at or behind `at`, and where it ends.
fn data(file: &fs_err::File, at: u64) -> io::Result<Option<(u64, u64)>> {
    match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(start) => Ok(Some((start, rustix::fs::seek(file, SeekFrom::Hole(start))?))),
        Err(Errno::NXIO) => Ok(None),
        Err(err) => Err(err.into()),
    }
}

/// By a pipe between two programs.
async fn folder(
    from: &VolumePath,
    target: &Path,
    mut pace: Pace,
    cancel: &CancellationToken,
) -> Result<(), GuestError> {
    let mut reader = spawn(from.pack().into(), Stdio::null(), Stdio::piped())?;
    let mut writer = spawn(VolumePath::unpack_to(target).into(), Stdio::piped(), Stdio::null())?;
    let mut source = reader.stdout.take().expect("it was asked for as a pipe");
    let mut sink = writer.stdin.take().expect("it was asked for as a pipe");
    let (of_reader, of_writer) = (reader.stderr.take(), writer.stderr.take());
    // Who has the pipes lets go of them at the end, and with that lets the programs end.
    let pumping = async move {
        let mut buffer = pace.buffer();
        loop {
            let count = source.read(&mut buffer).await?;
            if count == 0 {
                return Ok::<_, io::Error>(());
            }
            sink.write_all(&buffer[..count]).await?;
            tokio::time::sleep(pace.after(count)).await;
        }
    };
    let all = async { tokio::join!(pumping, words(of_reader), words(of_writer)) };
    let (pumped, read, written) = tokio::select! {
        all = all => all,
        () = cancel.cancelled() => {
            reader.kill().await.map_err(failed)?;
            writer.kill().await.map_err(failed)?;
            return Err(RuntimeError::Cancelled.into());
        }
    };
    // Who writes is the first to know, and whoever reads then finds nobody.
    for (child, said) in [(&mut writer, written), (&mut reader, read)] {
        if !child.wait().await.map_err(failed)?.success() {
            // tar ends with the remark that it ends.
            let words = String::from_utf8_lossy(&said);
            let words = words.lines().next().unwrap_or("no reason given").trim();
            return Err(GuestError::die(format!("unable to copy a volume: {words}")));
        }
    }
    pumped.map_err(failed)
}

/// All that a program says until it ends.
async fn words(stderr: Option<ChildStderr>) -> Vec<u8> {
    let mut words = Vec::new();
    if let Some(mut stderr) = stderr {
        // What is lost of them is only an explanation.
        stderr.read_to_end(&mut words).await.ok();
    }
    words
}

/// Ends with the task's thread, and with us.
fn spawn(mut command: Command, stdin: Stdio, stdout: Stdio) -> Result<Child, GuestError> {
    command.stdin(stdin).stdout(stdout).stderr(Stdio::piped()).kill_on_drop(true);
    command.spawn().map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn place(path: &Path, format: VolumeFormat) -> VolumePath {
        VolumePath { path: path.to_owned(), format }
    }

    async fn timed(from: &VolumePath, to: &Path, limit: f64) -> Duration {
        let begun = Instant::now();
        copy_paced(from, to, Some(limit), &CancellationToken::new()).await.unwrap();
        begun.elapsed()
    }

    #[tokio::test]
    async fn an_image_keeps_its_holes_and_to_its_limit() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let file = fs_err::File::create(&from).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(&[7; 100 << 10], 32 << 20).unwrap();

        let took = timed(&place(&from, VolumeFormat::Raw), &to, 200.0).await;

        assert!(fs_err::read(&from).unwrap() == fs_err::read(&to).unwrap());
        assert!(took >= Duration::from_millis(450), "{took:?}");
        let copied = fs_err::metadata(&to).unwrap();
        assert!(copied.blocks() * 512 < 8 << 20, "{} blocks", copied.blocks());
    }

    #[tokio::test]
    async fn a_folder_comes_over_whole_and_at_its_limit() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs_err::create_dir_all(from.join("etc")).unwrap();
        fs_err::create_dir(&to).unwrap();
        fs_err::write(from.join("etc/file"), vec![7; 100 << 10]).unwrap();
        fs_err::hard_link(from.join("etc/file"), from.join(".second")).unwrap();
        fs_err::os::unix::fs::symlink("etc/file", from.join("link")).unwrap();

        let took = timed(&place(&from, VolumeFormat::Subvol), &to, 200.0).await;

        assert!(took >= Duration::from_millis(450), "{took:?}");
        assert_eq!(fs_err::read(to.join("etc/file")).unwrap(), vec![7; 100 << 10]);
        assert_eq!(fs_err::read_link(to.join("link")).unwrap(), Path::new("etc/file"));
        assert_eq!(fs_err::metadata(to.join(".second")).unwrap().nlink(), 2);
        let time = |path: &Path| fs_err::metadata(path).unwrap().modified().unwrap();
        assert_eq!(time(&to.join("etc/file")), time(&from.join("etc/file")));
    }

    #[tokio::test]
    async fn it_ends_when_it_is_told_to() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs_err::write(&from, vec![7; 1 << 20]).unwrap();
        let cancel = CancellationToken::new();
        cancel.cancel();

        let ended = copy_paced(&place(&from, VolumeFormat::Raw), &to, Some(1.0), &cancel).await;

        assert_eq!(ended.unwrap_err().to_string(), "received interrupt");
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("nowhere"));
        fs_err::create_dir(&from).unwrap();
        let from = place(&from, VolumeFormat::Subvol);

        let err = copy_paced(&from, &to, Some(100.0), &CancellationToken::new()).await;

        let text = err.unwrap_err().to_string();
        assert!(text.contains("nowhere"), "{text}");
    }
}
