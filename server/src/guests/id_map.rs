//! The `idmap` of a mount point: entries must not say two things of one id. As `validate_id_maps` of
//! pve-container's `PVE/LXC.pm`.

use super::error::GuestError;

struct Entry<'a> {
    text: &'a str,
    kind: char,
    container: u64,
    host: u64,
    count: u64,
}

impl<'a> Entry<'a> {
    /// `u:0:100000:65536`
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(':');
        let kind = match parts.next()? {
            "u" => 'u',
            "g" => 'g',
            _ => return None,
        };
        let mut number = || parts.next()?.parse().ok();
        let (container, host, count) = (number()?, number()?, number()?);
        parts.next().is_none().then_some(Self { text, kind, container, host, count })
    }

    /// As PVE shows it.
    fn shown(&self) -> String {
        self.text.replace(':', " ")
    }
}

pub(super) fn check(map: &str) -> Result<(), GuestError> {
    let entries = map.split(';').filter(|text| !text.is_empty()).map(|text| {
        let unread = || GuestError::die(format!("failed to parse mount point idmap: {text}"));
        Entry::parse(text).ok_or_else(unread)
    });
    let entries: Vec<Entry<'_>> = entries.collect::<Result<_, _>>()?;
    for kind in ['u', 'g'] {
        let entries = || entries.iter().filter(move |entry| entry.kind == kind);
        distinct("container", entries().map(|entry| (entry.container, entry)).collect())?;
        distinct("host", entries().map(|entry| (entry.host, entry)).collect())?;
    }
    Ok(())
}

/// `ranges` are entries by where they start on this side.
fn distinct(side: &str, mut ranges: Vec<(u64, &Entry<'_>)>) -> Result<(), GuestError> {
    ranges.sort_by_key(|(start, _)| *start);
    for pair in ranges.windows(2) {
        let [(start, before), (next, after)] = pair else { continue };
        if start.saturating_add(before.count) > *next {
            return Err(GuestError::die(format!(
                "invalid map entry '{}': {side} {}id {next} is also mapped by entry '{}'",
                after.shown(),
                after.kind,
                before.shown()
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("u:0:100000:1000")]
    #[case("u:0:100000:1000;u:1000:1000:1;g:0:100000:1000")]
    fn takes(#[case] map: &str) {
        check(map).unwrap();
    }

    #[rstest]
    #[case::container(
        "u:0:100000:10;u:9:200000:1",
        "invalid map entry 'u 9 200000 1': container uid 9 is also mapped by entry 'u 0 100000 10'"
    )]
    #[case::host(
        "g:0:100000:10;g:20:100005:1",
        "invalid map entry 'g 20 100005 1': host gid 100005 is also mapped by entry 'g 0 100000 10'"
    )]
    #[case::too_large(
        "u:0:99999999999999999999:1",
        "failed to parse mount point idmap: u:0:99999999999999999999:1"
    )]
    fn refuses(#[case] map: &str, #[case] message: &str) {
        assert_eq!(check(map).unwrap_err().to_string(), message);
    }
}
