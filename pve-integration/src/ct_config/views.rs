//! Typed views of a section: what a key means, with PVE's default where it is not set.

use std::str::FromStr;

use super::property_list::{PropertyList, boolean};
use super::{ContainerConfig, Device, FsType, MountPoint, Net, Section, ValueError};
use crate::setup::UNMANAGED;

/// What PVE starts if nothing else is said.
pub const INIT: &str = "/sbin/init";
/// `tty` where it is not set, as PVE.
pub(crate) const TTYS: u32 = 2;
const MOST_TTYS: u32 = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    Amd64,
    I386,
    Arm64,
    Armhf,
    Riscv32,
    Riscv64,
}

impl Arch {
    /// PVE's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::I386 => "i386",
            Self::Arm64 => "arm64",
            Self::Armhf => "armhf",
            Self::Riscv32 => "riscv32",
            Self::Riscv64 => "riscv64",
        }
    }

    pub fn is_32bit(self) -> bool {
        matches!(self, Self::I386 | Self::Armhf | Self::Riscv32)
    }
}

impl FromStr for Arch {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        use Arch::{Amd64, Arm64, Armhf, I386, Riscv32, Riscv64};

        let all = [Amd64, I386, Arm64, Armhf, Riscv32, Riscv64];
        let wrong = || {
            ValueError::new(
                "arch",
                format!(
                    "value '{text}' does not have a value in the enumeration 'amd64, i386, arm64, armhf, riscv32, riscv64'"
                ),
            )
        };
        all.into_iter().find(|arch| arch.as_str() == text).ok_or_else(wrong)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    pub nesting: bool,
    pub keyctl: bool,
    pub fuse: bool,
    pub mknod: bool,
    pub force_rw_sys: bool,
    /// Filesystem types that may be mounted.
    pub mount: Vec<FsType>,
}

impl Section {
    /// A number as PVE's parser takes it; `None` where the key is not set.
    pub fn integer<T: FromStr>(&self, key: &str) -> Result<Option<T>, ValueError> {
        let Some(text) = self.get(key) else { return Ok(None) };
        let wrong =
            || ValueError::new(key, format!("type check ('integer') failed - got '{text}'"));
        // `from_str` would take "+512", which PVE's `^-?\d+$` does not.
        if text.starts_with('+') {
            Err(wrong())
        } else {
            text.parse().map(Some).map_err(|_| wrong())
        }
    }

    pub fn number(&self, key: &str) -> Result<Option<f64>, ValueError> {
        let Some(text) = self.get(key) else { return Ok(None) };
        let wrong = || ValueError::new(key, format!("type check ('number') failed - got '{text}'"));
        let value: f64 = text.parse().map_err(|_| wrong())?;
        // PVE's pattern knows neither "inf" nor "NaN".
        if value.is_finite() { Ok(Some(value)) } else { Err(wrong()) }
    }

    pub fn boolean(&self, key: &str) -> Result<Option<bool>, ValueError> {
        let Some(text) = self.get(key) else { return Ok(None) };
        let wrong =
            || ValueError::new(key, format!("type check ('boolean') failed - got '{text}'"));
        boolean(text).map(Some).ok_or_else(wrong)
    }

    fn is_set(&self, key: &str) -> bool {
        self.get(key).and_then(boolean).unwrap_or(false)
    }

    /// MiB. For display; a start refuses what is no number.
    pub fn memory(&self) -> u64 {
        self.integer("memory").ok().flatten().unwrap_or(512)
    }

    /// MiB. For display, as `memory`.
    pub fn swap(&self) -> u64 {
        self.integer("swap").ok().flatten().unwrap_or(0)
    }

    pub fn cores(&self) -> Option<u32> {
        self.integer("cores").ok().flatten()
    }

    /// `None` for no limit, which PVE also writes as 0.
    pub fn cpulimit(&self) -> Option<f64> {
        self.number("cpulimit").ok().flatten().filter(|limit| *limit > 0.0)
    }

    pub fn cpuunits(&self) -> Option<u64> {
        self.integer("cpuunits").ok().flatten()
    }

    pub fn hostname(&self) -> Option<&str> {
        self.get("hostname")
    }

    pub fn arch(&self) -> Result<Arch, ValueError> {
        self.get("arch").unwrap_or("amd64").parse()
    }

    pub fn ostype(&self) -> Option<&str> {
        self.get("ostype")
    }

    /// Its distribution is known by name, so that its files can be written.
    pub fn has_distribution(&self) -> bool {
        self.ostype().is_some_and(|ostype| ostype != UNMANAGED)
    }

    pub fn lock(&self) -> Option<&str> {
        self.get("lock")
    }

    pub fn description(&self) -> Option<&str> {
        self.get("description")
    }

    pub fn unprivileged(&self) -> bool {
        self.is_set("unprivileged")
    }

    pub fn template(&self) -> bool {
        self.is_set("template")
    }

    pub fn protection(&self) -> bool {
        self.is_set("protection")
    }

    pub fn onboot(&self) -> bool {
        self.is_set("onboot")
    }

