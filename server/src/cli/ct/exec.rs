//! `ct exec`: this process becomes the OCI runtime's `exec` on the container that the daemon's monitor
//! runs. The API has no call for it, so it works on the container's own machine only.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use openapi::Vmid;
use serde_json::Value;

use crate::cli::client::{Client, ClientError, Target};
use crate::cli::oci::OciError;
use crate::cli::show;
use crate::serve::find_monitor;

#[derive(Debug, clap::Args)]
pub struct Exec {
    /// Give it a terminal.
    #[arg(short, long)]
    tty: bool,
    /// The folder it starts in.
    #[arg(short = 'w', long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// Set an environment variable beside the container's own.
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    #[arg(short, long, value_name = "UID[:GID]")]
    user: Option<String>,
    vmid: Vmid,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<OsString>,
}

/// Returns only if it failed.
pub(super) async fn run(target: &Target, exec: &Exec) -> Result<(), ClientError> {
    if target.is_remote() {
        return Err(ClientError::RemoteExec);
    }
    let path = target.oci(&format!("/containers/{}", exec.vmid));
    let container = Client::new(target)?.get(&path, &[]).await?;
    if container.get("pid").is_none_or(Value::is_null) {
        return Err(ClientError::NotRunning(exec.vmid));
    }
    let runtime = show::word(container.get("runtime"));
    if runtime != "crun" {
        return Err(ClientError::Attach { vmid: exec.vmid, runtime });
    }
    let path = find_monitor().ok_or(OciError::NoMonitor)?;
    let mut command = Command::new(&path);
    command.arg("oci").arg("--root").arg(target.root()?.libcrun_state()).arg("exec");
    command.args(exec.tty.then_some("--tty"));
    if let Some(cwd) = &exec.cwd {
        command.arg("--cwd").arg(cwd);
    }
    command.args(exec.env.iter().flat_map(|variable| ["--env", variable]));
    command.args(exec.user.iter().flat_map(|user| ["--user", user]));
    let source = command.arg(exec.vmid.to_string()).args(&exec.command).exec();
    Err(OciError::Exec { path, source }.into())
}
