//! One session of a recording, sent anew to a daemon of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use serde_json::Value;
use tests::{Client, Daemon, Reply, StandIn, form};

use super::compare::{Gap, Known, gaps};

const LOGIN: (&str, &str) = ("POST", "/api2/json/access/ticket");

/// A folder of recorded requests, and the world that they met.
pub(super) struct Recording {
    name: String,
    lines: Vec<Recorded>,
    world: BTreeMap<String, String>,
    host: BTreeMap<String, String>,
}

pub(super) struct Session<'a> {
    recording: &'a Recording,
    number: Value,
}

/// A request and the answer to it.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    line: usize,
    json: Value,
}

/// What became of one request.
pub(super) struct Outcome {
    pub(super) name: String,
    pub(super) note: String,
    pub(super) method: String,
    /// Behind the format, without the query.
    pub(super) path: String,
    pub(super) gaps: Vec<Gap>,
}

impl Recording {
    /// A folder without a `host` of its own was recorded on that of `golden`.
    pub(super) fn read(folder: &Path, golden: &Path) -> Self {
        let text = fs_err::read_to_string(folder.join("requests.jsonl")).unwrap();
        let line = |(number, line): (usize, &str)| Recorded {
            line: number + 1,
            json: serde_json::from_str(line).unwrap(),
        };
        let own = folder.join("host");
        let host = if own.is_dir() { own } else { golden.join("host") };
        Self {
            name: folder.file_name().unwrap().to_string_lossy().into_owned(),
            lines: text.lines().enumerate().map(line).collect(),
            world: tree(&folder.join("world"), "etc/pve"),
            host: tree(&host, ""),
        }
    }

    pub(super) fn sessions(&self) -> Vec<Session<'_>> {
        let numbers: BTreeSet<u64> =
            self.lines.iter().filter_map(|line| line.json["session"].as_u64()).collect();
        let session = |number: u64| Session { recording: self, number: number.into() };
        numbers.into_iter().map(session).collect()
    }

    fn daemon(&self) -> Daemon {
        let mut builder = Daemon::builder();
        for (path, text) in self.world.iter().chain(&self.host) {
            builder = builder.file(path, text);
        }
        builder.token(&self.root_token()).start()
    }

    /// One that may what root@pam may: privilege separation is off.
    fn root_token(&self) -> String {
        let (users, secrets) =
            (&self.world["etc/pve/user.cfg"], &self.world["etc/pve/priv/token.cfg"]);
        let whole = |secret: &&str| {
            let id = secret.split(' ').next().unwrap();
            id.starts_with("root@pam!") && users.contains(&format!("token:{id}:0:0:"))
        };
        let secret = secrets.lines().find(whole).expect("the world has a token of root's");
        secret.replacen(' ', "=", 1)
    }

    /// Whoever used a ticket, which the recording lacks: who logged in with a password.
    fn password(&self) -> (&str, &str) {
        let logins = self.lines.iter().filter(|line| {
            line.text("method") == LOGIN.0
                && line.text("path") == LOGIN.1
                && line.text("status").contains(" 200 ")
        });
        logins
            .filter_map(|line| {
                let text = |name: &str| line.json["body"][name].as_str();
                Some((text("username")?, text("password")?))
            })
            .find(|(user, _)| user.contains('@'))
            .expect("a recording with tickets has a login that worked")
    }

    /// How many requests it has.
    pub(super) fn requests(&self) -> usize {
        self.lines.len()
    }

    /// Those whose cgroup is part of the host.
    fn running(&self, root: &Path) -> Vec<StandIn> {
        let vmids: BTreeSet<u32> = self
            .host
            .keys()
            .filter_map(|path| path.strip_prefix("sys/fs/cgroup/lxc/")?.split('/').next())
            .map(|vmid| vmid.parse().unwrap())
            .collect();
        vmids.iter().map(|vmid| StandIn::start(root, *vmid, &format!("lxc/{vmid}"))).collect()
    }
}

