//! `features: mknod=1`: calls that make a device node are asked about, and the monitor answers.

use std::path::Path;

use serde_json::{Value, json};

use super::filter::{Bits, Filter};
use super::is_named;
use crate::bundle::{BundleError, Guest, IdMaps, Warning, keys, wrong};
use crate::ct_config::Features;
use crate::host::HostFacts;

/// The calls, and which argument says what to make.
const CALLS: [(&str, u32); 2] = [("mknod", 1), ("mknodat", 2)];
/// S_IFCHR is 0x2000 and S_IFBLK 0x6000; no other type of a file is either under this mask.
const MASK: u64 = 0xb000;
const DEVICE: u64 = 0x2000;
/// That a signal does not take a call back once it was heard of. Programs with many signals would make
/// their nodes twice, and fail at the second.
const KILLABLE: &str = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV";
const KILLABLE_SINCE: (u32, u32) = (5, 19);
/// What libcrun sets where no flags are named.
const USUAL: &str = "SECCOMP_FILTER_FLAG_SPEC_ALLOW";

pub(super) fn ask(filter: &mut Filter) {
    for (name, index) in CALLS {
        filter.ask(name, Bits { index, mask: MASK, bits: DEVICE });
    }
}

/// Who is asked.
pub(super) fn tell(
    seccomp: &mut Value,
    listener: &Path,
    facts: &HostFacts,
) -> Result<(), BundleError> {
    if !facts.seccomp_asks {
        return Err(wrong("features", "mknod: this kernel asks nobody about system calls"));
    }
    seccomp["listenerPath"] = json!(listener);
    if facts.kernel_release() >= KILLABLE_SINCE {
        seccomp["flags"] = json!([USUAL, KILLABLE]);
    }
    Ok(())
}

/// Where the feature does nothing.
pub(in crate::bundle) fn warning(
    guest: &Guest<'_>,
    maps: &IdMaps,
    features: &Features,
    reach: &keys::Reach,
) -> Option<Warning> {
    let reason = if !features.mknod || reach.raw {
        return None;
    } else if maps.is_empty() {
        "mknod does nothing: a privileged container makes its nodes itself"
    } else if is_named(guest, reach) {
        "mknod does nothing: lxc.seccomp.profile stands in the place of its rules"
    } else {
        return None;
    };
    Some(Warning::new("features", reason))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::filter::Action;
    use super::*;
    use crate::bundle::seccomp::{application, system};
    use crate::bundle::{Bundle, spec, to_value};
    use crate::ct_config::ContainerConfig;

    /// For each type that the kernel has, and for those it has not.
    #[test]
    fn asks_about_devices_alone() {
        let features = crate::ct_config::Section::default().features().unwrap();
        let mut allowing = system(true, &features);
        let kept = crate::bundle::capabilities::Kept::of_test(&["MKNOD"]);
        let mut listing = application::filter(&kept, &features, true);
        ask(&mut allowing);
        ask(&mut listing);
        for kind in 0..16 {
            let expected = if [2, 6].contains(&kind) { Action::Ask } else { Action::Allow };
            for (name, index) in CALLS {
                let mode = kind << 12 | 0o666;
                assert_eq!(allowing.verdict(name, index, mode), expected, "{name} {mode:o}");
                assert_eq!(listing.verdict(name, index, mode), expected, "{name} {mode:o}");
            }
        }
        allowing.deny(&["mknod".to_owned()]);
        assert_eq!(allowing.verdict("mknod", 1, 0x2000), Action::Errno(1));
        assert!(allowing.asks());
        allowing.deny(&["mknodat".to_owned()]);
        assert!(!allowing.asks());
    }

    #[test]
    fn a_kernel_may_be_too_old() {
        let text = b"rootfs: local:1/x\nunprivileged: 1\nfeatures: mknod=1\n";
        let config = ContainerConfig::parse(text);
        let made = |facts: &HostFacts| spec(&Guest::for_tests(&config), facts);
        let flags = |bundle: Bundle| to_value(&bundle.spec)["linux"]["seccomp"]["flags"].clone();
        let facts = HostFacts::for_tests();
        assert_eq!(flags(made(&facts).unwrap()), json!([USUAL, KILLABLE]));
        let facts = HostFacts { kernel: "5.18.19-pve".to_owned(), ..facts };
        assert_eq!(flags(made(&facts).unwrap()), Value::Null);
        let facts = HostFacts { seccomp_asks: false, ..facts };
        let reason = "mknod: this kernel asks nobody about system calls";
        let err = made(&facts).unwrap_err().to_string();
        assert!(err.contains("'features'") && err.ends_with(reason), "{err}");
    }

    proptest! {
        /// The kernel cuts a mode to 16 bits; what lies above decides nothing.
        #[test]
        fn any_mode_is_asked_about_or_not(mode: u64) {
            let features = crate::ct_config::Section::default().features().unwrap();
            let mut filter = system(true, &features);
            ask(&mut filter);
            let device = [0x2000, 0x6000].contains(&(mode & 0xf000));
            let expected = if device { Action::Ask } else { Action::Allow };
            prop_assert_eq!(filter.verdict("mknodat", 2, mode), expected);
        }
    }
}
