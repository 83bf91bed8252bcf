//! A container config: never a panic, the same bytes back, and whatever it says a bundle or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pve_integration::bundle::{self, Guest};
use pve_integration::ct_config::ContainerConfig;
use pve_integration::host::HostFacts;

fuzz_target!(|bytes: &[u8]| {
    let config = ContainerConfig::parse(bytes);
    assert_eq!(config.to_bytes(), bytes, "an unchanged config came back changed");
    let guest = Guest::for_tests(&config);
    if let Ok(bundle) = bundle::spec(&guest, &HostFacts::for_tests()) {
        let text = bundle::to_json(&bundle.spec);
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
    }
});
