//! What a call asks for, as far as its registers say, and what is always answered in the same way.

use rustix::fs::Mode;
use rustix::io::Errno;
use seccomp_notify::{Answer, Call};

/// AUDIT_ARCH_* (include/uapi/linux/audit.h), and the numbers of `mknod`, where there is one, and
/// `mknodat` there.
const ABIS: [(u32, Option<i32>, i32); 6] = [
    (0xc000_003e, Some(133), 259), // x86_64
    (0x4000_0003, Some(14), 297),  // i386
    (0xc000_00b7, None, 33),       // aarch64
    (0x4000_0028, Some(14), 324),  // arm
    (0xc000_00f3, None, 33),       // riscv64
    (0x4000_00f3, None, 33),       // riscv32
];
/// `__X32_SYSCALL_BIT`: x32 is x86_64 with this bit in its numbers.
const X32: i32 = 0x4000_0000;

/// PVE's list: null, zero, full, random, urandom, tty, console, ptmx.
const HARMLESS: [(u32, u32); 8] = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)];

const S_IFMT: u32 = 0xf000;
const S_IFCHR: u32 = 0x2000;
const AT_FDCWD: i32 = -100;

/// What a relative path begins at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    WorkingFolder,
    Descriptor(i32),
}

/// A character device that any container may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) base: Base,
    /// Where its path is in the caller's memory.
    pub(super) path: u64,
    pub(super) mode: Mode,
    pub(super) major: u32,
    pub(super) minor: u32,
}

/// The node, or what is to be answered without a look at the caller.
pub(super) fn read(call: &Call) -> Result<Node, Answer> {
    let unknown = Answer::Failed(Errno::NOSYS);
    let abi = ABIS.iter().find(|(arch, ..)| *arch == call.arch);
    let (arch, mknod, mknodat) = abi.ok_or(unknown)?;
    let is_x86_64 = *arch == ABIS[0].0;
    let number = if is_x86_64 { call.number & !X32 } else { call.number };
    let [first, second, third, fourth, ..] = call.arguments;
    let (base, path, mode, device) = if Some(number) == *mknod {
        (Base::WorkingFolder, first, second, third)
    } else if number == *mknodat {
        let base = match word(first).cast_signed() {
            AT_FDCWD => Base::WorkingFolder,
            number => Base::Descriptor(number),
        };
        (base, second, third, fourth)
    } else {
        return Err(unknown);
    };
    let (mode, device) = (word(mode), word(device));
    // As the kernel takes them apart, `new_decode_dev` of include/linux/kdev_t.h.
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xf_ff00));
    match mode & S_IFMT {
        // What overlayfs takes for a removed file; anybody may make one.
        S_IFCHR if (major, minor) == (0, 0) => Err(Answer::Continue),
        S_IFCHR if HARMLESS.contains(&(major, minor)) => {
            let mode = Mode::from_bits_retain(mode & 0o7777);
            Ok(Node { base, path, mode, major, minor })
        }
        _ => Err(Answer::Failed(Errno::PERM)),
    }
}

/// The kernel takes no more of such an argument.
fn word(argument: u64) -> u32 {
    u32::try_from(argument & u64::from(u32::MAX)).expect("no more bits are left")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const X86_64: u32 = ABIS[0].0;
    const FD: u64 = 0xffff_ff9c;

    fn call(arch: u32, number: i32, arguments: [u64; 4]) -> Call {
        let [a, b, c, d] = arguments;
        Call { id: 1, thread: 1, arch, number, arguments: [a, b, c, d, 0, 0] }
    }

    #[rstest]
    #[case::by_path(call(X86_64, 133, [9, 0o20644, 0x103, 0]), Base::WorkingFolder)]
    #[case::here(call(X86_64, 259, [FD, 9, 0o20644, 0x103]), Base::WorkingFolder)]
    #[case::below(call(X86_64, 259, [1 << 32 | 7, 9, 0o20644, 0x103]), Base::Descriptor(7))]
    #[case::x32(call(X86_64, X32 | 259, [7, 9, 0o20644, 0x103]), Base::Descriptor(7))]
    #[case::i386(call(0x4000_0003, 14, [9, 0o20644, 0x103, 0]), Base::WorkingFolder)]
    #[case::i386_at(call(0x4000_0003, 297, [FD, 9, 0o20644, 0x103]), Base::WorkingFolder)]
    #[case::arm64(call(0xc000_00b7, 33, [FD, 9, 0o20644, 0x103]), Base::WorkingFolder)]
    fn each_abi_has_its_numbers(#[case] call: Call, #[case] base: Base) {
        let mode = Mode::from_bits_retain(0o644);
        assert_eq!(read(&call), Ok(Node { base, path: 9, mode, major: 1, minor: 3 }));
    }

    #[rstest]
    #[case::mem(0o20644, 0x101, Answer::Failed(Errno::PERM))]
    #[case::kmsg(0o20644, 0x10b, Answer::Failed(Errno::PERM))]
    #[case::a_disk(0o60644, 0x800, Answer::Failed(Errno::PERM))]
    #[case::a_disk_with_the_number_of_null(0o60644, 0x103, Answer::Failed(Errno::PERM))]
    #[case::a_high_minor(0o20644, 0x0010_0103, Answer::Failed(Errno::PERM))]
    #[case::whiteout(0o20000, 0, Answer::Continue)]
    #[case::block_zero(0o60000, 0, Answer::Failed(Errno::PERM))]
    fn no_other_device(#[case] mode: u64, #[case] device: u64, #[case] expected: Answer) {
        assert_eq!(read(&call(X86_64, 133, [9, mode, device, 0])), Err(expected));
    }

    #[rstest]
    #[case::another_call(X86_64, 2)]
    #[case::another_machine(0x8000_0016, 14)]
    #[case::arm64_has_no_mknod(0xc000_00b7, 14)]
    fn what_was_not_asked_for(#[case] arch: u32, #[case] number: i32) {
        let made = read(&call(arch, number, [9, 0o20644, 0x103, 0]));
        assert_eq!(made, Err(Answer::Failed(Errno::NOSYS)));
    }

    proptest! {
        #[test]
        fn nothing_but_the_list(mode: u64, device: u64) {
            if let Ok(node) = read(&call(X86_64, 133, [9, mode, device, 0])) {
                prop_assert!(HARMLESS.contains(&(node.major, node.minor)));
                prop_assert_eq!(mode & 0xf000, 0x2000);
                prop_assert_eq!(word(device), node.major << 8 | node.minor);
            }
        }
    }
}
