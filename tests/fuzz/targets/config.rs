//! A container config: never a panic, the same bytes back, and whatever it says a bundle or an error.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use pve_integration::bundle::{self, Guest};
use pve_integration::ct_config::ContainerConfig;
use pve_integration::host::HostFacts;
use pve_integration::oci_config::OciConfig;
use pve_integration::policy::Policy;

fuzz_target!(|bytes: &[u8]| {
    let config = ContainerConfig::parse(bytes);
    assert_eq!(config.to_bytes(), bytes, "an unchanged config came back changed");
    let guest = Guest {
        vmid: "100".parse().unwrap(),
        config: &config,
        oci: &OciConfig::default(),
        rootfs: Path::new("/r"),
        cgroup: "lxc/100/ns".into(),
        terminal: false,
        policy: &Policy::default(),
        nodes: &[],
        exists: |_| true,
        ttys: &[],
        seccomp: None,
    };
    if let Ok(bundle) = bundle::spec(&guest, &HostFacts::for_tests()) {
        let text = bundle::to_json(&bundle.spec);
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
    }
});
