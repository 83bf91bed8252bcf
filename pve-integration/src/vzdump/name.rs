//! Names of backup files: `vzdump-lxc-100-2026_01_31-23_59_59.tar.zst`.

use std::fmt;

use jiff::civil::DateTime;
use openapi::Vmid;

use crate::local_time;

/// What a backup is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BackupKind {
    Lxc,
    Openvz,
    Qemu,
    Unknown,
}

impl BackupKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lxc => "lxc",
            Self::Openvz => "openvz",
            Self::Qemu => "qemu",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for BackupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a file's name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchiveInfo<'n> {
    pub kind: BackupKind,
    /// Of a name as vzdump makes it: without the packing, whose, and when.
    pub standard: Option<Standard<'n>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standard<'n> {
    pub stem: &'n str,
    pub vmid: Vmid,
    /// Epoch seconds.
    pub ctime: i64,
}

impl<'n> ArchiveInfo<'n> {
    /// Of a file's name, without folders.
    pub fn of(name: &'n str) -> Self {
        let kind = name.strip_prefix("vzdump-").and_then(|rest| {
            let kinds = [BackupKind::Lxc, BackupKind::Openvz, BackupKind::Qemu];
            kinds.into_iter().find_map(|kind| {
                rest.strip_prefix(kind.as_str())?.strip_prefix('-').map(|rest| (kind, rest))
            })
        });
        let Some((kind, rest)) = kind else {
            return Self { kind: BackupKind::Unknown, standard: None };
        };
        Self { kind, standard: standard(name, rest) }
    }
}

/// `rest` is `100-2026_01_31-23_59_59.tar.zst`.
fn standard<'n>(name: &'n str, rest: &'n str) -> Option<Standard<'n>> {
    let (stem, _) = name.split_once('.')?;
    let mut parts = rest.split_once('.')?.0.split('-');
    let vmid = parts.next()?.parse().ok()?;
    let [year, month, day] = numbers(parts.next()?, [4, 2, 2])?;
    let [hour, minute, second] = numbers(parts.next()?, [2, 2, 2])?;
    if parts.next().is_some() {
        return None;
    }
    let small = |number: i16| i8::try_from(number).ok();
    let time = DateTime::new(
        year,
        small(month)?,
        small(day)?,
        small(hour)?,
        small(minute)?,
        small(second)?,
        0,
    );
    let ctime = local_time::zone().to_timestamp(time.ok()?).ok()?.as_second();
    Some(Standard { stem, vmid, ctime })
}

fn numbers(part: &str, digits: [usize; 3]) -> Option<[i16; 3]> {
    let mut fields = part.split('_');
    let mut numbers = [0; 3];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let field = fields.next()?;
        if field.len() != digits || !field.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = field.parse().ok()?;
    }
    fields.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[test]
    fn a_name_of_ours_is_read_back() {
        let stem = local_time::format(1_795_440_225, "vzdump-lxc-100-%Y_%m_%d-%H_%M_%S");
        let name = format!("{stem}.tar.zst");

        let info = ArchiveInfo::of(&name);

        assert_eq!(info.kind, BackupKind::Lxc);
        let standard = info.standard.unwrap();
        assert_eq!((standard.stem, standard.ctime), (stem.as_str(), 1_795_440_225));
        assert_eq!(standard.vmid.get(), 100);
    }

    #[rstest]
    #[case::renamed("vzdump-qemu-100-mine.vma", BackupKind::Qemu)]
    #[case::no_date("vzdump-lxc-100-2026_13_01-00_00_00.tar", BackupKind::Lxc)]
    #[case::longer("vzdump-lxc-100-2026_01_01-00_00_00-x.tar", BackupKind::Lxc)]
    #[case::foreign("backup.tar", BackupKind::Unknown)]
    fn others_have_no_time(#[case] name: &str, #[case] kind: BackupKind) {
        assert_eq!(ArchiveInfo::of(name), ArchiveInfo { kind, standard: None });
    }

    proptest! {
        #[test]
        fn never_panics(name: String, rest in "vzdump-lxc-[0-9]{1,4}-[0-9_]{0,12}-[0-9_]{0,9}.tar") {
            ArchiveInfo::of(&name);
            ArchiveInfo::of(&rest);
        }
    }
}
