//! One run's orders, from checked parameters and the defaults.

use openapi::StorageId;
use serde_json::{Map, Value};

use super::Retention;
use crate::shell_quote::shell_quote;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Snapshot,
    Suspend,
    Stop,
}

impl Mode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Suspend => "suspend",
            Self::Stop => "stop",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compress {
    None,
    Gzip,
    Zstd,
    Lzo,
}

impl Compress {
    /// Behind the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::None => "tar",
            Self::Gzip => "tar.gz",
            Self::Zstd => "tar.zst",
            Self::Lzo => "tar.lzo",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub mode: Mode,
    pub compress: Compress,
    /// Where to; without one, `dumpdir` is a folder.
    pub storage: Option<StorageId>,
    pub dumpdir: Option<String>,
    /// Instead of the storage's own.
    pub retention: Option<Retention>,
    /// Where neither the request nor the storage says anything.
    pub default_retention: Retention,
    pub remove: bool,
    pub notes_template: Option<String>,
    pub protected: bool,
    /// KiB a second; 0 for no limit.
    pub bwlimit: u64,
    pub ionice: u64,
    /// Minutes.
    pub lockwait: u64,
    pub stopwait: u64,
    /// Patterns, the usual ones among them.
    pub exclude: Vec<String>,
    /// A program to call at each step.
    pub script: Option<String>,
    /// Threads for gzip: 0 for gzip itself, 1 for half of the CPUs.
    pub pigz: u64,
    /// Threads for zstd; 0 for half of the CPUs.
    pub zstd: u64,
    /// What was asked for and is of no effect here, with the reason.
    pub ignored: Vec<&'static str>,
    /// What was asked for and is not done, with the reason.
    pub undone: Vec<&'static str>,
}

/// What vzdump leaves out unless `stdexcludes` is off.
const STANDARD: [&str; 3] = ["/tmp/?*", "/var/tmp/?*", "/var/run/?*.pid"];

impl Options {
    /// `params` are the request's, checked; an error is of `prune-backups`.
    pub fn new(params: &Map<String, Value>, defaults: &Map<String, Value>) -> Result<Self, String> {
        let elsewhere = params.contains_key("storage") || params.contains_key("dumpdir");
        let get = |key: &str| {
            let place = matches!(key, "storage" | "dumpdir");
            let default = defaults.get(key).filter(|_| !(place && elsewhere));
            params.get(key).or(default)
        };
        let text = |key: &str| get(key).and_then(Value::as_str).map(str::to_owned);
        let number = |key: &str| get(key).and_then(Value::as_u64).unwrap_or_default();
        let dumpdir = text("dumpdir").filter(|dir| !dir.is_empty());
        let storage = match &dumpdir {
            Some(_) => None,
            None => Some(text("storage").unwrap_or_else(|| "local".to_owned())),
        };
        let retention = params.get("prune-backups").and_then(Value::as_str);
        let default_retention = defaults.get("prune-backups").and_then(Value::as_str);
        let paths = |from: &Map<String, Value>| -> Vec<String> {
            let items = from.get("exclude-path").and_then(Value::as_array).cloned();
            // One text may hold several, divided as PVE's own forms do it.
            let texts = items.unwrap_or_default().into_iter();
            let texts = texts.filter_map(|item| item.as_str().map(str::to_owned));
            texts.flat_map(|text| text.split('\0').map(str::to_owned).collect::<Vec<_>>()).collect()
        };
        let mut exclude = [paths(defaults), paths(params)].concat();
        if number("stdexcludes") != 0 {
            exclude.extend(STANDARD.map(str::to_owned));
        }
        let notes = text("notes-template").filter(|text| !text.is_empty());
        Ok(Self {
            mode: match text("mode").as_deref() {
                Some("suspend") => Mode::Suspend,
                Some("stop") => Mode::Stop,
                Some(_) | None => Mode::Snapshot,
            },
            compress: match text("compress").as_deref() {
                Some("gzip") => Compress::Gzip,
                Some("zstd") => Compress::Zstd,
                Some("1" | "lzo") => Compress::Lzo,
                Some(_) | None => Compress::None,
            },
            notes_template: notes.filter(|_| storage.is_some()),
            protected: number("protected") != 0 && storage.is_some(),
            storage: storage.and_then(|name| name.parse().ok()),
            dumpdir,
            retention: retention.map(Retention::parse).transpose()?,
            default_retention: default_retention
                .and_then(|text| Retention::parse(text).ok())
                .unwrap_or_else(Retention::keep_all),
            remove: number("remove") != 0,
            bwlimit: number("bwlimit"),
            ionice: number("ionice"),
            lockwait: number("lockwait"),
            stopwait: number("stopwait"),
            exclude,
            script: text("script").filter(|script| !script.is_empty()),
            pigz: number("pigz"),
            zstd: get("zstd").and_then(Value::as_u64).unwrap_or(1),
            ignored: ignored(&get),
            undone: undone(&get),
        })
    }
}

