//! Who a user is by the accounts of a container's own: its passwd(5) and group(5), which are a
//! stranger's files.

use std::io::Read as _;
use std::os::fd::AsFd;
use std::str::FromStr;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use serde::{Deserialize, Serialize};

/// Longer files are cut.
const MOST: u64 = 1 << 20;

/// What the accounts do not tell is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// Of the other groups, with commas; empty if the user is in none.
    pub groups: Option<String>,
}

/// `USER[:GROUP]`, each by name or by number, as in the `User` of the image spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    user: String,
    group: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a user's name or number, or that and a group's: USER[:GROUP]")]
pub struct InvalidUser;

impl FromStr for User {
    type Err = InvalidUser;

    fn from_str(text: &str) -> Result<Self, InvalidUser> {
        let (user, group) = match text.split_once(':') {
            Some((_, group)) if group.is_empty() || group.contains(':') => return Err(InvalidUser),
            Some((user, group)) => (user, Some(group.to_owned())),
            None => (text, None),
        };
        if user.is_empty() {
            return Err(InvalidUser);
        }
        Ok(Self { user: user.to_owned(), group })
    }
}

impl User {
    pub fn name(&self) -> &str {
        &self.user
    }

    /// The group that was asked for beside the user.
    pub fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    passwd: String,
    group: String,
}

impl Accounts {
    pub fn new(passwd: impl Into<String>, group: impl Into<String>) -> Self {
        Self { passwd: passwd.into(), group: group.into() }
    }

    /// Of a root file system. One for a single program has none.
    pub fn read(root: impl AsFd) -> Self {
        let text = |path| {
            let bytes = read_inside(&root, path, MOST).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Self::new(text("etc/passwd"), text("etc/group"))
    }

    /// A group that was asked for is the only one.
    pub fn ids(&self, User { user, group }: &User) -> Ids {
        let (passwd, groups) = (&self.passwd, &self.group);
        let (uid, name) = match number(user) {
            Some(uid) => (Some(uid), field(passwd, 2, user, 0)),
            None => (field(passwd, 0, user, 2).and_then(number), Some(user.as_str())),
        };
        if let Some(wanted) = group {
            let gid = number(wanted).or_else(|| field(groups, 0, wanted, 2).and_then(number));
            return Ids { uid, gid, groups: None };
        }
        let gid = uid.and_then(|uid| field(passwd, 2, &uid.to_string(), 3)).and_then(number);
        let groups = name.map(|name| {
            let members = groups.lines().filter_map(|line| {
                let fields: Vec<_> = line.split(':').collect();
                let is_in = fields.get(3)?.split(',').any(|member| member == name);
                number(fields[2]).filter(|_| is_in)
            });
            members.map(|gid| gid.to_string()).collect::<Vec<_>>().join(",")
        });
        Ids { uid, gid, groups }
    }
}

fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// Field `wanted` of the first line whose field `at` is `value`.
fn field<'a>(file: &'a str, at: usize, value: &str, wanted: usize) -> Option<&'a str> {
    let line = file.lines().find(|line| line.split(':').nth(at) == Some(value))?;
    line.split(':').nth(wanted)
}

/// The beginning of a file in a root file system, `most` bytes of it, if that is a file. Its links lead
/// no further than the root.
pub fn read_inside(root: impl AsFd, path: &str, most: u64) -> Option<Vec<u8>> {
    // A fifo must not keep us waiting for whoever writes into it.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = openat2(root, path, flags, Mode::empty(), resolve).ok()?;
    if FileType::from_raw_mode(fstat(&file).ok()?.st_mode) != FileType::RegularFile {
        return None;
    }
    let mut bytes = Vec::new();
    std::fs::File::from(file).take(most).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::empty("")]
    #[case::no_user(":7")]
    #[case::no_group("user:")]
    #[case::more("user:group:more")]
    fn refuses(#[case] user: &str) {
        assert_eq!(user.parse::<User>(), Err(InvalidUser));
    }

    #[test]
    fn reads_files_of_the_root_and_no_others() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs_err::create_dir(dir.path().join("etc")).unwrap();
        fs_err::write(dir.path().join("etc/passwd"), "web:x:33:34::/:\n").unwrap();
        fs_err::write(outside.path().join("group"), "secret:x:1:web\n").unwrap();
        let link = dir.path().join("etc/group");
        std::os::unix::fs::symlink(outside.path().join("group"), link).unwrap();
        let root = fs_err::File::open(dir.path()).unwrap();
        let ids = Accounts::read(&root).ids(&"web".parse().unwrap());
        let groups = Some(String::new());
        assert_eq!(ids, Ids { uid: Some(33), gid: Some(34), groups });
    }

    proptest! {
        #[test]
        fn takes_any_files(passwd in "([a-c0-9:,]{0,9}\n){0,4}", group in "([a-c0-9:,]{0,9}\n){0,4}", user in "[a-c0-9:]{0,5}") {
            if let Ok(user) = user.parse() {
                drop(Accounts::new(passwd, group).ids(&user));
            }
        }
    }
}
