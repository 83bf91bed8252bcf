//! What a container's console shows, as its `cmode` says.

use lxc_protocol::client::Client;
use openapi::Vmid;

use super::{GuestError, Guests};
use crate::console::Source;

impl Guests {
    /// PVE's `get_console_command`. Whether the container runs is found out when a client is there.
    pub(crate) async fn console(&self, vmid: Vmid) -> Result<Source, GuestError> {
        let entry = self.entry(vmid).await?;
        let path = self.0.root.lxc_path();
        let client = Client::new(&path, &vmid.to_string());
        match entry.config.get("cmode") {
            Some("console") => Ok(Source::Container { vmid, client, tty: 0 }),
            Some("shell") => {
                let (path, vmid) = (path.display().to_string(), vmid.to_string());
                let line = ["lxc-attach", "-P", &path, "--clear-env", "-n", &vmid];
                Ok(Source::Program(line.map(str::to_owned).to_vec()))
            }
            Some(_) | None => Ok(Source::Container { vmid, client, tty: -1 }),
        }
    }

    /// As [`Self::console`], of a container that runs.
    pub(crate) async fn require_console(&self, vmid: Vmid) -> Result<(), GuestError> {
        self.entry(vmid).await?;
        if self.is_running_now(vmid).await? { Ok(()) } else { Err(GuestError::NotRunning(vmid)) }
    }
}
