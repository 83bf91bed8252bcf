//! Limits that PVE's config has no key for: lines of the OCI file, read, written, and as files of the
//! container's cgroup. A request names them as the file does.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroU64;

use super::limits::Setting;
use super::portable::THROTTLES;
use super::resources::MIB;
use crate::oci_config::OciConfig;

/// The kernel's `PID_MAX_LIMIT`: it takes no higher limit.
pub(super) const MOST_PIDS: u32 = 4 << 20;
const WEIGHTS: std::ops::RangeInclusive<u16> = 1..=10_000;
/// The kernel's, of each cgroup.
const WEIGHT: u16 = 100;
/// A number of a device is of 12 and 20 bits.
const MOST_MAJOR: u32 = (1 << 12) - 1;
const MOST_MINOR: u32 = (1 << 20) - 1;

/// A key of the OCI file that is a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LimitKey {
    Pids,
    IoWeight,
    IoMax,
    HugePages,
}

impl LimitKey {
    pub const ALL: [Self; 4] = [Self::Pids, Self::IoWeight, Self::IoMax, Self::HugePages];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pids => "pids",
            Self::IoWeight => "io-weight",
            Self::IoMax => "io-max",
            Self::HugePages => "hugepages",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.as_str() == name)
    }

    /// What a value must be.
    fn expected(self) -> &'static str {
        match self {
            Self::Pids => "a number of processes from 1 to 4194304",
            Self::IoWeight => "from 1 to 10000",
            Self::IoMax => {
                "MAJOR:MINOR of a device with limits of rbps, wbps, riops or wiops, which are at least 1"
            }
            Self::HugePages => "a page size and MiB, like '2M=64'",
        }
    }
}

impl fmt::Display for LimitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The message does not name the key: whoever tells it has its own form for that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{value}' is not {}", .key.expected())]
pub struct LimitError {
    pub key: LimitKey,
    value: String,
}

/// As the kernel prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceNumber {
    major: u32,
    minor: u32,
}

impl DeviceNumber {
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once(':')?;
        let (major, minor) = (digits(major)?, digits(minor)?);
        (major <= MOST_MAJOR && minor <= MOST_MINOR).then_some(Self { major, minor })
    }
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// In the order of `THROTTLES`; `None` is no limit.
type Rates = [Option<NonZeroU64>; THROTTLES.len()];

/// The kernel's units go by size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Unit {
    K,
    M,
    G,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PageSize {
    unit: Unit,
    number: u32,
}

impl PageSize {
    fn parse(text: &str) -> Option<Self> {
        let units = [('K', Unit::K), ('M', Unit::M), ('G', Unit::G)];
        units.into_iter().find_map(|(letter, unit)| {
            let number = digits(text.strip_suffix(letter)?).filter(|number| *number > 0)?;
            Some(Self { unit, number })
        })
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.number, self.unit)
    }
}

/// Without a sign, which Rust's own parsers take.
fn digits<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// What a container has of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnLimits {
    pids: Option<u32>,
    io_weight: Option<u16>,
    io_max: BTreeMap<DeviceNumber, Rates>,
    /// MiB.
    hugepages: BTreeMap<PageSize, u64>,
}

impl OwnLimits {
    pub fn read(oci: &OciConfig) -> Result<Self, LimitError> {
        let mut limits = Self::default();
        for key in [LimitKey::Pids, LimitKey::IoWeight] {
            oci.get(key.as_str()).map_or(Ok(()), |value| limits.add(key, value))?;
        }
        for key in [LimitKey::IoMax, LimitKey::HugePages] {
            oci.all(key.as_str()).try_for_each(|value| limits.add(key, value))?;
        }
        Ok(limits)
    }

    /// One line of the file, or one value of a request: a limit that is there already gives way.
    pub fn add(&mut self, key: LimitKey, text: &str) -> Result<(), LimitError> {
        let taken = match key {
            LimitKey::Pids => {
                digits(text).filter(|most| (1..=MOST_PIDS).contains(most)).map(|most| {
                    self.pids = Some(most);
                })
            }
            LimitKey::IoWeight => {
                digits(text).filter(|weight| WEIGHTS.contains(weight)).map(|weight| {
                    self.io_weight = Some(weight);
                })
            }
            LimitKey::IoMax => self.add_io_max(text),
            LimitKey::HugePages => text.split_once('=').and_then(|(page, mib)| {
                let (page, mib) = (PageSize::parse(page)?, digits(mib)?);
                self.hugepages.insert(page, mib);
                Some(())
            }),
        };
        taken.ok_or_else(|| LimitError { key, value: text.to_owned() })
    }

