//! Which tasks a client gets to see, in PVE's order and by its filters. Upstream: `node_tasks` in
//! pve-manager's `PVE/API2/Tasks.pm`.

use std::collections::BTreeSet;
use std::io;

use fs_err as fs;
use openapi::{AuthId, TokenId, Upid, Vmid};

use super::active::Entry;
use super::status::StatusKind;
use super::{TaskDir, is_running};

/// Which files tasks are taken from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// Ended ones.
    #[default]
    Archive,
    /// Those that run.
    Active,
    All,
}

/// What is asked for. The default is PVE's.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Only tasks of this caller; none for one who may see all.
    pub owner: Option<AuthId>,
    /// A part of the user's name, in any case.
    pub user: Option<String>,
    pub kind: Option<String>,
    pub vmid: Option<Vmid>,
    /// Only what did not end well. Wins over `statuses`.
    pub errors: bool,
    pub statuses: Option<BTreeSet<StatusKind>>,
    /// Start times, inclusive.
    pub since: Option<i64>,
    pub until: Option<i64>,
    pub source: Source,
    pub start: u64,
    pub limit: u64,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            owner: None,
            user: None,
            kind: None,
            vmid: None,
            errors: false,
            statuses: None,
            since: None,
            until: None,
            source: Source::Archive,
            start: 0,
            limit: 50,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    pub entries: Vec<Entry>,
    /// How many match, those outside of `start` and `limit` included.
    pub total: u64,
}

/// Whether a task counts as the caller's own: a token has its own, a user also its tokens'.
pub fn owned_by(upid: &Upid, who: &AuthId) -> bool {
    match upid.user().parse::<TokenId>() {
        Ok(token) => match who {
            AuthId::User(user) => user == token.user(),
            AuthId::Token(own) => *own == token,
        },
        Err(_) => who.to_string() == upid.user(),
    }
}

impl Filter {
    fn matches(&self, entry: &Entry) -> bool {
        let upid = &entry.upid;
        let token = upid.user().parse::<TokenId>();
        let user = token.as_ref().map_or(upid.user(), |token| token.user().as_str());
        let start = i64::from(upid.starttime());
        let status = StatusKind::of(entry.status.as_deref());
        let contains = |part: &String| user.to_lowercase().contains(&part.to_lowercase());

        self.user.as_ref().is_none_or(contains)
            && self.owner.as_ref().is_none_or(|who| owned_by(upid, who))
            && self.kind.as_ref().is_none_or(|kind| kind.is_empty() || upid.kind() == kind)
            && self.vmid.is_none_or(|vmid| upid.id() == vmid.to_string())
            && self.since.is_none_or(|since| start >= since)
            && self.until.is_none_or(|until| start <= until)
            && if self.errors {
                status != StatusKind::Ok
            } else {
                self.statuses.as_ref().is_none_or(|statuses| statuses.contains(&status))
            }
    }
}

impl TaskDir {
    /// The matching tasks: those that run, then ended ones, newest first.
    pub fn list(&self, filter: &Filter) -> io::Result<List> {
        let mut list = List { entries: Vec::new(), total: 0 };
        let mut add = |entry: Entry| {
            if filter.matches(&entry) {
                if list.total >= filter.start && list.total - filter.start < filter.limit {
                    list.entries.push(entry);
                }
                list.total += 1;
            }
        };
        // On a PVE node pvestatd does this every ten seconds.
        let stale = |entry: &Entry| {
            entry.endtime.is_none() && !is_running(entry.upid.pid(), entry.upid.pstart())
        };
        let mut active = self.active()?;
        if active.iter().any(stale) {
            active = self.refresh()?;
        }
        if filter.source != Source::Archive {
            active.into_iter().filter(|entry| !entry.saved).for_each(&mut add);
        }
        if filter.source != Source::Active {
            for file in ["index", "index.1"] {
                let bytes = match fs::read(self.dir.join(file)) {
                    Ok(bytes) => bytes,
                    Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
                    Err(err) => return Err(err),
                };
                let text = String::from_utf8_lossy(&bytes);
                text.lines().rev().filter_map(Entry::of_index).for_each(&mut add);
            }
        }
        Ok(list)
    }
}

#[cfg(test)]
pub(super) mod tests;
