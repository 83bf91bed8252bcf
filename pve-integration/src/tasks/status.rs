//! How a task ended: the last line of its log, the text PVE shows for it, and its kind.

use std::fmt;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

use fs_err as fs;
use openapi::Upid;

use super::TaskDir;
use crate::errno::without_numbers;

/// What the last line of a log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    Warnings(u32),
    Error(String),
}

impl Outcome {
    /// The log's last line, without the newline. An error's text becomes one line of its own.
    pub fn line(&self) -> String {
        match self {
            Self::Ok => "TASK OK".to_owned(),
            Self::Warnings(count) => format!("TASK WARNINGS: {count}"),
            Self::Error(text) => {
                let text = without_numbers(text.trim_end()).replace(['\n', '\r', '\0'], " ");
                // Without any text, PVE would take the line for none.
                format!(
                    "TASK ERROR: {}",
                    if text.trim().is_empty() { "unknown error" } else { &text }
                )
            }
        }
    }
}

/// As in the index and in `exitstatus`.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&status_of(&self.line()))
    }
}

/// What a status text says of a task, for `statusfilter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatusKind {
    Ok,
    Warning,
    Error,
    /// Without a status, or without a last line in the log.
    Unknown,
}

impl StatusKind {
    /// PVE's `normalize_status_type`. A task that runs has no status.
    pub fn of(status: Option<&str>) -> Self {
        match status {
            None | Some("" | "0" | "unexpected status") => Self::Unknown,
            Some("OK") => Self::Ok,
            Some(status) if is_warnings(status) => Self::Warning,
            Some(_) => Self::Error,
        }
    }
}

impl std::str::FromStr for StatusKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.to_ascii_lowercase().as_str() {
            "ok" => Ok(Self::Ok),
            "warning" => Ok(Self::Warning),
            "error" => Ok(Self::Error),
            "unknown" => Ok(Self::Unknown),
            _ => Err(()),
        }
    }
}

fn is_warnings(status: &str) -> bool {
    let count = status.strip_prefix("WARNINGS: ").unwrap_or_default();
    !count.is_empty() && count.bytes().all(|b| b.is_ascii_digit())
}

/// What PVE makes of a log's last line.
fn status_of(line: &str) -> String {
    match line.strip_prefix("TASK ") {
        Some("OK") => return "OK".to_owned(),
        Some(rest) if is_warnings(rest) => return rest.to_owned(),
        Some(rest) => {
            if let Some(error) = rest.strip_prefix("ERROR: ").filter(|error| !error.is_empty()) {
                return error.to_owned();
            }
        }
        None => {}
    }
    "unexpected status".to_owned()
}

impl TaskDir {
    /// The text PVE shows for an ended task.
    pub fn exit_status(&self, upid: &Upid) -> String {
        match self.last_line(upid) {
            Ok(line) => status_of(&line),
            Err(err) => format!("unable to get last line from task log - {err}"),
        }
    }

    /// Read from the end, as logs may be long. A last newline does not count. Of a line beyond any
    /// sense only the end is read, which then is no status.
    fn last_line(&self, upid: &Upid) -> io::Result<String> {
        const CHUNK: u64 = 4096;
        const MOST: usize = 1 << 20;

        let mut file = match fs::File::open(self.log_path(upid)) {
            Ok(file) => file,
            Err(err) if err.kind() == ErrorKind::NotFound => return Ok(String::new()),
            Err(err) => return Err(err),
        };
        let mut start = file.seek(SeekFrom::End(0))?;
        let mut bytes = Vec::new();
        while start > 0 && bytes.len() < MOST {
            let length = start.min(CHUNK);
            start -= length;
            file.seek(SeekFrom::Start(start))?;
            let mut chunk = Vec::new();
            file.by_ref().take(length).read_to_end(&mut chunk)?;
            chunk.append(&mut bytes);
            bytes = chunk;
            let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
            if let Some(before) = line.iter().rposition(|b| *b == b'\n') {
                return Ok(String::from_utf8_lossy(&line[before + 1..]).into_owned());
            }
        }
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        Ok(String::from_utf8_lossy(line).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::super::list::tests::{tasks, upid};
    use super::*;

    #[rstest]
    #[case::ok("x\nTASK OK\n", "OK")]
    #[case::torn_after_the_text("TASK OK", "OK")]
    #[case::error("TASK ERROR: CT is locked (backup)\n", "CT is locked (backup)")]
    #[case::warnings("WARN: a\nTASK WARNINGS: 3\n", "WARNINGS: 3")]
    #[case::empty("", "unexpected status")]
    #[case::cut("TASK ERR", "unexpected status")]
    #[case::no_text("TASK ERROR: \n", "unexpected status")]
    #[case::more_after("TASK OK\nx\n", "unexpected status")]
    #[case::blank_line_after("TASK OK\n\n", "unexpected status")]
    #[case::no_utf8("TASK ERROR: caf\u{e9}\n", "caf\u{e9}")]
    fn reads_the_last_line(#[case] log: &str, #[case] status: &str) {
        let (_dir, tasks) = tasks();
        let path = tasks.log_path(&upid(1, "vzstart", "100", "root@pam"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, log).unwrap();
        assert_eq!(tasks.exit_status(&upid(1, "vzstart", "100", "root@pam")), status);
    }

    #[test]
    fn a_task_without_a_log_ended_somehow() {
        let (_dir, tasks) = tasks();
        assert_eq!(tasks.exit_status(&upid(1, "vzstart", "100", "root@pam")), "unexpected status");
    }

    #[rstest]
    #[case(None, StatusKind::Unknown)]
    #[case(Some("OK"), StatusKind::Ok)]
    #[case(Some("WARNINGS: 12"), StatusKind::Warning)]
    #[case(Some("WARNINGS: x"), StatusKind::Error)]
    #[case(Some("unexpected status"), StatusKind::Unknown)]
    #[case(Some("boom"), StatusKind::Error)]
    fn sorts_statuses(#[case] status: Option<&str>, #[case] kind: StatusKind) {
        assert_eq!(StatusKind::of(status), kind);
    }

    proptest! {
        #[test]
        fn every_error_is_read_back_on_one_line(text in any::<String>(), before in 0_usize..9000) {
            let (_dir, tasks) = tasks();
            let upid = upid(1, "vzstart", "100", "root@pam");
            let path = tasks.log_path(&upid);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let outcome = Outcome::Error(text);
            fs::write(&path, format!("{}\n{}\n", "x".repeat(before), outcome.line())).unwrap();
            let status = tasks.exit_status(&upid);
            prop_assert_eq!(&status, &outcome.to_string());
            prop_assert_ne!(StatusKind::of(Some(&status)), StatusKind::Ok);
            prop_assert!(!status.contains('\n'));
        }
    }
}
