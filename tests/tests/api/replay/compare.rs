//! Two answers to one request. Everything counts but what differs between two runs of the same
//! server: times and pids, the digits of a UPID, signatures, generated MAC addresses and the digests
//! of files that hold them, the resolver's words, the order of what Perl keeps in hashes, and the
//! place in its own source that a Perl error names.

use std::collections::BTreeSet;
use std::fmt;

use rstest::rstest;
use serde_json::{Value, json};
use tests::Reply;

/// What every answer of the recorded server said and the recording leaves out.
const ALWAYS: [(&str, &str); 3] =
    [("server", "pve-api-daemon/3.0"), ("cache-control", "max-age=0"), ("pragma", "no-cache")];
/// Recorded where they were sent.
const SOMETIMES: [&str; 4] = ["content-type", "location", "content-disposition", "set-cookie"];
const TIMES: [&str; 5] = ["endtime", "pid", "pstart", "starttime", "uptime"];
/// What tells the rows of a list apart, the first that they have.
const NAMES: [&str; 13] = [
    "n", "vmid", "id", "upid", "storage", "volid", "key", "userid", "roleid", "poolid", "realm",
    "name", "path",
];

/// One thing that differs; `None` where one side has nothing.
#[derive(Clone, Debug)]
pub(super) struct Gap {
    /// `status`, `reason`, `header/NAME`, `text`, or where in the JSON, `/data/0/name`. A row that only
    /// we have is `/data/+`, or `/data/+strange` if it has a key that none of theirs has.
    pub(super) at: String,
    pub(super) theirs: Option<Value>,
    pub(super) ours: Option<Value>,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |value: &Option<Value>| value.as_ref().map_or("-".to_owned(), Value::to_string);
        write!(f, "{}: theirs {}, ours {}", self.at, side(&self.theirs), side(&self.ours))
    }
}

/// What a session has done so far to the world, as far as answers may differ for it.
pub(super) struct Known {
    world: String,
    rewritten: BTreeSet<String>,
}

impl Known {
    pub(super) fn new<'a>(files: impl Iterator<Item = &'a String>) -> Self {
        let files: Vec<_> = files.map(String::as_str).collect();
        Self { world: files.join("\n"), rewritten: BTreeSet::new() }
    }

    pub(super) fn rewritten(&mut self, url: &str) {
        self.rewritten.extend(guest(url));
    }

    /// Whether a MAC address was there before the first request.
    fn has(&self, mac: &str) -> bool {
        self.world.contains(mac)
    }
}

/// `lxc/VMID` of a URL below it.
fn guest(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("/lxc/")?;
    rest.split(['/', '?']).next().map(str::to_owned)
}

pub(super) fn gaps(recorded: &Value, reply: &Reply, known: &Known) -> Vec<Gap> {
    let mut compared = Compared {
        gaps: Vec::new(),
        known,
        rewritten: guest(recorded["path"].as_str().unwrap_or_default())
            .is_some_and(|guest| known.rewritten.contains(&guest)),
    };
    let (status, reason) = recorded["status"].as_str().and_then(halves).expect("a status line");
    compared.value("status", Some(&status.into()), Some(&reply.status.to_string().into()));
    compared.value("reason", Some(&reason.into()), Some(&reply.reason.as_str().into()));
    compared.headers(recorded, reply);
    let ours = serde_json::from_slice::<Value>(&reply.body);
    match (recorded["json"].is_null(), ours) {
        (false, Ok(ours)) => compared.value("", Some(&recorded["json"]), Some(&ours)),
        (is_text, _) => {
            let theirs = if is_text { &recorded["text"] } else { &recorded["json"] };
            compared.value("text", Some(theirs), Some(&reply.text().into()));
        }
    }
    compared.gaps
}

/// Code and reason phrase of a status line.
fn halves(line: &str) -> Option<(&str, &str)> {
    let rest = line.strip_prefix("HTTP/1.1 ")?;
    Some(rest.split_once(' ').unwrap_or((rest, "")))
}

struct Compared<'a> {
    gaps: Vec<Gap>,
    known: &'a Known,
    rewritten: bool,
}

