//! Which AppArmor profiles a process here can be put into.

use std::collections::BTreeSet;

use fs_err as fs;

/// Lists each as `name (mode)`, as this process's policy namespace has them.
const PROFILES: &str = "/sys/kernel/security/apparmor/profiles";

/// What is loaded into a kernel that has AppArmor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppArmor {
    Profiles(BTreeSet<String>),
    /// It cannot be asked.
    NoSecurityfs,
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
        Self::Profiles(profiles.map(str::to_owned).into())
    }
}

/// A name may have blanks and brackets of its own.
fn parse_profiles(list: &str) -> BTreeSet<String> {
    list.lines().filter_map(|line| Some(line.rsplit_once(" (")?.0.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_profiles_as_the_kernel_lists_them() {
        let list = "lxcri-system (enforce)\n/usr/bin/a (b) (complain)\n\nman//filter (enforce)\n";
        let names: Vec<_> = parse_profiles(list).into_iter().collect();
        assert_eq!(names, ["/usr/bin/a (b)", "lxcri-system", "man//filter"]);
    }
}
