//! Which AppArmor profiles a process here can be put into.

use std::collections::BTreeMap;

use fs_err as fs;

/// Lists each as `name (mode)`, as this process's policy namespace has them.
const PROFILES: &str = "/sys/kernel/security/apparmor/profiles";

/// What is loaded into a kernel that has AppArmor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppArmor {
    Profiles(BTreeMap<String, Mode>),
    /// It cannot be asked.
    NoSecurityfs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `enforce` and `kill`.
    Forbids,
    /// `complain`, and whatever else the kernel names: what is against the rules is done all the same.
    Tolerates,
}

impl AppArmor {
    pub(super) fn read() -> Option<Self> {
        let enabled = super::first_line("/sys/module/apparmor/parameters/enabled");
        (enabled.as_deref() == Some("Y")).then(|| {
            fs::read_to_string(PROFILES)
                .map_or(Self::NoSecurityfs, |list| Self::Profiles(parse_profiles(&list)))
        })
    }

    pub(super) fn for_tests() -> Self {
        let profiles =
            ["lxc-container-default", "lxcri-application", "lxcri-nesting", "lxcri-system"];
        Self::Profiles(profiles.map(|name| (name.to_owned(), Mode::Forbids)).into())
    }
}

/// A name may have blanks and brackets of its own.
fn parse_profiles(list: &str) -> BTreeMap<String, Mode> {
    let entry = |line: &str| {
        let (name, mode) = line.rsplit_once(" (")?;
        let forbids = ["enforce)", "kill)"].contains(&mode);
        Some((name.to_owned(), if forbids { Mode::Forbids } else { Mode::Tolerates }))
    };
    list.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_profiles_as_the_kernel_lists_them() {
        let list = "lxcri-system (enforce)\n/usr/bin/a (b) (complain)\n\nman//filter (enforce)\n";
        let found: Vec<_> = parse_profiles(list).into_iter().collect();
        let expected = [
            ("/usr/bin/a (b)", Mode::Tolerates),
            ("lxcri-system", Mode::Forbids),
            ("man//filter", Mode::Forbids),
        ];
        assert_eq!(found, expected.map(|(name, mode)| (name.to_owned(), mode)));
    }
}
