//! Device nodes, and who may use which.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    Linux, LinuxDevice, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType,
    LinuxIdMapping,
};

use serde::{Deserialize, Serialize};

use super::{Place, cannot, lacks};
use crate::bundle::BundleError;

const RULES: &str = "linux.resources.devices";

/// One that is made for the container and bound into it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewNode {
    pub source: PathBuf,
    /// In the container.
    pub path: PathBuf,
    pub block: bool,
    pub major: u32,
    pub minor: u32,
    pub mode: u32,
    /// The host's ids.
    pub uid: u32,
    pub gid: u32,
}

pub(super) fn nodes(linux: &Linux, place: &Place<'_>) -> Result<Vec<NewNode>, BundleError> {
    let devices = linux.devices().iter().flatten().enumerate();
    devices.map(|(number, device)| node(device, number, linux, place)).collect()
}

fn node(
    device: &LinuxDevice,
    number: usize,
    linux: &Linux,
    place: &Place<'_>,
) -> Result<NewNode, BundleError> {
    let path = device.path();
    let key = format!("linux.devices {}", path.display());
    let block = match device.typ() {
        LinuxDeviceType::B => true,
        LinuxDeviceType::C | LinuxDeviceType::U => false,
        LinuxDeviceType::P | LinuxDeviceType::A => {
            return Err(lacks(&key, "is given character and block devices alone"));
        }
    };
    let number_of = |what: i64| u32::try_from(what).map_err(|_| cannot(&key, "has no such number"));
    let outside = |maps: &Option<Vec<LinuxIdMapping>>, id: Option<u32>| {
        let id = id.unwrap_or(0);
        host_id(maps.as_deref().unwrap_or_default(), id)
            .ok_or_else(|| cannot(&key, format!("the container has no id {id}")))
    };
    Ok(NewNode {
        source: place.devices.join(number.to_string()),
        path: path.clone(),
        block,
        major: number_of(device.major())?,
        minor: number_of(device.minor())?,
        mode: device.file_mode().unwrap_or(0o666) & 0o777,
        uid: outside(linux.uid_mappings(), device.uid())?,
        gid: outside(linux.gid_mappings(), device.gid())?,
    })
}

/// Without a mapping an id is the host's.
fn host_id(maps: &[LinuxIdMapping], id: u32) -> Option<u32> {
    if maps.is_empty() {
        return Some(id);
    }
    maps.iter().find_map(|map| {
        let offset = id.checked_sub(map.container_id()).filter(|offset| *offset < map.size())?;
        map.host_id().checked_add(offset)
    })
}

/// What every container may use, as with runc and crun: making any node, and these.
const USUAL: [(LinuxDeviceType, Option<i64>, Option<i64>, &str); 11] = [
    (LinuxDeviceType::C, None, None, "m"),
    (LinuxDeviceType::B, None, None, "m"),
    (LinuxDeviceType::C, Some(1), Some(3), "rwm"), // null
    (LinuxDeviceType::C, Some(1), Some(5), "rwm"), // zero
    (LinuxDeviceType::C, Some(1), Some(7), "rwm"), // full
    (LinuxDeviceType::C, Some(1), Some(8), "rwm"), // random
    (LinuxDeviceType::C, Some(1), Some(9), "rwm"), // urandom
    (LinuxDeviceType::C, Some(5), Some(0), "rwm"), // tty
    (LinuxDeviceType::C, Some(5), Some(1), "rwm"), // console
    (LinuxDeviceType::C, Some(5), Some(2), "rwm"), // ptmx
    (LinuxDeviceType::C, Some(136), None, "rwm"),  // pts
];

/// A bundle's rules count in their order. LXC looks for the first that fits, so a rule that would
/// take back a part of another has no place there.
pub(super) fn rules(wanted: &[LinuxDeviceCgroup]) -> Result<Vec<LinuxDeviceCgroup>, BundleError> {
    let mut list = List { open: false, rules: Vec::new() };
    for rule in wanted {
        list.add(rule)?;
    }
    if !list.open {
        let new = USUAL.into_iter().map(|(kind, major, minor, access)| Rule {
            kind,
            major,
            minor,
            access: access.to_owned(),
        });
        for rule in new {
            if !list.rules.contains(&rule) {
                list.rules.push(rule);
            }
        }
    }
    Ok(list.into_rules())
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    kind: LinuxDeviceType,
    major: Option<i64>,
    minor: Option<i64>,
    access: String,
}

