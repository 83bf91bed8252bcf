//! A guest's firewall file, which other programs write too: what was written is read and written as
//! the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pve_integration::firewall::{Firewall, parse, parse_cluster};

fuzz_target!(|bytes: &[u8]| {
    let cluster = parse_cluster(bytes).firewall;
    let again = |bytes: &[u8]| -> Option<String> {
        let firewall: Firewall = parse(bytes, &cluster).firewall;
        firewall.to_text().ok()
    };
    // Once more, because a rule may come before the alias it names only in what others wrote.
    let Some(text) = again(bytes).and_then(|text| again(text.as_bytes())) else { return };
    assert_eq!(again(text.as_bytes()), Some(text));
});
