//! Property strings of network, mount point and feature keys: what is parsed can be printed, and
//! says the same when it is parsed again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openapi::property_string::{parse, print};
use openapi::schema::config_key;

fuzz_target!(|text: &str| {
    for key in ["net0", "mp0", "rootfs", "features", "dev0", "startup"] {
        let Some(keys) = config_key(key).and_then(|p| p.format.as_ref()?.keys()) else { continue };
        let Ok(values) = parse(keys, text) else { continue };
        if let Ok(printed) = print(keys, &values) {
            let again = parse(keys, &printed).expect("what was printed can be parsed");
            assert_eq!(print(keys, &again).as_ref(), Ok(&printed));
        }
    }
});
