//! What a monitor's stderr says: warnings for the task's log, its last words, and the words of the
//! dynamic loader if it could not even begin.

use std::process::ExitStatus;

use std::os::unix::process::ExitStatusExt;

use super::{Missing, RuntimeError};
use crate::tasks::TaskLog;

/// Lines of one monitor's stderr.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// Without the `WARN: ` in front.
    pub(super) warnings: Vec<String>,
    pub(super) lines: Vec<String>,
}

const WARNING: &str = "WARN: ";

/// Libraries that the monitor is linked with, by the start of their file names, and the package
/// that has each.
const PACKAGES: &[(&str, &str)] =
    &[("libjson-c.", "libjson-c5"), ("libseccomp.", "libseccomp2"), ("libcap.", "libcap2")];
/// Of the monitors themselves.
pub(super) const OWN_PACKAGE: &str = "proxmox-lxcri";

impl Report {
    pub(super) fn parse(stderr: &[u8]) -> Self {
        let text = String::from_utf8_lossy(stderr);
        let mut report = Self::default();
        for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
            match line.strip_prefix(WARNING) {
                Some(warning) => report.warnings.push(warning.to_owned()),
                None => report.lines.push(line.to_owned()),
            }
        }
        report
    }

    /// Into a task's log; of one that failed the last line is its error, so lines are told on request.
    pub(super) fn tell(&self, log: &TaskLog, with_lines: bool) {
        for line in self.lines.iter().filter(|_| with_lines) {
            log.line(line.as_str());
        }
        for warning in &self.warnings {
            log.warn(warning.as_str());
        }
    }

    /// Why it ended: its last line, if it had the time to say one.
    pub(super) fn cause(&self, status: ExitStatus) -> String {
        if let Some(signal) = status.signal() {
            return format!("the container's monitor was killed by signal {signal}");
        }
        match self.lines.last() {
            Some(line) => {
                missing_library(line).map_or_else(|| line.clone(), |missing| missing.to_string())
            }
            None => format!("the container's monitor failed without a word ({status})"),
        }
    }

    /// The library without which it could not begin.
    pub(super) fn missing(&self) -> Option<Missing> {
        missing_library(self.lines.last()?)
    }

    /// The cause, by what can be done about it.
    pub(super) fn failure(&self, status: ExitStatus) -> RuntimeError {
        match self.missing() {
            Some(missing) => RuntimeError::Unusable(missing),
            None => RuntimeError::Failed(self.cause(status)),
        }
    }
}

/// `PROGRAM: error while loading shared libraries: LIBRARY: cannot open shared object file: ...`
fn missing_library(line: &str) -> Option<Missing> {
    let (_, rest) = line.split_once("error while loading shared libraries: ")?;
    let library = rest.split(':').next()?;
    let package = PACKAGES.iter().find(|(start, _)| library.starts_with(start));
    let package = package.map_or(OWN_PACKAGE, |(_, package)| package);
    Some(Missing {
        what: library.to_owned(),
        why: format!("the container runtime cannot be loaded: {library} is missing"),
        package: Some(package),
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn tells_warnings_from_last_words() {
        let report =
            Report::parse(b"WARN: net0: not mapped yet\nmounting\n\nno such bridge 'vmbr7'\n");

        assert_eq!(report.warnings, ["net0: not mapped yet"]);
        assert_eq!(report.cause(ExitStatus::from_raw(1 << 8)), "no such bridge 'vmbr7'");
    }

    #[rstest]
    #[case::killed("half a li", 9, "the container's monitor was killed by signal 9")]
    #[case::silent("", 1 << 8, "the container's monitor failed without a word (exit status: 1)")]
    #[case::only_warnings(
        "WARN: x: y",
        2 << 8,
        "the container's monitor failed without a word (exit status: 2)"
    )]
    fn says_something_when_the_monitor_does_not(
        #[case] stderr: &str,
        #[case] status: i32,
        #[case] cause: &str,
    ) {
        assert_eq!(Report::parse(stderr.as_bytes()).cause(ExitStatus::from_raw(status)), cause);
    }

    #[rstest]
    #[case("libjson-c.so.5", "libjson-c5")]
    #[case("libseccomp.so.2", "libseccomp2")]
    #[case("libcap.so.2", "libcap2")]
    #[case("libodd.so.1", "proxmox-lxcri")]
    fn names_the_package_of_a_missing_library(#[case] library: &str, #[case] package: &str) {
        let line = format!(
            "/usr/libexec/lxcri-monitor: error while loading shared libraries: {library}: cannot \
             open shared object file: No such file or directory"
        );

        let cause = Report::parse(line.as_bytes()).cause(ExitStatus::from_raw(127 << 8));

        assert!(cause.contains(library) && cause.ends_with(package), "{cause}");
    }
}
