//! A program of the administrator's, run at a step of a task: what it says is heard line by line.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

/// Only the kernel and the script's interpreter look at it.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

#[derive(Debug)]
pub(super) enum Failure {
    Cancelled,
    /// As PVE's `run_command` has it.
    Failed(String),
}

/// `None` where no file is.
pub(super) fn is_executable(script: &Path) -> Option<bool> {
    let metadata = fs_err::metadata(script).ok().filter(std::fs::Metadata::is_file)?;
    Some(metadata.permissions().mode() & 0o111 != 0)
}

/// With no environment but what `command` sets. Whoever is cancelled leaves no process of it.
pub(super) async fn run(
    mut command: Command,
    hear: &(dyn Fn(&str) + Sync),
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    let failed = |err: std::io::Error| Failure::Failed(err.to_string());
    let own: Vec<_> = (command.as_std().get_envs())
        .map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned)))
        .collect();
    command.env_clear().env("PATH", PATH);
    command.envs(own.into_iter().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir("/").stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).process_group(0);
    let mut child = command.spawn().map_err(failed)?;
    let group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let ending = async {
        tokio::join!(read(stdout, hear), read(stderr, hear));
        child.wait().await
    };
    let status = tokio::select! {
        status = ending => status.map_err(failed)?,
        () = cancel.cancelled() => return Err(Failure::Cancelled),
    };
    group.let_go();
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => Err(Failure::Failed(format!("exit code {code}"))),
        None => Err(Failure::Failed("got signal".to_owned())),
    }
}

/// A script and all that it started, killed when this is dropped before its end.
struct Group(Option<Pid>);

impl Group {
    fn let_go(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // Nobody of it may be left.
            kill_process_group(leader, Signal::KILL).ok();
        }
    }
}

async fn read(from: Option<impl AsyncRead + Unpin>, hear: &(dyn Fn(&str) + Sync)) {
    let Some(from) = from else { return };
    let mut lines = BufReader::new(from).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        hear(&String::from_utf8_lossy(&line));
    }
}
