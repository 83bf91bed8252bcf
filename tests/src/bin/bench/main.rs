//! What the product costs on this machine: containers beside `crun run`, requests and commands beside
//! what PVE's own were measured at, and memory. Prints tables, writes them as JSON, and ends with a
//! failure if a limit is missed. `bench/run` builds it and says where.
#![expect(clippy::unwrap_used, reason = "a bench that cannot measure has nothing better to do")]

mod commands;
mod containers;
mod report;
mod requests;
mod world;

use std::process::{Command, ExitCode};

use serde_json::{Value, json};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let out = arguments.next().expect("the file to write");
    let part = arguments.next().unwrap_or_default();
    let measured = [
        ("requests", requests::measure as fn() -> Value),
        ("containers", containers::measure),
        ("commands", commands::measure),
    ];
    let mut result = about();
    for (name, measure) in measured {
        if part.is_empty() || part == name {
            merge(&mut result, measure());
        }
    }
    let met = report::print(&result);
    fs_err::write(&out, serde_json::to_string_pretty(&result).unwrap() + "\n").unwrap();
    if met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn about() -> Value {
    json!({
        "kernel": fs_err::read_to_string("/proc/sys/kernel/osrelease").unwrap().trim(),
        "cpus": std::thread::available_parallelism().unwrap().get(),
        "crun": first_line("crun"),
        "wrk": first_line("wrk"),
    })
}

/// What a program says of its version.
fn first_line(program: &str) -> String {
    let out = Command::new(program).arg("--version").output().unwrap().stdout;
    String::from_utf8_lossy(&out).lines().next().unwrap_or_default().to_owned()
}

/// Lists are joined, everything else is put in.
fn merge(result: &mut Value, part: Value) {
    let Value::Object(part) = part else { return };
    for (key, value) in part {
        match (result.get_mut(&key).and_then(Value::as_array_mut), value) {
            (Some(list), Value::Array(more)) => list.extend(more),
            (_, value) => result[key] = value,
        }
    }
}