/// The files below a folder, as they are to lie below `prefix`.
fn tree(folder: &Path, prefix: &str) -> BTreeMap<String, String> {
    fn files(folder: &Path) -> Vec<PathBuf> {
        let entries = fs_err::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
    }
    let inside = |file: PathBuf| {
        let path = Path::new(prefix).join(file.strip_prefix(folder).unwrap());
        (path.to_str().unwrap().to_owned(), fs_err::read_to_string(&file).unwrap())
    };
    files(folder).into_iter().map(inside).collect()
}

impl Session<'_> {
    pub(super) fn replay(&self) -> Vec<Outcome> {
        let daemon = self.recording.daemon();
        let _running = self.recording.running(daemon.root());
        let mut replay = Replay {
            client: Client::new(daemon.address()),
            daemon: &daemon,
            recording: self.recording,
            ticket: None,
            upids: BTreeMap::new(),
            known: Known::new(self.recording.world.values()),
        };
        let mut late = Vec::new();
        let mut outcomes = Vec::new();
        for recorded in &self.recording.lines {
            if recorded.json["session"] != self.number {
                continue;
            }
            if recorded.is_delayed() {
                late.push(replay.send_aside(recorded));
            } else {
                let reply = replay.send(recorded);
                replay.remember(recorded, &reply);
                let gaps = gaps(&recorded.json, &reply, &replay.known);
                outcomes.push(recorded.outcome(&self.recording.name, gaps));
            }
        }
        for request in late {
            let (recorded, reply) = request.join().expect("the daemon answers");
            let gaps = gaps(&recorded.json, &reply, &replay.known);
            outcomes.push(recorded.outcome(&self.recording.name, gaps));
        }
        outcomes
    }
}

impl Recorded {
    fn text(&self, key: &str) -> &str {
        self.json[key].as_str().unwrap_or_default()
    }

    /// Refused logins and credentials: three seconds each, and nothing depends on them.
    fn is_delayed(&self) -> bool {
        let status = self.text("status");
        status.contains(" 401 ")
            || status.ends_with(" 301 Moved")
            || self.json["json"]["status"] == "401"
    }

    fn outcome(&self, recording: &str, gaps: Vec<Gap>) -> Outcome {
        let (method, url, note) = (self.text("method"), self.text("path"), self.text("note"));
        let path = url.split('?').next().unwrap_or_default();
        Outcome {
            name: format!("{recording}, line {}: {note}: {method} {url}", self.line),
            note: note.to_owned(),
            method: method.to_owned(),
            path: path.splitn(4, '/').nth(3).map_or("/".to_owned(), |path| format!("/{path}")),
            gaps,
        }
    }

    fn body(&self) -> String {
        let text = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
        match &self.json["body"] {
            Value::String(text) => match text.strip_suffix(" bytes>") {
                Some(count) => "x".repeat(count.trim_start_matches('<').parse().unwrap()),
                None => text.clone(),
            },
            fields if self.text("content_type").contains("json") => fields.to_string(),
            Value::Object(fields) => {
                let pairs: Vec<_> = fields
                    .iter()
                    .flat_map(|(name, value)| {
                        let values =
                            value.as_array().map_or(std::slice::from_ref(value), |all| all);
                        values.iter().map(move |each| (name, each))
                    })
                    .map(|(name, value)| (name.as_str(), text(value)))
                    .collect();
                let pairs: Vec<_> = pairs.iter().map(|(name, text)| (*name, &text[..])).collect();
                form(&pairs)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => String::new(),
        }
    }
}

struct Replay<'a> {
    daemon: &'a Daemon,
    recording: &'a Recording,
    client: Client,
    ticket: Option<(String, String)>,
    /// Recorded UPIDs to ours.
    upids: BTreeMap<String, String>,
    known: Known,
}

struct Request {
    head: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Request {
    fn send(&self, client: &mut Client) -> Reply {
        let pairs = self.headers.iter().map(|(name, value)| (&name[..], &value[..]));
        let headers: Vec<_> = pairs.collect();
        client.request(&self.head, &headers, self.body.as_bytes())
    }
}

impl Replay<'_> {
    fn send(&mut self, recorded: &Recorded) -> Reply {
        self.settle(recorded);
        let request = self.request(recorded);
        request.send(&mut self.client)
    }

