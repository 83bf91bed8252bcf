//! What requests cost on a node with few and with many containers: wrk over TLS on kept connections,
//! by ticket and by API token, beside what PVE's own daemon was measured at.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tests::{Daemon, NODE, form};

use crate::report::{Budget, memory, mib, rounded};
use crate::world::{self, PASSWORD, TOKEN, USER};

const FEW: u32 = 10;
const MANY: u32 = 1000;
/// Connections at once, where requests per second are counted.
const CONNECTIONS: u32 = 8;
/// One after the other on one connection, as pveproxy's medians were taken.
const ALONE: u32 = 1;
/// `user.cfg` and its like are read anew for two seconds after a change.
const WARM_UP_S: u32 = 3;

/// pveproxy as measured once, on a machine of this kind (two CPUs, pve-manager 9.2.11): median time
/// of one request on one kept TLS connection, and requests per second of wrk with 8 connections
/// where that was measured too.
struct Recorded {
    median_ms: f64,
    per_second: Option<f64>,
}

/// What its three workers made of eight connections: GET /version by ticket takes 0.77 ms on one
/// connection and was answered 1840 times a second on eight, so 1.42 times as often as by one. That
/// stands in where only a median was measured. It is generous: of the list of 1000 containers they
/// gave 9.8 a second, no more than one connection gets.
const WORKERS_GIVE: f64 = 1840.0 * 0.77e-3;

impl Recorded {
    fn per_second(&self) -> f64 {
        self.per_second.unwrap_or(WORKERS_GIVE * 1e3 / self.median_ms)
    }
}

const fn median(median_ms: f64) -> Recorded {
    Recorded { median_ms, per_second: None }
}

/// A request and what pveproxy needs for it.
struct Question {
    path: &'static str,
    recorded: fn(guests: u32, by: By) -> Recorded,
}

const QUESTIONS: [Question; 5] = [
    Question {
        path: "/version",
        recorded: |_, by| Recorded {
            median_ms: if by == By::Ticket { 0.77 } else { 1.10 },
            per_second: Some(1840.0),
        },
    },
    Question {
        path: "/nodes/pve1/lxc",
        recorded: |guests, _| match guests {
            MANY => Recorded { median_ms: 102.0, per_second: Some(9.8) },
            _ => median(7.6),
        },
    },
    Question {
        path: "/cluster/resources",
        recorded: |guests, _| median(if guests == MANY { 38.0 } else { 1.6 }),
    },
    Question { path: "/nodes/pve1/lxc/104/config", recorded: |_, _| median(0.98) },
    Question { path: "/nodes/pve1/lxc/104/status/current", recorded: |_, _| median(6.3) },
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Ticket,
    Token,
}

/// One line of the table.
struct Row {
    path: &'static str,
    what: String,
    guests: u32,
    alone: Run,
    many: Run,
    recorded: Recorded,
}

/// What wrk saw.
struct Run {
    median_ms: f64,
    p99_ms: f64,
    per_second: f64,
    /// Of the daemon, for each request: it says the same on a machine that has other work too.
    cpu_us: f64,
}

impl Row {
    fn ratio(&self) -> f64 {
        self.many.per_second / self.recorded.per_second()
    }

    fn json(&self) -> Value {
        json!({
            "what": self.what,
            "containers": self.guests,
            "median_ms": rounded(self.alone.median_ms),
            "p99_ms": rounded(self.alone.p99_ms),
            "median_ms_of_8": rounded(self.many.median_ms),
            "p99_ms_of_8": rounded(self.many.p99_ms),
            "per_second": self.many.per_second.round(),
            "cpu_us": self.many.cpu_us.round(),
            "pveproxy_median_ms": self.recorded.median_ms,
            "pveproxy_per_second": rounded(self.recorded.per_second()),
            "ratio": rounded(self.ratio()),
        })
    }
}

