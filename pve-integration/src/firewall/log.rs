//! The log of packets, which PVE's firewall writes where it runs: one file for all guests, each
//! line beginning with its guest's number. Upstream: pve-firewall, `src/PVE/Firewall/Helpers.pm`.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use fs_err as fs;
use jiff::Timestamp;
use jiff::fmt::strtime;
use openapi::Vmid;

use crate::layout::Root;

const NAME: &str = "pve-firewall.log";
/// A page that nobody can want whole.
const MOST: usize = 16 << 20;

/// Which lines.
#[derive(Clone, Copy, Debug)]
pub struct LogWanted {
    /// Counted from 0.
    pub start: u64,
    /// 0 is all.
    pub limit: u64,
    /// Epoch seconds. With one of these, older files of the log are read too.
    pub since: Option<i64>,
    pub until: Option<i64>,
}

/// Lines with their numbers among the guest's, and how many the guest has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPage {
    pub lines: Vec<(u64, String)>,
    pub total: u64,
}

impl LogPage {
    fn note(text: String) -> Self {
        Self { lines: vec![(1, text)], total: 1 }
    }
}

/// What cannot be read is said in a line, as PVE does.
pub fn log(root: &Root, vmid: Vmid, wanted: LogWanted) -> LogPage {
    let folder = root.below("/var/log");
    let spans = wanted.since.is_some() || wanted.until.is_some();
    let files = if spans { older_first(&folder) } else { vec![folder.join(NAME)] };
    let (mut page, mut kept) = (LogPage::default(), 0);
    let last = files.len().saturating_sub(1);
    for (number, file) in files.iter().enumerate() {
        if let Err(err) = read(file, vmid, wanted, &mut page, &mut kept) {
            if spans && err.kind() == ErrorKind::NotFound {
                continue; // rotated away in this moment
            }
            let missing = err.kind() == ErrorKind::NotFound;
            let reason =
                if missing { "No such file or directory".to_owned() } else { err.to_string() };
            return LogPage::note(format!("unable to open file - {reason}"));
        }
        if number == last && page.total == 0 {
            // The UI's list does not take an empty answer.
            return LogPage::note("no content".to_owned());
        }
    }
    page
}

/// The log and what logrotate left of it.
fn older_first(folder: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        names.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| {
        let Some(rest) = name.strip_prefix(NAME) else { return false };
        let number = rest.strip_suffix(".gz").unwrap_or(rest);
        rest.is_empty()
            || number.strip_prefix('.').is_some_and(|number| {
                !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
            })
    });
    names.sort_unstable_by(|one, other| other.cmp(one));
    names.into_iter().map(|name| folder.join(name)).collect()
}

fn read(
    file: &Path,
    vmid: Vmid,
    wanted: LogWanted,
    page: &mut LogPage,
    kept: &mut usize,
) -> io::Result<()> {
    let packed = file.extension().is_some_and(|extension| extension == "gz");
    let open = fs::File::open(file)?;
    let reader: Box<dyn Read> =
        if packed { Box::new(GzDecoder::new(open)) } else { Box::new(open) };
    let mut reader = BufReader::new(reader);
    let (prefix, mut line) = (format!("{vmid} "), Vec::new());
    loop {
        line.clear();
        // A longer line is no line of this log; its parts do not begin with a number.
        if reader.by_ref().take(64 << 10).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches('\n');
        if !text.starts_with(&prefix) || !in_time(text, wanted) {
            continue;
        }
        page.total += 1;
        let number = page.total - 1;
        let shown = number >= wanted.start
            && (wanted.limit == 0 || number - wanted.start < wanted.limit)
            && *kept < MOST;
        if shown {
            *kept += text.len();
            page.lines.push((page.total, text.to_owned()));
        }
    }
}

/// A line whose time cannot be read is of the beginning of time, as in Perl.
fn in_time(line: &str, wanted: LogWanted) -> bool {
    let (since, until) =
        (wanted.since.filter(|time| *time != 0), wanted.until.filter(|time| *time != 0));
    if since.is_none() && until.is_none() {
        return true;
    }
    let mut words = line.split(' ').skip(3);
    let time = match (words.next(), words.next()) {
        (Some(time), Some(zone)) => read_time(&format!("{time} {zone}")).unwrap_or_default(),
        _ => 0,
    };
    since.is_none_or(|since| time >= since) && until.is_none_or(|until| time <= until)
}

fn read_time(text: &str) -> Option<i64> {
    let time = strtime::parse("%d/%b/%Y:%H:%M:%S %z", text).ok()?;
    time.to_timestamp().ok().map(Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const LINES: &str = "100 6 veth100i0-IN 14/Jan/2026:10:00:00 +0100 DROP: one\n\
        101 6 veth101i0-IN 14/Jan/2026:10:00:01 +0100 DROP: theirs\n\
        100 6 veth100i0-IN 14/Jan/2026:10:00:02 +0100 DROP: two\n";
    const ALL: LogWanted = LogWanted { start: 0, limit: 50, since: None, until: None };

    fn root(dir: &Path) -> Root {
        fs::create_dir_all(dir.join("var/log")).unwrap();
        Root::new(dir).unwrap()
    }

    fn ends(page: &LogPage) -> Vec<(u64, &str)> {
        page.lines.iter().map(|(n, text)| (*n, text.rsplit(' ').next().unwrap())).collect()
    }

    #[test]
    fn has_a_guest_s_own_lines() {
        let dir = tempfile::tempdir().unwrap();
        let (root, vmid) = (root(dir.path()), "100".parse().unwrap());
        let missing = log(&root, vmid, ALL);
        assert_eq!(missing.lines[0].1, "unable to open file - No such file or directory");
        fs::write(dir.path().join("var/log").join(NAME), LINES).unwrap();

        let page = log(&root, vmid, ALL);
        assert_eq!((ends(&page), page.total), (vec![(1, "one"), (2, "two")], 2));
        let second = log(&root, vmid, LogWanted { start: 1, limit: 1, ..ALL });
        assert_eq!((ends(&second), second.total), (vec![(2, "two")], 2));
        assert_eq!(log(&root, "102".parse().unwrap(), ALL).lines[0].1, "no content");
    }

    #[test]
    fn finds_a_time_in_older_files_too() {
        let dir = tempfile::tempdir().unwrap();
        let (root, vmid) = (root(dir.path()), "100".parse().unwrap());
        fs::write(dir.path().join("var/log").join(NAME), LINES).unwrap();
        let old = fs::File::create(dir.path().join("var/log/pve-firewall.log.2.gz")).unwrap();
        let mut old = GzEncoder::new(old, Compression::fast());
        old.write_all(b"100 6 veth100i0-IN 13/Jan/2026:10:00:00 +0100 DROP: old\n").unwrap();
        old.finish().unwrap();
        let at = read_time("14/Jan/2026:10:00:00 +0100").unwrap();

        let page = log(&root, vmid, LogWanted { until: Some(at), ..ALL });
        assert_eq!(ends(&page), [(1, "old"), (2, "one")]);
        let page = log(&root, vmid, LogWanted { since: Some(at + 1), ..ALL });
        assert_eq!(ends(&page), [(1, "two")]);
    }
}
