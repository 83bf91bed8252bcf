//! Ids: what is taken prints as it was written.
#![no_main]

use std::fmt::Display;
use std::str::FromStr;

use libfuzzer_sys::fuzz_target;
use openapi::{AuthId, Digest, NodeName, StorageId, Upid, UserId, Vmid, VolumeId};
use pve_integration::bundle::QuotaDisk;
use pve_integration::ct_config::FsType;

fn exact<T: FromStr + Display>(text: &str) {
    if let Ok(id) = text.parse::<T>() {
        assert_eq!(id.to_string(), text);
    }
}

fuzz_target!(|text: &str| {
    exact::<Vmid>(text);
    exact::<NodeName>(text);
    exact::<StorageId>(text);
    exact::<VolumeId>(text);
    exact::<Upid>(text);
    exact::<UserId>(text);
    exact::<AuthId>(text);
    exact::<Digest>(text);
    exact::<FsType>(text);
    let _disks = QuotaDisk::of_list(text);
});
