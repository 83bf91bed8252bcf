//! Where errors and warnings go: standard error, and the file that podman or containerd named.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use fs_err as fs;
use jiff::Timestamp;
use oci_verbs::{Global, LogFormat, LogLevel};
use serde::Serialize;

use super::error::{Error, Result};

const NAME: &str = "proxmox-lxcri";

pub(crate) struct Log {
    file: Option<File>,
    format: LogFormat,
    level: LogLevel,
    verbose: bool,
}

/// As logrus writes it, which is what runc's callers read.
#[derive(Serialize)]
struct Entry<'a> {
    msg: &'a str,
    level: &'a str,
    time: String,
}

impl Log {
    pub(super) fn open(global: &Global) -> Result<Self> {
        let file = global.log.as_deref().map(open).transpose()?;
        Ok(Self { file, ..Self::silent(global) })
    }

    /// Standard error alone.
    pub(super) fn silent(global: &Global) -> Self {
        let (format, level) = (global.log_format, global.level());
        Self { file: None, format, level, verbose: global.verbose }
    }

    pub(super) fn fail(&self, err: &Error) {
        let line = crate::one_line(err);
        self.to_file("error", &line);
        let mut text = format!("{NAME}: {line}\n");
        if self.verbose {
            text = format!("{NAME}: {}\n", crate::flat(&err.to_string()));
            let causes = std::iter::successors(std::error::Error::source(err), |err| err.source());
            causes.for_each(|cause| {
                text += &format!("  because: {}\n", crate::flat(&cause.to_string()))
            });
            if let Error::Libcrun(err) = err {
                text += &format!("  libcrun {}: {}\n", libcrun::version(), err.operation);
                err.log.lines().for_each(|line| text += &format!("  libcrun: {line}\n"));
            }
        }
        to_stderr(&text);
    }

    pub(super) fn warn(&self, message: &str) {
        if self.level >= LogLevel::Warning {
            self.tell(message);
        }
    }

    /// At any level: something else was done than could be expected.
    pub(super) fn tell(&self, message: &str) {
        self.to_file("warning", message);
        to_stderr(&format!("{NAME}: {message}\n"));
    }

    /// What libcrun printed beside its answer.
    pub(super) fn libcrun(&self, said: &str) {
        let level = if self.level == LogLevel::Debug { "debug" } else { "warning" };
        for line in said.lines().filter(|line| !line.trim().is_empty()) {
            self.to_file(level, line);
            to_stderr(&format!("{NAME}: {line}\n"));
        }
    }

    fn to_file(&self, level: &str, msg: &str) {
        let Some(mut file) = self.file.as_ref() else { return };
        let line = match self.format {
            LogFormat::Text => format!("{msg}\n"),
            LogFormat::Json => {
                let entry = Entry { msg, level, time: Timestamp::now().to_string() };
                let json = serde_json::to_string(&entry).expect("three strings are JSON");
                format!("{json}\n")
            }
        };
        if let Err(err) = file.write_all(line.as_bytes()) {
            to_stderr(&format!("{NAME}: cannot write the log: {err}\n"));
        }
    }
}

/// crun also knows the journal and syslog; those who call a runtime use neither.
fn open(path: &Path) -> Result<File> {
    let bytes = path.as_os_str().as_bytes();
    if [&b"journald:"[..], b"syslog:"].iter().any(|kind| bytes.starts_with(kind)) {
        return Err(Error::LogKind(path.to_owned()));
    }
    let path = match bytes.strip_prefix(b"file:") {
        Some(rest) => PathBuf::from(std::ffi::OsStr::from_bytes(rest)),
        None => path.to_owned(),
    };
    let file = fs::OpenOptions::new().append(true).create(true).open(path)?;
    Ok(file.into_parts().0)
}

fn to_stderr(text: &str) {
    // Where nobody can read it, there is nobody to tell.
    io::stderr().write_all(text.as_bytes()).ok();
}
