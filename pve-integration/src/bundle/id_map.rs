//! Which ids of the host a container's ids are: on the disk, where PVE's tools write them, and while
//! it runs, when a range of its own may keep it apart from every other container.

use serde::Serialize;

use super::{BundleError, Warning, wrong};
use crate::ct_config::ContainerConfig;
use crate::oci_config::OciConfig;

/// PVE's range for unprivileged containers, hard-coded there too (`PVE/LXC.pm`).
const UNPRIVILEGED: IdMap = IdMap { container_id: 0, host_id: 100_000, size: 65_536 };

/// The line of the OCI file: `FIRST:COUNT`, ids of the host.
pub(super) const RANGE: &str = "id-range";
/// Below it are the host's own users, services and all (login.defs(5)).
const FIRST_RANGE: u32 = 65_536;

/// One line of `/proc/PID/uid_map`, and an entry of the bundle's `uidMappings`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct IdMap {
    #[serde(rename = "containerID")]
    pub container_id: u32,
    #[serde(rename = "hostID")]
    pub host_id: u32,
    pub size: u32,
}

/// Empty for a privileged container, which has no user namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMaps {
    pub uids: Vec<IdMap>,
    pub gids: Vec<IdMap>,
}

impl IdMaps {
    /// While it runs: as on the disk, unless the OCI file has a range for this container alone.
    pub fn of(config: &ContainerConfig, oci: &OciConfig) -> Result<Self, BundleError> {
        let range = range(oci)?;
        let own = range.filter(|_| needs_range(config)).map(|map| vec![map]);
        own.map_or_else(
            || Self::on_disk(config),
            |maps| Ok(Self { uids: maps.clone(), gids: maps }),
        )
    }

    /// From raw `lxc.idmap` lines, which make any container an unprivileged one, else from
    /// `unprivileged`.
    pub fn on_disk(config: &ContainerConfig) -> Result<Self, BundleError> {
        let mut maps = Self::default();
        for line in config.current().lxc_values("lxc.idmap") {
            maps.add(line)?;
        }
        if maps.is_empty() && config.unprivileged() {
            return Ok(Self { uids: vec![UNPRIVILEGED], gids: vec![UNPRIVILEGED] });
        }
        if !maps.is_empty() && (maps.root_uid().is_none() || maps.root_gid().is_none()) {
            return Err(wrong("lxc.idmap", "user and group 0 of the container must be mapped"));
        }
        Ok(maps)
    }

    pub fn is_empty(&self) -> bool {
        self.uids.is_empty() && self.gids.is_empty()
    }

    /// The host's id of the container's root.
    pub fn root_uid(&self) -> Option<u32> {
        on_host(&self.uids, 0, 1)
    }

    pub fn root_gid(&self) -> Option<u32> {
        on_host(&self.gids, 0, 1)
    }

    /// The host's id of a user inside, which is the same where nothing is mapped.
    pub fn host_uid(&self, uid: u32) -> Option<u32> {
        if self.is_empty() { Some(uid) } else { on_host(&self.uids, uid, 1) }
    }

    pub fn host_gid(&self, gid: u32) -> Option<u32> {
        if self.is_empty() { Some(gid) } else { on_host(&self.gids, gid, 1) }
    }

    pub(super) fn has_gid(&self, gid: u32) -> bool {
        self.host_gid(gid).is_some()
    }

    /// `u 0 100000 65536`, `g ...` or `b ...` for both, as lxc.container.conf(5) has it.
    fn add(&mut self, line: &str) -> Result<(), BundleError> {
        let bad =
            || wrong("lxc.idmap", format!("'{line}' is not '[u|g|b] container-id host-id count'"));
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [kind, container_id, host_id, size] = fields[..] else { return Err(bad()) };
        let number = |text: &str| text.parse::<u32>().map_err(|_| bad());
        let map = IdMap {
            container_id: number(container_id)?,
            host_id: number(host_id)?,
            size: number(size)?,
        };
        let fits = |first: u32| first.checked_add(map.size).is_some();
        if map.size == 0 || !fits(map.container_id) || !fits(map.host_id) {
            return Err(bad());
        }
        match kind {
            "u" => self.uids.push(map),
            "g" => self.gids.push(map),
            "b" => {
                self.uids.push(map);
                self.gids.push(map);
            }
            _ => return Err(bad()),
        }
        Ok(())
    }
}

/// That the OCI file's range changes nothing for this container.
pub(super) fn warn_of_range(
    config: &ContainerConfig,
    oci: &OciConfig,
    warnings: &mut Vec<Warning>,
) {
    if oci.get(RANGE).is_none() || needs_range(config) {
        return;
    }
    let reason = if config.unprivileged() {
        "ignored: the lines of lxc.idmap say which ids the container has"
    } else {
        "ignored: a privileged container has the host's own ids"
    };
    warnings.push(Warning::new(&format!("oci: {RANGE}"), reason));
}

