#![no_main]
//! What a stranger's archive says of the image in it.

use std::io::Cursor;

use images::oci::Layout;
use libfuzzer_sys::fuzz_target;
use pve_integration::ct_config::ContainerConfig;
use pve_integration::oci_image::{ImageConfig, Unpacked};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some(mut layout)) = Layout::open(Cursor::new(bytes)) {
        let image = layout.image(None);
        if let Ok(image) = image {
            assert!(image.digest().starts_with("sha256:"));
        }
    }
    if let Ok(config) = ImageConfig::parse(bytes) {
        let accounts = String::from_utf8_lossy(bytes);
        if let Ok(ids) = config.ids(&accounts, &accounts) {
            let mut container = ContainerConfig::default();
            let unpacked = Unpacked { config, ids, digest: String::new() };
            unpacked.apply(&mut container).ok();
        }
    }
});
