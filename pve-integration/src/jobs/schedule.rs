//! Which jobs are due: pvescheduler's part where there is none. The time is the caller's, and so is
//! what a job does.

use std::collections::BTreeSet;
use std::io;

use fs_err as fs;
use jiff::tz::TimeZone;
use openapi::NodeName;
use serde_json::{Map, Value};

use super::state::{self, State};
use super::{Job, Jobs, JobsError, KIND, Section};
use crate::calendar::CalendarEvent;
use crate::layout::Root;

/// The kind of jobs that ask a directory server for a realm's users.
pub const REALM_SYNC: &str = "realm-sync";

/// What a scheduler reads of a section, whatever its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheduled {
    pub kind: String,
    pub id: String,
    pub schedule: String,
    pub enabled: bool,
    /// Only there.
    pub node: Option<String>,
    /// A run that was missed is made up for.
    pub repeat_missed: bool,
}

/// Epoch seconds, and where they are which hour.
#[derive(Clone, Debug)]
pub struct Clock {
    pub now: i64,
    pub zone: TimeZone,
}

impl Scheduled {
    fn of(section: &Section) -> Option<Self> {
        match section {
            Section::Backup(job) => Self::of_backup(job),
            Section::Other(text) => Self::of_other(text),
        }
    }

    pub(super) fn of_backup(job: &Job) -> Option<Self> {
        let flag = |key: &str| job.values.get(key).and_then(Value::as_u64) == Some(1);
        Some(Self {
            kind: KIND.to_owned(),
            id: job.id.clone(),
            schedule: job.text("schedule")?.to_owned(),
            enabled: job.enabled(),
            node: job.text("node").map(str::to_owned),
            repeat_missed: flag("repeat-missed"),
        })
    }

    fn of_other(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let (kind, id) = super::header(lines.next()?).filter(|(kind, _)| *kind == REALM_SYNC)?;
        let value = |wanted: &str| {
            lines.clone().find_map(|line| {
                let (key, value) = line.trim().split_once(char::is_whitespace)?;
                (key == wanted).then(|| value.trim().to_owned())
            })
        };
        Some(Self {
            kind: kind.to_owned(),
            id: id.to_owned(),
            schedule: value("schedule")?,
            enabled: value("enabled").as_deref() != Some("0"),
            node: None,
            repeat_missed: false,
        })
    }

    /// What the state keeps of it, to see when it changes.
    pub(super) fn remembered(&self) -> Map<String, Value> {
        let enabled = u8::from(self.enabled).into();
        Map::from_iter([
            ("enabled".to_owned(), enabled),
            ("schedule".to_owned(), self.schedule.as_str().into()),
        ])
    }

    /// `Err` is its schedule that makes no sense.
    fn is_due(&self, last: i64, clock: &Clock) -> Result<bool, String> {
        let event: CalendarEvent =
            self.schedule.parse().map_err(|err| format!("job '{}': {err}", self.id))?;
        Ok(event.next(last, &clock.zone).is_some_and(|next| clock.now >= next))
    }
}

/// A job was made: it counts from now, not from when a scheduler first sees it.
pub fn made(root: &Root, job: &Job, now: i64) -> io::Result<()> {
    let Some(job) = Scheduled::of_backup(job) else { return Ok(()) };
    state::edit(root, &job.kind, &job.id, |_| Some(State::created(&job, now)))
}

/// A job may be due at other times now.
pub fn changed(root: &Root, job: &Job, now: i64) -> io::Result<()> {
    let Some(job) = Scheduled::of_backup(job) else { return Ok(()) };
    state::edit(root, &job.kind, &job.id, |state| followed(&job, state, now))
}

/// A backup job is no more.
pub fn removed(root: &Root, id: &str) -> io::Result<()> {
    state::remove(root, KIND, id)
}

fn followed(job: &Scheduled, state: Option<State>, now: i64) -> Option<State> {
    match state {
        Some(mut state) => state.follow(job, now).then_some(state),
        None => Some(State::created(job, now)),
    }
}

/// The jobs that are to run now on this node, by name. `ended` tells how a task ended, `None` while
/// it runs. `first` is a scheduler's first look: what was missed before is forgotten, unless a job
/// wants it made up for. What is wrong with one job is `warn`'s and keeps no other.
pub fn due(
    root: &Root,
    node: &NodeName,
    clock: &Clock,
    first: bool,
    ended: impl Fn(&str) -> Option<String>,
    mut warn: impl FnMut(String),
) -> Result<Vec<Scheduled>, JobsError> {
    let jobs = Jobs::read(root)?;
    let mut all: Vec<_> = jobs.sections.iter().filter_map(Scheduled::of).collect();
    all.sort_by(|one, other| one.id.cmp(&other.id));
    forget_others(root, &all)?;
    all.retain(|job| job.node.as_deref().is_none_or(|own| own == node.to_string()));
    let mut due = Vec::new();
    for job in all {
        match turn(root, &job, clock, first, &ended) {
            Ok(true) => due.push(job),
            Ok(false) => {}
            Err(err) => warn(err),
        }
    }
    Ok(due)
}

