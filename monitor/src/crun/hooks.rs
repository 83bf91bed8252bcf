//! PVE's own hooks around a container's life. On a PVE node its storage plug-ins mount the volumes,
//! whatever they are, and its post-stop applies pending changes and asks for the restart of one that
//! reboots: what `lxc-start` runs there for `lxc.hook.pre-start` and `lxc.hook.post-stop`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::error::{Error, Result};
use crate::guest::Guest;
use crate::unblocked;

const PRE_START: &str = "/usr/share/lxc/hooks/lxc-pve-prestart-hook";
const POST_STOP: &str = "/usr/share/lxc/hooks/lxc-pve-poststop-hook";
/// Where LXC would mount a rootfs to move it; PVE's hooks insist on a name.
const ROOTFS_MOUNT: &str = "/usr/lib/x86_64-linux-gnu/lxc/rootfs";

/// There where PVE is.
#[derive(Debug)]
pub(crate) struct Hooks {
    pre_start: PathBuf,
    post_stop: PathBuf,
    name: String,
    config: PathBuf,
    rootfs: PathBuf,
    /// Whether the container's last wish was to be started again.
    pub(crate) reboot: bool,
}

impl Hooks {
    pub(crate) fn find(guest: &Guest) -> Option<Self> {
        let host = guest.root.prefix() == Path::new("/");
        (host && Path::new(PRE_START).exists())
            .then(|| Self::of(guest, PRE_START.into(), POST_STOP.into()))
    }

    fn of(guest: &Guest, pre_start: PathBuf, post_stop: PathBuf) -> Self {
        Self {
            pre_start,
            post_stop,
            name: guest.name(),
            config: guest.root.lxc_dir(guest.vmid).join("config"),
            rootfs: guest.root.rootfs_mount(guest.vmid),
            reboot: false,
        }
    }

    /// Leaves the volumes mounted, in our mount namespace.
    pub(crate) fn pre_start(&self) -> Result<()> {
        self.run(&self.pre_start, "pre-start", None)
    }

    /// It fails on purpose for a container that is to be restarted: LXC must not do that itself.
    pub(crate) fn post_stop(&self) -> Result<()> {
        let target = if self.reboot { "reboot" } else { "stop" };
        match self.run(&self.post_stop, "post-stop", Some(target)) {
            Err(_) if self.reboot => Ok(()),
            done => done,
        }
    }

    /// As LXC calls hooks of version 0.
    fn run(&self, hook: &Path, kind: &str, target: Option<&str>) -> Result<()> {
        let failed = |why: String| Error::Hook { hook: hook.to_owned(), why };
        let command = unblocked::command(hook, hook.as_os_str());
        let mut command = command.map_err(|err| failed(err.to_string()))?;
        command.args([&self.name, "lxc", kind]).current_dir("/").env_clear();
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("LXC_NAME", &self.name).env("LXC_CONFIG_FILE", &self.config);
        command.env("LXC_ROOTFS_PATH", &self.rootfs).env("LXC_ROOTFS_MOUNT", ROOTFS_MOUNT);
        command
            .env("LXC_HOOK_VERSION", "0")
            .env("LXC_CGNS_AWARE", "1")
            .env("LXC_LOG_LEVEL", "ERROR");
        command.envs(target.map(|target| ("LXC_TARGET", target)));
        // What it says is for whoever reads what we say.
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let status = command.status().map_err(|err| failed(err.to_string()))?;
        if status.success() { Ok(()) } else { Err(failed(status.to_string())) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Hooks that write down how they are called, and end with `code`.
    fn hooks(dir: &Path, code: u8) -> Hooks {
        let script = dir.join("hook");
        let log = dir.join("log");
        let text = format!(
            "#!/bin/sh\necho \"$* $LXC_NAME $LXC_CONFIG_FILE $LXC_ROOTFS_PATH $LXC_ROOTFS_MOUNT \
             target=$LXC_TARGET\" >>{}\nexit {code}\n",
            log.display()
        );
        fs_err::write(&script, text).unwrap();
        fs_err::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
        let guest = Guest {
            root: pve_integration::layout::Root::new(dir).unwrap(),
            node: "pve1".parse().unwrap(),
            vmid: "101".parse().unwrap(),
            debug: false,
        };
        Hooks::of(&guest, script.clone(), script)
    }

    fn log(dir: &Path) -> String {
        fs_err::read_to_string(dir.join("log")).unwrap().replace(&dir.display().to_string(), "")
    }

    #[test]
    fn are_called_as_lxc_calls_them() {
        let dir = tempfile::tempdir().unwrap();
        let hooks = hooks(dir.path(), 0);

        hooks.pre_start().unwrap();
        hooks.post_stop().unwrap();

        let names = format!("101 /var/lib/lxc/101/config /var/lib/lxc/101/rootfs {ROOTFS_MOUNT}");
        let expected =
            format!("101 lxc pre-start {names} target=\n101 lxc post-stop {names} target=stop\n");
        assert_eq!(log(dir.path()), expected);
    }

    #[test]
    fn a_refusal_names_the_hook() {
        let dir = tempfile::tempdir().unwrap();

        let err = hooks(dir.path(), 3).pre_start().unwrap_err().to_string();

        assert!(err.ends_with("/hook' failed: exit status: 3"), "{err}");
    }

    #[test]
    fn the_one_for_a_reboot_may_fail() {
        let dir = tempfile::tempdir().unwrap();
        let hooks = Hooks { reboot: true, ..hooks(dir.path(), 1) };

        hooks.post_stop().unwrap();

        assert!(log(dir.path()).ends_with("target=reboot\n"));
    }
}