/// The table, what is in memory afterwards, and what had to be met.
pub(crate) fn measure() -> Value {
    let (mut rows, mut sizes, mut budgets) = (Vec::new(), Vec::new(), Vec::new());
    for guests in [FEW, MANY] {
        let daemon = world::fill(Daemon::builder().tls(), guests).start();
        let measured = of_daemon(&daemon, guests);
        let (rss, pss) = memory(daemon.pid());
        sizes.push(json!({
            "what": format!("daemon with {guests} containers, after these requests"),
            "rss_kib": rss,
            "pss_kib": pss,
        }));
        for row in &measured {
            let what = format!("{}, {guests} containers: requests/s", row.what);
            budgets.push(Budget::least(what, row.per_second(), 10.0 * row.recorded.per_second()));
            if guests == MANY && row.path == QUESTIONS[1].path {
                let what = format!("{}, {guests} containers: p99", row.what);
                budgets.push(Budget::most(what, row.many.p99_ms, 10.0, "ms"));
            }
        }
        if guests == MANY {
            let what = "daemon's resident memory with 1000 containers".to_owned();
            budgets.push(Budget::most(what, mib(rss), 40.0, "MiB"));
        }
        rows.extend(measured.iter().map(Row::json));
    }
    json!({ "requests": rows, "memory": sizes, "budgets": Budget::json(&budgets) })
}

impl Row {
    fn per_second(&self) -> f64 {
        self.many.per_second
    }
}

fn of_daemon(daemon: &Daemon, guests: u32) -> Vec<Row> {
    let ticket = log_in(daemon.root());
    let proofs = [
        (By::Ticket, "ticket", format!("Cookie: PVEAuthCookie={ticket}")),
        (By::Token, "token", format!("Authorization: PVEAPIToken={TOKEN}")),
    ];
    let mut rows = Vec::new();
    for (by, name, proof) in &proofs {
        require_all(daemon.root(), proof, guests);
        wrk(daemon, "/version", proof, CONNECTIONS, WARM_UP_S);
        for Question { path, recorded } in &QUESTIONS {
            rows.push(Row {
                path,
                what: format!("{path} by {name}"),
                guests,
                alone: wrk(daemon, path, proof, ALONE, 2),
                many: wrk(daemon, path, proof, CONNECTIONS, 3),
                recorded: recorded(guests, *by),
            });
        }
    }
    rows
}

fn wrk(daemon: &Daemon, path: &str, proof: &str, connections: u32, seconds: u32) -> Run {
    let before = cpu_us(daemon.pid());
    let out = Command::new("wrk")
        .args(["--threads", "1", "--connections", &connections.to_string()])
        .args(["--duration", &format!("{seconds}s"), "--script", "bench/wrk.lua"])
        .args(["--header", proof])
        .arg(format!("https://{}/api2/json{path}", daemon.address()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    let line = text.lines().find(|line| line.starts_with('{'));
    let line = line.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&out.stderr)));
    let seen: Value = serde_json::from_str(line).unwrap();
    assert_eq!(seen["failed"], 0, "{path}: {line}");
    let number = |key: &str| seen[key].as_f64().unwrap();
    Run {
        median_ms: number("median_us") / 1e3,
        p99_ms: number("p99_us") / 1e3,
        per_second: number("requests") / number("us") * 1e6,
        cpu_us: (cpu_us(daemon.pid()) - before) / number("requests"),
    }
}

/// The CPU time of a process so far.
fn cpu_us(pid: u32) -> f64 {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap(); // the next is field 3
    let ticks = fields.split(' ').skip(11).take(2).map(|field| field.parse::<f64>().unwrap());
    ticks.sum::<f64>() * 1e6 / 100.0 // USER_HZ
}

/// A ticket, percent-encoded as a browser keeps it.
fn log_in(root: &Path) -> String {
    let body = form(&[("username", USER), ("password", PASSWORD)]);
    let head = "POST /api2/json/access/ticket HTTP/1.1\r\n\
                Content-Type: application/x-www-form-urlencoded";
    let ticket = ask(root, head, &body)["ticket"].as_str().unwrap().to_owned();
    form(&[("", &ticket)])[1..].to_owned()
}

/// Fast and wrong would not do: whoever asks sees every container.
fn require_all(root: &Path, proof: &str, guests: u32) {
    let head = format!("GET /api2/json/nodes/{NODE}/lxc HTTP/1.1\r\n{proof}");
    let seen = ask(root, &head, "").as_array().unwrap().len();
    assert_eq!(seen, guests as usize, "{proof}");
}

/// Without TLS, over the socket that is there for root.
fn ask(root: &Path, head: &str, body: &str) -> Value {
    let mut stream = UnixStream::connect(root.join("run/proxmox-lxcri/api.sock")).unwrap();
    let length = body.len();
    write!(
        stream,
        "{head}\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{reply}");
    serde_json::from_str::<Value>(body).unwrap()["data"].take()
}