    pub fn rootfs(&self) -> Result<MountPoint, ValueError> {
        let missing = || ValueError::new("rootfs", "property is missing and it is not optional");
        MountPoint::parse("rootfs", self.get("rootfs").ok_or_else(missing)?)
    }

    /// `mpN` by number, each with its key.
    pub fn mount_points(&self) -> Vec<(&str, Result<MountPoint, ValueError>)> {
        let mut keys = self.indexed("mp");
        keys.drain(..).map(|(key, value)| (key, MountPoint::parse(key, value))).collect()
    }

    /// `netN` by number, each with its key.
    pub fn nets(&self) -> Vec<(&str, Result<Net, ValueError>)> {
        let mut keys = self.indexed("net");
        keys.drain(..).map(|(key, value)| (key, Net::parse(key, value))).collect()
    }

    /// `devN` by number, each with its key.
    pub fn devices(&self) -> Vec<(&str, Result<Device, ValueError>)> {
        let mut keys = self.indexed("dev");
        keys.drain(..).map(|(key, value)| (key, Device::parse(key, value))).collect()
    }

    /// How many terminals beside the console there are. A program of its own has no use for them.
    pub fn ttys(&self) -> Result<u32, ValueError> {
        let default = if self.is_application() { 0 } else { TTYS };
        let ttys = self.integer("tty")?.unwrap_or(default);
        if ttys > MOST_TTYS {
            let reason = format!("value must have a maximum value of {MOST_TTYS}");
            return Err(ValueError::new("tty", reason));
        }
        Ok(ttys)
    }

    /// The command line of the first process.
    pub fn entrypoint(&self) -> &str {
        self.get("entrypoint").unwrap_or(INIT)
    }

    /// Runs one program of its own instead of an init system.
    pub fn is_application(&self) -> bool {
        self.entrypoint().split_whitespace().next() != Some(INIT)
    }

    /// An init system wants a console it can open; a program of its own wants clean pipes.
    pub fn has_terminal(&self) -> bool {
        !self.is_application() && self.get("console") != Some("0")
    }

    /// `NAME=value` each.
    pub fn env(&self) -> Vec<&str> {
        self.get("env").unwrap_or_default().split('\0').filter(|v| !v.is_empty()).collect()
    }

    pub fn features(&self) -> Result<Features, ValueError> {
        let mut list =
            PropertyList::parse("features", self.get("features").unwrap_or_default(), None)?;
        let mount = list.text("mount").unwrap_or_default();
        let features = Features {
            nesting: list.flag("nesting")?.unwrap_or(false),
            keyctl: list.flag("keyctl")?.unwrap_or(false),
            fuse: list.flag("fuse")?.unwrap_or(false),
            mknod: list.flag("mknod")?.unwrap_or(false),
            force_rw_sys: list.flag("force_rw_sys")?.unwrap_or(false),
            // As PVE's `split_list`.
            mount: mount
                .split([';', ' '])
                .filter(|kind| !kind.is_empty())
                .map(str::parse)
                .collect::<Result<_, _>>()?,
        };
        list.finish()?;
        Ok(features)
    }

    /// The volume ids that `rootfs` and the mount points use.
    pub fn volumes(&self) -> Vec<String> {
        let points = self.mount_points().into_iter().map(|(_, point)| point);
        let volume = |point: MountPoint| point.volume().map(ToString::to_string);
        std::iter::once(self.rootfs()).chain(points).filter_map(|p| volume(p.ok()?)).collect()
    }

    /// `prefix0`, `prefix1`... by number: sorted as text, `mp10` would come before `mp2`.
    fn indexed(&self, prefix: &str) -> Vec<(&str, &str)> {
        let number = |key: &str| key.strip_prefix(prefix).and_then(|n| n.parse::<u32>().ok());
        let mut found: Vec<_> = self.iter().filter(|(key, _)| number(key).is_some()).collect();
        found.sort_by_key(|(key, _)| number(key));
        found
    }
}

macro_rules! of_the_main_section {
    ($($name:ident -> $type:ty),* $(,)?) => {
        impl ContainerConfig {
            $(pub fn $name(&self) -> $type { self.current().$name() })*
        }
    };
}

of_the_main_section!(
    memory -> u64,
    swap -> u64,
    cores -> Option<u32>,
    cpulimit -> Option<f64>,
    cpuunits -> Option<u64>,
    hostname -> Option<&str>,
    arch -> Result<Arch, ValueError>,
    ostype -> Option<&str>,
    lock -> Option<&str>,
    description -> Option<&str>,
    unprivileged -> bool,
    template -> bool,
    protection -> bool,
    onboot -> bool,
    rootfs -> Result<MountPoint, ValueError>,
    mount_points -> Vec<(&str, Result<MountPoint, ValueError>)>,
    nets -> Vec<(&str, Result<Net, ValueError>)>,
    devices -> Vec<(&str, Result<Device, ValueError>)>,
    entrypoint -> &str,
    is_application -> bool,
    has_terminal -> bool,
    has_distribution -> bool,
    ttys -> Result<u32, ValueError>,
    env -> Vec<&str>,
    features -> Result<Features, ValueError>,
);