impl Compared<'_> {
    fn gap(&mut self, at: &str, theirs: Option<&Value>, ours: Option<&Value>) {
        self.gaps.push(Gap { at: at.to_owned(), theirs: theirs.cloned(), ours: ours.cloned() });
    }

    fn headers(&mut self, recorded: &Value, reply: &Reply) {
        let listed = recorded["response_headers"].as_array().unwrap();
        let listed: Vec<(String, &str)> = listed
            .iter()
            .map(|header| header.as_str().unwrap().split_once(": ").unwrap())
            .map(|(name, value)| (name.to_lowercase(), value))
            .collect();
        let keeps = if reply.status < 400 { "Keep-Alive" } else { "close" };
        for (name, value) in ALWAYS.into_iter().chain([("connection", keeps)]) {
            self.header(name, Some(value), reply.header(name));
        }
        for name in SOMETIMES {
            let theirs = listed.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
            self.header(name, theirs, reply.header(name));
        }
        for name in ["date", "expires"] {
            let ours = reply.header(name).filter(|value| value.ends_with(" GMT")).map(|_| "…");
            self.header(name, Some("…"), ours);
        }
    }

    fn header(&mut self, name: &str, theirs: Option<&str>, ours: Option<&str>) {
        if theirs != ours {
            let (theirs, ours) = (theirs.map(Value::from), ours.map(Value::from));
            self.gap(&format!("header/{name}"), theirs.as_ref(), ours.as_ref());
        }
    }

    fn value(&mut self, at: &str, theirs: Option<&Value>, ours: Option<&Value>) {
        let key = at.rsplit('/').next().unwrap_or_default();
        match (theirs, ours) {
            (Some(Value::Object(theirs)), Some(Value::Object(ours))) => {
                let keys: BTreeSet<_> = theirs.keys().chain(ours.keys()).collect();
                for key in keys {
                    self.value(&format!("{at}/{key}"), theirs.get(key), ours.get(key));
                }
            }
            (Some(Value::Array(theirs)), Some(Value::Array(ours))) => self.rows(at, theirs, ours),
            (Some(Value::String(theirs_text)), Some(Value::String(ours_text)))
                if self.is_same_text(at, key, theirs_text, ours_text) => {}
            (Some(Value::Number(_)), Some(Value::Number(_))) if TIMES.contains(&key) => {}
            _ if theirs == ours => {}
            _ => self.gap(at, theirs, ours),
        }
    }

    /// Perl's hashes give rows in any order, so each is compared with the one of its name; rows that
    /// are nothing but a name are an index, and have an order.
    fn rows(&mut self, at: &str, theirs: &[Value], ours: &[Value]) {
        let is_index = theirs.iter().all(|row| row.as_object().is_none_or(|row| row.len() < 2));
        let named = |row: &Value| NAMES.iter().find_map(|name| row.get(name).map(Value::to_string));
        let by_place = is_index || theirs.iter().any(|row| named(row).is_none());
        let same = |rows: &[Value], name: &Option<String>| {
            rows.iter().filter(|row| named(row) == *name).count()
        };
        let twin = |number: usize| match by_place {
            true => ours.get(number),
            // A UPID of theirs names none of ours: tasks have an order.
            false if theirs[number].get("upid").is_some() => ours.get(number),
            false => {
                let name = named(&theirs[number]);
                let before = same(&theirs[..number], &name);
                ours.iter().filter(|row| named(row) == name).nth(before)
            }
        };
        for number in 0..theirs.len() {
            self.value(&format!("{at}/{number}"), theirs.get(number), twin(number));
        }
        let is_new = |number: usize| match by_place || ours[number].get("upid").is_some() {
            true => number >= theirs.len(),
            // One that they have once and we twice is new the second time.
            false => {
                let name = named(&ours[number]);
                same(&ours[..=number], &name) > same(theirs, &name)
            }
        };
        let known = |key: &String| theirs.iter().any(|row| row.get(key).is_some());
        for number in (0..ours.len()).filter(|number| is_new(*number)) {
            let mut keys = ours[number].as_object().into_iter().flat_map(|row| row.keys());
            let strange = !theirs.is_empty() && !keys.all(known);
            let place = if strange { "+strange" } else { "+" };
            self.gap(&format!("{at}/{place}"), None, Some(&ours[number]));
        }
    }

    fn is_same_text(&self, at: &str, key: &str, theirs: &str, ours: &str) -> bool {
        if theirs == ours {
            return true;
        }
        if theirs.ends_with('\n') != ours.ends_with('\n') {
            return false;
        }
        match key {
            // Of the pending list, it is the value of such a row.
            "digest" | "value" if theirs.len() == 40 && ours.len() == 40 => self.rewritten,
            "ticket" | "CSRFPreventionToken" => unsigned(theirs) == unsigned(ours),
            "content" => sorted(theirs) == sorted(ours),
            _ if at.contains("net") || key == "value" || key == "pending" => {
                self.without_mac(theirs) == self.without_mac(ours)
            }
            _ => words(theirs) == words(ours),
        }
    }

    /// An address that the recorded server made up.
    fn without_mac(&self, text: &str) -> Vec<String> {
        let part = |part: &str| match part.strip_prefix("hwaddr=BC:24:11:") {
            Some(_) if !self.known.has(part.trim_start_matches("hwaddr=")) => "hwaddr".to_owned(),
            Some(_) | None => part.to_owned(),
        };
        text.split(',').map(part).collect()
    }
}

