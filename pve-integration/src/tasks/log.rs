//! One task's log: written line by line by the task, read page by page by clients.

use std::io::{self, BufRead, BufReader, ErrorKind, Seek, SeekFrom, Write};
use std::sync::OnceLock;

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt;
use openapi::Upid;
use rustix::fs::{Gid, Uid};

use super::TaskDir;
use super::status::Outcome;

/// A task's log while the task writes it. A line is there whole or not at all.
#[derive(Debug)]
pub struct TaskWriter {
    file: fs::File,
    /// The length up to which every line is whole.
    whole: u64,
}

impl TaskDir {
    /// The log of a task that begins. There must be none yet.
    pub fn create_log(&self, upid: &Upid) -> io::Result<TaskWriter> {
        let path = self.log_path(upid);
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o640).open(&path)?;
        if let Some(owner) = www_data() {
            rustix::fs::fchown(file.file(), Some(owner), None::<Gid>)?;
        }
        Ok(TaskWriter { file, whole: 0 })
    }

    /// For a task that could not begin after all.
    pub fn remove_log(&self, upid: &Upid) -> io::Result<()> {
        fs::remove_file(self.log_path(upid))
    }
}

/// Who serves logs on a PVE node. Elsewhere there is no such user, or we may not give files away.
fn www_data() -> Option<Uid> {
    static OWNER: OnceLock<Option<Uid>> = OnceLock::new();
    *OWNER.get_or_init(|| {
        let user = nix::unistd::User::from_name("www-data").ok().flatten()?;
        nix::unistd::geteuid().is_root().then(|| Uid::from_raw(user.uid.as_raw()))
    })
}

impl TaskWriter {
    /// Append a line, or several if the text has newlines.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        let line = format!("{text}\n");
        match self.file.write_all(line.as_bytes()) {
            Ok(()) => {
                self.whole += line.len() as u64;
                Ok(())
            }
            Err(err) => {
                // On a full disk a part may be written; the next line must not begin behind it.
                self.file.set_len(self.whole)?;
                self.file.seek(SeekFrom::Start(self.whole))?;
                Err(err)
            }
        }
    }

    /// The line that ends a log.
    pub fn finish(mut self, outcome: &Outcome) -> io::Result<()> {
        self.line(&outcome.line())
    }
}

/// A line as PVE answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Counted from 1.
    pub n: u64,
    pub t: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPage {
    pub lines: Vec<LogLine>,
    /// How many lines there are in all.
    pub total: u64,
}

impl TaskDir {
    /// `limit` lines (0: all) from line `start`, counted from 0. What cannot be read is said in a
    /// line, as PVE does. The whole log is read, for the total, but only the page is kept; a page
    /// ends early when it gets beyond any sense.
    pub fn log(&self, upid: &Upid, start: u64, limit: u64) -> LogPage {
        let path = self.log_path(upid);
        let message = |err: &io::Error| {
            if err.kind() == ErrorKind::NotFound {
                "No such file or directory".to_owned() // PVE's has no path
            } else {
                err.to_string()
            }
        };
        let page = fs::File::open(path).and_then(|file| page(BufReader::new(file), start, limit));
        page.unwrap_or_else(|err| {
            let t = format!("unable to open file - {}", message(&err));
            LogPage { lines: vec![LogLine { n: 1, t }], total: 1 }
        })
    }
}

fn page(mut log: impl BufRead, start: u64, limit: u64) -> io::Result<LogPage> {
    const MOST: usize = 16 << 20;

    let (mut lines, mut total, mut kept) = (Vec::new(), 0, 0);
    let mut line = Vec::new();
    loop {
        let wanted = total >= start && (limit == 0 || total - start < limit) && kept < MOST;
        let read = if wanted {
            line.clear();
            read_line(&mut log, &mut line, MOST)?
        } else {
            log.skip_until(b'\n')? > 0
        };
        if !read {
            break;
        }
        total += 1;
        if wanted {
            kept += line.len();
            lines.push(LogLine { n: total, t: String::from_utf8_lossy(&line).into_owned() });
        }
    }
    if total == 0 {
        // The UI's list does not take an empty answer.
        total = 1;
        lines.push(LogLine { n: 1, t: "no content".to_owned() });
    }
    Ok(LogPage { lines, total })
}

