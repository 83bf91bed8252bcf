//! `/etc/network/interfaces`, which people write too: what was written is read and written as the
//! same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pve_integration::interfaces::parse;

fuzz_target!(|bytes: &[u8]| {
    let again = |bytes: &[u8]| parse(bytes, &[]).to_text(true).ok();
    // Once more: writing puts right what PVE puts right.
    let Some(text) = again(bytes).and_then(|text| again(text.as_bytes())) else { return };
    assert_eq!(again(text.as_bytes()), Some(text));
});
