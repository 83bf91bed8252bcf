//! A task's id, PVE's `UPID:node:pid:pstart:starttime:type:id:user:`. Where its log lies follows
//! from it, but is `pve_integration::tasks`' to say.

use std::fmt;
use std::str::FromStr;

use crate::node_name::NodeName;
use crate::wire_text::wire_text;

/// PVE's seven fields. No field has a colon, a slash or a blank, so the text is a file name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Upid {
    node: NodeName,
    pid: u32,
    pstart: u64,
    starttime: u32,
    kind: String,
    id: String,
    user: String,
}

/// Not a task's id. The message is PVE's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unable to parse worker upid '{0}'")]
pub struct InvalidUpid(String);

impl Upid {
    #[must_use]
    pub fn node(&self) -> &NodeName {
        &self.node
    }

    /// The worker: a process or, with us, a thread.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// When the worker started, in clock ticks since boot: field 22 of `/proc/PID/stat`.
    #[must_use]
    pub fn pstart(&self) -> u64 {
        self.pstart
    }

    /// When the task started, in seconds since 1970.
    #[must_use]
    pub fn starttime(&self) -> u32 {
        self.starttime
    }

    /// PVE's `type`, say `vzstart`.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// What the task works on, mostly a guest's number; may be empty.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A user or token, but old logs may hold anything here.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The folder of the task's log: the last hex digit of the start time.
    #[must_use]
    pub fn log_dir_digit(&self) -> char {
        char::from_digit(self.starttime % 16, 16).map_or('0', |digit| digit.to_ascii_uppercase())
    }
}

/// Hex digits without the sign that `from_str_radix` would take.
fn hex(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_hexdigit()) && digits.contains(&text.len());
    if plain { u64::from_str_radix(text, 16).ok() } else { None }
}

fn word(text: &str) -> Option<String> {
    let plain = !text.contains(|c: char| c.is_whitespace() || c == '/' || c == '\0');
    plain.then(|| text.to_owned())
}

fn parse(text: &str) -> Option<Upid> {
    let mut fields = text.strip_prefix("UPID:")?.strip_suffix(':')?.split(':');
    let mut next = || fields.next();
    let upid = Upid {
        node: next()?.parse().ok()?,
        pid: hex(next()?, 8..=8)?.try_into().ok()?,
        pstart: hex(next()?, 8..=9)?,
        starttime: hex(next()?, 8..=8)?.try_into().ok()?,
        kind: next().filter(|kind| !kind.is_empty()).and_then(word)?,
        id: word(next()?)?,
        user: next().filter(|user| !user.is_empty()).and_then(word)?,
    };
    // Proxmox Backup Server and Datacenter Manager have an eighth field.
    next().is_none().then_some(upid)
}

impl FromStr for Upid {
    type Err = InvalidUpid;

    fn from_str(text: &str) -> Result<Self, InvalidUpid> {
        // Only what prints the same is the name of a log file: PVE writes upper-case digits.
        match parse(text) {
            Some(upid) if upid.to_string() == text => Ok(upid),
            _ => Err(InvalidUpid(text.to_owned())),
        }
    }
}

impl fmt::Display for Upid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, pid, pstart, starttime, kind, id, user } = self;
        write!(f, "UPID:{node}:{pid:08X}:{pstart:08X}:{starttime:08X}:{kind}:{id}:{user}:")
    }
}

wire_text!(
    Upid,
    "A task, by its worker",
    Some(
        r"^UPID:[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?:[0-9A-F]{8}:[0-9A-F]{8,9}:[0-9A-F]{8}:[^:\s/]+:[^:\s/]*:[^:\s/]+:$"
    )
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const START: &str = "UPID:pve1:0000ABCD:00FFEE11:6B043E4A:vzstart:100:root@pam!t1:";

    #[test]
    fn reads_each_field() {
        let upid: Upid = START.parse().unwrap();
        assert_eq!(upid.node().as_str(), "pve1");
        assert_eq!((upid.pid(), upid.pstart()), (0xABCD, 0xFF_EE11));
        assert_eq!((upid.starttime(), upid.log_dir_digit()), (0x6B04_3E4A, 'A'));
        assert_eq!((upid.kind(), upid.id(), upid.user()), ("vzstart", "100", "root@pam!t1"));
    }

    #[rstest]
    #[case::empty("")]
    #[case::no_final_colon("UPID:pve1:0000ABCD:00FFEE11:6B043E4A:vzstart:100:root@pam")]
    #[case::eighth_field("UPID:pve1:0000ABCD:00FFEE11:6B043E4A:0001:vzstart:100:root@pam:")]
    #[case::slash("UPID:pve1:0000ABCD:00FFEE11:6B043E4A:vzstart:../x:root@pam:")]
    #[case::dots_as_node("UPID:..:0000ABCD:00FFEE11:6B043E4A:vzstart:100:root@pam:")]
    #[case::signed("UPID:pve1:+000ABCD:00FFEE11:6B043E4A:vzstart:100:root@pam:")]
    #[case::short_pid("UPID:pve1:ABCD:00FFEE11:6B043E4A:vzstart:100:root@pam:")]
    #[case::blank("UPID:pve1:0000ABCD:00FFEE11:6B043E4A:vz start:100:root@pam:")]
    #[case::no_user("UPID:pve1:0000ABCD:00FFEE11:6B043E4A:vzstart:100::")]
    #[case::lower_case("UPID:pve1:0000abcd:00FFEE11:6B043E4A:vzstart:100:root@pam:")]
    #[case::padded_pstart("UPID:pve1:0000ABCD:000FFEE11:6B043E4A:vzstart:100:root@pam:")]
    #[case::newline("UPID:pve1:0000ABCD:00FFEE11:6B043E4A:vzstart:100:root@pam:\n")]
    fn rejects(#[case] text: &str) {
        assert_eq!(text.parse::<Upid>(), Err(InvalidUpid(text.to_owned())));
    }

    proptest! {
        #[test]
        fn prints_what_it_read(
            text in "UPID:[a-z]{1,8}:[0-9A-F]{8}:[1-9A-F]?[0-9A-F]{8}:[0-9A-F]{8}:[a-z]{1,8}:[0-9a-z>-]{0,8}:[a-z!@]{1,8}:"
        ) {
            prop_assert_eq!(text.parse::<Upid>().unwrap().to_string(), text);
        }

        #[test]
        fn takes_nothing_that_prints_otherwise(text in "UPID:.*|.*") {
            prop_assert!(text.parse::<Upid>().map_or(true, |id| id.to_string() == text));
        }
    }
}
