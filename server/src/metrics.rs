//! How guests, the node and its storages did over time: figures that are taken once a minute and kept
//! in `pve_integration::rrd`'s files, as PVE's pvestatd and rrdcached do.
//!
//! What runs is written each minute, a row of some hundred bytes. What stands still has the same
//! figures for hours: its minutes are counted in memory and written every half hour, not all guests
//! at once, and when somebody asks or the daemon ends.

mod series;
mod source;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use openapi::answer::{GuestRow, GuestState};
use openapi::{NodeName, StorageId, Vmid};
use pve_integration::layout::Root;
use pve_integration::rrd::{self, Archive, Consolidation, Kind, MINUTE, Row, Timeframe};
use tokio_util::sync::CancellationToken;

use self::series::Series;
use crate::guests::Guests;
use crate::host_status::HostStatus;

/// Minutes between two writes of what stands still.
const IDLE_MINUTES: u64 = 30;

/// Whose figures.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    Guest(Vmid),
    Node,
    Storage(StorageId),
}

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics(Arc<Inner>);

struct Inner {
    root: Root,
    node: NodeName,
    guests: Guests,
    /// Its own, as load is the difference of two readings.
    host: HostStatus,
    series: Mutex<HashMap<Subject, Series>>,
}

impl Subject {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Guest(_) => rrd::GUEST,
            Self::Node => rrd::NODE,
            Self::Storage(_) => rrd::STORAGE,
        }
    }
}

impl Metrics {
    pub(crate) fn new(root: Root, node: NodeName, guests: Guests) -> Self {
        let host = HostStatus::new(root.clone());
        Self(Arc::new(Inner { root, node, guests, host, series: Mutex::default() }))
    }

    /// Takes figures at each full minute until `stop`, and writes at the end what is not written yet.
    pub(crate) async fn run(self, stop: CancellationToken) {
        self.take(false).await;
        loop {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let into = Duration::new(now.as_secs() % MINUTE, now.subsec_nanos());
            let rest = Duration::from_secs(MINUTE).saturating_sub(into);
            if stop.run_until_cancelled(tokio::time::sleep(rest)).await.is_none() {
                break;
            }
            self.take(true).await;
        }
        let metrics = self.clone();
        drop(tokio::task::spawn_blocking(move || metrics.0.write(|_, _| true)).await);
    }

    async fn take(&self, whole_minute: bool) {
        let metrics = self.clone();
        let taken = tokio::task::spawn_blocking(move || metrics.0.take(epoch(), whole_minute));
        if let Err(err) = taken.await {
            tracing::error!(error = %err, "cannot take figures: {err}");
        }
    }

    /// What is known of a time frame.
    pub(crate) async fn rows(
        &self,
        subject: Subject,
        frame: Timeframe,
        cf: Consolidation,
    ) -> io::Result<Vec<Row>> {
        let metrics = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            let inner = &metrics.0;
            inner.write(|known, _| *known == subject);
            let archive = Archive::open(&inner.path(&subject), subject.kind())?;
            Archive::fetch(archive.as_ref(), subject.kind(), frame, cf, epoch())
        });
        read.await.map_err(io::Error::other)?
    }
}

