//! Limits that PVE's config has no key for: lines of the OCI file, read, written, and as files of the
//! container's cgroup. A request names them as the file does.

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn limits(text: &str) -> OwnLimits {
        OwnLimits::read(&OciConfig::parse(text)).unwrap()
    }

    fn told(settings: &[Setting]) -> Vec<String> {
        settings.iter().map(|setting| format!("{} {}", setting.file, setting.value)).collect()
    }

    const ALL: &str = "pids: 40\nio-weight: 50\nio-max: 8:16 wiops=7\nio-max: 8:0 rbps=1 wbps=2\n\
        hugepages: 1G=1024\nhugepages: 2M=64\n";

    #[test]
    fn a_start_sets_what_the_file_says() {
        let limits = limits(ALL);
        let all: Vec<_> = LimitKey::ALL.iter().flat_map(|key| limits.settings(*key)).collect();
        assert_eq!(
            told(&all),
            [
                "pids.max 40",
                "io.weight 50",
                "io.max 8:0 rbps=1 wbps=2",
                "io.max 8:16 wiops=7",
                "hugetlb.2MB.max 67108864",
                "hugetlb.1GB.max 1073741824",
            ]
        );
    }

    #[rstest]
    #[case("pids: 1\npids: 7\n", "pids: 7\n")]
    #[case("io-max: 8:0 rbps=1 wiops=2\nio-max: 8:0 rbps=max\n", "io-max: 8:0 wiops=2\n")]
    #[case("io-max: 8:0 rbps=max\nio-max: 8:16 wiops=max\n", "")]
    #[case("io-max: wiops=2,device=008:0\n", "io-max: 8:0 wiops=2\n")]
    #[case("hugepages: 2M=64\nhugepages: 2M=2\n", "hugepages: 2M=2\n")]
    fn a_later_line_counts(#[case] text: &str, #[case] same_as: &str) {
        assert_eq!(limits(text), limits(same_as));
    }

    /// A limit that is gone from the file would otherwise hold until the next start.
    #[test]
    fn a_running_container_loses_what_is_not_there_any_more() {
        let (before, none) = (limits(ALL), OwnLimits::default());
        let told = |after: &OwnLimits| -> Vec<String> {
            let change = |key: &LimitKey| self::told(&after.change(*key, &before, |_| true));
            LimitKey::ALL.iter().flat_map(change).collect()
        };
        assert_eq!(
            told(&none),
            [
                "pids.max max",
                "io.weight 100",
                "io.max 8:0 rbps=max wbps=max riops=max wiops=max",
                "io.max 8:16 rbps=max wbps=max riops=max wiops=max",
                "hugetlb.2MB.max max",
                "hugetlb.1GB.max max",
            ]
        );
        assert_eq!(
            told(&limits("pids: 9\nio-max: 8:0 riops=5\nhugepages: 2M=1\n"))[2..],
            [
                "io.max 8:16 rbps=max wbps=max riops=max wiops=max",
                "io.max 8:0 rbps=max wbps=max riops=5 wiops=max",
                "hugetlb.2MB.max 1048576",
                "hugetlb.1GB.max max",
            ]
        );
        assert_eq!(none.change(LimitKey::IoMax, &before, |_| false), []);
    }

    #[rstest]
    #[case("pids", "0", "'0' is not a number of processes from 1 to 4194304")]
    #[case("pids", "4194305", "'4194305' is not a number of processes from 1 to 4194304")]
    #[case("pids", "+5", "'+5' is not a number of processes from 1 to 4194304")]
    #[case("pids", "max", "'max' is not a number of processes from 1 to 4194304")]
    #[case("io-weight", "0", "'0' is not from 1 to 10000")]
    #[case("io-weight", "10001", "'10001' is not from 1 to 10000")]
    #[case("io-max", "8:0", "'8:0' is not MAJOR:MINOR")]
    #[case("io-max", "rbps=1", "'rbps=1' is not MAJOR:MINOR")]
    #[case("io-max", "8:0 8:1 rbps=1", "'8:0 8:1 rbps=1' is not MAJOR:MINOR")]
    #[case("io-max", "8:0 rbps=0", "'8:0 rbps=0' is not MAJOR:MINOR")]
    #[case("io-max", "4096:0 rbps=1", "'4096:0 rbps=1' is not MAJOR:MINOR")]
    #[case("io-max", "8:0 speed=1", "'8:0 speed=1' is not MAJOR:MINOR")]
    #[case("hugepages", "2M", "'2M' is not a page size and MiB")]
    #[case("hugepages", "0M=1", "'0M=1' is not a page size and MiB")]
    #[case("hugepages", "2T=1", "'2T=1' is not a page size and MiB")]
    #[case("hugepages", "é=1", "'é=1' is not a page size and MiB")]
    fn refuses_what_is_no_limit(#[case] key: &str, #[case] value: &str, #[case] why: &str) {
        let key = LimitKey::named(key).unwrap();
        let mut limits = OwnLimits::default();
        let err = limits.add(key, value).unwrap_err();
        assert_eq!(err.key, key);
        assert!(err.to_string().starts_with(why), "{err}");
        assert_eq!(limits, OwnLimits::default());
    }

    fn any_line() -> impl Strategy<Value = String> {
        prop_oneof![
            "(pids|io-weight): [0-9]{1,5}",
            "io-max: [0-9]{1,2}:[0-9]{1,2}( (rbps|wbps|riops|wiops)=(max|[1-9][0-9]{0,18})){1,4}",
            "hugepages: [1-9][0-9]{0,2}[KMG]=[0-9]{1,20}",
            "(pids|io-weight|io-max|hugepages|x): [ -~é]{0,20}",
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(lines in proptest::collection::vec(any_line(), 0..8)) {
            let mut oci = OciConfig::parse(&lines.join("\n"));
            let mut limits = OwnLimits::default();
            for key in LimitKey::ALL {
                oci.all(key.as_str()).for_each(|value| drop(limits.add(key, value)));
            }
            for key in LimitKey::ALL {
                limits.write(key, &mut oci);
            }
            prop_assert_eq!(OwnLimits::read(&oci), Ok(limits));
            let others = |line: &&String| line.starts_with("x:");
            let before: Vec<_> = lines.iter().filter(others).map(|line| line.as_str()).collect();
            let text = oci.to_string();
            let after: Vec<_> = text.lines().filter(|line| line.starts_with("x:")).collect();
            prop_assert_eq!(after, before);
        }
    }
}
