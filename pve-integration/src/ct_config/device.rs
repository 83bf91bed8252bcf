//! `devN`: a device of the host that a container gets.

use std::path::{Component, Path, PathBuf};

use super::{PropertyList, ValueError};

/// As `PVE/LXC/Config.pm`.
const MODE: u32 = 0o660;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The same on the host and inside.
    pub path: PathBuf,
    pub mode: u32,
    /// Ids of the container.
    pub uid: u32,
    pub gid: u32,
    pub deny_write: bool,
}

impl Device {
    pub fn parse(key: &str, value: &str) -> Result<Self, ValueError> {
        let mut list = PropertyList::parse(key, value, Some("path"))?;
        let path = Path::new(list.required("path")?);
        let below = path.strip_prefix("/dev").ok().filter(|rest| {
            let mut parts = rest.components();
            parts.clone().next().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
        });
        if below.is_none() {
            return Err(list.error("path", "is no path below /dev"));
        }
        let mode = match list.text("mode") {
            None => MODE,
            Some(text) => u32::from_str_radix(text, 8)
                .ok()
                .filter(|mode| *mode <= 0o777)
                .ok_or_else(|| list.error("mode", "is no octal file mode"))?,
        };
        let device = Self {
            path: path.to_owned(),
            mode,
            uid: list.number("uid")?.unwrap_or(0),
            gid: list.number("gid")?.unwrap_or(0),
            deny_write: list.flag("deny-write")?.unwrap_or(false),
        };
        list.finish()?;
        Ok(device)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn reads_all_parts() {
        let device = Device::parse("dev0", "/dev/snd/seq,mode=0640,uid=1,gid=29,deny-write=1");

        let expected =
            Device { path: "/dev/snd/seq".into(), mode: 0o640, uid: 1, gid: 29, deny_write: true };
        assert_eq!(device.unwrap(), expected);
        assert_eq!(Device::parse("dev0", "path=/dev/null").unwrap().mode, 0o660);
    }

    #[rstest]
    #[case::elsewhere("/etc/passwd")]
    #[case::upwards("/dev/../etc/passwd")]
    #[case::the_folder("/dev/")]
    #[case::set_uid("/dev/null,mode=04755")]
    #[case::misspelt("/dev/null,denywrite=1")]
    fn refuses(#[case] value: &str) {
        assert_eq!(Device::parse("dev3", value).unwrap_err().key, "dev3");
    }
}
