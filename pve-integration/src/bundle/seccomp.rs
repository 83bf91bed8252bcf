//! System call rules: PVE's (`make_seccomp_config` in pve-container's `PVE/LXC.pm`), a deny list on
//! top of "allow", for containers with an init system; a list of what is allowed for an application.
//! The file that a raw line names stands in the place of both.

mod application;
mod filter;
mod mknod;
mod profile;

use serde_json::Value;

use self::filter::{Action, Bits, Filter, Rule};
pub(super) use self::mknod::warning as mknod_warning;
pub use self::profile::{Profile, ProfileError};
use super::capabilities::Kept;
use super::id_map::IdMaps;
use super::{BundleError, Guest, keys, wrong};
use crate::ct_config::{Arch, Features};
use crate::host::HostFacts;

pub(super) const KEY: &str = "lxc.seccomp.profile";

const EPERM: u32 = 1;
const EACCES: u32 = 13;
const ENOSYS: u32 = 38;
const EAFNOSUPPORT: u32 = 97;
const AF_ALG: u32 = 38;
/// MNT_FORCE in the flags of umount2(2): it reaches NFS mounts of the host.
const FORCE: u64 = 1;
/// The type byte of btrfs's ioctls, which check the owner of a subvolume and nothing else.
const BTRFS_MASK: u64 = 0xff00;
const BTRFS: u64 = 0x9400;

pub(super) fn rules(
    guest: &Guest<'_>,
    facts: &HostFacts,
    maps: &IdMaps,
    features: &Features,
    kept: &Kept,
    reach: &keys::Reach,
) -> Result<Value, BundleError> {
    let shifted = !maps.is_empty();
    let named = is_named(guest, reach);
    let mut filter = if named {
        let profile = guest.seccomp.ok_or_else(|| wrong(KEY, "the file was not read"))?;
        profile.filter().clone()
    } else if guest.config.is_application() {
        application::filter(kept, features, shifted)
    } else {
        system(shifted, features)
    };
    let asked = features.mknod && shifted && !named && !reach.raw;
    if asked {
        mknod::ask(&mut filter);
    }
    filter.deny(&guest.policy.deny_syscalls);
    let mut value = filter.to_value(architectures(facts.arch));
    if filter.asks() {
        mknod::tell(&mut value, guest.listener, facts)?;
    }
    Ok(value)
}

/// Whether a file stands in the place of our rules.
fn is_named(guest: &Guest<'_>, reach: &keys::Reach) -> bool {
    !reach.raw && guest.config.current().lxc_values(KEY).next().is_some()
}

fn system(shifted: bool, features: &Features) -> Filter {
    let modules =
        ["delete_module", "finit_module", "init_module", "kexec_load", "open_by_handle_at"];
    let mut rules = vec![Rule::all(Action::Errno(EPERM), &modules), no_forced_umount()];
    if shifted {
        rules.push(Rule::when(Action::Errno(EPERM), "ioctl", btrfs()));
        // PVE compares all 64 bits; the kernel looks at 32 of them.
        let when = Bits::word(0, AF_ALG);
        rules.push(Rule::when(Action::Errno(EAFNOSUPPORT), "socket", when));
        if !features.keyctl {
            // systemd takes ENOSYS for "no keyrings" and goes on; EPERM stops it.
            rules.push(Rule::all(Action::Errno(ENOSYS), &["keyctl"]));
        }
    }
    Filter { default: Action::Allow, rules }
}

/// LXC's `reject_force_umount`.
fn no_forced_umount() -> Rule {
    let forced = Bits { index: 1, mask: FORCE, bits: FORCE };
    Rule::when(Action::Errno(EACCES), "umount2", forced)
}

fn btrfs() -> Bits {
    Bits { index: 1, mask: BTRFS_MASK, bits: BTRFS }
}

/// A call through an ABI that is not listed kills the caller, so 32-bit ones are.
fn architectures(arch: Arch) -> &'static [&'static str] {
    match arch {
        Arch::Amd64 => &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        Arch::I386 => &["SCMP_ARCH_X86"],
        Arch::Arm64 => &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        Arch::Armhf => &["SCMP_ARCH_ARM"],
        Arch::Riscv32 | Arch::Riscv64 => &["SCMP_ARCH_RISCV64"],
    }
}
