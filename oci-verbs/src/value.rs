//! What stands on the command line, checked: holding one of these proves that it may be used.

use std::fmt;
use std::str::FromStr;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidValue {
    #[error(
        "a container's name consists of letters, digits and _ + . - and does not begin with a dot"
    )]
    ContainerId,
    #[error("no such signal")]
    Signal,
    #[error("a number of bytes, which may end in b, k, m, g or t")]
    Bytes,
    #[error("a user's number, or that and a group's: UID:GID")]
    User,
    #[error("an environment variable is NAME=VALUE")]
    EnvVar,
}

/// libcrun's rule. It makes it a file name as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerId(String);

impl ContainerId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContainerId {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let ok = |c: char| c.is_ascii_alphanumeric() || "_+.-".contains(c);
        if text.is_empty() || text.starts_with('.') || !text.chars().all(ok) {
            return Err(InvalidValue::ContainerId);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// By number or name, with SIG before it or not; 0 asks only whether there is somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal(i32);

/// Linux on x86-64 and arm64, by number from 1 on.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
/// What the kernel and glibc leave of the real-time signals.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

impl Signal {
    pub fn number(self) -> i32 {
        self.0
    }

    fn named(name: &str) -> Option<i32> {
        let offset = |text: &str, sign: char| match text {
            "" => Some(0),
            more => more.strip_prefix(sign)?.parse::<u8>().ok().map(i32::from),
        };
        if let Some(above) = name.strip_prefix("RTMIN") {
            return Some(RTMIN + offset(above, '+')?);
        }
        if let Some(below) = name.strip_prefix("RTMAX") {
            return Some(RTMAX - offset(below, '-')?);
        }
        let name = match name {
            "IOT" => "ABRT",
            "CLD" => "CHLD",
            "POLL" => "IO",
            other => other,
        };
        (1..).zip(SIGNALS).find_map(|(number, known)| (known == name).then_some(number))
    }
}

impl FromStr for Signal {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = if digits {
            text.parse().ok()
        } else {
            let upper = text.to_ascii_uppercase();
            let number = Self::named(upper.strip_prefix("SIG").unwrap_or(&upper));
            number.filter(|number| !(32..RTMIN).contains(number) && *number > 0)
        };
        number.filter(|number| (0..=RTMAX).contains(number)).map(Self).ok_or(InvalidValue::Signal)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(i64);

impl Bytes {
    pub fn get(self) -> i64 {
        self.0
    }
}

impl FromStr for Bytes {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let lower = text.to_ascii_lowercase();
        let (digits, shift) = match lower.strip_suffix(['b', 'k', 'm', 'g', 't']) {
            Some(digits) => (
                digits,
                [('k', 10), ('m', 20), ('g', 30), ('t', 40)]
                    .into_iter()
                    .find_map(|(unit, shift)| lower.ends_with(unit).then_some(shift))
                    .unwrap_or(0),
            ),
            None => (lower.as_str(), 0),
        };
        let number: i64 = digits.parse().map_err(|_| InvalidValue::Bytes)?;
        let plain = digits.starts_with(|c: char| c.is_ascii_digit()) || text == "-1";
        let bytes = number.checked_mul(1_i64 << shift).filter(|_| plain);
        bytes.map(Self).ok_or(InvalidValue::Bytes)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserSpec {
    pub uid: u32,
    /// Without one: 0, as runc and crun have it.
    pub gid: u32,
}

impl FromStr for UserSpec {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let (uid, gid) = text.split_once(':').unwrap_or((text, "0"));
        let number = |text: &str| text.parse().map_err(|_| InvalidValue::User);
        Ok(Self { uid: number(uid)?, gid: number(gid)? })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvVar(String);

impl EnvVar {
    /// `NAME=VALUE`
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn name(&self) -> &str {
        self.0.split_once('=').map_or("", |(name, _)| name)
    }
}

impl FromStr for EnvVar {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text.split_once('=') {
            Some((name, _)) if !name.is_empty() => Ok(Self(text.to_owned())),
            Some(_) | None => Err(InvalidValue::EnvVar),
        }
    }
}
