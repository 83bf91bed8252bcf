//! A file of system call rules in LXC's format: never a panic, a message of one short line, and what is
//! taken makes a bundle.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use pve_integration::bundle::{self, Guest, SeccompProfile};
use pve_integration::ct_config::ContainerConfig;
use pve_integration::host::HostFacts;
use pve_integration::oci_config::OciConfig;
use pve_integration::policy::Policy;

fuzz_target!(|text: &str| {
    let facts = HostFacts::for_tests();
    let profile = match SeccompProfile::parse(text, facts.arch) {
        Ok(profile) => profile,
        Err(err) => {
            let message = err.to_string();
            assert!(message.len() < 1000 && !message.contains('\n'), "{message}");
            return;
        }
    };
    let config = b"arch: amd64\nrootfs: local:100/x.raw,size=4G\nlxc.seccomp.profile: /x\n";
    let guest = Guest {
        vmid: "100".parse().unwrap(),
        config: &ContainerConfig::parse(config),
        oci: &OciConfig::default(),
        rootfs: Path::new("/r"),
        cgroup: "lxc/100/ns".into(),
        terminal: false,
        policy: &Policy::default(),
        nodes: &[],
        exists: |_| true,
        ttys: &[],
        seccomp: Some(&profile),
    };
    bundle::spec(&guest, &facts).expect("a profile that was taken has its place in a bundle");
});
