//! Figures and how they are shown: quantiles, memory, what has to be met, the table.

use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

/// A figure that has to be met.
pub(crate) struct Budget {
    what: String,
    value: f64,
    limit: f64,
    unit: &'static str,
    /// The limit is what it must reach, not what it must stay below.
    at_least: bool,
}

impl Budget {
    pub(crate) fn most(what: String, value: f64, limit: f64, unit: &'static str) -> Self {
        Self { what, value, limit, unit, at_least: false }
    }

    pub(crate) fn least(what: String, value: f64, limit: f64) -> Self {
        Self { what, value, limit, unit: "/s", at_least: true }
    }

    fn met(&self) -> bool {
        if self.at_least { self.value >= self.limit } else { self.value <= self.limit }
    }

    pub(crate) fn json(budgets: &[Self]) -> Value {
        let one = |budget: &Self| {
            json!({
                "what": budget.what,
                "value": rounded(budget.value),
                "limit": rounded(budget.limit),
                "unit": budget.unit,
                "met": budget.met(),
            })
        };
        budgets.iter().map(one).collect()
    }
}

pub(crate) fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[expect(clippy::cast_precision_loss, reason = "memory sizes are far below 2^52 KiB")]
pub(crate) fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// Resident and proportional set, in KiB.
pub(crate) fn memory(pid: u32) -> (u64, u64) {
    let text =
        fs_err::read_to_string(Path::new("/proc").join(pid.to_string()).join("smaps_rollup"))
            .unwrap();
    let field = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    (field("Rss:"), field("Pss:"))
}

pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    // Nearest rank; the share is between 0 and 1 and the list is short.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank in a short list"
    )]
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// A table of `rows`: the text under `name`, then one column for each pair of a heading and a key.
fn table(name: &str, heading: &str, rows: &Value, columns: &[(&str, &str)]) {
    let rows = rows.as_array().map(Vec::as_slice).unwrap_or_default();
    if rows.is_empty() {
        return;
    }
    let mut out = std::io::stdout().lock();
    write!(out, "\n{heading:<46}").unwrap();
    for (title, _) in columns {
        write!(out, "{title:>11}").unwrap();
    }
    writeln!(out).unwrap();
    for row in rows {
        write!(out, "{:<46}", row[name].as_str().unwrap()).unwrap();
        for (_, key) in columns {
            write!(out, "{:>11}", row[*key].to_string()).unwrap();
        }
        writeln!(out).unwrap();
    }
}

/// All of it; whether every budget is met.
pub(crate) fn print(result: &Value) -> bool {
    let times = format!("medians of {} interleaved rounds, /bin/true", result["rounds"]);
    table("what", &times, &result["times"], &[("median ms", "median_ms"), ("p99 ms", "p99_ms")]);
    table(
        "what",
        "alone: 1 connection; else 8 (beside: pveproxy)",
        &result["requests"],
        &[
            ("containers", "containers"),
            ("alone ms", "median_ms"),
            ("theirs ms", "pveproxy_median_ms"),
            ("median ms", "median_ms_of_8"),
            ("p99 ms", "p99_ms_of_8"),
            ("per s", "per_second"),
            ("theirs", "pveproxy_per_second"),
            ("times", "ratio"),
            ("CPU us", "cpu_us"),
        ],
    );
    let columns = [("median ms", "median_ms"), ("p99 ms", "p99_ms")];
    table("what", "commands of the shell", &result["commands"], &columns);
    table("what", "memory", &result["memory"], &[("RSS KiB", "rss_kib"), ("PSS KiB", "pss_kib")]);
    let mut out = std::io::stdout().lock();
    let budgets = result["budgets"].as_array().unwrap();
    let missed = budgets.iter().filter(|row| row["met"] != true);
    writeln!(out).unwrap();
    for row in missed.clone() {
        let (what, unit) = (row["what"].as_str().unwrap(), row["unit"].as_str().unwrap());
        writeln!(out, "MISSED: {what}: {} {unit}, the limit is {}", row["value"], row["limit"])
            .unwrap();
    }
    writeln!(out, "{} of {} limits met", budgets.len() - missed.clone().count(), budgets.len())
        .unwrap();
    missed.count() == 0
}