/// Without what no two runs have in common.
fn words(text: &str) -> String {
    let text = match text.split_once(" at <src>") {
        Some((text, _)) => text,
        None => text,
    };
    let resolved = "failed to get address info for: ";
    let text = match text.split_once(resolved) {
        Some((start, rest)) => &text[..start.len() + resolved.len() + rest.find(": ").unwrap_or(0)],
        None => text,
    };
    if !text.starts_with("UPID:") {
        return text.strip_suffix('\n').unwrap_or(text).to_owned();
    }
    let hex = |part: &&str| !(part.len() >= 8 && part.bytes().all(|b| b.is_ascii_hexdigit()));
    text.split(':').filter(hex).collect::<Vec<_>>().join(":")
}

/// A ticket or CSRF token without its time and its signature.
fn unsigned(text: &str) -> String {
    match text.split_once("::") {
        Some((data, _)) => data.rsplit_once(':').map_or("", |(data, _)| data).to_owned(),
        None => format!("{} parts", text.split(':').count()),
    }
}

fn sorted(list: &str) -> Vec<&str> {
    let mut parts: Vec<_> = list.split(',').collect();
    parts.sort_unstable();
    parts
}

/// Where an answer of 200 with `body` is not `recorded`, headers aside.
fn differs(recorded: &Value, body: &str) -> Vec<String> {
    let reply =
        Reply { status: 200, reason: "OK".to_owned(), headers: Vec::new(), body: body.into() };
    let mut line = json!({"status": "HTTP/1.1 200 OK", "response_headers": []});
    line.as_object_mut().unwrap().extend(recorded.as_object().unwrap().clone());
    let gaps = gaps(&line, &reply, &Known::new(std::iter::empty()));
    gaps.into_iter().map(|gap| gap.at).filter(|at| !at.starts_with("header/")).collect()
}

#[rstest]
#[case::same("x\n", "x\n", &[])]
#[case::no_newline("x\n", "x", &["text"])]
#[case::one_more("x\n", "x\n\n", &["text"])]
#[case::where_perl_died("x at <src>/A.pm line 3.\n", "x\n", &[])]
#[case::where_perl_died_without("x at <src>/A.pm line 3.\n", "x", &["text"])]
fn a_last_newline_counts(#[case] theirs: &str, #[case] ours: &str, #[case] places: &[&str]) {
    assert_eq!(differs(&json!({"text": theirs}), ours), places);
}

#[rstest]
#[case::any_order(r#"{"data":[{"id":"b","n":2},{"id":"a","n":1}]}"#, &[])]
#[case::twice(r#"{"data":[{"id":"a","n":1},{"id":"b","n":2},{"id":"a","n":1}]}"#, &["/data/+"])]
#[case::strange(
    r#"{"data":[{"id":"a","n":1},{"id":"b","n":2},{"id":"c","x":3}]}"#,
    &["/data/+strange"]
)]
#[case::missing(r#"{"data":[{"id":"a","n":1}]}"#, &["/data/1"])]
fn each_row_is_there_once(#[case] ours: &str, #[case] places: &[&str]) {
    let theirs = json!({"json": {"data": [{"id": "a", "n": 1}, {"id": "b", "n": 2}]}});
    assert_eq!(differs(&theirs, ours), places);
}