/// Brings a job's state up to now; whether it is its turn.
fn turn(
    root: &Root,
    job: &Scheduled,
    clock: &Clock,
    first: bool,
    ended: impl Fn(&str) -> Option<String>,
) -> Result<bool, String> {
    let mut seen = State::default();
    let edited = state::edit(root, &job.kind, &job.id, |old| {
        let is_new = old.is_none();
        let mut state = old.clone().unwrap_or_else(|| State::created(job, clock.now));
        state.follow(job, clock.now);
        if let Some(end) = state.running().and_then(&ended) {
            state.ended(end);
        }
        if first && !job.repeat_missed {
            state.skip(clock.now);
        }
        seen = state.clone();
        (is_new || old.as_ref() != Some(&state)).then_some(state)
    });
    edited.map_err(|err| format!("could not update job state, skipping - {err}"))?;
    if !job.enabled || seen.running().is_some() {
        return Ok(false);
    }
    job.is_due(seen.last_run(), clock)
}

/// States of jobs that are no more.
fn forget_others(root: &Root, jobs: &[Scheduled]) -> io::Result<()> {
    let known: BTreeSet<_> = jobs.iter().map(|job| (job.kind.as_str(), job.id.as_str())).collect();
    let entries = match fs::read_dir(state::folder(root)) {
        Ok(entries) => entries,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(err) => return Err(err),
    };
    for entry in entries {
        let name = entry?.file_name();
        let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(".json")) else {
            continue;
        };
        for kind in [KIND, REALM_SYNC] {
            let id = stem.strip_prefix(kind).and_then(|rest| rest.strip_prefix('-'));
            if let Some(id) = id.filter(|id| !known.contains(&(kind, *id))) {
                state::remove(root, kind, id)?;
            }
        }
    }
    Ok(())
}

/// How a job's run began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Run {
    /// As this task.
    Task(String),
    /// It is over; what it ended in.
    Over(String),
}

/// Says that a job is about to begin. `false` if somebody took it away meanwhile.
pub fn starting(root: &Root, job: &Scheduled, now: i64) -> io::Result<bool> {
    let mut begins = false;
    state::edit(root, &job.kind, &job.id, |state| {
        let mut state = state.filter(|state| state.running().is_none())?;
        begins = true;
        state.starting(now);
        Some(state)
    })?;
    Ok(begins)
}

