//! `rootfs` and `mpN` as a request names them: a volume that is there, one that is to be made, or a
//! path of the host.

use openapi::property_string::{self, format_size};
use openapi::schema::config_key;
use openapi::{StorageId, VolumeId};
use pve_integration::ct_config::{MountPoint, MountSource};
use serde_json::Value;

use super::GuestError;
use super::change::new_size_gib;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Disk {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) source: Source,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Source {
    New {
        storage: StorageId,
        gib: f64,
    },
    Volume(VolumeId),
    /// A folder or block device of the host.
    Path,
}

impl Disk {
    pub(crate) fn parse(key: String, value: String) -> Result<Self, GuestError> {
        let source = match MountPoint::parse(&key, &value).map_err(GuestError::value)?.source {
            MountSource::Bind(_) | MountSource::Device(_) => Source::Path,
            MountSource::Volume(volume) => match new_size_gib(volume.name()) {
                Some(gib) => Source::New { storage: volume.storage().clone(), gib },
                None => Source::Volume(volume),
            },
        };
        Ok(Self { key, value, source })
    }

    pub(crate) fn storage(&self) -> Option<&StorageId> {
        match &self.source {
            Source::New { storage, .. } => Some(storage),
            Source::Volume(volume) => Some(volume.storage()),
            Source::Path => None,
        }
    }

    /// As it is stored, with a volume of so many bytes in the place of what was asked for.
    pub(super) fn with_volume(&self, volume: &VolumeId, size: &str) -> Result<String, GuestError> {
        print(&self.key, &self.value, &[("volume", &volume.to_string()), ("size", size)])
    }

    /// As it is stored.
    pub(super) fn printed(&self) -> Result<String, GuestError> {
        print(&self.key, &self.value, &[])
    }
}

/// A disk's value with another volume.
pub(super) fn with_volume(
    key: &str,
    value: &str,
    volume: &VolumeId,
    bytes: u64,
) -> Result<String, GuestError> {
    print(key, value, &[("volume", &volume.to_string()), ("size", &format_size(bytes))])
}

/// As PVE prints it, with these parts changed.
pub(super) fn print(
    key: &str,
    value: &str,
    changed: &[(&str, &str)],
) -> Result<String, GuestError> {
    let keys = config_key(key).and_then(|property| property.format.as_ref()?.keys());
    let keys = keys.expect("the method table declares rootfs and mp[n] as property strings");
    let wrong = |err: &dyn std::fmt::Display| GuestError::die(format!("{key}: {err}"));
    let mut values = property_string::parse(keys, value).map_err(|err| wrong(&err))?;
    for (name, text) in changed {
        values.insert((*name).to_owned(), Value::String((*text).to_owned()));
    }
    property_string::print(keys, &values).map_err(|err| wrong(&err))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::bare("local:4", "local:200/vm-200-disk-0.raw,size=4G")]
    #[case::options("local:4,acl=1,size=9G", "local:200/vm-200-disk-0.raw,acl=1,size=4G")]
    #[case::named("acl=1,volume=local:4", "local:200/vm-200-disk-0.raw,acl=1,size=4G")]
    fn puts_the_volume_in_place_of_its_size(#[case] value: &str, #[case] stored: &str) {
        let disk = Disk::parse("rootfs".to_owned(), value.to_owned()).unwrap();
        let volume = "local:200/vm-200-disk-0.raw".parse().unwrap();

        assert_eq!(disk.source, Source::New { storage: "local".parse().unwrap(), gib: 4.0 });
        assert_eq!(disk.with_volume(&volume, "4G").unwrap(), stored);
    }

    #[rstest]
    #[case::bind("/srv/x,mp=/data", Source::Path)]
    #[case::device("/dev/sdz,mp=/data", Source::Path)]
    #[case::there("mp=/data,local:1/vm-1-disk-0.raw", Source::Volume("local:1/vm-1-disk-0.raw".parse().unwrap()))]
    fn tells_what_is_there(#[case] value: &str, #[case] source: Source) {
        assert_eq!(Disk::parse("mp0".to_owned(), value.to_owned()).unwrap().source, source);
    }

    #[test]
    fn prints_a_disk_anew() {
        let volume = "other:200/vm-200-disk-0.raw".parse().unwrap();
        let printed = with_volume("mp0", "local:1/x,size=1G,ro=1,mp=/d", &volume, 3 << 29).unwrap();
        assert_eq!(printed, "other:200/vm-200-disk-0.raw,mp=/d,ro=1,size=1536M");
    }
}
