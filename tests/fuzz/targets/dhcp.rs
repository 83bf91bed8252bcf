//! Answers to a container's DHCP client, as a hostile neighbour might send them.
#![no_main]

use dhcp::{Identity, Moment, frame, routers, v4, v6};
use libfuzzer_sys::fuzz_target;

fn identity() -> Identity {
    Identity { mac: [2, 0, 0, 0, 0, 9], hostname: None, random: || 7 }
}

fuzz_target!(|bytes: &[u8]| {
    let mut four = v4::Client::new(identity(), None, Moment::ZERO);
    let mut six = v6::Client::new(identity(), None, Moment::ZERO);
    let mut routers = routers::Client::new(Moment::ZERO);
    let mut now = Moment::ZERO;
    for message in bytes.chunks(400) {
        four.tick(now);
        six.tick(now);
        routers.tick(now);
        let _packet = frame::to_client(message);
        let _steps = routers.receive(message, now);
        let _options = routers::of_kernel(message, 1);
        let _steps = four.receive(message, now);
        let _steps = six.receive(message, now);
        // What a good message has at its beginning no mutation finds.
        let mut answer = [&[2, 1, 6, 0, 0, 0, 0, 7][..], &[0; 20], &[2, 0, 0, 0, 0, 9]].concat();
        answer[16..20].copy_from_slice(&[10, 0, 0, 9]);
        answer.resize(236, 0);
        answer.extend([99, 130, 83, 99]);
        answer.extend(message);
        let _steps = four.receive(&answer, now);
        for kind in [2, 7] {
            let client = [0, 1, 0, 10, 0, 3, 0, 1, 2, 0, 0, 0, 0, 9];
            let answer = [&[kind, 0, 0, 7], &client[..], &[0, 2, 0, 4, 0, 3, 0, 1], message].concat();
            let _steps = six.receive(&answer, now);
        }
        now += Moment::from_secs(bytes.len() as u64);
    }
});
