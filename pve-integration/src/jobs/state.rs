//! What became of each job on this node: a small JSON file each, below `var/lib/pve-manager/jobs`. As
//! pve-manager's `PVE/Jobs.pm` keeps them, so that either of us finds what the other left.

use std::io;
use std::path::PathBuf;

use fs_err as fs;
use openapi::Upid;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Scheduled;
use crate::atomic;
use crate::layout::Root;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Phase {
    #[default]
    Created,
    Starting,
    Started,
    Stopped,
}

/// Times are epoch seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    state: Phase,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time: Option<i64>,
    /// When it was said to run anew from: what is due counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    updated: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    upid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    msg: Option<String>,
    /// What was known of the job's section when this was written.
    #[serde(default)]
    config: Map<String, Value>,
}

impl State {
    pub(super) fn created(job: &Scheduled, now: i64) -> Self {
        Self { time: Some(now), config: job.remembered(), ..Self::default() }
    }

    /// From when on the next run is looked for.
    pub(super) fn last_run(&self) -> i64 {
        let upid = || self.upid.as_ref()?.parse::<Upid>().ok();
        let begun = || upid().map(|upid| upid.starttime().into());
        self.updated.or_else(begun).or(self.time).unwrap_or_default()
    }

    /// The task that it runs as, for all that is known.
    pub(super) fn running(&self) -> Option<&str> {
        self.upid.as_deref().filter(|_| self.state == Phase::Started)
    }

    /// Counts anew from `now` if what says when it runs has changed; whether it did.
    pub(super) fn follow(&mut self, job: &Scheduled, now: i64) -> bool {
        let config = job.remembered();
        let text = |config: &Map<String, Value>, key: &str| {
            config.get(key).map(|value| value.as_str().map_or(value.to_string(), str::to_owned))
        };
        let changed =
            ["enabled", "schedule"].iter().any(|key| text(&self.config, key) != text(&config, key));
        if changed {
            (self.config, self.updated) = (config, Some(now));
        }
        changed
    }

    pub(super) fn skip(&mut self, now: i64) {
        self.updated = Some(now);
    }

    pub(super) fn starting(&mut self, now: i64) {
        let config = std::mem::take(&mut self.config);
        *self = Self { state: Phase::Starting, time: Some(now), config, ..Self::default() };
    }

    pub(super) fn started(&mut self, upid: &str) {
        let config = std::mem::take(&mut self.config);
        let upid = Some(upid.to_owned());
        *self = Self { state: Phase::Started, upid, config, ..Self::default() };
    }

    /// It ended without a task, or never began.
    pub(super) fn done(&mut self, msg: &str, now: i64) {
        let config = std::mem::take(&mut self.config);
        let (time, msg) = (Some(now), Some(msg.to_owned()));
        *self = Self { state: Phase::Stopped, time, msg, config, ..Self::default() };
    }

    /// Its task ended.
    pub(super) fn ended(&mut self, msg: String) {
        (self.state, self.msg, self.time) = (Phase::Stopped, Some(msg), None);
    }
}

pub(super) fn folder(root: &Root) -> PathBuf {
    root.below("/var/lib/pve-manager/jobs")
}

fn file_name(kind: &str, id: &str) -> String {
    format!("{kind}-{id}.json")
}

/// `None` of a job that has none yet. An empty file is one of a job that was just made.
pub(super) fn read(root: &Root, kind: &str, id: &str) -> io::Result<Option<State>> {
    let path = folder(root).join(file_name(kind, id));
    match fs::read(&path) {
        Ok(bytes) if bytes.is_empty() => Ok(Some(State::default())),
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|_| {
            let text = format!("invalid json data in '{}'", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        }),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    }
}

/// Under the state's lock. `change` says whether there is something to write.
pub(super) fn edit(
    root: &Root,
    kind: &str,
    id: &str,
    change: impl FnOnce(Option<State>) -> Option<State>,
) -> io::Result<()> {
    let locks = root.below("/var/lock/pve-manager");
    fs::create_dir_all(&locks)?;
    let path = locks.join(format!("{kind}-{id}.lck"));
    let file = fs::OpenOptions::new().create(true).append(true).open(path)?;
    flock(&file, FlockOperation::LockExclusive)?; // held for as long as a small file takes
    let Some(state) = change(read(root, kind, id)?) else { return Ok(()) };
    fs::create_dir_all(folder(root))?;
    atomic::write(&folder(root).join(file_name(kind, id)), 0o644, &serde_json::to_vec(&state)?)
}

pub(super) fn remove(root: &Root, kind: &str, id: &str) -> io::Result<()> {
    match fs::remove_file(folder(root).join(file_name(kind, id))) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
        Ok(()) | Err(_) => Ok(()),
    }
}
