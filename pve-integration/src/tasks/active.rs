//! The list of active tasks and the index of ended ones. Both are PVE's, and its daemons change
//! them too, under one lock. Upstream: `active_workers` in pve-common's `src/PVE/RESTEnvironment.pm`
//! and `read_active_workers` in its `src/PVE/INotify.pm`.

use std::fmt;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fs_err as fs;
use openapi::Upid;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::status::Outcome;
use super::{TaskDir, is_running};

/// Ended tasks stay in the list until there are this many tasks in it.
const MOST_LISTED: usize = 25;
/// Beyond this size the index is put aside, and the one put aside before is lost.
const MOST_INDEXED: u64 = 50_000;

/// A task as the list or the index has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub upid: Upid,
    /// Whether it is in the index.
    pub saved: bool,
    /// Seconds since 1970; none while it runs.
    pub endtime: Option<u64>,
    pub status: Option<String>,
}

impl Entry {
    fn new(upid: Upid) -> Self {
        Self { upid, saved: false, endtime: None, status: None }
    }

    fn ends(&mut self, status: String) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.endtime = Some(now.map_or(0, |since| since.as_secs()));
        self.status = Some(status);
    }

    /// `UPID SAVED[ ENDTIME[ STATUS]]`.
    fn of_list(line: &str) -> Option<Self> {
        let (upid, rest) = line.split_once(' ')?;
        let (saved, rest) = rest.split_at_checked(1)?;
        let saved = match saved {
            "0" => false,
            "1" => true,
            _ => return None,
        };
        let (endtime, status) = end(rest)?;
        Some(Self { upid: upid.parse().ok()?, saved, endtime, status })
    }

    /// `UPID[ ENDTIME[ STATUS]]`.
    pub(super) fn of_index(line: &str) -> Option<Self> {
        let (upid, rest) = line.split_at(line.find(' ').unwrap_or(line.len()));
        let (endtime, status) = end(rest)?;
        Some(Self { upid: upid.parse().ok()?, saved: true, endtime, status })
    }

    fn index_line(&self) -> String {
        let status = self.status.as_deref().unwrap_or_default();
        format!("{} {:08X} {status}\n", self.upid, self.endtime.unwrap_or_default())
    }
}

/// A blank and the time, a blank and the status; either pair may be missing.
fn end(rest: &str) -> Option<(Option<u64>, Option<String>)> {
    let Some(rest) = rest.strip_prefix(' ') else {
        return rest.is_empty().then_some((None, None));
    };
    let (time, status) = rest.split_at_checked(8)?;
    let plain = time.bytes().all(|b| b.is_ascii_hexdigit());
    let time = if plain { u64::from_str_radix(time, 16).ok()? } else { return None };
    match status.strip_prefix(' ').map(str::trim_start) {
        Some("") => Some((Some(time), None)),
        Some(status) => Some((Some(time), Some(status.to_owned()))),
        None => status.is_empty().then_some((Some(time), None)),
    }
}

/// As a line of the list.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.upid, u8::from(self.saved))?;
        if let Some(endtime) = self.endtime {
            write!(f, " {endtime:08X}")?;
            if let Some(status) = &self.status {
                write!(f, " {status}")?;
            }
        }
        Ok(())
    }
}

/// What a change of the list is about.
#[derive(Clone, Copy)]
enum Change<'a> {
    Begins(&'a Upid),
    Ends(&'a Upid, &'a Outcome),
    None,
}

impl TaskDir {
    /// A task runs from now on.
    pub fn begin(&self, upid: &Upid) -> io::Result<()> {
        self.update(Change::Begins(upid)).map(drop)
    }

    /// A task has ended, though its thread may live on for a moment.
    pub fn end(&self, upid: &Upid, outcome: &Outcome) -> io::Result<()> {
        self.update(Change::Ends(upid, outcome)).map(drop)
    }

    /// Move tasks whose worker is gone to the index, with the status their log ends in. What a
    /// daemon that died left behind gets `unexpected status` here.
    pub fn refresh(&self) -> io::Result<Vec<Entry>> {
        self.update(Change::None)
    }

