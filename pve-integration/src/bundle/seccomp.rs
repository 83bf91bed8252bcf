//! PVE's system call rules (`make_seccomp_config` in pve-container's `PVE/LXC.pm`): a deny list on
//! top of "allow".

use serde_json::{Value, json};

use super::id_map::IdMaps;
use crate::ct_config::{Arch, Features};
use crate::host::HostFacts;

const EPERM: u32 = 1;
const EACCES: u32 = 13;
const ENOSYS: u32 = 38;
const EAFNOSUPPORT: u32 = 97;
const MNT_FORCE: u64 = 1;
const AF_ALG: u64 = 38;

pub(super) fn rules(facts: &HostFacts, maps: &IdMaps, features: &Features) -> Value {
    let mut rules = vec![
        json!({
            "names": ["delete_module", "finit_module", "init_module", "kexec_load", "open_by_handle_at"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": EPERM,
        }),
        // A forced unmount reaches NFS mounts of the host.
        masked("umount2", 1, MNT_FORCE, MNT_FORCE, EACCES),
    ];
    if !maps.is_empty() {
        // btrfs's whole range: its ioctls check the owner of a subvolume and nothing else.
        rules.push(masked("ioctl", 1, 0xff00, 0x9400, EPERM));
        rules.push(json!({
            "names": ["socket"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": EAFNOSUPPORT,
            "args": [{ "index": 0, "value": AF_ALG, "op": "SCMP_CMP_EQ" }],
        }));
        if !features.keyctl {
            // systemd takes ENOSYS for "no keyrings" and goes on; EPERM stops it.
            rules.push(json!({
                "names": ["keyctl"],
                "action": "SCMP_ACT_ERRNO",
                "errnoRet": ENOSYS,
            }));
        }
    }
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": architectures(facts.arch),
        "syscalls": rules,
    })
}

/// A denied pattern in the bits of one argument. OCI's `value` is libseccomp's mask here.
fn masked(name: &str, index: u32, mask: u64, bits: u64, errno: u32) -> Value {
    json!({
        "names": [name],
        "action": "SCMP_ACT_ERRNO",
        "errnoRet": errno,
        "args": [{ "index": index, "value": mask, "valueTwo": bits, "op": "SCMP_CMP_MASKED_EQ" }],
    })
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
