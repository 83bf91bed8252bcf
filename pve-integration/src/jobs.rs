//! `jobs.cfg`: backup jobs. Sections of other kinds stay as they are. As pve-guest-common's
//! `PVE/VZDump/JobBase.pm` on pve-common's `PVE/SectionConfig.pm`. When they run is `schedule`'s.

mod schedule;
mod state;

use std::io;

use fs_err as fs;
use openapi::check::{Given, check_given};
use openapi::property_string;
use openapi::schema::{Kind, Method, methods};
use serde_json::{Map, Value};

use crate::atomic;
use crate::cluster_lock::{ClusterLock, LockError};
use crate::ct_config::{decode_text, encode_text};
use crate::layout::Root;

pub use self::schedule::{
    Clock, REALM_SYNC, Run, Scheduled, changed, due, made, removed, started, starting,
};

const KIND: &str = "vzdump";
/// Of a request; the file has none of them.
const NOT_STORED: &[&str] = &["id", "starttime", "dow"];
const PROPERTY_STRINGS: [(&str, &str); 3] = [
    ("fleecing", "backup-fleecing"),
    ("performance", "backup-performance"),
    ("prune-backups", "prune-backups"),
];

#[derive(Debug, thiserror::Error)]
pub enum JobsError {
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Texts as PVE dies with them.
    #[error("{0}")]
    Refused(String),
}

/// A backup job: values by key with their JSON types; property strings as texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub id: String,
    pub values: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Section {
    Backup(Job),
    Other(String),
}

/// All of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Jobs {
    sections: Vec<Section>,
}

fn method() -> &'static Method {
    methods().get("POST", "/cluster/backup").expect("the method table has it")
}

impl Jobs {
    pub fn read(root: &Root) -> Result<Self, JobsError> {
        match fs::read_to_string(path(root)) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(err) => Err(err.into()),
        }
    }

    /// Reads, lets `change` change, writes; nobody else does in between.
    pub fn edit(
        root: &Root,
        change: impl FnOnce(&mut Self) -> Result<(), JobsError>,
    ) -> Result<(), JobsError> {
        let _lock = ClusterLock::take(root, "file-jobs_cfg")?;
        let mut jobs = Self::read(root)?;
        change(&mut jobs)?;
        Ok(atomic::write(&path(root), 0o640, jobs.to_text().as_bytes())?)
    }

    /// What makes no sense is left out, as PVE does with a warning.
    pub fn parse(text: &str) -> Self {
        let mut sections: Vec<Section> = Vec::new();
        let mut open = false;
        for line in text.split_terminator('\n').filter(|line| !line.trim_start().starts_with('#')) {
            if line.trim().is_empty() {
                open = false;
                continue;
            }
            match (open, sections.last_mut()) {
                (true, Some(Section::Backup(job))) => add(job, line),
                (true, Some(Section::Other(text))) => {
                    text.push_str(line);
                    text.push('\n');
                }
                (true, None) | (false, _) => {
                    let Some((kind, id)) = header(line) else { continue };
                    sections.push(match kind == KIND {
                        true => Section::Backup(Job { id: id.to_owned(), values: Map::new() }),
                        false => Section::Other(format!("{line}\n")),
                    });
                    open = true;
                }
            }
        }
        for section in &mut sections {
            if let Section::Backup(job) = section {
                job.values.entry("enabled").or_insert_with(|| 1.into());
            }
        }
        Self { sections }
    }

    pub fn to_text(&self) -> String {
        let text = |section: &Section| match section {
            Section::Backup(job) => print(job),
            Section::Other(text) => format!("{text}\n"),
        };
        self.sections.iter().map(text).collect()
    }

    /// In the file's order.
    pub fn iter(&self) -> impl Iterator<Item = &Job> {
        self.sections.iter().filter_map(|section| match section {
            Section::Backup(job) => Some(job),
            Section::Other(_) => None,
        })
    }

    pub fn get(&self, id: &str) -> Option<&Job> {
        self.iter().find(|job| job.id == id)
    }

    pub fn get_mut(&mut self, id: &str) -> Option<&mut Job> {
        self.sections.iter_mut().find_map(|section| match section {
            Section::Backup(job) => Some(job).filter(|job| job.id == id),
            Section::Other(_) => None,
        })
    }

    pub fn push(&mut self, job: Job) -> Result<(), JobsError> {
        let other = |section: &Section| match section {
            Section::Backup(other) => other.id == job.id,
            Section::Other(text) => {
                text.lines().next().and_then(header).is_some_and(|(_, id)| id == job.id)
            }
        };
        if self.sections.iter().any(other) {
            return Err(JobsError::Refused(format!("Job '{}' already exists", job.id)));
        }
        self.sections.push(Section::Backup(job));
        Ok(())
    }

    /// Whether it was there.
    pub fn remove(&mut self, id: &str) -> bool {
        let before = self.sections.len();
        self.sections.retain(|section| match section {
            Section::Backup(job) => job.id != id,
            Section::Other(_) => true,
        });
        self.sections.len() != before
    }
}

impl Job {
    pub fn text(&self, key: &str) -> Option<&str> {
        self.values.get(key).and_then(Value::as_str)
    }

    pub fn enabled(&self) -> bool {
        self.values.get("enabled").and_then(Value::as_u64) != Some(0)
    }