pub fn started(root: &Root, job: &Scheduled, run: &Run, now: i64) -> io::Result<()> {
    state::edit(root, &job.kind, &job.id, |state| {
        let mut state = state?;
        match run {
            Run::Task(upid) => state.started(upid),
            Run::Over(msg) => state.done(msg, now),
        }
        Some(state)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of 1 January 2026, a Thursday.
    const MIDNIGHT: i64 = 1_767_225_600;
    const HOUR: i64 = 3600;
    const JOBS: &str = "vzdump: daily\n\tschedule 02:00\n\tall 1\n\n\
        vzdump: missed\n\tschedule 02:00\n\tall 1\n\trepeat-missed 1\n\n\
        vzdump: elsewhere\n\tschedule 02:00\n\tall 1\n\tnode pve2\n\n\
        vzdump: off\n\tschedule 02:00\n\tall 1\n\tenabled 0\n\n\
        realm-sync: people\n\tschedule 02:00\n\trealm ldap\n\n";

    struct World(tempfile::TempDir);

    impl World {
        fn new(jobs: &str) -> Self {
            let world = Self(tempfile::tempdir().unwrap());
            fs::create_dir_all(world.root().etc_pve()).unwrap();
            world.write(jobs);
            world
        }

        fn root(&self) -> Root {
            Root::new(self.0.path()).unwrap()
        }

        fn write(&self, jobs: &str) {
            fs::write(self.root().etc_pve().join("jobs.cfg"), jobs).unwrap();
        }

        /// At that many hours after midnight. Tasks end by themselves at once.
        fn look(&self, hours: i64, first: bool) -> Vec<Scheduled> {
            let clock = Clock { now: MIDNIGHT + hours * HOUR, zone: TimeZone::UTC };
            let node = "pve1".parse().unwrap();
            due(
                &self.root(),
                &node,
                &clock,
                first,
                |_| Some("OK".to_owned()),
                |text| panic!("{text}"),
            )
            .unwrap()
        }

        fn ids(&self, hours: i64, first: bool) -> Vec<String> {
            self.look(hours, first).into_iter().map(|job| job.id).collect()
        }

        fn state(&self, name: &str) -> Value {
            let path = state::folder(&self.root()).join(format!("{name}.json"));
            serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
        }
    }

    fn upid(hours: i64) -> String {
        let start = MIDNIGHT + hours * HOUR;
        format!("UPID:pve1:00000001:00000001:{start:08X}:vzdump::root@pam:")
    }

    #[test]
    fn a_job_runs_at_its_time_and_not_again_before_the_next() {
        let world = World::new(JOBS);
        assert!(world.look(1, true).is_empty());
        assert_eq!(world.ids(2, false), ["daily", "missed", "people"]);
        for job in world.look(2, false) {
            assert!(starting(&world.root(), &job, MIDNIGHT + 2 * HOUR).unwrap());
            started(&world.root(), &job, &Run::Task(upid(2)), MIDNIGHT + 2 * HOUR).unwrap();
        }
        assert_eq!(world.state("vzdump-daily")["state"], "started");
        assert!(world.look(3, false).is_empty());
        let state = world.state("vzdump-daily");
        assert_eq!(
            (&state["state"], &state["msg"], &state["upid"]),
            (&"stopped".into(), &"OK".into(), &upid(2).into())
        );
        assert_eq!(world.ids(26, false), ["daily", "missed", "people"]);
    }

    #[test]
    fn what_was_missed_is_made_up_for_if_it_is_wanted() {
        let world = World::new(JOBS);
        assert!(world.look(1, true).is_empty());
        // The next daemon.
        assert_eq!(world.ids(5, true), ["missed"]);
        assert_eq!(world.ids(6, false), ["missed"]);
        assert_eq!(world.ids(26, false), ["daily", "missed", "people"]);
    }

    #[test]
    fn a_job_that_runs_is_not_run_beside_itself() {
        let world = World::new(JOBS);
        world.look(1, true);
        let job = world.look(2, false).remove(0);
        starting(&world.root(), &job, MIDNIGHT).unwrap();
        started(&world.root(), &job, &Run::Task(upid(2)), MIDNIGHT).unwrap();

        let clock = Clock { now: MIDNIGHT + 50 * HOUR, zone: TimeZone::UTC };
        let node = "pve1".parse().unwrap();
        let due =
            due(&world.root(), &node, &clock, false, |_| None, |text| panic!("{text}")).unwrap();

        assert!(due.iter().all(|other| other.id != job.id), "{due:?}");
        assert!(!starting(&world.root(), &job, MIDNIGHT).unwrap());
    }

    #[test]
    fn a_change_of_the_schedule_counts_from_now() {
        let world = World::new("vzdump: a\n\tschedule 02:00\n\tall 1\n\n");
        world.look(1, true);
        world.write("vzdump: a\n\tschedule 01:00\n\tall 1\n\n");
        assert!(world.look(3, false).is_empty());
        assert_eq!(world.ids(25, false), ["a"]);
        // Off, and on again.
        world.write("vzdump: a\n\tschedule 01:00\n\tall 1\n\tenabled 0\n\n");
        assert!(world.look(26, false).is_empty());
        world.write("vzdump: a\n\tschedule 01:00\n\tall 1\n\n");
        assert!(world.look(27, false).is_empty());
    }

    #[test]
    fn what_ends_at_once_and_what_fails_is_over() {
        let world = World::new("vzdump: a\n\tschedule 02:00\n\tall 1\n\n");
        world.look(1, true);
        let job = world.look(2, false).remove(0);
        starting(&world.root(), &job, MIDNIGHT + 2 * HOUR).unwrap();
        let failed = Run::Over("no such storage".to_owned());
        started(&world.root(), &job, &failed, MIDNIGHT + 2 * HOUR).unwrap();
        assert_eq!(world.state("vzdump-a")["msg"], "no such storage");
        assert!(world.look(2, false).is_empty());
    }

    #[test]
    fn a_job_made_between_two_looks_counts_from_then() {
        let world = World::new("");
        world.look(1, true);
        world.write("vzdump: a\n\tschedule 02:00\n\tall 1\n\n");
        let jobs = Jobs::read(&world.root()).unwrap();
        made(&world.root(), jobs.get("a").unwrap(), MIDNIGHT + HOUR).unwrap();
        assert_eq!(world.ids(2, false), ["a"]);

        removed(&world.root(), "a").unwrap();
        world.write("");
        assert!(world.look(3, false).is_empty());
    }

    #[test]
    fn states_of_jobs_that_are_gone_go() {
        let world = World::new(JOBS);
        world.look(1, true);
        let other = state::folder(&world.root()).join("replication-1.json");
        fs::write(&other, "{}").unwrap();
        world.write("vzdump: daily\n\tschedule 02:00\n\tall 1\n\n");

        world.look(1, false);

        let mut left: Vec<_> = fs::read_dir(state::folder(&world.root()))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["replication-1.json", "vzdump-daily.json"]);
    }

    #[test]
    fn nonsense_keeps_no_other_job() {
        let world = World::new(
            "vzdump: a\n\tschedule 02:00\n\tall 1\n\nvzdump: b\n\tschedule 02:00\n\tall 1\n\n",
        );
        world.look(1, true);
        fs::write(state::folder(&world.root()).join("vzdump-a.json"), "nonsense").unwrap();
        let clock = Clock { now: MIDNIGHT + 2 * HOUR, zone: TimeZone::UTC };
        let mut warnings = Vec::new();

        let due = due(
            &world.root(),
            &"pve1".parse().unwrap(),
            &clock,
            false,
            |_| None,
            |text| {
                warnings.push(text);
            },
        );

        assert_eq!(due.unwrap().len(), 1);
        assert!(warnings[0].starts_with("could not update job state, skipping - "), "{warnings:?}");
    }
}