fn epoch() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Inner {
    fn folder(&self) -> PathBuf {
        self.root.state_dir().join("rrd")
    }

    fn path(&self, subject: &Subject) -> PathBuf {
        match subject {
            Subject::Guest(vmid) => self.folder().join("lxc").join(vmid.to_string()),
            Subject::Node => self.folder().join("node").join(self.node.as_str()),
            Subject::Storage(id) => self.folder().join("storage").join(id.to_string()),
        }
    }

    /// Figures of all there is. Only those of a whole minute are kept; the others are what the first
    /// rates are counted from.
    fn take(&self, now: u64, whole_minute: bool) {
        let minute = whole_minute.then_some(now / MINUTE * MINUTE);
        let guests = match self.guests.samples() {
            Ok(guests) => guests,
            Err(err) => {
                tracing::warn!(error = %err, "no figures of guests: {err}");
                return;
            }
        };
        let node = source::node(&self.host);
        let storages = source::storages(&self.root, &self.node);
        let running: BTreeSet<Vmid> = guests
            .iter()
            .filter(|guest| guest.status == GuestState::Running)
            .map(|guest| guest.vmid)
            .collect();
        {
            let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
            let mut record = |subject: Subject, figures: Vec<f64>| {
                let kind = subject.kind();
                series
                    .entry(subject)
                    .or_insert_with(|| Series::new(kind))
                    .record(now, minute, &figures);
            };
            for guest in &guests {
                record(Subject::Guest(guest.vmid), source::guest(guest));
            }
            record(Subject::Node, node);
            for (id, figures) in storages {
                record(Subject::Storage(id), figures);
            }
        }
        self.forget(&guests);
        self.write(|subject, _| match subject {
            Subject::Guest(vmid) if !running.contains(vmid) => {
                (now / MINUTE + u64::from(vmid.get())).is_multiple_of(IDLE_MINUTES)
            }
            Subject::Guest(_) | Subject::Node | Subject::Storage(_) => true,
        });
    }

    /// A guest of the same number must not inherit the figures of one that was destroyed.
    fn forget(&self, guests: &[GuestRow]) {
        let there: BTreeSet<Vmid> = guests.iter().map(|guest| guest.vmid).collect();
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        series.retain(|subject, _| match subject {
            Subject::Guest(vmid) => there.contains(vmid),
            Subject::Node | Subject::Storage(_) => true,
        });
        for entry in fs_err::read_dir(self.folder().join("lxc")).into_iter().flatten().flatten() {
            let vmid = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if vmid.is_some_and(|vmid| !there.contains(&vmid))
                && let Err(err) = fs_err::remove_file(entry.path())
            {
                tracing::warn!(error = %err, "cannot remove the figures of a destroyed guest: {err}");
            }
        }
    }

    fn write(&self, due: impl Fn(&Subject, &Series) -> bool) {
        let mut all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        for (subject, series) in all.iter_mut() {
            if due(subject, series)
                && let Err(err) = series.write(&self.path(subject))
            {
                // They are tried again with the next ones.
                tracing::warn!(error = %err, "cannot keep figures of {subject:?}: {err}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::App;

    fn metrics() -> (tempfile::TempDir, Metrics) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path()).unwrap();
        let node: NodeName = "pve1".parse().unwrap();
        pve_integration::access::first_start(&root, &node).unwrap();
        fs_err::create_dir_all(root.lxc_configs(&node)).unwrap();
        let config = root.lxc_config(&node, "100".parse().unwrap());
        fs_err::write(config, "memory: 256\ncores: 2\n").unwrap();
        let app = App::new(root, node, crate::programs::Programs::both("/none"));
        (dir, app.metrics().clone())
    }

    fn guest() -> Subject {
        Subject::Guest("100".parse().unwrap())
    }

    #[tokio::test]
    async fn keeps_what_a_stopped_guest_has() {
        let (_dir, metrics) = metrics();
        let last = epoch() / MINUTE * MINUTE;
        metrics.0.take(last - 60, true);
        metrics.0.take(last, true);

        let rows = metrics.rows(guest(), Timeframe::Hour, Consolidation::Average).await.unwrap();

        let row = rows.iter().find(|row| row.time == last - 60).unwrap();
        let of = |name: &str| {
            row.values[rrd::GUEST.iter().position(|column| column.name == name).unwrap()]
        };
        assert!((of("maxcpu") - 2.0).abs() < 1e-9 && (of("maxmem") - 268_435_456.0).abs() < 1e-9);
        assert!(of("mem").is_nan() && of("netin").is_nan());
    }

    #[tokio::test]
    async fn counts_a_stopped_guest_s_minutes_and_writes_them_seldom() {
        let (_dir, metrics) = metrics();
        let path = metrics.0.path(&guest());
        let start = epoch() / MINUTE * MINUTE;
        let mut writes = 0;
        let mut seen = None;
        for minute in 0..60 {
            metrics.0.take(start + minute * MINUTE, true);
            let now = fs_err::metadata(&path).ok().and_then(|data| data.modified().ok());
            writes += u32::from(now != seen);
            seen = now;
        }
        assert_eq!(writes, 2);
        // The node is written each minute.
        assert!(metrics.0.path(&Subject::Node).exists());
    }

    #[tokio::test]
    async fn forgets_who_was_destroyed() {
        let (dir, metrics) = metrics();
        metrics.0.take(epoch(), true);
        metrics.0.write(|_, _| true);
        assert!(metrics.0.path(&guest()).exists());

        fs_err::remove_file(dir.path().join("etc/pve/nodes/pve1/lxc/100.conf")).unwrap();
        metrics.0.take(epoch() + 60, true);

        assert!(!metrics.0.path(&guest()).exists());
    }
}
