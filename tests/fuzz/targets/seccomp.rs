//! A file of system call rules in LXC's format: never a panic, a message of one short line, and what is
//! taken makes a bundle.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pve_integration::bundle::{self, Guest, SeccompProfile};
use pve_integration::ct_config::ContainerConfig;
use pve_integration::host::HostFacts;

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
    let config = ContainerConfig::parse(config);
    let guest = Guest { seccomp: Some(&profile), ..Guest::for_tests(&config) };
    bundle::spec(&guest, &facts).expect("a profile that was taken has its place in a bundle");
});
