//! Which ids on the disk the container's ids are, where they are not the host's: `idmap` of a volume,
//! and every volume of a container that has ids of its own while it runs. As the kernel wants it for an
//! id-mapped mount: on the disk, on the host, how many.

use super::id_map::{IdMap, IdMaps, on_host};
use super::{BundleError, wrong};

/// Of the volume `key`, for a container with these `maps` while it runs; what `idmap` does not name has
/// on the disk the ids of `disk`. `None` where all are the same.
pub fn disk_ids(
    key: &str,
    idmap: Option<&str>,
    maps: &IdMaps,
    disk: &IdMaps,
) -> Result<Option<IdMaps>, BundleError> {
    let idmap = match idmap {
        // What the container calls 5 is 5 on the disk.
        Some("passthrough") => return Ok(Some(maps.clone())),
        None if maps == disk => return Ok(None),
        idmap => idmap.unwrap_or_default(),
    };
    let mut lists = (Vec::new(), Vec::new());
    for text in idmap.split(';').filter(|text| !text.is_empty()) {
        let bad =
            || wrong(key, format!("idmap: '{text}' is not '[u|g]:container-id:disk-id:count'"));
        let fields: Vec<&str> = text.split(':').collect();
        let [kind, inside, disk, count] = fields[..] else { return Err(bad()) };
        let number = |text: &str| text.parse::<u32>().map_err(|_| bad());
        let entry = Entry { inside: number(inside)?, disk: number(disk)?, count: number(count)? };
        if entry.count == 0 || entry.disk.checked_add(entry.count).is_none() {
            return Err(bad());
        }
        match kind {
            "u" => lists.0.push(entry),
            "g" => lists.1.push(entry),
            _ => return Err(bad()),
        }
    }
    Ok(Some(IdMaps {
        uids: complete(key, &lists.0, &maps.uids, &disk.uids)?,
        gids: complete(key, &lists.1, &maps.gids, &disk.gids)?,
    }))
}

struct Entry {
    inside: u32,
    disk: u32,
    count: u32,
}

/// What is listed, and the rest of the container's ids as they are on every volume.
fn complete(
    key: &str,
    entries: &[Entry],
    maps: &[IdMap],
    disk: &[IdMap],
) -> Result<Vec<IdMap>, BundleError> {
    let mut lines = Vec::new();
    for entry in entries {
        let host = on_host(maps, entry.inside, entry.count);
        let host = host.ok_or_else(|| {
            let last = u64::from(entry.inside) + u64::from(entry.count) - 1;
            wrong(key, format!("idmap: the container has no ids {} to {last}", entry.inside))
        })?;
        lines.push(IdMap { container_id: entry.disk, host_id: host, size: entry.count });
    }
    let mut taken: Vec<_> = lines.iter().map(|line| (line.host_id, line.size)).collect();
    taken.sort_unstable();
    for map in maps {
        let rest = Rest { map, disk: on_host(disk, map.container_id, map.size) };
        let (mut at, end) = (u64::from(map.host_id), u64::from(map.host_id) + u64::from(map.size));
        for (start, size) in taken.iter().map(|(start, size)| (u64::from(*start), u64::from(*size)))
        {
            if start >= at && start < end {
                rest.push(&mut lines, at, start);
                at = start + size;
            }
        }
        rest.push(&mut lines, at, end);
    }
    let mut taken: Vec<_> = lines.iter().map(|line| (line.container_id, line.size)).collect();
    taken.sort_unstable();
    let overlap = taken.windows(2).find_map(|pair| match pair {
        [(start, size), (next, _)] if u64::from(*start) + u64::from(*size) > u64::from(*next) => {
            Some(*next)
        }
        _ => None,
    });
    match overlap {
        Some(id) => {
            Err(wrong(key, format!("idmap: id {id} on the disk would be two of the container's")))
        }
        None => Ok(lines),
    }
}

/// What no entry names.
struct Rest<'a> {
    map: &'a IdMap,
    /// Where its first id is on the disk.
    disk: Option<u32>,
}

impl Rest<'_> {
    /// The ids of the host from `from` to before `to`.
    fn push(&self, lines: &mut Vec<IdMap>, from: u64, to: u64) {
        let (Ok(host), Ok(size)) = (u32::try_from(from), u32::try_from(to.saturating_sub(from)))
        else {
            return;
        };
        let first = self.disk.map(|disk| disk + (host - self.map.host_id));
        if let Some(first) = first.filter(|_| size > 0) {
            lines.push(IdMap { container_id: first, host_id: host, size });
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::ct_config::ContainerConfig;
    use crate::oci_config::OciConfig;

    /// Of an unprivileged container with this line in its OCI file.
    fn uids(idmap: Option<&str>, oci: &str) -> Result<Vec<(u32, u32, u32)>, String> {
        let config = ContainerConfig::parse(b"unprivileged: 1\n");
        let maps = IdMaps::of(&config, &OciConfig::parse(oci)).unwrap();
        let disk = IdMaps::on_disk(&config).unwrap();
        let maps = disk_ids("mp0", idmap, &maps, &disk).map_err(|err| err.to_string())?;
        let uids = maps.unwrap_or_default().uids;
        Ok(uids.iter().map(|map| (map.container_id, map.host_id, map.size)).collect())
    }

    #[rstest]
    #[case::passthrough("passthrough", &[(0, 100_000, 65_536)])]
    #[case::one("u:1000:1000:1", &[(1000, 101_000, 1), (100_000, 100_000, 1000), (101_001, 101_001, 64_535)])]
    #[case::first("u:0:0:10", &[(0, 100_000, 10), (100_010, 100_010, 65_526)])]
    #[case::others("g:0:0:1", &[(100_000, 100_000, 65_536)])]
    fn maps(#[case] idmap: &str, #[case] expected: &[(u32, u32, u32)]) {
        assert_eq!(uids(Some(idmap), "").unwrap(), expected);
    }

    #[rstest]
    #[case::all(None, &[(100_000, 300_000, 1000)])]
    #[case::passthrough(Some("passthrough"), &[(0, 300_000, 1000)])]
    #[case::one("u:5:5:1".into(), &[(5, 300_005, 1), (100_000, 300_000, 5), (100_006, 300_006, 994)])]
    #[case::none_of_these(Some("g:0:0:1"), &[(100_000, 300_000, 1000)])]
    fn a_range_of_its_own_keeps_the_disk(
        #[case] idmap: Option<&str>,
        #[case] expected: &[(u32, u32, u32)],
    ) {
        assert_eq!(uids(idmap, "id-range: 300000:1000\n").unwrap(), expected);
    }

    #[test]
    fn maps_nothing_without_need() {
        assert_eq!(uids(None, "").unwrap(), []);
    }

    #[rstest]
    #[case::no_such_id("u:65536:0:1", "the container has no ids 65536 to 65536")]
    #[case::twice("u:0:5:2;u:7:6:1", "id 6 on the disk would be two of the container's")]
    #[case::kind("b:0:0:1", "is not '[u|g]")]
    #[case::none("u:0:0:0", "is not '[u|g]")]
    fn refuses(#[case] idmap: &str, #[case] reason: &str) {
        assert!(uids(Some(idmap), "").unwrap_err().contains(reason));
    }
}
