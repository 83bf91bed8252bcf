//! `idmap` of a volume: which ids on the disk the container's ids are, as the kernel wants it for an
//! id-mapped mount: on the disk, on the host, how many.

use super::id_map::{IdMap, IdMaps};
use super::{BundleError, wrong};

/// Of the volume `key`, for a container with these `maps`.
pub fn disk_ids(key: &str, idmap: &str, maps: &IdMaps) -> Result<IdMaps, BundleError> {
    if idmap == "passthrough" {
        // What the container calls 5 is 5 on the disk.
        return Ok(maps.clone());
    }
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
    Ok(IdMaps {
        uids: complete(key, &lists.0, &maps.uids)?,
        gids: complete(key, &lists.1, &maps.gids)?,
    })
}

struct Entry {
    inside: u32,
    disk: u32,
    count: u32,
}

/// What is listed, and the rest of the container's ids as they are on the host.
fn complete(key: &str, entries: &[Entry], maps: &[IdMap]) -> Result<Vec<IdMap>, BundleError> {
    let mut lines = Vec::new();
    for entry in entries {
        let host = maps.iter().find_map(|map| {
            let offset = entry.inside.checked_sub(map.container_id)?;
            (offset.checked_add(entry.count)? <= map.size).then(|| map.host_id + offset)
        });
        let host = host.ok_or_else(|| {
            let last = u64::from(entry.inside) + u64::from(entry.count) - 1;
            wrong(key, format!("idmap: the container has no ids {} to {last}", entry.inside))
        })?;
        lines.push(IdMap { container_id: entry.disk, host_id: host, size: entry.count });
    }
    let mut taken: Vec<_> = lines.iter().map(|line| (line.host_id, line.size)).collect();
    taken.sort_unstable();
    for map in maps {
        let (mut at, end) = (u64::from(map.host_id), u64::from(map.host_id) + u64::from(map.size));
        for (start, size) in taken.iter().map(|(start, size)| (u64::from(*start), u64::from(*size)))
        {
            if start >= at && start < end {
                push_same(&mut lines, at, start);
                at = start + size;
            }
        }
        push_same(&mut lines, at, end);
    }
    let mut disk: Vec<_> = lines.iter().map(|line| (line.container_id, line.size)).collect();
    disk.sort_unstable();
    let overlap = disk.windows(2).find_map(|pair| match pair {
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

fn push_same(lines: &mut Vec<IdMap>, from: u64, to: u64) {
    let (Ok(first), Ok(size)) = (u32::try_from(from), u32::try_from(to.saturating_sub(from)))
    else {
        return;
    };
    if size > 0 {
        lines.push(IdMap { container_id: first, host_id: first, size });
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::ct_config::ContainerConfig;

    fn unprivileged() -> IdMaps {
        IdMaps::of(&ContainerConfig::parse(b"unprivileged: 1\n")).unwrap()
    }

    fn uids(idmap: &str) -> Result<Vec<(u32, u32, u32)>, String> {
        let maps = disk_ids("mp0", idmap, &unprivileged()).map_err(|err| err.to_string())?;
        Ok(maps.uids.iter().map(|map| (map.container_id, map.host_id, map.size)).collect())
    }

    #[rstest]
    #[case::passthrough("passthrough", &[(0, 100_000, 65_536)])]
    #[case::one("u:1000:1000:1", &[(1000, 101_000, 1), (100_000, 100_000, 1000), (101_001, 101_001, 64_535)])]
    #[case::first("u:0:0:10", &[(0, 100_000, 10), (100_010, 100_010, 65_526)])]
    #[case::others("g:0:0:1", &[(100_000, 100_000, 65_536)])]
    fn maps(#[case] idmap: &str, #[case] expected: &[(u32, u32, u32)]) {
        assert_eq!(uids(idmap).unwrap(), expected);
    }

    #[rstest]
    #[case::no_such_id("u:65536:0:1", "the container has no ids 65536 to 65536")]
    #[case::twice("u:0:5:2;u:7:6:1", "id 6 on the disk would be two of the container's")]
    #[case::kind("b:0:0:1", "is not '[u|g]")]
    #[case::none("u:0:0:0", "is not '[u|g]")]
    fn refuses(#[case] idmap: &str, #[case] reason: &str) {
        assert!(uids(idmap).unwrap_err().contains(reason));
    }
}
