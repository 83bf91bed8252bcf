//! PVE's `pct`, on a PVE node: there an LXC container is PVE's own, and whatever is done to one is done
//! by the program that PVE does it with. What it prints goes into our task's log as it comes; what
//! it says on stderr is `words`', its command line `call`'s.
//!
//! Its output goes to files and not to pipes: a `pct` that cannot write any more ends the work that
//! it waits for, and a daemon that is killed must harm nothing. It works on, and its own task, which
//! our log names, can be followed and ended by whoever comes next.

mod call;
mod words;

use std::io;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use openapi::{Upid, Vmid};
use pve_integration::layout::Root;
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Child;
use tokio_util::sync::CancellationToken;

use self::words::Words;
use super::monitor::clean;
use super::{Missing, Runtime, RuntimeError};
use crate::tasks::{TaskLog, Tasks};

pub(crate) use self::call::{Config, Creation, PctCall};

/// Where PVE's package puts it.
pub(crate) const PROGRAM: &str = "/usr/sbin/pct";
const PACKAGE: &str = "pve-container";
/// What dpkg knows of the installed packages.
const DPKG_STATUS: &str = "/var/lib/dpkg/status";
/// How long PVE waits between asking a worker to end and killing it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often its output is looked at.
const POLL: Duration = Duration::from_millis(50);
/// Of what it said, the end that is kept in memory.
const MOST_WORDS: u64 = 1 << 16;

/// The program, and where its tasks are seen.
#[derive(Clone)]
pub(crate) struct Pct {
    program: PathBuf,
    dpkg_status: PathBuf,
    tasks: Tasks,
}

/// Its stdout, followed into a task's log.
struct Output<'a> {
    file: std::fs::File,
    read: u64,
    /// The begin of a line whose end is still to come.
    partial: Vec<u8>,
    log: Option<&'a TaskLog>,
    warnings: u32,
}

impl Pct {
    pub(super) fn new(program: PathBuf, root: &Root, tasks: Tasks) -> Self {
        Self { program, dpkg_status: root.below(DPKG_STATUS), tasks }
    }

    /// Whether it is there. Looked up anew each time: a package may come and go.
    pub(super) fn check(&self) -> Result<&Path, RuntimeError> {
        if self.program.is_file() {
            return Ok(&self.program);
        }
        Err(self.missing())
    }

    fn missing(&self) -> RuntimeError {
        let program = self.program.display();
        RuntimeError::Unusable(Missing {
            what: "pct".to_owned(),
            why: format!("pct is missing: '{program}' does not exist"),
            package: Some(PACKAGE),
        })
    }

    fn cannot_spawn(&self, err: io::Error) -> RuntimeError {
        if err.kind() == io::ErrorKind::NotFound {
            return self.missing();
        }
        RuntimeError::io(format!("'{}' cannot be started", self.program.display()), err)
    }

    /// Returns when it has ended. Told to end, it is asked, and killed if it does not; either way
    /// it has ended then.
    pub(crate) async fn run(
        &self,
        call: &PctCall,
        log: Option<&TaskLog>,
        cancel: &CancellationToken,
    ) -> Result<(), RuntimeError> {
        let arguments = call.argv()?;
        let failed = |err| RuntimeError::io("pct", err);
        let mut command = clean(self.check()?);
        let (stdout, stderr) = (memory("pct stdout")?, memory("pct stderr")?);
        command.args(&arguments).process_group(0);
        command.stdout(stdout.try_clone().map_err(failed)?);
        command.stderr(stderr.try_clone().map_err(failed)?);
        if call.password().is_some() {
            command.stdin(Stdio::piped());
        }
        let mut child = command.spawn().map_err(|err| self.cannot_spawn(err))?;
        if let Some(password) = call.password() {
            answer_prompts(&mut child, password).await.map_err(failed)?;
        }
        let mut output = Output { file: stdout, read: 0, partial: Vec::new(), log, warnings: 0 };
        let mut own_task = None;
        let status = loop {
            tokio::select! {
                biased;
                status = child.wait() => break status.map_err(failed)?,
                () = cancel.cancelled() => {
                    let status = self.end(&mut child, own_task).await.map_err(failed)?;
                    if status.success() {
                        break status; // it had just done all there was to do
                    }
                    output.follow(true).map_err(failed)?;
                    return Err(RuntimeError::Cancelled);
                }
                () = tokio::time::sleep(POLL) => {
                    output.follow(false).map_err(failed)?;
                    if own_task.is_none() && log.is_some() {
                        own_task = self.own_task(&child).await;
                        if let (Some(upid), Some(log)) = (&own_task, log) {
                            log.line(format!("pct works as {upid}"));
                        }
                    }
                }
            }
        };
        output.follow(true).map_err(failed)?;
        let words = Words::parse(&end_of(&stderr).map_err(failed)?);
        if status.success() {
            if let Some(log) = log {
                log.warned(words.warnings.saturating_sub(output.warnings));
            }
            return Ok(());
        }
        Err(words.error(&why(status)))
    }

    /// The task that it runs as PVE's: its worker is a child of it, with a session of its own.
    async fn own_task(&self, child: &Child) -> Option<Upid> {
        let (tasks, pid) = (self.tasks.clone(), child.id()?);
        tokio::task::spawn_blocking(move || tasks.of_parent(pid)).await.ok().flatten()
    }

