//! Hooks of the bundle's that run on the host: LXC has others, which are not told the state.

use std::ffi::OsStr;
use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use oci_spec::runtime::Hook;
use serde_json::Value;

use super::within;
use crate::crun::oci::error::{Error, Result};
use crate::unblocked;

/// With the container's state on its standard input.
pub(super) fn run(hook: &Hook, state: &Value) -> Result<()> {
    let failed = |why: String| Error::Hook { hook: hook.path().clone(), why };
    let mut words = hook.args().iter().flatten();
    let name = words.next().map_or(hook.path().as_os_str(), OsStr::new);
    let command = unblocked::command(hook.path(), name);
    let mut command = command.map_err(|err| failed(err.to_string()))?;
    command.args(words).env_clear();
    let variables = hook.env().iter().flatten().filter_map(|line| line.split_once('='));
    command.envs(variables).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().map_err(|err| failed(err.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read it is no worse.
        stdin.write_all(state.to_string().as_bytes()).ok();
    }
    let patience = hook.timeout().and_then(|seconds| u64::try_from(seconds).ok());
    if let Some(seconds) = patience {
        let ended = within(Duration::from_secs(seconds), || Ok(child.try_wait()?.is_some()))?;
        if !ended {
            // If it has just ended, that is as good.
            child.kill().ok();
            child.wait()?;
            return Err(failed(format!("it takes longer than {seconds} seconds")));
        }
    }
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(failed(status.to_string())) }
}