    /// The list as it is, without a look at who still lives.
    pub fn active(&self) -> io::Result<Vec<Entry>> {
        let text = match fs::read(self.dir.join("active")) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(err) if err.kind() == io::ErrorKind::NotFound => String::new(),
            Err(err) => return Err(err),
        };
        Ok(text.lines().filter_map(Entry::of_list).collect())
    }

    fn update(&self, change: Change<'_>) -> io::Result<Vec<Entry>> {
        fs::create_dir_all(&self.dir)?;
        let _lock = self.lock()?;
        let before = self.active()?;
        let mut entries = Vec::<Entry>::new();
        for entry in &before {
            if !entries.iter().any(|known| known.upid == entry.upid) {
                entries.push(entry.clone());
            }
        }
        if let Change::Begins(upid) | Change::Ends(upid, _) = change
            && !entries.iter().any(|known| known.upid == *upid)
        {
            entries.push(Entry::new(upid.clone()));
        }
        for entry in entries.iter_mut().filter(|entry| entry.endtime.is_none()) {
            match change {
                Change::Ends(upid, outcome) if entry.upid == *upid => {
                    entry.ends(outcome.to_string())
                }
                Change::Begins(upid) if entry.upid == *upid => {}
                Change::Begins(_) | Change::Ends(..) | Change::None => {
                    if !is_running(entry.upid.pid(), entry.upid.pstart()) {
                        entry.ends(self.exit_status(&entry.upid));
                    }
                }
            }
        }
        let (mut list, mut ended): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| entry.endtime.is_none());
        ended.sort_by_key(|entry| std::cmp::Reverse(entry.upid.starttime()));

        let indexed = self.index(&mut ended);
        // What could not be indexed must stay in the list, or it would be lost.
        let room = MOST_LISTED.saturating_sub(list.len());
        let kept = ended.into_iter().enumerate().filter(|(at, e)| *at < room || !e.saved);
        list.extend(kept.map(|(_, entry)| entry));
        if list != before {
            self.write(&list)?;
        }
        indexed.map(|()| list)
    }

    /// Append to the index what is not in it yet.
    fn index(&self, ended: &mut [Entry]) -> io::Result<()> {
        let lines: String = ended.iter().filter(|e| !e.saved).map(Entry::index_line).collect();
        if lines.is_empty() {
            return Ok(());
        }
        let path = self.dir.join("index");
        let mut options = fs::OpenOptions::new();
        let mut file = options.create(true).append(true).read(true).open(&path)?;
        let whole = file.metadata()?.len();
        let mut last = [b'\n'];
        if whole > 0 {
            rustix::io::pread(file.file(), &mut last, whole - 1)?;
        }
        // A line that was torn by a crash must not take the next one with it.
        let gap = if last == [b'\n'] { "" } else { "\n" };
        if let Err(err) = file.write_all(format!("{gap}{lines}").as_bytes()) {
            file.set_len(whole)?;
            return Err(err);
        }
        for entry in ended {
            entry.saved = true;
        }
        if file.metadata()?.len() > MOST_INDEXED {
            fs::rename(&path, self.dir.join("index.1"))?;
        }
        Ok(())
    }

    /// Beside and renamed, as state is, but not synced: see the module's head.
    fn write(&self, list: &[Entry]) -> io::Result<()> {
        let text: String = list.iter().map(|entry| format!("{entry}\n")).collect();
        let mode = PermissionsExt::from_mode(0o644);
        let mut beside = tempfile::Builder::new()
            .prefix(".active.tmp.")
            .permissions(mode)
            .tempfile_in(&self.dir)?;
        beside.write_all(text.as_bytes())?;
        beside.persist(self.dir.join("active")).map_err(|err| err.error)?;
        Ok(())
    }

    /// PVE's lock, for as long as the file lives.
    fn lock(&self) -> io::Result<fs::File> {
        const PATIENCE: Duration = Duration::from_secs(10);

        let path = self.dir.join(".active.lock");
        let file = fs::OpenOptions::new().create(true).append(true).open(&path)?;
        let begun = Instant::now();
        let mut pause = Duration::from_micros(200);
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(Errno::WOULDBLOCK | Errno::INTR) if begun.elapsed() < PATIENCE => {}
                Err(Errno::WOULDBLOCK) => {
                    let text = format!("can't lock file '{}' - got timeout", path.display());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                }
                Err(err) => return Err(err.into()),
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}

#[cfg(test)]
mod tests;
