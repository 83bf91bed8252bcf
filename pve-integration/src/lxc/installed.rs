//! What a config may name only if it is there: files of LXC's, bridges, and what the kernel shows in
//! /proc and /sys.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::bundle::{MASKED, READONLY};
use crate::ct_config::ContainerConfig;
use crate::host;

/// Where LXC's packages put what each distribution needs.
const CONFIGS: &str = "/usr/share/lxc/config";
/// Comes with a parser of AppArmor's version 4, the first that knows rules for these; an older one
/// refuses a whole profile for one of them.
const APPARMOR_4: &str = "/etc/apparmor.d/abi/4.0";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Installed {
    /// File names below [`CONFIGS`].
    configs: BTreeSet<String>,
    /// Of the kernel's files that are hidden from a program, whether it is a folder. A container's
    /// kernel is ours.
    kernel: BTreeMap<&'static str, bool>,
    /// MTU of each bridge that the container is to be on.
    mtus: BTreeMap<String, u32>,
    /// AppArmor tells message queues and user namespaces from other things.
    fine_rules: bool,
}

impl Installed {
    /// As far as it concerns `config`.
    pub fn read(config: &ContainerConfig) -> Self {
        let entries = fs::read_dir(CONFIGS).into_iter().flatten().flatten();
        let configs = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        let is_dir = |path: &&'static str| Some((*path, fs::metadata(path).ok()?.is_dir()));
        let kernel = MASKED.iter().chain(READONLY).filter_map(is_dir).collect();
        let nets = config.nets().into_iter().filter_map(|(_, net)| net.ok()?.bridge);
        let mtus = nets.filter_map(|bridge| Some((host::interface_mtu(&bridge)?, bridge)));
        let mtus = mtus.map(|(mtu, bridge)| (bridge, mtu)).collect();
        Self { configs, kernel, mtus, fine_rules: Path::new(APPARMOR_4).exists() }
    }

    /// Of a test.
    #[cfg(test)]
    pub(super) fn with(configs: &[&str], mtus: &[(&str, u32)]) -> Self {
        let owned = |(name, mtu): &(&str, u32)| ((*name).to_owned(), *mtu);
        let folders = ["/proc/acpi", "/proc/bus", "/proc/fs", "/proc/irq", "/sys/firmware"];
        let files = ["/proc/kcore", "/proc/keys", "/proc/sysrq-trigger"];
        let kernel = folders.map(|path| (path, true)).into_iter();
        Self {
            kernel: kernel.chain(files.map(|path| (path, false))).collect(),
            configs: configs.iter().map(|name| (*name).to_owned()).collect(),
            mtus: mtus.iter().map(owned).collect(),
            fine_rules: true,
        }
    }

    #[cfg(test)]
    pub(super) fn with_an_older_apparmor(self) -> Self {
        Self { fine_rules: false, ..self }
    }

    /// The file for `ostype`, or that for all, if there is one.
    pub(super) fn include(&self, ostype: &str, kind: &str) -> Option<PathBuf> {
        let names = [format!("{ostype}.{kind}.conf"), format!("{kind}.conf")];
        let name = names.into_iter().find(|name| self.configs.contains(name))?;
        Some(Path::new(CONFIGS).join(name))
    }

    /// `None` for what the kernel does not show.
    pub(super) fn is_folder(&self, path: &str) -> Option<bool> {
        self.kernel.get(path).copied()
    }

    pub(super) fn has_fine_apparmor_rules(&self) -> bool {
        self.fine_rules
    }

    pub(super) fn mtu(&self, bridge: &str) -> Option<u32> {
        self.mtus.get(bridge).copied()
    }
}