    /// On a connection and a thread of its own.
    fn send_aside(&mut self, recorded: &Recorded) -> JoinHandle<(Recorded, Reply)> {
        let (request, recorded) = (self.request(recorded), recorded.clone());
        let mut client = Client::new(self.daemon.address());
        std::thread::spawn(move || (recorded, request.send(&mut client)))
    }

    /// What was recorded of a task when it had ended is asked when ours has, and a change is made when no
    /// task of an earlier one is in its way.
    fn settle(&self, recorded: &Recorded) {
        let still = &recorded.json["json"]["data"]["status"] == "running";
        let path = recorded.text("path");
        if path.ends_with("/tasks?source=active") || recorded.text("method") != "GET" {
            self.upids.values().for_each(|upid| drop(self.daemon.task_of(upid)));
        }
        for (theirs, ours) in &self.upids {
            if !still && path.contains(&encoded(theirs)) {
                self.daemon.task_of(ours);
            }
        }
    }

    fn request(&mut self, recorded: &Recorded) -> Request {
        let method = recorded.text("method");
        let mut path = recorded.text("path").to_owned();
        for (theirs, ours) in &self.upids {
            path = path.replace(theirs, ours).replace(&encoded(theirs), &encoded(ours));
        }
        let header = |header: &Value| {
            let (name, value) = header.as_str().unwrap().split_once(": ").unwrap();
            (name.to_owned(), value.to_owned())
        };
        let listed = recorded.json["headers"].as_array().unwrap();
        let mut headers: Vec<(String, String)> = listed.iter().map(header).collect();
        if recorded.text("auth") == "ticket" {
            headers.extend(self.credentials(recorded));
        }
        if !recorded.text("content_type").is_empty() {
            headers.push(("Content-Type".into(), recorded.text("content_type").into()));
        }
        Request { head: format!("{method} {path}"), headers, body: recorded.body() }
    }

    /// The recording lacks tickets and CSRF tokens; its answer and its note say what was wrong with
    /// them.
    fn credentials(&mut self, recorded: &Recorded) -> Vec<(String, String)> {
        let (status, note) = (recorded.text("status"), recorded.text("note"));
        let (ticket, csrf) = self.ticket();
        let ticket = match status.ends_with(" 401 Authentication failed!") {
            true => {
                let (user, _) = self.recording.password();
                format!("PVE:{user}:6B043E48::bm90IGEgc2lnbmF0dXJl")
            }
            false => ticket,
        };
        let place = if note.contains("Authorization") { "Authorization" } else { "Cookie" };
        let mut headers = vec![(place.to_owned(), format!("PVEAuthCookie={ticket}"))];
        match (status.ends_with("invalid csrf token"), note.contains("no csrf")) {
            (true, true) => {}
            (true, false) => headers.push(("CSRFPreventionToken".into(), "6B043E48:bad".into())),
            (false, _) => headers.push(("CSRFPreventionToken".into(), csrf)),
        }
        headers
    }

    fn ticket(&mut self) -> (String, String) {
        let (address, recording) = (self.daemon.address(), self.recording);
        let login = || {
            let (user, password) = recording.password();
            let fields = form(&[("username", user), ("password", password)]);
            let kind = [("Content-Type", "application/x-www-form-urlencoded")];
            let head = format!("{} {}", LOGIN.0, LOGIN.1);
            let answer = Client::new(address).request(&head, &kind, fields.as_bytes()).data();
            let text = |name: &str| answer[name].as_str().unwrap().to_owned();
            (text("ticket"), text("CSRFPreventionToken"))
        };
        self.ticket.get_or_insert_with(login).clone()
    }

    /// What later answers depend on.
    fn remember(&mut self, recorded: &Recorded, reply: &Reply) {
        if recorded.text("method") != "GET" && recorded.text("status").contains(" 200 ") {
            self.known.rewritten(recorded.text("path"));
        }
        let Some(theirs) = recorded.json["json"]["data"].as_str() else { return };
        let Ok(ours) = serde_json::from_slice::<Value>(&reply.body) else { return };
        if let Some(ours) = ours["data"].as_str()
            && theirs.starts_with("UPID:")
        {
            self.upids.insert(theirs.to_owned(), ours.to_owned());
        }
    }
}

fn encoded(upid: &str) -> String {
    upid.replace(':', "%3A").replace('@', "%40").replace('!', "%21")
}
