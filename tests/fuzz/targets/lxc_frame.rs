//! Requests and payloads on LXC's command socket, as a hostile client might send them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lxc_protocol::wire;

fuzz_target!(|bytes: &[u8]| {
    let mut frames = wire::Inbox::default();
    for chunk in bytes.chunks(7) {
        frames.push(chunk);
        if frames.take().is_err() {
            break;
        }
    }
    let _states = wire::decode_wanted(bytes);
    let _controller = wire::decode_cgroup_fd(bytes);
    let _text = wire::text(bytes);
});
