//! `rootfs` and `mpN`.

use std::path::PathBuf;

use openapi::VolumeId;

use super::{PropertyList, ValueError};

/// Where a mount point's content comes from; PVE tells by how the text begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountSource {
    Volume(VolumeId),
    Bind(PathBuf),
    Device(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountPoint {
    pub source: MountSource,
    /// Where it goes inside the container; `/` for the rootfs.
    pub mp: PathBuf,
    /// Bytes.
    pub size: Option<u64>,
    pub acl: Option<bool>,
    pub mountoptions: Vec<String>,
    pub ro: bool,
    pub quota: bool,
    pub replicate: Option<bool>,
    pub shared: bool,
    pub backup: Option<bool>,
    pub keepattrs: bool,
    pub idmap: Option<String>,
}

impl MountPoint {
    /// `key` is `rootfs` or `mpN`: only the latter has (and needs) `mp`, `backup` and `keepattrs`.
    pub fn parse(key: &str, value: &str) -> Result<Self, ValueError> {
        let mut list = PropertyList::parse(key, value, Some("volume"))?;
        let volume = list.required("volume")?;
        let source = match volume {
            device if device.starts_with("/dev/") => MountSource::Device(device.into()),
            bind if bind.starts_with('/') => MountSource::Bind(bind.into()),
            id => {
                let invalid = |err| list.error("volume", &format!("invalid format - {err}"));
                MountSource::Volume(id.parse().map_err(invalid)?)
            }
        };
        let is_rootfs = key == "rootfs";
        let mp = if is_rootfs { "/" } else { list.required("mp")? };
        let size = match list.text("size") {
            None => None,
            Some(text) => {
                let wrong = || list.error("size", "invalid format - value does not look valid");
                Some(disk_size(text).ok_or_else(wrong)?)
            }
        };
        let options = list.text("mountoptions").unwrap_or_default();
        let point = Self {
            source,
            mp: mp.into(),
            size,
            acl: list.flag("acl")?,
            mountoptions: options.split(';').filter(|o| !o.is_empty()).map(str::to_owned).collect(),
            ro: list.flag("ro")?.unwrap_or(false),
            quota: list.flag("quota")?.unwrap_or(false),
            replicate: list.flag("replicate")?,
            shared: list.flag("shared")?.unwrap_or(false),
            backup: if is_rootfs { None } else { list.flag("backup")? },
            keepattrs: !is_rootfs && list.flag("keepattrs")?.unwrap_or(false),
            idmap: list.text("idmap").map(str::to_owned),
        };
        list.finish()?;
        Ok(point)
    }

    pub fn volume(&self) -> Option<&VolumeId> {
        match &self.source {
            MountSource::Volume(volume) => Some(volume),
            MountSource::Bind(_) | MountSource::Device(_) => None,
        }
    }
}

/// `8G`, `512M`, `1.5T`, or bytes (`PVE::JSONSchema::parse_size`).
fn disk_size(text: &str) -> Option<u64> {
    let (number, unit) = match text.char_indices().last()? {
        (at, 'K') => (&text[..at], 10),
        (at, 'M') => (&text[..at], 20),
        (at, 'G') => (&text[..at], 30),
        (at, 'T') => (&text[..at], 40),
        _ => (text, 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let unit = 1_u128 << unit;
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let bytes = whole.parse::<u128>().ok()?.checked_mul(unit)?
        + fraction.parse::<u128>().ok()? * unit / scale;
    u64::try_from(bytes).ok()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rstest::rstest;

    use super::*;

    #[test]
    fn reads_a_rootfs() {
        let point =
            MountPoint::parse("rootfs", "local:100/vm-100-disk-0.raw,ro=1,size=4G").unwrap();

        assert_eq!(point.volume().unwrap().to_string(), "local:100/vm-100-disk-0.raw");
        assert_eq!(
            (point.size, point.ro, point.mp.as_path()),
            (Some(4 << 30), true, Path::new("/"))
        );
    }

    #[rstest]
    #[case("/dev/sdb,mp=/x", MountSource::Device("/dev/sdb".into()))]
    #[case("volume=/srv/data,mp=/x", MountSource::Bind("/srv/data".into()))]
    fn tells_sources_apart(#[case] value: &str, #[case] source: MountSource) {
        assert_eq!(MountPoint::parse("mp0", value).unwrap().source, source);
    }

    #[rstest]
    #[case::no_target("mp0", "local:1/x")]
    #[case::no_volume("rootfs", "size=4G")]
    #[case::no_volume_id("rootfs", "nocolon")]
    #[case::misspelt("rootfs", "local:1/x,readonly=1")]
    #[case::not_of_rootfs("rootfs", "local:1/x,mp=/x")]
    #[case::twice("rootfs", "local:1/x,ro=1,ro=0")]
    #[case::size("rootfs", "local:1/x,size=4Q")]
    fn refuses(#[case] key: &str, #[case] value: &str) {
        assert_eq!(MountPoint::parse(key, value).unwrap_err().key, key);
    }

    #[rstest]
    #[case("1024", Some(1024))]
    #[case("1.5K", Some(1536))]
    #[case("8T", Some(8 << 40))]
    #[case("G", None)]
    #[case("é", None)]
    #[case("99999999999999999999T", None)]
    fn reads_sizes(#[case] text: &str, #[case] bytes: Option<u64>) {
        assert_eq!(disk_size(text), bytes);
    }
}
