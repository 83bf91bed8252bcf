//! `ct exec`: this process becomes the OCI runtime's `exec` on the container that the daemon's monitor
//! runs, or LXC's `lxc-attach` if LXC runs it. The API has no call for it, so it works on the container's
//! own machine only.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use openapi::Vmid;
use pve_integration::layout::Root;
use pve_integration::lxc::ENTER_FOLDER;
use serde_json::Value;

use crate::cli::client::{Client, ClientError, Target};
use crate::cli::oci::OciError;
use crate::cli::show;
use crate::programs::{MONITOR, find};

#[derive(Debug, clap::Args)]
pub struct Exec {
    /// Give it a terminal.
    #[arg(short, long)]
    tty: bool,
    /// The folder it starts in; under LXC the container's /bin/sh goes there.
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
    let root = target.root()?;
    let mut command = match show::word(container.get("runs-under")).as_str() {
        "lxc" => lxc(exec, &root),
        _ => crun(exec, &root)?,
    };
    let path = command.get_program().into();
    let source = command.args(&exec.command).exec();
    Err(OciError::Exec { path, source }.into())
}

fn crun(exec: &Exec, root: &Root) -> Result<Command, ClientError> {
    let mut command = Command::new(find(MONITOR).ok_or(OciError::NoMonitor)?);
    command.arg("oci").arg("--root").arg(root.libcrun_state()).arg("exec");
    command.args(exec.tty.then_some("--tty"));
    if let Some(cwd) = &exec.cwd {
        command.arg("--cwd").arg(cwd);
    }
    command.args(exec.env.iter().flat_map(|variable| ["--env", variable]));
    command.args(exec.user.iter().flat_map(|user| ["--user", user]));
    command.arg(exec.vmid.to_string());
    Ok(command)
}

/// It makes a terminal by itself where it has one.
fn lxc(exec: &Exec, root: &Root) -> Command {
    let mut command = Command::new("lxc-attach");
    command.arg("--lxcpath").arg(root.lxc_path()).args(["--name", &exec.vmid.to_string()]);
    // The caller's environment is none of the container's business.
    command.arg("--clear-env");
    command.args(exec.env.iter().flat_map(|variable| ["--set-var", variable]));
    if let Some(user) = &exec.user {
        let (uid, gid) = user.split_once(':').unwrap_or((user, "0"));
        command.args(["--uid", uid, "--gid", gid]);
    }
    command.arg("--");
    if let Some(cwd) = &exec.cwd {
        command.args(ENTER_FOLDER).arg(cwd);
    }
    command
}
