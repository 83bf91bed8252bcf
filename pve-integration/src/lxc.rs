//! Container config and host facts to a config for liblxc's `lxc-start`: a pure function. What a
//! container gets is decided in [`crate::bundle`], for every runtime alike; here it is said in LXC's
//! words, in the order of PVE's own writer (`update_lxc_config` of pve-container's `PVE/LXC.pm`).
//!
//! Different from PVE: limits, capabilities, mounts and seccomp rules are written out and not left to
//! the files that LXC's package includes, which differ between versions; and no hook script of PVE's
//! is called, as there is none where PVE is not.

pub mod from_bundle;
mod installed;
mod lines;
mod mounts;
mod network;
mod pieces;
mod resources;
mod seccomp;

#[cfg(test)]
mod tests;

use std::path::Path;

use oci_spec::runtime::{Linux, Spec};

use crate::bundle::{self, BundleError, Guest, Warning, keys, wrong};
use crate::ct_config::{Features, FsType, Section};
use crate::host::{CgroupVersion, HostFacts};

pub use installed::Installed;
use lines::Lines;

/// In a container's own shell, as `lxc-attach` has no option for the folder that a program starts in:
/// that folder and the program's words follow.
pub const ENTER_FOLDER: [&str; 3] = ["/bin/sh", "-c", r#"cd -- "$0" && exec "$@""#];
/// Of the file with the console's output, before it becomes `.1`.
const CONSOLE_LOG: &str = "8388608";

/// Where the files of one start are.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    /// What the container says on its console.
    pub log: &'a Path,
    /// The seccomp profile, if there is one.
    pub seccomp: &'a Path,
    /// The last the kernel's OOM killer said, copied when the container ends.
    pub oom: &'a Path,
}

/// A start under LXC.
#[derive(Clone, Debug, PartialEq)]
pub struct LxcConfig {
    pub text: String,
    /// For `lxc-start`'s command line: `lxc.init.cmd` knows no escapes, so not every word can be
    /// said there. Empty for the default, `/sbin/init`.
    pub command: Vec<String>,
    /// LXC's own log: everything, as `debug: 1` asks.
    pub debug: bool,
    /// The content of the seccomp profile.
    pub seccomp: Option<String>,
    /// What was decided.
    pub spec: Spec,
    pub warnings: Vec<Warning>,
}

/// What starts `guest` with `lxc-start` on a host with these `facts` and these files of LXC's.
pub fn config(
    guest: &Guest<'_>,
    facts: &HostFacts,
    installed: &Installed,
    files: Files<'_>,
) -> Result<LxcConfig, BundleError> {
    let bundle = bundle::decide(guest, facts, &keys::LXC)?;
    let mut writer = Writer {
        guest,
        config: guest.config.current(),
        features: guest.config.features()?,
        facts,
        installed,
        files,
        lines: Lines::default(),
        warnings: bundle.warnings,
    };
    writer.includes(&bundle.spec)?;
    writer.cgroup()?;
    let seccomp = writer.confinement(&bundle.spec)?;
    mounts::write(&mut writer.lines, &bundle.spec, installed, guest.config.is_application())?;
    writer.terminals()?;
    writer.names(&bundle.spec)?;
    let v2 = facts.cgroup.version == CgroupVersion::V2;
    let resources = bundle.spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let devices = resources.and_then(|resources| resources.devices().as_ref());
    resources::write(&mut writer.lines, devices.into_iter().flatten(), &bundle.limits, v2)?;
    writer.process(&bundle.spec)?;
    network::write(guest, installed, &mut writer.lines, &mut writer.warnings)?;
    writer.hooks()?;
    writer.raw()?;
    let command = bundle.spec.process().as_ref().and_then(|process| process.args().clone());
    let command = command.unwrap_or_default();
    Ok(LxcConfig {
        text: writer.lines.into_text(),
        command: if command == [crate::ct_config::INIT] { Vec::new() } else { command },
        debug: writer.config.boolean("debug")?.unwrap_or(false),
        seccomp,
        spec: bundle.spec,
        warnings: writer.warnings,
    })
}

