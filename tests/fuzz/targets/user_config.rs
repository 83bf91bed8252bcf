//! user.cfg: what was written from a parsed file is read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pve_integration::access::UserConfig;

fuzz_target!(|text: &str| {
    let written = UserConfig::parse(text).to_string();
    assert_eq!(UserConfig::parse(&written).to_string(), written);
});
