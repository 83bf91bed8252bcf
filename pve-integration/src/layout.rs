//! Where everything lies under one root prefix. The only place that joins these names; what is in
//! the files belongs to the module that reads them.

use std::path::{Path, PathBuf};

use openapi::{NodeName, Vmid};

/// The prefix of one installation: `/` on a real host, a directory of its own elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root(PathBuf);

/// The prefix is no absolute, normal path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("root directory '{0}' is not an absolute path without '..'")]
pub struct InvalidRoot(String);

impl Root {
    /// Absolute, because the monitor changes its working directory, and without `..`, because the
    /// prefix is compared and hashed as text.
    pub fn new(prefix: impl AsRef<Path>) -> Result<Self, InvalidRoot> {
        use std::path::Component::{CurDir, Normal, ParentDir, Prefix, RootDir};

        let prefix = prefix.as_ref();
        let normal = prefix.components().all(|part| match part {
            RootDir | Normal(_) | CurDir => true,
            ParentDir | Prefix(_) => false,
        });
        if !prefix.is_absolute() || !normal {
            return Err(InvalidRoot(prefix.display().to_string()));
        }
        Ok(Self(prefix.components().collect())) // drops doubled and trailing slashes
    }

    pub fn prefix(&self) -> &Path {
        &self.0
    }