    /// It hands the wish to end on to its worker. A worker whose `pct` must be killed would never
    /// hear of it.
    async fn end(&self, child: &mut Child, own_task: Option<Upid>) -> io::Result<ExitStatus> {
        let own_task = match own_task {
            None => self.own_task(child).await,
            known => known,
        };
        signal(child, Signal::TERM)?;
        if tokio::time::timeout(PATIENCE, child.wait()).await.is_err() {
            signal(child, Signal::KILL)?;
        }
        let status = child.wait().await?;
        if let Some(upid) = own_task {
            self.tasks.kill(&upid).map_err(io::Error::other)?;
        }
        Ok(status)
    }

    /// As dpkg has it on record: to ask `pct` itself would cost a second of Perl.
    fn version(&self) -> Option<String> {
        let status = fs_err::read(&self.dpkg_status).ok()?;
        installed(&String::from_utf8_lossy(&status), PACKAGE).map(str::to_owned)
    }
}

#[async_trait]
impl Runtime for Pct {
    async fn start(
        &self,
        vmid: Vmid,
        debug: bool,
        log: &TaskLog,
        cancel: &CancellationToken,
    ) -> Result<(), RuntimeError> {
        self.run(&PctCall::Start { vmid, skiplock: false, debug }, Some(log), cancel).await
    }

    async fn probe(&self) -> Result<Value, RuntimeError> {
        let program = self.check()?;
        Ok(json!({
            "pct": program,
            "package": PACKAGE,
            "version": self.version(),
            "usable": true,
            "missing": [],
        }))
    }
}

impl Output<'_> {
    /// What was written since the last time; `last` when nothing more can come.
    fn follow(&mut self, last: bool) -> io::Result<()> {
        let mut chunk = [0; 8192];
        loop {
            let count = self.file.read_at(&mut chunk, self.read)?;
            if count == 0 {
                break;
            }
            self.read += count as u64;
            self.partial.extend_from_slice(chunk.get(..count).unwrap_or_default());
            while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.partial.drain(..=end).collect();
                self.line(&line);
            }
        }
        if last && !self.partial.is_empty() {
            let line = std::mem::take(&mut self.partial);
            self.line(&line);
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end();
        let Some(log) = self.log else {
            tracing::debug!("pct: {text}");
            return;
        };
        match text.strip_prefix("WARN: ") {
            Some(warning) => {
                self.warnings += 1;
                log.warn(warning);
            }
            None => log.line(text),
        }
    }
}

/// A file that nobody else can name, and that nobody has to remove.
fn memory(name: &str) -> Result<std::fs::File, RuntimeError> {
    let made = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC);
    made.map(std::fs::File::from).map_err(|err| RuntimeError::io(name, err.into()))
}

fn end_of(file: &std::fs::File) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    let kept = length.min(MOST_WORDS);
    let mut bytes = vec![0; usize::try_from(kept).unwrap_or_default()];
    file.read_exact_at(&mut bytes, length - kept)?;
    Ok(bytes)
}

/// It asks for a password and for its repetition, and takes a line for each where there is no
/// terminal. On its command line everybody could read it.
async fn answer_prompts(child: &mut Child, password: &SecretString) -> io::Result<()> {
    let Some(mut stdin) = child.stdin.take() else { return Ok(()) };
    let password = password.expose_secret();
    match stdin.write_all(format!("{password}\n{password}\n").as_bytes()).await {
        // One that ended already says on stderr why.
        Err(err) if err.kind() != io::ErrorKind::BrokenPipe => Err(err),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// To its process group, which is none once it was waited for.
fn signal(child: &Child, signal: Signal) -> io::Result<()> {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    let Some(pid) = pid else { return Ok(()) };
    match kill_process_group(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(err) => Err(err.into()),
    }
}

/// For one that ended without a word.
fn why(status: ExitStatus) -> String {
    match status.signal() {
        Some(signal) => format!("pct was killed by signal {signal}"),
        None => format!("pct failed without a word ({status})"),
    }
}

/// The version of an installed package, of the paragraphs of dpkg's status file.
fn installed<'t>(status: &'t str, package: &str) -> Option<&'t str> {
    status.split("\n\n").find_map(|paragraph| {
        let field = |name: &str| {
            paragraph
                .lines()
                .find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
        };
        let is_there = field("Package") == Some(package)
            && field("Status").is_some_and(|status| status.ends_with(" installed"));
        is_there.then(|| field("Version")).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Package: pve-container\nStatus: deinstall ok config-files\nVersion: 5.0.1\n\n\
        Package: pve-container-extra\nStatus: install ok installed\nVersion: 1\n\n\
        Package: pve-container\nStatus: install ok installed\nArchitecture: all\n\
        Version: 6.1.10\nDescription: containers\n Version: 9\n\n";

    #[test]
    fn finds_the_version_of_what_is_installed() {
        assert_eq!(installed(STATUS, "pve-container"), Some("6.1.10"));
        assert_eq!(installed(STATUS, "pve-manager"), None);
        assert_eq!(installed("", "pve-container"), None);
    }
}