/// Whether there was a line. It comes without its newline, and without what is beyond `most`.
fn read_line(log: &mut impl BufRead, line: &mut Vec<u8>, most: usize) -> io::Result<bool> {
    let mut some = false;
    loop {
        let chunk = log.fill_buf()?;
        if chunk.is_empty() {
            return Ok(some);
        }
        some = true;
        let end = chunk.iter().position(|b| *b == b'\n');
        let part = &chunk[..end.unwrap_or(chunk.len())];
        line.extend_from_slice(&part[..part.len().min(most - line.len())]);
        let used = end.map_or(chunk.len(), |end| end + 1);
        log.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;
    use rstest::rstest;

    use super::super::list::tests::{tasks, upid};
    use super::*;

    fn texts(log: &str, start: u64, limit: u64) -> (Vec<(u64, String)>, u64) {
        let page = page(log.as_bytes(), start, limit).unwrap();
        (page.lines.into_iter().map(|line| (line.n, line.t)).collect(), page.total)
    }

    #[rstest]
    #[case::from_the_start(0, 2, &[(1, "a"), (2, "")], 4)]
    #[case::in_the_middle(1, 2, &[(2, ""), (3, "c")], 4)]
    #[case::all(0, 0, &[(1, "a"), (2, ""), (3, "c"), (4, "torn")], 4)]
    #[case::rest(3, 50, &[(4, "torn")], 4)]
    #[case::beyond(9, 50, &[], 4)]
    fn pages(
        #[case] start: u64,
        #[case] limit: u64,
        #[case] lines: &[(u64, &str)],
        #[case] total: u64,
    ) {
        let lines = lines.iter().map(|(n, t)| (*n, (*t).to_owned())).collect();
        assert_eq!(texts("a\n\nc\ntorn", start, limit), (lines, total));
    }

    #[test]
    fn says_what_is_not_there() {
        let (_dir, tasks) = tasks();
        let upid = upid(1, "vzstart", "100", "root@pam");
        let line = |t: &str| LogPage { lines: vec![LogLine { n: 1, t: t.into() }], total: 1 };

        assert_eq!(
            tasks.log(&upid, 0, 50),
            line("unable to open file - No such file or directory")
        );
        tasks.create_log(&upid).unwrap();
        assert_eq!(tasks.log(&upid, 0, 50), line("no content"));
    }

    #[test]
    fn writes_pves_file() {
        let (_dir, tasks) = tasks();
        let upid: Upid = "UPID:pve1:00000094:0004FA44:6B043E6a:vzstart:101:root@pam!t1:"
            .replace("6a", "6A")
            .parse()
            .unwrap();
        let mut writer = tasks.create_log(&upid).unwrap();
        writer.line("one").unwrap();
        writer.finish(&Outcome::Error("two\nthree\n".into())).unwrap();

        let path = tasks.log_path(&upid);
        assert!(path.ends_with(format!("var/log/pve/tasks/A/{upid}")));
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\nTASK ERROR: two three\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
        assert!(tasks.create_log(&upid).is_err()); // a task begins once
    }

    #[test]
    fn tells_of_a_full_disk() {
        let file = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut writer = TaskWriter { file, whole: 0 };
        // A device has no length to go back to, so that may be what fails last.
        let kind = writer.line("x").unwrap_err().kind();
        assert!(matches!(kind, ErrorKind::StorageFull | ErrorKind::InvalidInput), "{kind}");
    }

    proptest! {
        #[test]
        fn pages_join_to_the_whole(log in "[ab\n]{0,40}", size in 1_u64..7) {
            let (all, total) = texts(&log, 0, 0);
            let mut joined = Vec::new();
            for at in (0..total).step_by(usize::try_from(size).unwrap()) {
                let (page, same) = texts(&log, at, size);
                prop_assert_eq!(same, total);
                // PVE repeats its line for an empty log on every page.
                joined.extend(page);
            }
            prop_assert_eq!(joined, all);
        }
    }
}
