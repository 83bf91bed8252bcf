//! Users, groups, roles, tokens and tickets as PVE keeps them: who somebody is, and what they may.
//! When a question is asked, and what its answer means to a client, is the server's business.

mod below;
mod console;
mod csrf;
mod domains;
pub mod edit;
mod expression;
mod first_start;
mod keys;
mod login;
pub mod password;
mod permissions;
pub mod roles;
mod secrets;
pub(crate) mod text;
mod ticket;
mod user_config;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use fs_err as fs;
use openapi::{AuthId, Privilege};

pub use self::below::Below;
pub use self::domains::{Realm, Realms};
pub use self::first_start::{FirstStart, FirstStartError, first_start};
pub use self::keys::KeyError;
pub use self::login::{AuthError, Session};
pub use self::permissions::{Denied, Permissions};
pub use self::secrets::{Shadow, TokenSecrets};
pub use self::text::{normalize_path, split_list};
pub use self::user_config::{AclNode, Group, Pool, RoleSet, Token, User, UserConfig};

use self::keys::Keys;
use crate::layout::Root;

/// PVE's access files as they were at one moment. Passwords are not among them: they are read
/// when somebody logs in.
pub struct Access {
    pub config: UserConfig,
    pub realms: Realms,
    tokens: TokenSecrets,
    keys: Keys,
    root: Root,
    /// Of all that was read.
    paths: Vec<PathBuf>,
    stamp: Stamp,
}

impl Access {
    /// A missing file is an empty one, so that root@pam is there in any case.
    pub fn read(root: &Root) -> Result<Self, KeyError> {
        let own = [root.user_cfg(), root.domains_cfg(), root.token_cfg()];
        let paths: Vec<_> = own.into_iter().chain(keys::files(root)).collect();
        let stamp = Stamp::of(&paths); // first, so that a change meanwhile is seen later
        let text = |path: PathBuf| keys::optional(&path).map(Option::unwrap_or_default);
        Ok(Self {
            config: UserConfig::parse(&text(root.user_cfg())?),
            realms: Realms::parse(&text(root.domains_cfg())?),
            tokens: TokenSecrets::parse(&text(root.token_cfg())?),
            keys: Keys::read(root)?,
            root: root.clone(),
            paths,
            stamp,
        })
    }

    /// Whether the files are still those that were read. Costs a `stat` for each.
    pub fn is_current(&self) -> bool {
        self.stamp.settled && Stamp::of(&self.paths).files == self.stamp.files
    }

    /// All that `who` holds at a path. See `UserConfig::permissions`.
    pub fn permissions(&self, who: &AuthId, path: &str) -> Permissions {
        self.config.permissions(who, &normalize_path(path).unwrap_or_default())
    }

    /// PVE's check of one path: all privileges, or any of them.
    pub fn check(
        &self,
        who: &AuthId,
        path: &str,
        privileges: &[Privilege],
        any: bool,
    ) -> Result<(), Denied> {
        self.config.check(who, path, privileges, any)
    }

    /// The same for many children of one path.
    pub fn below<'a>(
        &'a self,
        who: &'a AuthId,
        parent: &'a str,
        privileges: &'a [Privilege],
    ) -> Below<'a> {
        Below::new(&self.config, who, parent, privileges)
    }

    /// PVE's check of a method's `permissions`; no `who` is a caller who has not logged in.
    pub fn allowed(
        &self,
        who: Option<&AuthId>,
        permissions: Option<&openapi::schema::Permissions>,
        param: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(), Denied> {
        self.config.allowed(who, permissions, param)
    }

    /// The `cap` of a login's answer.
    pub fn capabilities(&self, who: &AuthId) -> BTreeMap<&'static str, BTreeSet<Privilege>> {
        self.config.capabilities(who)
    }
}

/// Names only: the rest is secret or long.
impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("root", &self.root).finish_non_exhaustive()
    }
}

/// What tells one version of the files from another.
struct Stamp {
    files: Vec<Option<(SystemTime, u64, u64)>>,
    /// A file changed less than a tick of its filesystem's clock ago could change again and show
    /// the same time; PVE's cluster filesystem counts in whole seconds.
    settled: bool,
}

impl Stamp {
    fn of(paths: &[PathBuf]) -> Self {
        use std::os::unix::fs::MetadataExt;

        let stat = |path: &PathBuf| -> io::Result<_> {
            let metadata = fs::metadata(path)?;
            Ok((metadata.modified()?, metadata.len(), metadata.ino()))
        };
        let files: Vec<_> = paths.iter().map(|path| stat(path).ok()).collect();
        let now = SystemTime::now();
        let old = |time: SystemTime| now.duration_since(time).is_ok_and(|age| age > TICK);
        Self { settled: files.iter().flatten().all(|(time, ..)| old(*time)), files }
    }
}

const TICK: Duration = Duration::from_secs(2);

/// Whether `etc/pve` is PVE's cluster filesystem, which is not ours to lay out.
pub fn is_cluster(root: &Root) -> bool {
    root.etc_pve().join(".version").exists() || root.etc_pve().join("local").is_symlink()
}
