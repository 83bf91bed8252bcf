//! What the command line costs: from the shell to the last line, over the daemon's socket. `pct list`
//! was measured at 800 to 1000 ms with as many containers.

use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};
use tests::{Daemon, binary};

use crate::report::{Budget, quantile, rounded};
use crate::world;

const GUESTS: u32 = 1000;
const ROUNDS: u32 = 60;
const LIMIT_MS: f64 = 50.0;

pub(crate) fn measure() -> Value {
    let daemon = world::fill(Daemon::builder(), GUESTS).start();
    list(&daemon);
    let mut times: Vec<f64> = (0..ROUNDS).map(|_| list(&daemon)).collect();
    times.sort_by(f64::total_cmp);
    let [median, p99] = [0.5, 0.99].map(|share| quantile(&times, share));
    let what = format!("ct list, {GUESTS} containers");
    json!({
        "commands": [{"what": what, "median_ms": rounded(median), "p99_ms": rounded(p99)}],
        "budgets": Budget::json(&[Budget::most(what, median, LIMIT_MS, "ms")]),
    })
}

/// In milliseconds.
fn list(daemon: &Daemon) -> f64 {
    let mut command = Command::new(binary("proxmox-lxcri"));
    command.args(["ct", "list", "--root"]).arg(daemon.root()).stdin(Stdio::null());
    let before = Instant::now();
    let output = command.output().unwrap();
    let took = before.elapsed();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = output.stdout.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(lines, GUESTS as usize + 1);
    took.as_secs_f64() * 1e3
}