struct Writer<'a> {
    guest: &'a Guest<'a>,
    config: &'a Section,
    features: Features,
    facts: &'a HostFacts,
    installed: &'a Installed,
    files: Files<'a>,
    lines: Lines,
    warnings: Vec<Warning>,
}

impl Writer<'_> {
    /// PVE's first lines. An application gets nothing that a distribution's init would want.
    fn includes(&mut self, spec: &Spec) -> Result<(), BundleError> {
        if self.config.is_application() {
            return Ok(());
        }
        let ostype = self.config.ostype().unwrap_or_default();
        let shifted = linux(spec).is_some_and(|linux| linux.uid_mappings().is_some());
        for kind in [Some("common"), shifted.then_some("userns")].into_iter().flatten() {
            if let Some(file) = self.installed.include(ostype, kind) {
                self.lines.path("lxc.include", &file)?;
            }
        }
        Ok(())
    }

    /// The monitor already is in a mount namespace of its own when it calls `lxc-start`, so there is
    /// no `lxc.monitor.unshare`: mounts that are hot-plugged go to the parent of init, as with PVE.
    fn cgroup(&mut self) -> Result<(), BundleError> {
        let (limit, inner) = self.guest.cgroup.rsplit_once('/').unwrap_or((&self.guest.cgroup, ""));
        let monitor = monitor_cgroup(limit);
        self.lines.put("lxc.cgroup.relative", "0")?;
        self.lines.put("lxc.cgroup.dir.monitor", &monitor)?;
        self.lines.put("lxc.cgroup.dir.container", limit)?;
        self.lines.put("lxc.cgroup.dir.container.inner", inner)?;
        self.lines.put("lxc.arch", self.config.arch()?.as_str())
    }

    fn confinement(&mut self, spec: &Spec) -> Result<Option<String>, BundleError> {
        let process = spec.process().as_ref();
        let sets = process.and_then(|process| process.capabilities().as_ref());
        let kept = sets.and_then(|sets| sets.bounding().as_ref());
        pieces::capabilities(&mut self.lines, kept)?;
        self.apparmor()?;
        let Some(linux) = linux(spec) else { return Ok(None) };
        pieces::id_maps(&mut self.lines, linux)?;
        if self.has_raw("lxc.seccomp.profile") {
            if !self.guest.policy.deny_syscalls.is_empty() {
                let (key, what) = (
                    "lxc.seccomp.profile".into(),
                    "a profile that may allow what it denies".into(),
                );
                return Err(BundleError::Policy { key, what });
            }
            return Ok(None); // the user's own, as with PVE
        }
        let Some(profile) = linux.seccomp().as_ref().map(seccomp::profile).transpose()? else {
            return Ok(None);
        };
        self.lines.path("lxc.seccomp.profile", self.files.seccomp)?;
        Ok(Some(profile))
    }

    /// `make_apparmor_config` of PVE. Without AppArmor in the kernel there is nothing to allow either.
    fn apparmor(&mut self) -> Result<(), BundleError> {
        if self.facts.apparmor.is_none() || self.has_raw("lxc.apparmor.profile") {
            return Ok(());
        }
        self.lines.put("lxc.apparmor.profile", "generated")?;
        let fine = self.installed.has_fine_apparmor_rules();
        if fine {
            self.lines.put("lxc.apparmor.raw", "allow mqueue,")?;
        }
        if self.features.nesting {
            self.lines.put("lxc.apparmor.allow_nesting", "1")?;
            if fine {
                self.lines.put("lxc.apparmor.raw", "allow userns,")?;
            }
        } else {
            self.lines.put("lxc.apparmor.raw", "deny mount -> /proc/,")?;
            self.lines.put("lxc.apparmor.raw", "deny mount -> /sys/,")?;
        }
        let fuse = self.features.fuse.then_some("fuse");
        for kind in self.features.mount.iter().map(FsType::as_str).chain(fuse) {
            self.lines.put("lxc.apparmor.raw", &format!("mount fstype={kind},"))?;
        }
        Ok(())
    }

    /// A program of its own gets pipes, which its parent holds; only an init system gets a console.
    fn terminals(&mut self) -> Result<(), BundleError> {
        pieces::terminals(&mut self.lines)?;
        if self.guest.terminal {
            self.lines.path("lxc.console.logfile", self.files.log)?;
            self.lines.put("lxc.console.size", CONSOLE_LOG)?;
            self.lines.put("lxc.console.rotate", "1")?;
        } else {
            self.lines.put("lxc.console.path", "none")?;
        }
        self.lines.put("lxc.tty.max", &self.config.ttys()?.to_string())
    }

    fn names(&mut self, spec: &Spec) -> Result<(), BundleError> {
        if let Some(hostname) = spec.hostname() {
            self.lines.put("lxc.uts.name", hostname)?;
        }
        // Mounted by the monitor, read-only if it is to be, at a place that the container's root can
        // get to: LXC's own mount point below /usr/lib need not be one, nor be there.
        let readonly = spec.root().as_ref().is_some_and(|root| root.readonly() == Some(true));
        if readonly && !self.config.rootfs()?.ro {
            // By the host's policy: a read-only volume is mounted so already.
            self.lines.put("lxc.rootfs.options", "ro")?;
        }
        self.lines.path("lxc.rootfs.path", self.guest.rootfs)?;
        self.lines.path("lxc.rootfs.mount", self.guest.rootfs)
    }

    fn process(&mut self, spec: &Spec) -> Result<(), BundleError> {
        let Some(process) = spec.process() else { return Ok(()) };
        // LXC says that one itself.
        let own = |line: &&String| !line.starts_with("container=");
        for line in process.env().iter().flatten().filter(own) {
            self.lines.put("lxc.environment", line)?;
        }
        let shifted = linux(spec).is_some_and(|linux| linux.uid_mappings().is_some());
        self.warnings.extend(pieces::identity(&mut self.lines, process, shifted)?);
        Ok(())
    }

    /// Both are about what LXC alone sees at the end. A reboot from inside ends `lxc-start` too, as
    /// it does with PVE's own hook: whoever called it reads the config anew and calls it again.
    fn hooks(&mut self) -> Result<(), BundleError> {
        let (limit, _) = self.guest.cgroup.rsplit_once('/').unwrap_or((&self.guest.cgroup, ""));
        let events = match self.facts.cgroup.version {
            CgroupVersion::V2 => format!("/sys/fs/cgroup/{limit}/memory.events"),
            CgroupVersion::V1 | CgroupVersion::Hybrid => {
                format!("/sys/fs/cgroup/memory/{limit}/memory.oom_control")
            }
        };
        let oom = self.files.oom.to_str();
        let oom = oom.ok_or_else(|| wrong("lxc.hook.stop", "the run directory is not UTF-8"))?;
        let copy = format!("cat {} >{}", shell_words::quote(&events), shell_words::quote(oom));
        self.lines.put("lxc.hook.stop", &format!("sh -c {}", shell_words::quote(&copy)))?;
        self.lines.put("lxc.hook.post-stop", pieces::NO_REBOOT)
    }

    /// At the end, where they win, as with PVE; but for those that the lines above hold already.
    fn raw(&mut self) -> Result<(), BundleError> {
        for (key, value) in self.config.lxc() {
            if key == "lxc.signal.halt" || !keys::RAW_APPLIED.contains(&key.as_str()) {
                self.lines.verbatim(key, value);
            }
        }
        Ok(())
    }

    fn has_raw(&self, key: &str) -> bool {
        self.config.lxc_values(key).next().is_some()
    }
}

/// Where `lxc-start` itself runs, for a container with its limits at `limit`: `lxc.monitor/100`
/// beside `lxc/100`.
pub fn monitor_cgroup(limit: &str) -> String {
    match limit.split_once('/') {
        Some((parent, rest)) => format!("{parent}.monitor/{rest}"),
        None => format!("{limit}.monitor"),
    }
}

fn linux(spec: &Spec) -> Option<&Linux> {
    spec.linux().as_ref()
}
