//! An OCI file with whatever limits: never a panic, and what is written again says the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pve_integration::bundle::{LimitKey, OwnLimits};
use pve_integration::oci_config::OciConfig;

fuzz_target!(|text: &str| {
    let mut oci = OciConfig::parse(text);
    let Ok(limits) = OwnLimits::read(&oci) else { return };
    for key in LimitKey::ALL {
        limits.write(key, &mut oci);
    }
    assert_eq!(OwnLimits::read(&oci), Ok(limits));
});