    /// `8:0 rbps=1048576 wiops=100`, as the kernel reads it, or the same as a property string.
    fn add_io_max(&mut self, text: &str) -> Option<()> {
        let (mut device, mut given) = (None, Vec::new());
        let parts = text.split(|c: char| c == ',' || c.is_whitespace());
        for part in parts.filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or(("device", part));
            if name == "device" {
                let number = DeviceNumber::parse(value)?;
                device.replace(number).is_none().then_some(())?;
                continue;
            }
            let at = THROTTLES.iter().position(|(known, _)| *known == name)?;
            let rate = if value == "max" { None } else { Some(digits(value)?) };
            given.push((at, rate));
        }
        let device = device.filter(|_| !given.is_empty())?;
        let rates = self.io_max.entry(device).or_default();
        for (at, rate) in given {
            rates[at] = rate;
        }
        self.io_max.retain(|_, rates| rates.iter().any(Option::is_some));
        Some(())
    }

    pub fn pids(&self) -> Option<u32> {
        self.pids
    }

    pub fn io_weight(&self) -> Option<u16> {
        self.io_weight
    }

    /// As lines of the file: at most one of `pids` and `io-weight`.
    pub fn values(&self, key: LimitKey) -> Vec<String> {
        match key {
            LimitKey::Pids => self.pids.iter().map(u32::to_string).collect(),
            LimitKey::IoWeight => self.io_weight.iter().map(u16::to_string).collect(),
            LimitKey::IoMax => {
                self.io_max.iter().map(|(device, rates)| line(*device, rates, None)).collect()
            }
            LimitKey::HugePages => {
                self.hugepages.iter().map(|(page, mib)| format!("{page}={mib}")).collect()
            }
        }
    }

    /// Puts what is here in the place of all that the file says of the key.
    pub fn write(&self, key: LimitKey, oci: &mut OciConfig) {
        *oci = oci.without(key.as_str());
        self.values(key).iter().for_each(|value| oci.add(key.as_str(), value));
    }

    /// For a cgroup that is new.
    pub(super) fn settings(&self, key: LimitKey) -> Vec<Setting> {
        let of = |file: &str| {
            self.values(key).iter().map(|value| Setting::of_file(file, value)).collect()
        };
        match key {
            LimitKey::Pids => of("pids.max"),
            LimitKey::IoWeight => of("io.weight"),
            LimitKey::IoMax => of("io.max"),
            LimitKey::HugePages => {
                self.hugepages.iter().map(|(page, mib)| huge(*page, Some(*mib))).collect()
            }
        }
    }

    /// For a cgroup that has what `before` says: what is not here any more has no limit. A device that
    /// went away took its limits along, and the kernel takes none for it.
    pub fn change(
        &self,
        key: LimitKey,
        before: &Self,
        is_there: impl Fn(DeviceNumber) -> bool,
    ) -> Vec<Setting> {
        match key {
            LimitKey::Pids => {
                let value = self.pids.map_or_else(|| "max".to_owned(), |most| most.to_string());
                vec![Setting::of_file("pids.max", &value)]
            }
            LimitKey::IoWeight => {
                let weight = self.io_weight.unwrap_or(WEIGHT).to_string();
                vec![Setting::of_file("io.weight", &weight)]
            }
            LimitKey::IoMax => {
                let gone = before.io_max.keys().filter(|device| !self.io_max.contains_key(device));
                let gone = gone.filter(|device| is_there(**device));
                let gone = gone.map(|device| line(*device, &Rates::default(), Some("max")));
                let rest =
                    self.io_max.iter().map(|(device, rates)| line(*device, rates, Some("max")));
                gone.chain(rest).map(|line| Setting::of_file("io.max", &line)).collect()
            }
            LimitKey::HugePages => {
                let pages: BTreeSet<_> =
                    before.hugepages.keys().chain(self.hugepages.keys()).collect();
                pages
                    .into_iter()
                    .map(|page| huge(*page, self.hugepages.get(page).copied()))
                    .collect()
            }
        }
    }
}

/// A rate without a limit is left out, unless there is a word for it.
fn line(device: DeviceNumber, rates: &Rates, none: Option<&str>) -> String {
    let mut line = device.to_string();
    for ((name, _), rate) in THROTTLES.iter().zip(rates) {
        match (rate, none) {
            (Some(rate), _) => line += &format!(" {name}={rate}"),
            (None, Some(none)) => line += &format!(" {name}={none}"),
            (None, None) => {}
        }
    }
    line
}

fn huge(page: PageSize, mib: Option<u64>) -> Setting {
    let limit = mib.map_or_else(|| "max".to_owned(), |mib| mib.saturating_mul(MIB).to_string());
    Setting::of_file(&format!("hugetlb.{page}B.max"), &limit)
}