    /// As the API shows it: with its name and kind, and property strings taken apart. Their numbers
    /// stay texts, as in PVE.
    pub fn answer(&self) -> Map<String, Value> {
        let mut answer = self.values.clone();
        for (key, format) in PROPERTY_STRINGS {
            let Some(text) = answer.get(key).and_then(Value::as_str) else { continue };
            let Some(parsed) =
                methods().format(format).and_then(|keys| property_string::parse(keys, text).ok())
            else {
                continue;
            };
            let keys = methods().format(format);
            let shown = |(name, value): (String, Value)| {
                let flag = keys.and_then(|keys| keys.get(name.as_str()));
                let flag = flag.is_some_and(|property| property.kind == Kind::Boolean);
                let shown =
                    if flag || value.is_string() { value } else { value.to_string().into() };
                (name, shown)
            };
            answer.insert(key.to_owned(), Value::Object(parsed.into_iter().map(shown).collect()));
        }
        answer.insert("id".to_owned(), self.id.as_str().into());
        answer.insert("type".to_owned(), KIND.into());
        answer
    }
}

fn path(root: &Root) -> std::path::PathBuf {
    root.etc_pve().join("jobs.cfg")
}

/// `kind: id`
fn header(line: &str) -> Option<(&str, &str)> {
    let (kind, id) = line.split_once(':')?;
    let id = id.trim();
    let plain = |word: &str| !word.is_empty() && !word.contains(char::is_whitespace);
    (plain(kind) && plain(id)).then_some((kind, id))
}

fn add(job: &mut Job, line: &str) {
    let (key, value) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
    let Some(property) = method().parameters.get(key).filter(|_| !NOT_STORED.contains(&key)) else {
        return;
    };
    let value = match value.trim() {
        "" if property.kind == Kind::Boolean => "1",
        value => value,
    };
    let value = if key == "comment" { decode_text(value) } else { value.to_owned() };
    let mut given = Given::from([(key.to_owned(), Value::String(value))]);
    // What one key needs of another was asked when it was written.
    if property.requires.is_some() {
        given.insert("storage".to_owned(), "local".into());
    }
    let Some(value) = check_given(method(), given).ok().and_then(|mut all| all.remove(key)) else {
        return;
    };
    match (job.values.get_mut(key), value) {
        (Some(Value::Array(items)), Value::Array(more)) => items.extend(more),
        (Some(_), _) => {} // the first one counts
        (None, value) => {
            job.values.insert(key.to_owned(), value);
        }
    }
}

/// A comment first, then the schedule, which must be there, then the rest by name.
fn print(job: &Job) -> String {
    let mut out = format!("{KIND}: {}\n", job.id);
    let mut line = |key: &str, value: &Value| {
        let items = match value.as_array() {
            Some(items) => items.clone(),
            None => vec![value.clone()],
        };
        for item in items {
            let text = item.as_str().map_or_else(|| item.to_string(), str::to_owned);
            let text = if key == "comment" { encode_text(&text) } else { text };
            if !text.is_empty() {
                out.push_str(&format!("\t{key} {text}\n"));
            }
        }
    };
    let first = ["comment", "schedule"];
    for key in first {
        if let Some(value) = job.values.get(key) {
            line(key, value);
        }
    }
    for (key, value) in job.values.iter().filter(|(key, _)| !first.contains(&key.as_str())) {
        line(key, value);
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const FILE: &str = "vzdump: backup-1\n\tcomment nightly %3A all\n\tschedule sat 01:00\n\tall 1\n\
        \tcompress zstd\n\tenabled 1\n\texclude-path /a\n\texclude-path /b\n\tmode snapshot\n\
        \tprune-backups keep-last=3\n\tstorage local\n\n\
        realm-sync: r\n\tschedule daily\n\trealm x\n\n";

    #[test]
    fn reads_and_writes_what_pve_writes() {
        let jobs = Jobs::parse(FILE);

        assert_eq!(jobs.to_text(), FILE);
        let job = jobs.get("backup-1").unwrap();
        assert_eq!(job.values["exclude-path"], json!(["/a", "/b"]));
        assert_eq!((job.text("comment"), &job.values["all"]), (Some("nightly : all"), &json!(1)));
        let answer = job.answer();
        assert_eq!(answer["prune-backups"], json!({"keep-last": "3"}));
        assert_eq!((&answer["id"], &answer["type"]), (&json!("backup-1"), &json!("vzdump")));
        assert_eq!(jobs.iter().count(), 1);
    }

    #[test]
    fn leaves_out_what_is_wrong() {
        let jobs = Jobs::parse(
            "vzdump: a\n\tschedule daily\n\tmode never\n\tnonsense 1\n\tvmid 100\n\tquiet\n\nno header\n",
        );
        let job = jobs.get("a").unwrap();
        let keys: Vec<_> = job.values.keys().cloned().collect();
        assert_eq!(keys, ["enabled", "quiet", "schedule", "vmid"]);
        assert!(job.enabled());
    }

    /// Of an editor of another system. What is not ours stays to the letter.
    #[test]
    fn a_carriage_return_stays_where_it_was() {
        let jobs = Jobs::parse("other: a\r\n\tkey value\r\r");
        assert_eq!(jobs.to_text(), "other: a\r\n\tkey value\r\r\n\n");
        assert_eq!(Jobs::parse(&jobs.to_text()), jobs);
    }

    #[test]
    fn a_name_is_taken_once() {
        let mut jobs = Jobs::parse(FILE);
        let job = |id: &str| Job { id: id.to_owned(), values: Map::new() };
        for id in ["backup-1", "r"] {
            let err = jobs.push(job(id)).unwrap_err().to_string();
            assert_eq!(err, format!("Job '{id}' already exists"));
        }
        jobs.push(job("other")).unwrap();
        assert!(jobs.remove("backup-1") && !jobs.remove("backup-1") && !jobs.remove("r"));
    }

    proptest! {
        #[test]
        fn never_panics_and_is_stable(text: String) {
            let jobs = Jobs::parse(&text);
            prop_assert_eq!(Jobs::parse(&jobs.to_text()), jobs);
        }
    }
}
