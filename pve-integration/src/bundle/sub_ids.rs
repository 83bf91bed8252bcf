//! `/etc/subuid` and `/etc/subgid` (subuid(5)): which ids of the host are whose to give to user
//! namespaces. Where the host hands them out, LXC maps ids through newuidmap(1), which lets root have
//! none that the files do not give to it; so does this, or the next user that is added gets them, too.

use std::io;
use std::path::Path;

use super::id_map::{IdMap, IdMaps, own_key};
use super::{BundleError, Warning};
use crate::ct_config::ContainerConfig;
use crate::oci_config::OciConfig;

/// The programs without which nobody hands out ids.
const PROGRAMS: [&str; 2] = ["/usr/bin/newuidmap", "/usr/bin/newgidmap"];
const FILES: [&str; 2] = ["/etc/subuid", "/etc/subgid"];

/// The lines of both files, users first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubIds([Vec<Line>; 2]);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    owner: String,
    first: u64,
    /// Of the first that is not in it.
    end: u64,
}

impl Line {
    /// Users stand there by name or by number.
    fn is_root(&self) -> bool {
        ["root", "0"].contains(&self.owner.as_str())
    }
}

impl SubIds {
    /// `None` on a host that hands out no ids.
    pub fn read() -> io::Result<Option<Self>> {
        if PROGRAMS.iter().any(|program| !Path::new(program).exists()) {
            return Ok(None);
        }
        let read = |path: &str| match fs_err::read(path) {
            Ok(bytes) => Ok(lines(&String::from_utf8_lossy(&bytes))),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(err) => Err(err),
        };
        Ok(Some(Self([read(FILES[0])?, read(FILES[1])?])))
    }

    /// Refuse ids that root was not given. Those that PVE gives to every unprivileged container may be
    /// nobody's, as long as whoever maps them is not `strict`.
    pub(super) fn check(
        &self,
        config: &ContainerConfig,
        oci: &OciConfig,
        maps: &IdMaps,
        strict: bool,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), BundleError> {
        let key = own_key(config, oci);
        for ((file, known), maps) in FILES.iter().zip(&self.0).zip([&maps.uids, &maps.gids]) {
            for map in maps.iter().filter(|map| !is_given(known, map)) {
                let last = u64::from(map.host_id) + u64::from(map.size) - 1;
                if key.is_some() || strict {
                    let (first, count) = (map.host_id, map.size);
                    let line = format!("the line 'root:{first}:{count}' is missing");
                    let reason =
                        format!("{file} does not give root the ids {first} to {last}: {line}");
                    let key = key.as_deref().unwrap_or("unprivileged").to_owned();
                    return Err(BundleError::Host { key, reason });
                }
                if let Some(owner) = other_owner(known, map) {
                    let first = map.host_id;
                    let reason = format!("{file} gives ids of {first} to {last} to '{owner}', too");
                    warnings.push(Warning::new("unprivileged", reason));
                }
            }
        }
        Ok(())
    }
}

/// What is no line of the file's is none of anybody's, as for shadow.
fn lines(text: &str) -> Vec<Line> {
    let line = |line: &str| {
        let mut fields = line.split(':');
        let (owner, first, count) = (fields.next()?, fields.next()?, fields.next()?);
        let (first, count) = (first.parse::<u32>().ok()?, count.parse::<u32>().ok()?);
        let end = u64::from(first) + u64::from(count);
        Some(Line { owner: owner.to_owned(), first: first.into(), end })
            .filter(|_| fields.next().is_none() && !owner.is_empty())
    };
    text.lines().filter_map(line).collect()
}

/// By one line or by several that follow on each other. An id alone may be root's own.
fn is_given(lines: &[Line], map: &IdMap) -> bool {
    let (mut at, end) = (u64::from(map.host_id), u64::from(map.host_id) + u64::from(map.size));
    if (at, end) == (0, 1) {
        return true;
    }
    while at < end {
        let line = lines.iter().find(|line| line.is_root() && line.first <= at && at < line.end);
        let Some(line) = line else { return false };
        at = line.end;
    }
    true
}