    /// A path as PVE's files write it, below the prefix.
    pub fn below(&self, absolute: impl AsRef<Path>) -> PathBuf {
        let path = absolute.as_ref();
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    pub fn etc_pve(&self) -> PathBuf {
        self.0.join("etc/pve")
    }

    pub fn node_dir(&self, node: &NodeName) -> PathBuf {
        self.etc_pve().join("nodes").join(node.to_string())
    }

    /// The folder of a node's container configs.
    pub fn lxc_configs(&self, node: &NodeName) -> PathBuf {
        self.node_dir(node).join("lxc")
    }

    pub fn lxc_config(&self, node: &NodeName, vmid: Vmid) -> PathBuf {
        self.lxc_configs(node).join(format!("{vmid}.conf"))
    }

    /// What PVE's config has no key for.
    pub fn oci_config(&self, node: &NodeName, vmid: Vmid) -> PathBuf {
        self.node_dir(node).join(format!("oci/{vmid}.conf"))
    }

    pub fn user_cfg(&self) -> PathBuf {
        self.etc_pve().join("user.cfg")
    }

    pub fn token_cfg(&self) -> PathBuf {
        self.etc_pve().join("priv/token.cfg")
    }

    pub fn shadow_cfg(&self) -> PathBuf {
        self.etc_pve().join("priv/shadow.cfg")
    }

    /// The secret of the first start's token, for its owner. On a real host it does not lie beside
    /// `etc` and `usr`.
    pub fn first_token(&self) -> PathBuf {
        let host = self.0 == Path::new("/");
        if host { self.state_dir().join("root-token") } else { self.0.join("root-token") }
    }

    pub fn domains_cfg(&self) -> PathBuf {
        self.etc_pve().join("domains.cfg")
    }

    pub fn storage_cfg(&self) -> PathBuf {
        self.etc_pve().join("storage.cfg")
    }

    pub fn datacenter_cfg(&self) -> PathBuf {
        self.etc_pve().join("datacenter.cfg")
    }

    pub fn authkey_key(&self) -> PathBuf {
        self.etc_pve().join("priv/authkey.key")
    }

    pub fn authkey_pub(&self) -> PathBuf {
        self.etc_pve().join("authkey.pub")
    }

    /// The key that CSRF tokens are made with.
    pub fn www_key(&self) -> PathBuf {
        self.etc_pve().join("pve-www.key")
    }

    pub fn tls_cert(&self, node: &NodeName) -> PathBuf {
        self.node_dir(node).join("pve-ssl.pem")
    }

    pub fn tls_key(&self, node: &NodeName) -> PathBuf {
        self.node_dir(node).join("pve-ssl.key")
    }

    /// LXC's path, which is part of the name of a container's command socket.
    pub fn lxc_path(&self) -> PathBuf {
        self.0.join("var/lib/lxc")
    }

    pub fn lxc_dir(&self, vmid: Vmid) -> PathBuf {
        self.lxc_path().join(vmid.to_string())
    }

    pub fn rootfs_mount(&self, vmid: Vmid) -> PathBuf {
        self.lxc_dir(vmid).join("rootfs")
    }

    pub fn run_dir(&self) -> PathBuf {
        self.0.join("run/proxmox-lxcri")
    }

    pub fn guest_run(&self, vmid: Vmid) -> PathBuf {
        self.run_dir().join(vmid.to_string())
    }

    /// The folder that holds `config.json`.
    pub fn bundle(&self, vmid: Vmid) -> PathBuf {
        self.guest_run(vmid)
    }

    /// Where the rootfs is shown to the container's root if it cannot get to the proper place.
    pub fn rootfs_view(&self, vmid: Vmid) -> PathBuf {
        PathBuf::from(format!("/run/{}-{vmid}-rootfs", self.cgroup_parent()))
    }

    /// Where the device nodes of the container lie.
    pub fn device_dir(&self, vmid: Vmid) -> PathBuf {
        PathBuf::from(format!("/run/{}-{vmid}-devices", self.cgroup_parent()))
    }

    /// The container's own AppArmor profile, in a kernel that it may share with containers of other prefixes.
    pub fn apparmor_profile(&self, vmid: Vmid) -> String {
        match self.cgroup_parent().as_str() {
            "lxc" => format!("lxcri-{vmid}"),
            other => format!("{other}-{vmid}"),
        }
    }

    /// The text of that profile, while it may be loaded.
    pub fn apparmor_text(&self, vmid: Vmid) -> PathBuf {
        self.guest_run(vmid).join("apparmor")
    }

    /// Where libcrun hands over what the kernel asks of `features: mknod=1` with.
    pub fn mknod_socket(&self, vmid: Vmid) -> PathBuf {
        self.guest_run(vmid).join("mknod.sock")
    }

    pub fn exit_record(&self, vmid: Vmid) -> PathBuf {
        self.guest_run(vmid).join("exit.json")
    }

    /// That the next start is to say all; whoever starts takes it away.
    pub fn debug_mark(&self, vmid: Vmid) -> PathBuf {
        self.guest_run(vmid).join("debug")
    }

    pub fn monitor_stderr(&self, vmid: Vmid) -> PathBuf {
        self.guest_run(vmid).join("stderr")
    }

    pub fn libcrun_state(&self) -> PathBuf {
        self.run_dir().join("libcrun")
    }

    pub fn container_log(&self, vmid: Vmid) -> PathBuf {
        self.0.join(format!("var/log/proxmox-lxcri/{vmid}.log"))
    }

    pub fn tasks_dir(&self) -> PathBuf {
        self.0.join("var/log/pve/tasks")
    }

    pub fn config_lock(&self, vmid: Vmid) -> PathBuf {
        self.0.join(format!("run/lock/lxc/pve-config-{vmid}.lock"))
    }

    pub fn state_dir(&self) -> PathBuf {
        self.0.join("var/lib/proxmox-lxcri")
    }

    /// Where the kernel shows cgroups: the root's own, where it has some mounted (a host that is
    /// seen at a prefix), else this machine's.
    pub fn cgroups(&self) -> PathBuf {
        let own = self.0.join("sys/fs/cgroup");
        if own.is_dir() { own } else { PathBuf::from("/sys/fs/cgroup") }
    }

    /// The cgroup all guests of this root lie in. PVE's own name on a real host; elsewhere one of
    /// this prefix alone, so that two roots on one machine never meet in a guest's cgroup.
    pub fn cgroup_parent(&self) -> String {
        if self.0 == Path::new("/") {
            return "lxc".to_owned();
        }
        let hash = fnv64(self.0.as_os_str().as_encoded_bytes());
        format!("lxcri-{:08x}", hash >> 32)
    }

    /// The cgroup of a guest's processes. Its parent carries the limits and is what is removed.
    pub fn guest_cgroup(&self, vmid: Vmid) -> String {
        format!("{}/{vmid}/ns", self.cgroup_parent())
    }
}

/// FNV-1a: not for secrets, but the same on every build, which `DefaultHasher` does not promise.
fn fnv64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::relative("srv/pve")]
    #[case::upwards("/srv/../etc")]
    #[case::empty("")]
    fn refuses_a_prefix(#[case] prefix: &str) {
        assert!(Root::new(prefix).is_err());
    }

    #[test]
    fn drops_slashes_that_do_not_count() {
        assert_eq!(Root::new("/srv//pve/").unwrap(), Root::new("/srv/pve").unwrap());
    }

    #[test]
    fn lays_the_host_out_as_pve_does() {
        let (root, node) = (Root::new("/").unwrap(), "pve1".parse().unwrap());
        let vmid = "100".parse().unwrap();

        assert_eq!(root.lxc_config(&node, vmid), Path::new("/etc/pve/nodes/pve1/lxc/100.conf"));
        assert_eq!(root.config_lock(vmid), Path::new("/run/lock/lxc/pve-config-100.lock"));
        assert_eq!(root.below("/var/lib/vz"), Path::new("/var/lib/vz"));
        assert_eq!(root.guest_cgroup(vmid), "lxc/100/ns");
    }

    #[test]
    fn gives_each_prefix_a_cgroup_of_its_own() {
        let (one, two) = (Root::new("/srv/one").unwrap(), Root::new("/srv/two").unwrap());

        assert_ne!(one.cgroup_parent(), two.cgroup_parent());
        assert_eq!(one.cgroup_parent().len(), "lxcri-".len() + 8);
        assert_eq!(fnv64(b"a"), 0xaf63_dc4c_8601_ec8c); // a published test vector
    }

    #[test]
    fn resolves_pves_absolute_paths_below_the_prefix() {
        let root = Root::new("/srv/pve").unwrap();

        assert_eq!(root.below("/var/lib/vz"), Path::new("/srv/pve/var/lib/vz"));
    }
}
