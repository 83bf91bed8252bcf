//! The keepers of one container, from its start to its end.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use pve_integration::ct_config::ContainerConfig;
use pve_integration::network::Lease;

use super::keeper::{Keeper, Outcome};
use super::wanted::{self, All, Wanted};
use crate::error::Result;
use crate::guest::{Guest, warn};

/// For how long a start waits for addresses. Servers that look whether one is in use take three
/// seconds for that.
const PATIENCE: Duration = Duration::from_secs(10);

/// Dropping them ends them.
#[derive(Debug)]
pub(crate) struct Keepers {
    /// By key, `net0`.
    kept: BTreeMap<String, Kept>,
    /// While first leases are waited for.
    deadline: Option<Instant>,
}

#[derive(Debug)]
struct Kept {
    wanted: Wanted,
    keeper: Keeper,
}

impl Keepers {
    /// For a container that starts and whose interfaces are there.
    pub(crate) fn start(
        guest: &Guest,
        config: &ContainerConfig,
        leases: &[Lease],
        init: BorrowedFd<'_>,
    ) -> Result<Self> {
        let wanted = leases
            .iter()
            .filter_map(|lease| {
                let wanted = Wanted::of(guest, config, lease).transpose()?;
                Some(wanted.map(|wanted| (lease.key.clone(), wanted)))
            })
            .collect::<Result<All>>()?;
        wanted::write(guest, &wanted)?;
        let deadline = (!wanted.is_empty()).then(|| Instant::now() + PATIENCE);
        let mut keepers = Self { kept: BTreeMap::new(), deadline };
        keepers.keep(guest, wanted, init);
        Ok(keepers)
    }

    /// What is wanted has changed.
    pub(crate) fn adjust(&mut self, guest: &Guest, init: BorrowedFd<'_>) {
        match wanted::read(guest) {
            Ok(wanted) => self.keep(guest, wanted, init),
            Err(err) => warn("net", &format!("DHCP failed - {err}")),
        }
    }

    fn keep(&mut self, guest: &Guest, wanted: All, init: BorrowedFd<'_>) {
        self.kept.retain(|key, kept| wanted.get(key) == Some(&kept.wanted));
        for (key, wanted) in wanted {
            if self.kept.contains_key(&key) {
                continue;
            }
            match Keeper::spawn(init, &wanted.orders(guest, &key)) {
                Ok(mut keeper) => {
                    if self.deadline.is_none() {
                        keeper.stop_listening();
                    }
                    self.kept.insert(key, Kept { wanted, keeper });
                }
                Err(err) => warn(&key, &format!("DHCP failed - {}", crate::one_line(&err))),
            }
        }
    }

    /// What to wait for news from, while first leases are waited for.
    pub(crate) fn words(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.kept.values().filter_map(|kept| kept.keeper.words())
    }

    /// For how long at most.
    pub(crate) fn patience(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Whether each has had its first lease, or has to go on without us waiting.
    pub(crate) fn have_settled(&mut self) -> bool {
        let Some(deadline) = self.deadline else { return true };
        let late = Instant::now() >= deadline;
        for (key, kept) in &mut self.kept {
            if kept.keeper.words().is_none() {
                continue;
            }
            match kept.keeper.listen() {
                Outcome::Waiting if !late => continue,
                Outcome::Leased => {}
                Outcome::Waiting => {
                    let limit = PATIENCE.as_secs();
                    warn(key, &format!("DHCP failed - no lease within {limit} seconds, trying on"));
                }
                Outcome::Failed => warn(key, "DHCP failed - nobody keeps a lease"),
            }
            kept.keeper.stop_listening();
        }
        let settled = self.words().next().is_none();
        if settled {
            self.deadline = None;
        }
        settled
    }

    /// All at once, and no longer than one takes.
    pub(crate) fn end(&mut self) {
        self.kept.values().for_each(|kept| kept.keeper.end());
        self.kept.clear();
    }
}

impl Drop for Keepers {
    fn drop(&mut self) {
        self.end();
    }
}
