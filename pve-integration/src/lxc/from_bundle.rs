//! A bundle of anybody's to a config for liblxc's `lxc-start`: the reverse of [`crate::bundle`], and as
//! pure. What LXC has no word for is an error where the container would be less confined without it,
//! and a warning elsewhere.

mod devices;
pub mod limits;
mod mounts;

#[cfg(test)]
mod tests;

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{
    Capabilities, Linux, LinuxNamespace, LinuxNamespaceType, LinuxSeccomp, Process, Spec,
};

use super::lines::Lines;
use super::{pieces, resources, seccomp};
use crate::bundle::{self, BundleError, Warning};

pub use devices::NewNode;

/// Where the files of one container are; all absolute.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub id: &'a str,
    /// The bundle's folder, from which its own relative paths start.
    pub bundle: &'a Path,
    /// Where the seccomp profile will be.
    pub seccomp: &'a Path,
    /// Where LXC says what went wrong.
    pub log: &'a Path,
    /// Where its device nodes will be.
    pub devices: &'a Path,
    /// A command of the host's that holds the container back: LXC runs it when everything is there but
    /// the container's program does not run yet, and goes on when it ends well.
    pub gate: &'a str,
    /// Whether it gets a session keyring of its own.
    pub new_keyring: bool,
}

/// What of the host matters.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    pub cgroup2: bool,
    pub apparmor: bool,
    pub selinux: bool,
    pub seccomp: bool,
    /// What the host has at such a path; a container's kernel is the host's.
    pub look: fn(&Path) -> Option<Kind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Folder,
    Other,
}

/// What starts the bundle.
#[derive(Clone, Debug, PartialEq)]
pub struct FromBundle {
    pub text: String,
    /// For `lxc-start`'s command line: `lxc.init.cmd` knows no escapes.
    pub command: Vec<String>,
    /// The content of the seccomp profile.
    pub seccomp: Option<String>,
    pub rootfs: PathBuf,
    /// Below the cgroup mount, without a slash in front.
    pub cgroup: String,
    /// What must be at [`Place::devices`] before the start.
    pub nodes: Vec<NewNode>,
    pub warnings: Vec<Warning>,
}

pub fn config(spec: &Spec, place: &Place<'_>, host: &Host) -> Result<FromBundle, BundleError> {
    let process = spec.process().as_ref().ok_or_else(|| cannot("process", "is missing"))?;
    let linux = spec.linux().as_ref().ok_or_else(|| cannot("linux", "is missing"))?;
    refuse_foreign(spec, linux)?;
    let root = spec.root().as_ref().ok_or_else(|| cannot("root", "is missing"))?;
    let rootfs = place.bundle.join(root.path());
    let cgroup = cgroup(linux, place.id)?;
    let mut writer = Writer { spec, place, host, lines: Lines::default(), warnings: Vec::new() };
    writer.places(&rootfs, root.readonly() == Some(true), &cgroup)?;
    writer.namespaces(linux)?;
    let seccomp = writer.confinement(process, linux)?;
    let nodes = writer.mounts(linux)?;
    writer.limits(linux)?;
    writer.process(process, linux)?;
    writer.lines.put("lxc.hook.start-host", place.gate)?;
    writer.lines.put("lxc.hook.post-stop", pieces::NO_REBOOT)?;
    let command = process.args().clone().unwrap_or_default();
    let (text, warnings) = (writer.lines.into_text(), writer.warnings);
    Ok(FromBundle { text, command, seccomp, rootfs, cgroup, nodes, warnings })
}

/// Where `lxc-start` itself runs: beside the container, so that no folder of its own is left behind.
pub fn monitor_cgroup(cgroup: &str) -> String {
    format!("{cgroup}.monitor")
}

/// What the container's first process keeps; a bundle that does not say means none.
pub fn bounding(process: &Process) -> Capabilities {
    let sets = process.capabilities().as_ref();
    sets.and_then(|sets| sets.bounding().clone()).unwrap_or_default()
}

fn cannot(key: &str, reason: impl Into<String>) -> BundleError {
    BundleError::Host { key: key.to_owned(), reason: reason.into() }
}

/// For what would be missed: the way out is the other runtime.
fn lacks(key: &str, what: &str) -> BundleError {
    cannot(key, format!("LXC {what}; use --runtime crun"))
}

struct Writer<'a> {
    spec: &'a Spec,
    place: &'a Place<'a>,
    host: &'a Host,
    lines: Lines,
    warnings: Vec<Warning>,
}

