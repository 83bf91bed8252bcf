//! `lxc.mount.auto`: how much of the kernel's own file systems can be written.

use super::{BundleError, wrong};
use crate::ct_config::Section;

const KEY: &str = "lxc.mount.auto";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Ro,
    /// Parts of it.
    Mixed,
    Rw,
}

/// What was asked for; `None` where nobody did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) proc: Option<Access>,
    pub(super) sys: Option<Access>,
    pub(super) cgroup: Option<Access>,
}

/// Words that the bundle has no mount for are refused: what they leave writable is not to be guessed.
pub(super) fn of(config: &Section) -> Result<Asked, BundleError> {
    let mut asked = Asked::default();
    for word in config.lxc_values(KEY).flat_map(str::split_whitespace) {
        let (name, how) = word.split_once(':').unwrap_or((word, "mixed"));
        let access = match how {
            "ro" => Some(Access::Ro),
            "mixed" => Some(Access::Mixed),
            "rw" => Some(Access::Rw),
            _ => None,
        };
        match (name, access) {
            ("proc", Some(Access::Mixed | Access::Rw)) => asked.proc = access,
            ("sys", Some(_)) => asked.sys = access,
            ("cgroup", Some(_)) => asked.cgroup = access,
            _ => return Err(wrong(KEY, format!("'{word}' is not supported"))),
        }
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ct_config::ContainerConfig;

    fn asked(line: &str) -> Result<Asked, BundleError> {
        of(ContainerConfig::parse(format!("lxc.mount.auto: {line}\n").as_bytes()).current())
    }

    #[test]
    fn the_last_word_counts() {
        let expected =
            Asked { proc: Some(Access::Rw), sys: Some(Access::Ro), cgroup: Some(Access::Mixed) };
        assert_eq!(asked("proc:mixed sys:ro proc:rw cgroup").unwrap(), expected);
    }

    #[test]
    fn names_what_there_is_not() {
        for word in ["cgroup-full:rw", "shmounts:/x", "proc:ro", "cgroup:rw:force"] {
            assert!(asked(word).unwrap_err().to_string().contains(word));
        }
    }
}
