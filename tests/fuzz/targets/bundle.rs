//! Somebody's config.json: never a panic, and a config that a start would take or a reason why not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pve_integration::bundle::reverse;
use pve_integration::ct_config::ContainerConfig;
use pve_integration::host::HostFacts;

fuzz_target!(|text: &str| {
    let Ok(made) = reverse(text, &HostFacts::for_tests()) else { return };
    let mut config = ContainerConfig::default();
    made.add_raw(&mut config);
    for (key, value) in &made.keys {
        config.set(key, value.as_str());
    }
    let read = ContainerConfig::parse(&config.to_bytes());
    assert_eq!(read.current().lxc(), config.current().lxc(), "raw lines do not stand as written");
    for (key, value) in &made.keys {
        assert_eq!(read.get(key), Some(value.as_str()), "{key} does not stand as written");
    }
});