impl Writer<'_> {
    fn warn(&mut self, key: &str, reason: &str) {
        self.warnings.push(Warning::new(key, reason));
    }

    fn places(&mut self, rootfs: &Path, readonly: bool, cgroup: &str) -> Result<(), BundleError> {
        let lines = &mut self.lines;
        lines.path("lxc.log.file", self.place.log)?;
        lines.put("lxc.log.level", "ERROR")?;
        lines.put("lxc.cgroup.relative", "0")?;
        lines.put("lxc.cgroup.dir.monitor", &monitor_cgroup(cgroup))?;
        lines.put("lxc.cgroup.dir.container", cgroup)?;
        lines.path("lxc.rootfs.path", rootfs)?;
        // LXC's own mount point below /usr/lib need not be there.
        lines.path("lxc.rootfs.mount", rootfs)?;
        if readonly {
            lines.put("lxc.rootfs.options", "ro")?;
        }
        if !self.place.new_keyring {
            lines.put("lxc.keyring.session", "0")?;
        }
        pieces::terminals(lines)?;
        lines.put("lxc.tty.max", "0")?;
        let process = self.spec.process().as_ref();
        if process.and_then(Process::terminal) != Some(true) {
            // Our own standard streams; else the terminal that `lxc-start` has.
            lines.put("lxc.console.path", "none")?;
        }
        Ok(())
    }

    fn namespaces(&mut self, linux: &Linux) -> Result<(), BundleError> {
        let wanted = linux.namespaces().as_deref().unwrap_or_default();
        let mut new = vec!["mnt"];
        for namespace in wanted {
            let word = namespace_word(namespace.typ())?;
            match namespace.path() {
                Some(path) => self.lines.path(&format!("lxc.namespace.share.{word}"), path)?,
                None if new.contains(&word) => {}
                None => new.push(word),
            }
        }
        if !has(wanted, LinuxNamespaceType::Mount) {
            self.warn("linux.namespaces", "LXC always makes a mount namespace");
        }
        self.lines.put("lxc.namespace.clone", &new.join(" "))?;
        if new.contains(&"net") {
            // The loopback interface, which is up.
            self.lines.put("lxc.net.0.type", "empty")?;
        }
        if let Some(hostname) = self.spec.hostname().as_deref().filter(|name| !name.is_empty()) {
            if !has(wanted, LinuxNamespaceType::Uts) {
                return Err(cannot("hostname", "needs a UTS namespace"));
            }
            self.lines.put("lxc.uts.name", hostname)?;
        }
        pieces::id_maps(&mut self.lines, linux)
    }

    fn confinement(
        &mut self,
        process: &Process,
        linux: &Linux,
    ) -> Result<Option<String>, BundleError> {
        let kept = bounding(process);
        pieces::capabilities(&mut self.lines, Some(&kept))?;
        let ambient = process.capabilities().as_ref().and_then(|sets| sets.ambient().as_ref());
        if process.user().uid() != 0 && ambient.is_some_and(|set| !set.is_empty()) {
            self.warn("process.capabilities.ambient", "LXC gives a program that is not root none");
        }
        match process.apparmor_profile().as_deref().filter(|profile| !profile.is_empty()) {
            Some(profile) if self.host.apparmor => {
                self.lines.put("lxc.apparmor.profile", profile)?;
            }
            Some(_) => return Err(cannot("process.apparmorProfile", "this host has no AppArmor")),
            // LXC would choose one of its own.
            None if self.host.apparmor => self.lines.put("lxc.apparmor.profile", "unconfined")?,
            None => {}
        }
        match process.selinux_label().as_deref().filter(|label| !label.is_empty()) {
            Some(label) if self.host.selinux => self.lines.put("lxc.selinux.context", label)?,
            Some(_) => self.warn("process.selinuxLabel", "this host has no SELinux"),
            None => {}
        }
        if linux.mount_label().as_deref().is_some_and(|label| !label.is_empty()) {
            if self.host.selinux {
                return Err(lacks("linux.mountLabel", "labels no mounts"));
            }
            self.warn("linux.mountLabel", "this host has no SELinux");
        }
        let Some(rules) = linux.seccomp() else { return Ok(None) };
        self.seccomp(rules).map(Some)
    }

    /// LXC's own rules for other architectures are the same ones, so what the bundle says of those
    /// needs no line.
    fn seccomp(&mut self, rules: &LinuxSeccomp) -> Result<String, BundleError> {
        if !self.host.seccomp {
            return Err(cannot("linux.seccomp", "this kernel filters no system calls"));
        }
        if rules.listener_path().is_some() {
            return Err(lacks("linux.seccomp.listenerPath", "has a protocol of its own for that"));
        }
        if rules.flags().as_ref().is_some_and(|flags| !flags.is_empty()) {
            self.warn("linux.seccomp.flags", "LXC sets none");
        }
        self.lines.path("lxc.seccomp.profile", self.place.seccomp)?;
        seccomp::profile(rules)
    }

    fn mounts(&mut self, linux: &Linux) -> Result<Vec<NewNode>, BundleError> {
        let mounts = mounts::Mounts::of(self.spec, self.place, self.host)?;
        mounts.write(&mut self.lines)?;
        let nodes = devices::nodes(linux, self.place)?;
        for node in &nodes {
            mounts::bind_node(&mut self.lines, &node.source, &node.path)?;
        }
        for path in linux.readonly_paths().iter().flatten() {
            if self.kernels("linux.readonlyPaths", path)?.is_some() {
                pieces::read_only(&mut self.lines, path)?;
            }
        }
        for path in linux.masked_paths().iter().flatten() {
            if let Some(kind) = self.kernels("linux.maskedPaths", path)? {
                pieces::masked(&mut self.lines, path, kind == Kind::Folder)?;
            }
        }
        let propagation = linux.rootfs_propagation().as_deref().unwrap_or("rprivate");
        if !["private", "rprivate", "slave", "rslave"].contains(&propagation) {
            self.warn("linux.rootfsPropagation", "with LXC the root is a slave of the host's");
        }
        self.sysctls(linux)?;
        Ok(nodes)
    }

    /// What is there of the kernel's files, which are the same in every container. Of others nobody
    /// knows before they are mounted, and one that is not covered would be missed.
    fn kernels(&self, key: &str, path: &str) -> Result<Option<Kind>, BundleError> {
        let path = Path::new(path);
        let is_plain = !path.components().any(|part| part == Component::ParentDir);
        if !is_plain || !["/proc", "/sys"].iter().any(|top| path.starts_with(top)) {
            return Err(lacks(key, "covers files of the kernel's alone"));
        }
        Ok((self.host.look)(path))
    }

    fn sysctls(&mut self, linux: &Linux) -> Result<(), BundleError> {
        let sysctls = linux.sysctl().iter().flatten();
        let mut sysctls: Vec<_> = sysctls.map(|(name, value)| (name.clone(), value)).collect();
        sysctls.sort();
        let sealed = linux.readonly_paths().iter().flatten().any(|path| path == "/proc/sys");
        let namespaces = linux.namespaces().as_deref().unwrap_or_default();
        for (name, value) in sysctls {
            let key = format!("linux.sysctl.{name}");
            let owner = match bundle::sysctl_namespace(&name) {
                Some(owner) => owner,
                None => return Err(cannot(&key, "is the host's own")),
            };
            if !has(namespaces, owner) {
                return Err(cannot(&key, "needs a namespace of its own"));
            }
            if sealed {
                return Err(lacks(&key, "sets it when /proc/sys is read-only already"));
            }
            self.lines.put(&format!("lxc.sysctl.{name}"), value)?;
        }
        Ok(())
    }

    fn limits(&mut self, linux: &Linux) -> Result<(), BundleError> {
        let wanted = linux.resources().as_ref();
        let rules = wanted.and_then(|resources| resources.devices().as_deref());
        let rules = devices::rules(rules.unwrap_or_default())?;
        let limits = wanted.map(limits::of).transpose()?.unwrap_or_default();
        if !self.host.cgroup2 && !limits.is_empty() {
            return Err(lacks("linux.resources", "has no limits of a bundle with cgroup v1"));
        }
        resources::write(&mut self.lines, rules.iter(), &limits, self.host.cgroup2)
    }

    fn process(&mut self, process: &Process, linux: &Linux) -> Result<(), BundleError> {
        for line in process.env().iter().flatten() {
            // Of a name alone LXC would look up its own value.
            if line.contains('=') {
                self.lines.put("lxc.environment", line)?;
            } else {
                self.warn("process.env", "one that has no value is left out");
            }
        }
        let shifted = linux.uid_mappings().as_ref().is_some_and(|maps| !maps.is_empty());
        self.warnings.extend(pieces::identity(&mut self.lines, process, shifted)?);
        if process.user().umask().is_some_and(|umask| umask != 0o022) {
            return Err(lacks("process.user.umask", "knows no other than 022"));
        }
        for limit in process.rlimits().iter().flatten() {
            let name = limit.typ().to_string().to_ascii_lowercase();
            let name = name.strip_prefix("rlimit_").unwrap_or(&name).to_owned();
            let number = |value: u64| {
                if value == u64::MAX { "unlimited".to_owned() } else { value.to_string() }
            };
            let value = format!("{}:{}", number(limit.soft()), number(limit.hard()));
            self.lines.put(&format!("lxc.prlimit.{name}"), &value)?;
        }
        if let Some(score) = process.oom_score_adj() {
            self.lines.put("lxc.proc.oom_score_adj", &score.to_string())?;
        }
        if let Some(personality) = linux.personality() {
            let word = personality.domain().to_string();
            self.lines.put("lxc.arch", if word.ends_with("32") { "linux32" } else { "linux64" })?;
        }
        let unknown = [
            ("process.ioPriority", process.io_priority().is_some()),
            ("process.scheduler", process.scheduler().is_some()),
            ("process.execCPUAffinity", process.exec_cpu_affinity().is_some()),
            ("process.consoleSize", process.console_size().is_some()),
            ("linux.memoryPolicy", linux.memory_policy().is_some()),
            ("domainname", self.spec.domainname().is_some()),
        ];
        for (key, _) in unknown.iter().filter(|(_, set)| *set) {
            self.warn(key, "LXC has nothing like it");
        }
        Ok(())
    }
}

