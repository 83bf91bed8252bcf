//! An AppArmor profile of one container's own, for `features: mount=...`: the rules of a shipped one, and
//! types of file systems that may be mounted besides.

use std::fmt::Write as _;

use super::SYSTEM;
use crate::ct_config::FsType;
use crate::host::Mode;

/// To be loaded before the container is made, and removed after its last process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    pub name: String,
    /// As `apparmor_parser` reads it, where it finds the files of `packaging/apparmor`.
    pub text: String,
}

/// What `packaging/apparmor/lxcri/mounts` denies to whoever does not nest: the kernel's own, which would
/// show the host in the container.
const NEVER: [&str; 15] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "configfs",
    "debugfs",
    "devtmpfs",
    "efivarfs",
    "proc",
    "pstore",
    "securityfs",
    "selinuxfs",
    "smackfs",
    "sysfs",
    "tracefs",
];

pub(super) fn is_never_mounted(kind: &FsType) -> bool {
    NEVER.contains(&kind.as_str())
}

/// Whether a profile with this name is one of these, of whatever container.
pub(in crate::bundle) fn is_one(name: &str) -> bool {
    let number = name.strip_prefix("lxcri-").map(|rest| rest.rsplit('-').next().unwrap_or(rest));
    number.is_some_and(|number| number.parse::<openapi::Vmid>().is_ok())
}

/// `base` is a profile of ours that lets not everything be mounted.
pub(super) fn profile(name: &str, base: &str, mode: Mode, kinds: &[&FsType]) -> Profile {
    let complain = if mode == Mode::Tolerates { ", complain" } else { "" };
    let mut text = format!(
        "abi <abi/3.0>,\n\ninclude <lxcri/variables>\n\n\
         profile {name} flags=(attach_disconnected, mediate_deleted{complain}) {{\n  \
         include <lxcri/common>\n"
    );
    text += match base {
        SYSTEM => "  include <lxcri/mounts>\n\n",
        // An application's has no rule about mounts at all.
        _ => "\n  umount,\n",
    };
    for kind in kinds {
        writeln!(text, "  mount fstype={kind},").expect("a string takes whatever it is given");
    }
    text += "}\n";
    Profile { name: name.to_owned(), text }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::APPLICATION;
    use super::*;

    #[rstest]
    #[case::system("system", SYSTEM, Mode::Forbids)]
    #[case::application("application", APPLICATION, Mode::Tolerates)]
    fn adds_types_to_a_shipped_one(#[case] snapshot: &str, #[case] base: &str, #[case] mode: Mode) {
        let kinds = ["nfs", "fuse.sshfs"].map(|kind| kind.parse().unwrap());
        let made = profile("lxcri-100", base, mode, &kinds.iter().collect::<Vec<_>>());
        insta::with_settings!({ snapshot_suffix => snapshot, omit_expression => true }, {
            insta::assert_snapshot!(made.text);
        });
    }

    #[test]
    fn knows_what_the_shipped_one_denies() {
        let shipped = include_str!("../../../../packaging/apparmor/lxcri/mounts");
        let denied =
            shipped.lines().filter_map(|line| line.trim().strip_prefix("deny mount fstype="));
        let mut denied: Vec<_> =
            denied.flat_map(|list| list.trim_matches(['(', ')', ',']).split(", ")).collect();
        denied.sort_unstable();
        let mut never: Vec<_> = NEVER.to_vec();
        never.sort_unstable();
        assert_eq!(denied, never);
    }

    #[rstest]
    #[case("lxcri-100", true)]
    #[case("lxcri-1a2b3c4d-100", true)]
    #[case("lxcri-system", false)]
    #[case("lxcri-", false)]
    #[case("100", false)]
    fn knows_the_name_of_one(#[case] name: &str, #[case] expected: bool) {
        assert_eq!(is_one(name), expected);
    }
}
