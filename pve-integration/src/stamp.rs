//! Whether a file still is the one that was read: what tells its versions from one another, and one
//! file's reading, kept for as long as it holds.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fs_err as fs;

/// A file this young may be rewritten within the clock's tick, with the same size and, as inodes
/// are used again, under the same number. It is read, but the reading is not believed twice.
const TICK: Duration = Duration::from_millis(100);
/// The same where only whole seconds are kept, as PVE's cluster filesystem does.
const LONG_TICK: Duration = Duration::from_secs(2);

/// What tells one version of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    modified: (i64, i64),
    changed: (i64, i64),
    size: u64,
    inode: u64,
}

impl Stamp {
    /// To be taken before the file is read: a change in between is then seen by the next look.
    pub fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            size: metadata.size(),
            inode: metadata.ino(),
        }
    }

    /// Whether any later change shows in the stamp.
    pub fn is_settled(&self) -> bool {
        let (seconds, nanos) = self.modified;
        let since = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let modified = u64::try_from(seconds).map_or(UNIX_EPOCH, since);
        let modified = modified + Duration::from_nanos(nanos.unsigned_abs());
        let tick = if nanos == 0 { LONG_TICK } else { TICK };
        SystemTime::now().duration_since(modified).is_ok_and(|age| age > tick)
    }
}

/// What was last read out of one file.
#[derive(Debug)]
pub struct Reading<T> {
    path: PathBuf,
    last: Mutex<Option<(Option<Stamp>, Arc<T>)>>,
}

impl<T> Reading<T> {
    pub fn new(path: PathBuf) -> Self {
        Self { path, last: Mutex::new(None) }
    }

    /// What `parse` makes of the file as it is now; of `None` if there is none. Costs a `stat` when
    /// nothing changed.
    pub fn get(&self, parse: impl FnOnce(Option<&[u8]>) -> T) -> io::Result<Arc<T>> {
        let stamp = missing_is_none(fs::metadata(&self.path))?.as_ref().map(Stamp::of);
        {
            let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, value)) = last.as_ref().filter(|(known, _)| *known == stamp) {
                return Ok(Arc::clone(value));
            }
        }
        let bytes = missing_is_none(fs::read(&self.path))?;
        let value = Arc::new(parse(bytes.as_deref()));
        let settled = stamp.is_none_or(|stamp| stamp.is_settled());
        let kept = settled.then(|| (stamp, Arc::clone(&value)));
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = kept;
        Ok(value)
    }
}

fn missing_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::path::Path;

    use super::*;

    fn age(path: &Path, age: Duration) {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.file().set_modified(SystemTime::now() - age).unwrap();
    }

    #[test]
    fn parses_a_file_once_for_each_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("storage.cfg");
        let (reading, parsed) = (Reading::new(path.clone()), Cell::new(0));
        let get = || {
            let parse = |bytes: Option<&[u8]>| {
                parsed.set(parsed.get() + 1);
                bytes.map(<[u8]>::to_vec)
            };
            reading.get(parse).unwrap().as_ref().clone()
        };

        assert_eq!((get(), get(), parsed.get()), (None, None, 1));
        fs::write(&path, "a").unwrap();
        age(&path, Duration::from_secs(5));
        assert_eq!((get(), get(), parsed.get()), (Some(b"a".to_vec()), Some(b"a".to_vec()), 2));
        fs::write(&path, "b").unwrap();
        assert_eq!(get(), Some(b"b".to_vec()));
        fs::remove_file(&path).unwrap();
        assert_eq!(get(), None);
    }

    #[test]
    fn does_not_believe_what_is_younger_than_its_clock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let settled = |old: Duration| {
            fs::write(&path, "").unwrap();
            age(&path, old);
            Stamp::of(&fs::metadata(&path).unwrap()).is_settled()
        };

        assert!(!settled(Duration::ZERO) && settled(Duration::from_secs(1)));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let whole = UNIX_EPOCH + Duration::from_secs(now.as_secs() - 1);
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.file().set_modified(whole).unwrap();
        let settled = Stamp::of(&fs::metadata(&path).unwrap()).is_settled();
        assert!(!settled || whole.elapsed().unwrap() > LONG_TICK);
    }
}