fn other_owner<'l>(lines: &'l [Line], map: &IdMap) -> Option<&'l str> {
    let (first, end) = (u64::from(map.host_id), u64::from(map.host_id) + u64::from(map.size));
    let shared = |line: &&Line| !line.is_root() && line.first < end && first < line.end;
    lines.iter().find(shared).map(|line| line.owner.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    /// With the same in both files.
    fn check(text: &str, config: &str, oci: &str, strict: bool) -> Result<Vec<String>, String> {
        let known = SubIds([lines(text), lines(text)]);
        let (config, oci) = (ContainerConfig::parse(config.as_bytes()), OciConfig::parse(oci));
        let maps = IdMaps::of(&config, &oci).unwrap();
        let mut warnings = Vec::new();
        let checked = known.check(&config, &oci, &maps, strict, &mut warnings);
        checked.map_err(|err| err.to_string())?;
        Ok(warnings.into_iter().map(|warning| warning.reason).collect())
    }

    const UNPRIVILEGED: &str = "unprivileged: 1\n";
    const RANGE: &str = "id-range: 300000:65536\n";

    #[rstest]
    #[case::one_line("root:300000:65536\n", UNPRIVILEGED, RANGE)]
    #[case::by_number("0:200000:500000\n", UNPRIVILEGED, RANGE)]
    #[case::in_two_lines("root:330000:40000\nroot:290000:40000\n", UNPRIVILEGED, RANGE)]
    #[case::the_default("root:100000:65536\n", UNPRIVILEGED, "")]
    #[case::nobodys("", UNPRIVILEGED, "")]
    #[case::privileged("", "unprivileged: 0\n", RANGE)]
    #[case::root_itself("", "lxc.idmap: b 0 0 1\n", "")]
    fn lets_pass(#[case] text: &str, #[case] config: &str, #[case] oci: &str) {
        assert_eq!(check(text, config, oci, false).unwrap(), [""; 0]);
    }

    #[rstest]
    #[case::none("root:100000:65536\n", "300000 to 365535: the line 'root:300000:65536'")]
    #[case::a_hole("root:300000:65535\n", "300000 to 365535: the line 'root:300000:65536'")]
    #[case::anothers("alice:300000:65536\n", "300000 to 365535: the line 'root:300000:65536'")]
    #[case::no_line("root:300000:65536:1\n#root:300000:65536\n", "300000 to 365535")]
    fn names_the_missing_line(#[case] text: &str, #[case] reason: &str) {
        let err = check(text, UNPRIVILEGED, RANGE, false).unwrap_err();
        let start = "oci: id-range: /etc/subuid does not give root the ids ";
        assert!(err.starts_with(&format!("{start}{reason}")), "{err}");
    }

    #[test]
    fn names_the_key_that_asks() {
        let raw = check("", "lxc.idmap: b 0 5000 10\n", RANGE, false).unwrap_err();
        assert!(raw.starts_with("lxc.idmap: "), "{raw}");
        let strict = check("", UNPRIVILEGED, "", true).unwrap_err();
        assert!(strict.starts_with("unprivileged: "), "{strict}");
    }

    #[test]
    fn warns_of_ids_that_somebody_else_may_take() {
        let warned = check("alice:165535:65536\n", UNPRIVILEGED, "", false).unwrap();
        let reason = |file| format!("/etc/{file} gives ids of 100000 to 165535 to 'alice', too");
        assert_eq!(warned, [reason("subuid"), reason("subgid")]);
        assert_eq!(check("alice:165536:65536\n", UNPRIVILEGED, "", false).unwrap(), [""; 0]);
    }

    proptest! {
        #[test]
        fn takes_any_text(text in "([a-z0-9:#-]{0,20}\n){0,5}", strict: bool) {
            drop(check(&text, UNPRIVILEGED, RANGE, strict));
        }
    }
}