impl Rule {
    fn names_same_device(&self, other: &Self) -> bool {
        (self.kind, self.major, self.minor) == (other.kind, other.major, other.minor)
    }

    fn overlaps(&self, other: &Self) -> bool {
        let same = |a: Option<i64>, b: Option<i64>| a.is_none() || b.is_none() || a == b;
        self.kind == other.kind
            && same(self.major, other.major)
            && same(self.minor, other.minor)
            && self.access.chars().any(|access| other.access.contains(access))
    }

    fn as_oci(&self, allow: bool) -> LinuxDeviceCgroup {
        let builder = LinuxDeviceCgroupBuilder::default()
            .allow(allow)
            .typ(self.kind)
            .access(self.access.clone());
        let builder = match self.major {
            Some(major) => builder.major(major),
            None => builder,
        };
        let builder = match self.minor {
            Some(minor) => builder.minor(minor),
            None => builder,
        };
        builder.build().expect("nothing that is needed is left out")
    }
}

/// All devices but some, or none but some.
struct List {
    open: bool,
    rules: Vec<Rule>,
}

impl List {
    fn add(&mut self, rule: &LinuxDeviceCgroup) -> Result<(), BundleError> {
        let number = |number: Option<i64>| number.filter(|number| *number >= 0);
        let (major, minor) = (number(rule.major()), number(rule.minor()));
        let access = rule.access().clone().filter(|access| !access.is_empty());
        let access = access.unwrap_or_else(|| "rwm".to_owned());
        if let Some(odd) = access.chars().find(|access| !"rwm".contains(*access)) {
            return Err(cannot(RULES, format!("there is no access '{odd}'")));
        }
        let everything = "rwm".chars().all(|each| access.contains(each));
        let kinds: &[LinuxDeviceType] = match rule.typ() {
            Some(LinuxDeviceType::B) => &[LinuxDeviceType::B],
            Some(LinuxDeviceType::C | LinuxDeviceType::U) => &[LinuxDeviceType::C],
            Some(LinuxDeviceType::P) => return Ok(()), // no device
            Some(LinuxDeviceType::A) | None if everything && major.or(minor).is_none() => {
                *self = Self { open: rule.allow(), rules: Vec::new() };
                return Ok(());
            }
            Some(LinuxDeviceType::A) | None => &[LinuxDeviceType::B, LinuxDeviceType::C],
        };
        kinds.iter().try_for_each(|kind| {
            self.add_one(rule.allow(), Rule { kind: *kind, major, minor, access: access.clone() })
        })
    }

    fn add_one(&mut self, allow: bool, rule: Rule) -> Result<(), BundleError> {
        if allow != self.open {
            if !self.rules.contains(&rule) {
                self.rules.push(rule);
            }
            return Ok(());
        }
        // It takes back what was said before it.
        for other in &mut self.rules {
            if other.names_same_device(&rule) {
                other.access.retain(|access| !rule.access.contains(access));
            } else if other.overlaps(&rule) {
                return Err(lacks(RULES, "cannot take back a part of an earlier rule"));
            }
        }
        self.rules.retain(|rule| !rule.access.is_empty());
        Ok(())
    }

    fn into_rules(self) -> Vec<LinuxDeviceCgroup> {
        let all = LinuxDeviceCgroupBuilder::default().allow(self.open).typ(LinuxDeviceType::A);
        let all = all.build().expect("nothing that is needed is left out");
        std::iter::once(all).chain(self.rules.iter().map(|rule| rule.as_oci(!self.open))).collect()
    }
}

/// Those that crun makes where no tmpfs of LXC's is on `/dev`.
pub(super) fn usual_nodes() -> impl Iterator<Item = &'static Path> {
    ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"]
        .into_iter()
        .map(Path::new)
}