/// What a container would be less without than its maker thinks.
fn refuse_foreign(spec: &Spec, linux: &Linux) -> Result<(), BundleError> {
    if spec.vm().is_some() {
        return Err(lacks("vm", "runs no machines"));
    }
    if let Some(hooks) = spec.hooks() {
        let inside = [
            ("hooks.createContainer", hooks.create_container()),
            ("hooks.startContainer", hooks.start_container()),
        ];
        for (key, hooks) in inside {
            if hooks.as_ref().is_some_and(|hooks| !hooks.is_empty()) {
                return Err(lacks(key, "shows a hook inside the container no state"));
            }
        }
    }
    if linux.intel_rdt().is_some() {
        return Err(lacks("linux.intelRdt", "has nothing like it"));
    }
    if linux.time_offsets().as_ref().is_some_and(|offsets| !offsets.is_empty()) {
        return Err(lacks("linux.timeOffsets", "is not asked for a time namespace"));
    }
    if linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty()) {
        return Err(lacks("linux.netDevices", "is not asked to move interfaces"));
    }
    Ok(())
}

fn has(namespaces: &[LinuxNamespace], kind: LinuxNamespaceType) -> bool {
    namespaces.iter().any(|namespace| namespace.typ() == kind)
}

fn namespace_word(kind: LinuxNamespaceType) -> Result<&'static str, BundleError> {
    match kind {
        LinuxNamespaceType::Mount => Ok("mnt"),
        LinuxNamespaceType::Cgroup => Ok("cgroup"),
        LinuxNamespaceType::Uts => Ok("uts"),
        LinuxNamespaceType::Ipc => Ok("ipc"),
        LinuxNamespaceType::User => Ok("user"),
        LinuxNamespaceType::Pid => Ok("pid"),
        LinuxNamespaceType::Network => Ok("net"),
        LinuxNamespaceType::Time => {
            Err(lacks("linux.namespaces", "is not asked for a time namespace"))
        }
    }
}

/// As crun has it: from the root of the hierarchy, or by the container's name.
fn cgroup(linux: &Linux, id: &str) -> Result<String, BundleError> {
    const KEY: &str = "linux.cgroupsPath";
    let path = linux.cgroups_path().as_deref().unwrap_or(Path::new(""));
    let path = path.to_str().ok_or_else(|| cannot(KEY, "is not UTF-8"))?.trim_matches('/');
    if path.contains(':') {
        return Err(cannot(KEY, "is systemd's, whose cgroup manager is not built in"));
    }
    let odd = |part: Component<'_>| !matches!(part, Component::Normal(_));
    if Path::new(path).components().any(odd) {
        return Err(cannot(KEY, format!("'{path}' is not plain")));
    }
    Ok(if path.is_empty() { id.to_owned() } else { path.to_owned() })
}
