//! `etc/proxmox-lxcri/policy.toml`: what the host's administrator takes away from every container of
//! this host, whatever its config says. It can only take away: there is no word in it that gives.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::bundle::capability_names;
use crate::layout::Root;

/// The checked file. The default, also of a file that is not there, takes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Answered with EPERM, beside what is denied already.
    pub(crate) deny_syscalls: Vec<String>,
    /// As `NET_RAW`.
    pub(crate) drop_capabilities: BTreeSet<String>,
    /// Also for init systems; applications always have it.
    pub(crate) no_new_privileges: bool,
    /// The root filesystem of an application.
    pub(crate) readonly_rootfs: bool,
    pub(crate) refuse: Refuse,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct Refuse {
    pub(crate) privileged: bool,
    /// Without an AppArmor profile, whether by its config or for want of one.
    pub(crate) unconfined: bool,
    pub(crate) features: Vec<Feature>,
    /// Raw keys by name; `*` at the end stands for any rest.
    pub(crate) raw_keys: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Feature {
    ForceRwSys,
    Fuse,
    Keyctl,
    Mknod,
    Mount,
    Nesting,
}

/// As written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct Raw {
    deny_syscalls: Vec<toml::Spanned<String>>,
    drop_capabilities: Vec<toml::Spanned<String>>,
    no_new_privileges: bool,
    readonly_rootfs: bool,
    refuse: Refuse,
}

#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("cannot read this host's policy")]
    Read(#[source] io::Error),
    #[error("{path}: line {line}: {reason}")]
    Syntax { path: PathBuf, line: usize, reason: String },
}

impl Policy {
    /// A policy that cannot be read or understood stops every start: it is there to be kept.
    pub fn read(root: &Root) -> Result<Self, PolicyError> {
        let path = root.below("/etc/proxmox-lxcri/policy.toml");
        match fs_err::read_to_string(&path) {
            Ok(text) => Self::parse(&text, &path),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(err) => Err(PolicyError::Read(err)),
        }
    }

    pub fn parse(text: &str, path: &Path) -> Result<Self, PolicyError> {
        let wrong = |at: usize, reason: String| {
            let before = text.as_bytes().iter().take(at);
            let line = before.filter(|byte| **byte == b'\n').count() + 1;
            PolicyError::Syntax { path: path.to_owned(), line, reason }
        };
        let raw: Raw = toml::from_str(text).map_err(|err| {
            wrong(err.span().map_or(0, |span| span.start), err.message().to_owned())
        })?;
        let mut policy = Self {
            no_new_privileges: raw.no_new_privileges,
            readonly_rootfs: raw.readonly_rootfs,
            refuse: raw.refuse,
            ..Self::default()
        };
        for name in raw.deny_syscalls {
            // Of one that libseccomp does not know nobody would ever hear again.
            let plain =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            if name.get_ref().is_empty() || !name.get_ref().bytes().all(plain) {
                let reason = format!("'{}' is not the name of a system call", name.get_ref());
                return Err(wrong(name.span().start, reason));
            }
            policy.deny_syscalls.push(name.into_inner());
        }
        for name in raw.drop_capabilities {
            let upper = name.get_ref().to_ascii_uppercase();
            let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
            if !capability_names().any(|known| known == bare) {
                let reason = format!("there is no capability '{}'", name.get_ref());
                return Err(wrong(name.span().start, reason));
            }
            policy.drop_capabilities.insert(bare.to_owned());
        }
        Ok(policy)
    }

    /// Whether this host's policy refuses the raw key.
    pub(crate) fn refuses_raw(&self, key: &str) -> bool {
        let refused = |pattern: &String| {
            pattern.strip_suffix('*').map_or(pattern == key, |start| key.starts_with(start))
        };
        self.refuse.raw_keys.iter().any(refused)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn parse(text: &str) -> Result<Policy, PolicyError> {
        Policy::parse(text, Path::new("policy.toml"))
    }

    #[test]
    fn the_shipped_example_says_everything_and_takes_nothing() {
        let shipped = include_str!("../../packaging/policy.toml");
        assert_eq!(parse(shipped).unwrap(), Policy::default());
        let in_force: String = shipped
            .lines()
            .filter_map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')))
            .map(|line| format!("{line}\n"))
            .collect();
        let policy = parse(&in_force).unwrap();
        assert!(policy.no_new_privileges && policy.readonly_rootfs && policy.refuse.privileged);
        assert!(policy.refuse.unconfined);
        assert!(!policy.deny_syscalls.is_empty() && !policy.drop_capabilities.is_empty());
        assert!(policy.refuses_raw("lxc.hook.start") && !policy.refuses_raw("lxc.signal.halt"));
        assert_eq!(policy.refuse.features.len(), 2);
    }

    #[rstest]
    #[case::unknown("\nallow-syscalls = []", "policy.toml: line 2: unknown field `allow-syscalls`")]
    #[case::below("[refuse]\nprivilege = true", "policy.toml: line 2: unknown field `privilege`")]
    #[case::capability(
        "drop-capabilities = [\"NET_RAW\",\n\"NET_ROW\"]",
        "policy.toml: line 2: there is no capability 'NET_ROW'"
    )]
    #[case::call("deny-syscalls = [\"Open\"]", "policy.toml: line 1: 'Open' is not the name")]
    #[case::feature("[refuse]\nfeatures = [\"nest\"]", "policy.toml: line 2: unknown variant")]
    fn refuses(#[case] text: &str, #[case] message: &str) {
        let err = parse(text).unwrap_err().to_string();
        assert!(err.starts_with(message), "{err}");
    }

    #[test]
    fn a_file_that_is_not_there_takes_nothing_and_one_that_cannot_be_read_stops() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path()).unwrap();
        assert_eq!(Policy::read(&root).unwrap(), Policy::default());
        fs_err::create_dir_all(dir.path().join("etc/proxmox-lxcri/policy.toml")).unwrap();
        assert!(Policy::read(&root).is_err());
    }
}
