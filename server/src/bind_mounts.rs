//! `[[bind-mount]]` of the settings: folders of the host that others than root@pam may mount into their
//! containers. PVE has no such list, and keeps bind mounts to root@pam.

use std::path::{Component, Path, PathBuf};

use pve_integration::ct_config::{MountPoint, MountSource};
use serde::Deserialize;
use toml::Spanned;

use crate::runtime::rules::Mistake;

/// As written in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct RawBindMount {
    path: Spanned<PathBuf>,
    users: Option<Vec<String>>,
    #[serde(default)]
    read_only: bool,
}

/// A folder, and with it all that is below.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Folder {
    path: PathBuf,
    /// `None` for whoever may configure the container's disks.
    users: Option<Vec<String>>,
    read_only: bool,
}

/// The list, checked. An empty one lets nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BindMounts(Vec<Folder>);

/// Why a mount is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAllowed {
    /// PVE's words.
    #[error("mount point type {0} is only allowed for root@pam")]
    Unlisted(&'static str),
    #[error("mount point type bind: '{}' may be mounted with ro=1 alone", .0.display())]
    Writable(PathBuf),
    #[error("mount point type bind is only allowed for root@pam in a privileged container")]
    Privileged,
    #[error("mount point type bind with idmap is only allowed for root@pam")]
    IdMap,
}

impl BindMounts {
    pub(crate) fn check(raw: Vec<RawBindMount>) -> Result<Self, Mistake> {
        let folder = |raw: RawBindMount| {
            let at = raw.path.span();
            let path = raw.path.into_inner();
            if is_plain(&path) && path != Path::new("/") {
                return Ok(Folder { path, users: raw.users, read_only: raw.read_only });
            }
            let path = path.display();
            let reason = format!("path = \"{path}\" is no absolute path of a folder below /");
            Err(Mistake { at, reason })
        };
        raw.into_iter().map(folder).collect::<Result<_, _>>().map(Self)
    }

    /// That `user`, who may configure the disks of the container, may give it this mount point. Root's
    /// are two things more: what a privileged container writes into a folder is the host's root's, and an
    /// `idmap` makes it anybody's.
    pub(crate) fn allow(
        &self,
        user: &str,
        point: &MountPoint,
        unprivileged: bool,
    ) -> Result<(), NotAllowed> {
        let MountSource::Bind(source) = &point.source else {
            return Err(NotAllowed::Unlisted("device"));
        };
        let is_theirs = |folder: &&Folder| {
            let named = folder.users.as_ref();
            source.starts_with(&folder.path)
                && named.is_none_or(|users| users.iter().any(|name| name == user))
        };
        let mut listed = self.0.iter().filter(is_theirs).peekable();
        let is_rootfs = point.mp == Path::new("/");
        if is_rootfs || !is_plain(source) || listed.peek().is_none() {
            return Err(NotAllowed::Unlisted("bind"));
        }
        if !unprivileged {
            return Err(NotAllowed::Privileged);
        }
        if point.idmap.is_some() {
            return Err(NotAllowed::IdMap);
        }
        if !point.ro && listed.all(|folder| folder.read_only) {
            return Err(NotAllowed::Writable(source.clone()));
        }
        Ok(())
    }
}

/// Absolute, and without a way back. Links on the way are refused when it is mounted.
fn is_plain(path: &Path) -> bool {
    let mut parts = path.components();
    parts.next() == Some(Component::RootDir)
        && parts.all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const LIST: &str = "\
        [[bind-mount]]\npath = \"/srv/share\"\n\
        [[bind-mount]]\npath = \"/srv/media\"\nread-only = true\n\
        [[bind-mount]]\npath = \"/srv/media/alice\"\nusers = [\"alice@pve\"]\n";

    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct File {
        bind_mount: Vec<RawBindMount>,
    }

    fn list(text: &str) -> Result<BindMounts, Mistake> {
        BindMounts::check(toml::from_str::<File>(text).unwrap().bind_mount)
    }

    fn answer(user: &str, value: &str, unprivileged: bool) -> String {
        let point = MountPoint::parse("mp0", value).unwrap();
        let answer = list(LIST).unwrap().allow(user, &point, unprivileged);
        answer.map_or_else(|why| why.to_string(), |()| "yes".to_owned())
    }

    const UNLISTED: &str = "mount point type bind is only allowed for root@pam";

    #[rstest]
    #[case::itself("bob@pve", "/srv/share,mp=/x", "yes")]
    #[case::below("bob@pve", "/srv/share/a/b,mp=/x", "yes")]
    #[case::beside("bob@pve", "/srv/shared,mp=/x", UNLISTED)]
    #[case::above("bob@pve", "/srv,mp=/x", UNLISTED)]
    #[case::a_way_out("bob@pve", "/srv/share/../../etc,mp=/x", UNLISTED)]
    #[case::read_only("bob@pve", "/srv/media/films,mp=/x,ro=1", "yes")]
    #[case::writable(
        "bob@pve",
        "/srv/media/films,mp=/x",
        "mount point type bind: '/srv/media/films' may be mounted with ro=1 alone"
    )]
    #[case::hers("alice@pve", "/srv/media/alice/new,mp=/x", "yes")]
    #[case::not_his(
        "bob@pve",
        "/srv/media/alice/new,mp=/x",
        "mount point type bind: '/srv/media/alice/new' may be mounted with ro=1 alone"
    )]
    #[case::device(
        "bob@pve",
        "/dev/sda1,mp=/x",
        "mount point type device is only allowed for root@pam"
    )]
    #[case::ids(
        "bob@pve",
        "/srv/share,mp=/x,idmap=passthrough",
        "mount point type bind with idmap is only allowed for root@pam"
    )]
    fn lets_whom_the_list_names(#[case] user: &str, #[case] value: &str, #[case] expected: &str) {
        assert_eq!(answer(user, value, true), expected);
    }

    #[test]
    fn a_privileged_container_is_root_s() {
        assert!(answer("bob@pve", "/srv/share,mp=/x", false).contains("in a privileged container"));
        assert_eq!(answer("bob@pve", "/etc,mp=/x", false), UNLISTED);
    }

    #[rstest]
    #[case("srv/share")]
    #[case("/")]
    #[case("/srv/../etc")]
    fn a_path_is_one_of_a_folder(#[case] path: &str) {
        let err = list(&format!("[[bind-mount]]\npath = \"{path}\"\n")).unwrap_err();
        assert!(err.reason.contains(path), "{err:?}");
    }
}
