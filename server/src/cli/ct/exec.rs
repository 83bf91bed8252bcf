//! `ct exec`: this process becomes the OCI runtime's `exec` on the container that the daemon's monitor
//! runs, or LXC's `lxc-attach` if LXC runs it. The API has no call for it, so it works on the container's
//! own machine only.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use openapi::Vmid;
use pve_integration::accounts::{Accounts, User};
use pve_integration::layout::Root;
use pve_integration::lxc::ENTER_FOLDER;
use rustix::fs::{Mode, OFlags};
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
    /// By name or number; names are those of the container's /etc/passwd and /etc/group.
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<User>,
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
    let Some(pid) = container.get("pid").and_then(Value::as_u64) else {
        return Err(ClientError::NotRunning(exec.vmid));
    };
    let root = target.root()?;
    let identity = exec.user.as_ref().map(|user| Identity::inside(pid, user)).transpose()?;
    let mut command = match show::word(container.get("runs-under")).as_str() {
        "lxc" => lxc(exec, identity.as_ref(), &root),
        _ => crun(exec, identity.as_ref(), &root)?,
    };
    let path = command.get_program().into();
    let source = command.args(&exec.command).exec();
    Err(OciError::Exec { path, source }.into())
}

fn crun(exec: &Exec, identity: Option<&Identity>, root: &Root) -> Result<Command, ClientError> {
    let mut command = Command::new(find(MONITOR).ok_or(OciError::NoMonitor)?);
    command.arg("oci").arg("--root").arg(root.libcrun_state()).arg("exec");
    command.args(exec.tty.then_some("--tty"));
    if let Some(cwd) = &exec.cwd {
        command.arg("--cwd").arg(cwd);
    }
    command.args(exec.env.iter().flat_map(|variable| ["--env", variable]));
    if let Some(Identity { uid, gid, groups }) = identity {
        command.arg("--user").arg(format!("{uid}:{gid}"));
        command.args(groups.iter().flat_map(|gid| ["--additional-gids", gid]));
    }
    command.arg(exec.vmid.to_string());
    Ok(command)
}

/// It makes a terminal by itself where it has one.
fn lxc(exec: &Exec, identity: Option<&Identity>, root: &Root) -> Command {
    let mut command = Command::new("lxc-attach");
    command.arg("--lxcpath").arg(root.lxc_path()).args(["--name", &exec.vmid.to_string()]);
    // The caller's environment is none of the container's business.
    command.arg("--clear-env");
    command.args(exec.env.iter().flat_map(|variable| ["--set-var", variable]));
    if let Some(Identity { uid, gid, groups: _ }) = identity {
        // It has no words for further groups.
        command.args(["--uid", &uid.to_string(), "--gid", &gid.to_string()]);
    }
    command.arg("--");
    if let Some(cwd) = &exec.cwd {
        command.args(ENTER_FOLDER).arg(cwd);
    }
    command
}

/// A user of the container, in its own numbers.
struct Identity {
    uid: u32,
    gid: u32,
    groups: Vec<String>,
}

impl Identity {
    /// By the accounts of the container whose first process is `pid`. A number needs none.
    fn inside(pid: u64, user: &User) -> Result<Self, ClientError> {
        let unknown = |kind, name: &str| ClientError::UnknownUser { kind, name: name.to_owned() };
        let path = PathBuf::from(format!("/proc/{pid}/root"));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&path, flags, Mode::empty());
        let root = root.map_err(|err| ClientError::Inside { path, source: err.into() })?;
        let ids = Accounts::read(&root).ids(user);
        let uid = ids.uid.ok_or_else(|| unknown("user", user.name()))?;
        let gid = match user.group() {
            Some(group) => ids.gid.ok_or_else(|| unknown("group", group))?,
            None => ids.gid.unwrap_or(0),
        };
        let groups = ids.groups.unwrap_or_default();
        let groups = groups.split(',').filter(|gid| !gid.is_empty()).map(str::to_owned).collect();
        Ok(Self { uid, gid, groups })
    }
}