/// What asks for ids that are not every unprivileged container's.
pub(super) fn own_key(config: &ContainerConfig, oci: &OciConfig) -> Option<String> {
    if config.current().lxc_values("lxc.idmap").next().is_some() {
        return Some("lxc.idmap".to_owned());
    }
    oci.get(RANGE).filter(|_| needs_range(config)).map(|_| format!("oci: {RANGE}"))
}

fn needs_range(config: &ContainerConfig) -> bool {
    config.unprivileged() && config.current().lxc_values("lxc.idmap").next().is_none()
}

fn range(oci: &OciConfig) -> Result<Option<IdMap>, BundleError> {
    let Some(text) = oci.get(RANGE) else { return Ok(None) };
    let refused = |what: String| wrong(&format!("oci: {RANGE}"), what);
    let numbers = text.split_once(':').and_then(|(first, count)| {
        Some((first.trim().parse::<u32>().ok()?, count.trim().parse::<u32>().ok()?))
    });
    let Some((first, count)) = numbers else {
        let what = "is not 'FIRST:COUNT', the first id on the host and how many there are";
        return Err(refused(format!("'{text}' {what}")));
    };
    if !(1..=UNPRIVILEGED.size).contains(&count) {
        let most = UNPRIVILEGED.size;
        return Err(refused(format!("{count} ids: there must be from 1 to {most} of them")));
    }
    if first < FIRST_RANGE {
        let what = "the host's own users are below";
        return Err(refused(format!("it must begin at {FIRST_RANGE} or above: {what}")));
    }
    // The last number of all is no id (credentials(7)).
    if first.checked_add(count).is_none() {
        return Err(refused(format!("there are no {count} ids from {first} on")));
    }
    Ok(Some(IdMap { container_id: 0, host_id: first, size: count }))
}

/// Where `count` ids from `first` on are, if one line has them all.
pub(super) fn on_host(maps: &[IdMap], first: u32, count: u32) -> Option<u32> {
    maps.iter().find_map(|map| {
        let offset = first.checked_sub(map.container_id)?;
        // `add` checked the sum.
        (offset.checked_add(count)? <= map.size).then(|| map.host_id + offset)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn of(config: &str, oci: &str) -> Result<IdMaps, String> {
        let config = ContainerConfig::parse(config.as_bytes());
        IdMaps::of(&config, &OciConfig::parse(oci)).map_err(|err| err.to_string())
    }

    #[rstest]
    #[case::own("unprivileged: 1\n", "id-range: 300000:65536\n", Some((300_000, 65_536)))]
    #[case::a_few("unprivileged: 1\n", "id-range: 65536:1\n", Some((65_536, 1)))]
    #[case::the_last("unprivileged: 1\n", "id-range: 4294967294:1\n", Some((4_294_967_294, 1)))]
    #[case::shared("unprivileged: 1\n", "", Some((100_000, 65_536)))]
    #[case::privileged("unprivileged: 0\n", "id-range: 300000:65536\n", None)]
    #[case::raw("lxc.idmap: b 0 5000 10\n", "id-range: 300000:65536\n", Some((5000, 10)))]
    fn a_range_of_its_own(
        #[case] config: &str,
        #[case] oci: &str,
        #[case] expected: Option<(u32, u32)>,
    ) {
        let maps = of(config, oci).unwrap();
        let found: Vec<_> = maps.uids.iter().map(|map| (map.host_id, map.size)).collect();
        assert_eq!(found, Vec::from_iter(expected));
        assert_eq!(maps.uids, maps.gids);
    }

    #[rstest]
    #[case::words(
        "some",
        "'some' is not 'FIRST:COUNT', the first id on the host and how many there are"
    )]
    #[case::root("0:65536", "it must begin at 65536 or above: the host's own users are below")]
    #[case::none("300000:0", "0 ids: there must be from 1 to 65536 of them")]
    #[case::many("300000:65537", "65537 ids: there must be from 1 to 65536 of them")]
    #[case::past_the_end("4294967295:1", "there are no 1 ids from 4294967295 on")]
    fn refuses(#[case] range: &str, #[case] reason: &str) {
        let oci = format!("id-range: {range}\n");
        let expected = format!("unable to parse value of 'oci: id-range' - {reason}");
        assert_eq!(of("unprivileged: 1\n", &oci).unwrap_err(), expected);
    }

    proptest! {
        #[test]
        fn every_line_is_a_range_or_an_error(line in "[0-9:a -]{0,24}") {
            if let Ok(maps) = of("unprivileged: 1\n", &format!("id-range: {line}\n")) {
                let map = maps.uids[0];
                prop_assert!(map.host_id >= FIRST_RANGE && map.size > 0);
                prop_assert!(map.host_id.checked_add(map.size).is_some());
            }
        }
    }
}
