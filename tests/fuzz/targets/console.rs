//! What a browser's terminal sends, as a hostile client might.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pve_integration::console::Inbox;

fuzz_target!(|bytes: &[u8]| {
    let mut inbox = Inbox::default();
    for chunk in bytes.chunks(5) {
        inbox.push(chunk);
        loop {
            match inbox.take() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
});
