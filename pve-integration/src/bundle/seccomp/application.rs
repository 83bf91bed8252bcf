//! The list of system calls that an application container may make. The names are data, in
//! `application.toml` beside this file; what depends on an argument is here.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde::Deserialize;

use super::filter::{Action, Bits, Filter, Rule};
use super::{BTRFS, BTRFS_MASK, ENOSYS, EPERM, FORCE};
use crate::bundle::capabilities::Kept;
use crate::ct_config::Features;

/// `CLONE_NEW*` of clone(2): CGROUP, IPC, NET, NS, PID, USER, UTS.
const NEW_NAMESPACES: u64 = 0x7e02_0000;
/// include/uapi/linux/personality.h: Linux, its 32-bit form, either with UNAME26, and "tell me".
const PERSONALITIES: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, u32::MAX];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    allow: Vec<Allow>,
    deny: Deny,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Allow {
    capability: Option<String>,
    feature: Option<Feature>,
    names: Vec<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Feature {
    Keyctl,
    Nesting,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Deny {
    names: Vec<String>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    toml::from_str(include_str!("application.toml"))
        .expect("it is part of this program, and tested")
});

impl Allow {
    fn holds(&self, kept: &Kept, features: &Features) -> bool {
        let capability = self.capability.as_deref().map(|name| kept.has(name));
        let feature = self.feature.map(|feature| match feature {
            Feature::Keyctl => features.keyctl,
            Feature::Nesting => features.nesting,
        });
        match (capability, feature) {
            (None, None) => true,
            (capability, feature) => capability == Some(true) || feature == Some(true),
        }
    }
}

/// Few rules with many names: that is what libseccomp is quick with.
pub(super) fn filter(kept: &Kept, features: &Features, shifted: bool) -> Filter {
    let groups = TABLE.allow.iter().filter(|group| group.holds(kept, features));
    let allowed: BTreeSet<&str> =
        groups.flat_map(|group| group.names.iter().map(String::as_str)).collect();
    let denied: Vec<&str> = TABLE.deny.names.iter().map(String::as_str).collect();
    let denied: Vec<&str> = denied.into_iter().filter(|name| !allowed.contains(name)).collect();
    let may_mount = allowed.contains("mount");
    let mut rules = vec![
        Rule::all(Action::Allow, &allowed.iter().copied().collect::<Vec<_>>()),
        Rule::all(Action::Errno(EPERM), &denied),
    ];
    let mut allow = |name: &str, when: Bits| rules.push(Rule::when(Action::Allow, name, when));
    if !allowed.contains("clone") {
        allow("clone", Bits { index: 0, mask: NEW_NAMESPACES, bits: 0 });
    }
    // Families below 32: local, internet, netlink, packet and older ones; not the kernel's
    // cryptography (38) and the hypervisor (40). Another errno for those would be a second answer to
    // i386's `socketcall`, which libseccomp refuses.
    allow("socket", Bits { index: 0, mask: 0xffff_ffe0, bits: 0 });
    for domain in PERSONALITIES {
        allow("personality", Bits::word(0, domain));
    }
    if may_mount {
        allow("umount2", Bits { index: 1, mask: FORCE, bits: 0 });
    }
    if shifted {
        for when in Bits::all_but(1, BTRFS_MASK, BTRFS) {
            allow("ioctl", when);
        }
        rules.push(Rule::when(Action::Errno(EPERM), "ioctl", super::btrfs()));
    } else {
        rules.push(Rule::all(Action::Allow, &["ioctl"]));
    }
    if !may_mount {
        rules.push(Rule::all(Action::Errno(EPERM), &["umount2"]));
    }
    Filter { default: Action::Errno(ENOSYS), rules }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const PLAIN: Features = Features {
        nesting: false,
        keyctl: false,
        fuse: false,
        mknod: false,
        force_rw_sys: false,
        mount: Vec::new(),
    };

    fn of(kept: &[&str], features: &Features) -> Filter {
        filter(&Kept::of_test(kept), features, true)
    }

    #[test]
    fn names_each_call_once_in_each_list() {
        let mut seen = BTreeSet::new();
        for group in TABLE.allow.iter().filter(|group| group.capability.is_none()) {
            for name in &group.names {
                assert!(seen.insert(name), "{name} stands twice");
                let conditional = group.feature.is_some();
                assert!(conditional || !TABLE.deny.names.contains(name), "{name} is in both lists");
            }
        }
        assert!(seen.len() > 300, "{}", seen.len());
    }

    #[rstest]
    #[case::ordinary("openat", 0, Action::Allow)]
    #[case::a_new_thread("clone", 0x003d_0f00, Action::Allow)]
    #[case::a_new_user_namespace("clone", 0x1000_0000, Action::Errno(ENOSYS))]
    #[case::flags_in_memory("clone3", 0, Action::Errno(ENOSYS))]
    #[case::unshare("unshare", 0, Action::Errno(EPERM))]
    #[case::a_module("finit_module", 0, Action::Errno(EPERM))]
    #[case::keys("keyctl", 0, Action::Errno(ENOSYS))]
    #[case::of_tomorrow("no_such_call", 0, Action::Errno(ENOSYS))]
    #[case::internet("socket", 2, Action::Allow)]
    #[case::hypervisor("socket", 40, Action::Errno(ENOSYS))]
    #[case::high_bits("socket", 1 << 32 | 38, Action::Errno(ENOSYS))]
    #[case::no_randomizing("personality", 0x0004_0000, Action::Errno(ENOSYS))]
    #[case::what_am_i("personality", 0xffff_ffff, Action::Allow)]
    fn decides(#[case] name: &str, #[case] argument: u64, #[case] expected: Action) {
        assert_eq!(of(&["CHOWN"], &PLAIN).verdict(name, 0, argument), expected);
    }

    #[test]
    fn what_a_capability_is_for_comes_with_it() {
        assert_eq!(of(&["SYS_TIME"], &PLAIN).verdict("clock_settime", 0, 0), Action::Allow);
        assert_eq!(of(&["SYS_ADMIN"], &PLAIN).verdict("setns", 0, 0), Action::Allow);
        let nested = Features { nesting: true, keyctl: true, ..PLAIN };
        let filter = of(&[], &nested);
        for name in ["mount", "unshare", "clone3", "keyctl", "pivot_root"] {
            assert_eq!(filter.verdict(name, 0, 0), Action::Allow, "{name}");
        }
        assert_eq!(filter.verdict("umount2", 1, FORCE), Action::Errno(ENOSYS));
        assert_eq!(filter.verdict("swapon", 0, 0), Action::Errno(EPERM));
    }

    proptest::proptest! {
        /// Whatever stands in the other bits.
        #[test]
        fn every_ioctl_but_those_of_btrfs(command: u64) {
            let verdict = of(&[], &PLAIN).verdict("ioctl", 1, command);
            let btrfs = command & BTRFS_MASK == BTRFS;
            proptest::prop_assert_eq!(verdict == Action::Allow, !btrfs);
            let exactly = Bits::all_but(1, BTRFS_MASK, BTRFS);
            let holding = exactly.iter().filter(|when| command & when.mask == when.bits).count();
            proptest::prop_assert_eq!(holding, usize::from(!btrfs));
            proptest::prop_assert!(
                of(&[], &PLAIN).verdict("ioctl", 1, command & !BTRFS_MASK | BTRFS) != Action::Allow
            );
        }
    }
}