fn is_set(value: Option<&Value>) -> bool {
    match value {
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Number(number)) => number.as_u64() != Some(0),
        Some(_) => true,
        None => false,
    }
}

fn ignored<'v>(get: &impl Fn(&str) -> Option<&'v Value>) -> Vec<&'static str> {
    let mut reasons = Vec::new();
    if is_set(get("tmpdir")) {
        reasons.push("tmpdir: no temporary files are needed");
    }
    reasons
}

fn undone<'v>(get: &impl Fn(&str) -> Option<&'v Value>) -> Vec<&'static str> {
    let mut reasons = Vec::new();
    if is_set(get("mailto")) {
        reasons.push("mailto: no mail is sent, this host has no notification system");
    }
    if get("notification-mode").and_then(Value::as_str) == Some("notification-system") {
        reasons.push("notification-mode: nobody is told, this host has no notification system");
    }
    reasons
}

/// The request as vzdump's command line, for the log. By name; Perl has no order of its own.
pub fn command_line(params: &Map<String, Value>) -> String {
    let mut line = "vzdump".to_owned();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if let Some(vmids) = params.get("vmid").map(text) {
        let vmids = vmids.split([',', ';', ' ', '\0', '\t']).filter(|word| !word.is_empty());
        for vmid in vmids {
            line = format!("{line} {vmid}");
        }
    }
    let hidden = ["id", "vmid", "starttime", "dow", "stdout", "enabled", "job-id"];
    let mut shown: Vec<_> =
        params.iter().filter(|(key, _)| !hidden.contains(&key.as_str())).collect();
    shown.sort_by_key(|(key, _)| *key);
    for (key, value) in shown {
        let values: Vec<_> = match value.as_array() {
            Some(items) => items.iter().map(text).collect(),
            None => vec![text(value)],
        };
        for value in values.iter().filter(|value| !value.is_empty()) {
            line = format!("{line} --{key} {}", shell_quote(value));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn options(params: &Value) -> Options {
        let defaults = json!({
            "mode": "snapshot", "compress": "0", "remove": 1, "stdexcludes": 1, "storage": "big",
            "zstd": 1, "exclude-path": ["*.bak"], "prune-backups": "keep-all=1", "stopwait": 10,
        });
        Options::new(params.as_object().unwrap(), defaults.as_object().unwrap()).unwrap()
    }

    #[test]
    fn the_request_overrules_the_defaults() {
        let options = options(
            &json!({"mode": "stop", "compress": "zstd", "bwlimit": 5, "exclude-path": ["/x"]}),
        );

        assert_eq!(
            (options.mode, options.compress, options.bwlimit),
            (Mode::Stop, Compress::Zstd, 5)
        );
        assert_eq!(options.storage.unwrap().to_string(), "big");
        assert_eq!(options.exclude, ["*.bak", "/x", "/tmp/?*", "/var/tmp/?*", "/var/run/?*.pid"]);
        assert!(options.ignored.is_empty() && options.remove);
    }

    #[test]
    fn a_folder_takes_the_place_of_a_storage() {
        let options = options(&json!({"dumpdir": "/srv/dump", "protected": 1, "stdexcludes": 0}));

        assert_eq!((options.storage, options.dumpdir.as_deref()), (None, Some("/srv/dump")));
        assert!(!options.protected && options.exclude == ["*.bak"]);
    }

    #[test]
    fn says_what_it_does_not_do() {
        let options = options(&json!({"mailto": "a@b.c", "zstd": 4, "tmpdir": "/x"}));
        assert_eq!((options.ignored.len(), options.undone.len()), (1, 1));
        assert_eq!((options.zstd, options.pigz), (4, 0));
    }

    #[test]
    fn prints_the_command() {
        let params = json!({
            "vmid": "101,100", "mode": "stop", "notes-template": "{{guestname}}", "stdout": 0,
            "exclude-path": ["/a b", "/c"], "node": "pve1", "remove": 0,
        });
        assert_eq!(
            command_line(params.as_object().unwrap()),
            "vzdump 101 100 --exclude-path '/a b' --exclude-path /c --mode stop --node pve1 \
             --notes-template '{{guestname}}' --remove 0"
        );
    }
}
