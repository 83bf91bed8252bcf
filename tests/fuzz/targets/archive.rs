//! An archive as somebody sends it: packed in any way that is read, with tar inside. Never a panic,
//! and no more memory than a block of it takes.
#![no_main]

use libfuzzer_sys::fuzz_target;

const LZOP: &[u8] = b"\x89LZO\0\r\n\x1a\n";

fuzz_target!(|bytes: &[u8]| {
    drop(images::find(bytes, &["etc/vzdump/pct.conf"], 4096));
    // The one that is unpacked here, not in a library.
    drop(images::find(&[LZOP, bytes].concat()[..], &["etc/vzdump/pct.conf"], 4096));
});
