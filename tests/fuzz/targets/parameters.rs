//! A form body against the method with the most parameters.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openapi::check::{Input, check, parse_form, parse_json, why_broken};
use openapi::schema::methods;

fuzz_target!(|bytes: &[u8]| {
    let method = methods().get("POST", "/nodes/{node}/lxc").expect("PVE has it");
    let path = [("node".to_owned(), "pve1".to_owned())];
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _checked = check(method, Input { path: &path, query: Vec::new(), body: parse_form(text) });
    }
    why_broken(bytes);
    if let Ok(body) = parse_json(bytes) {
        let _checked = check(method, Input { path: &path, query: Vec::new(), body });
    }
});
