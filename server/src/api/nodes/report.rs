//! What somebody who helps wants to know of a node, in the form of pve-manager's `PVE/Report.pm`. Not
//! asked on a PVE node, whose pveproxy knows of PVE's packages and services too.

use std::process::Stdio;
use std::time::Duration;

use axum::extract::State;
use openapi::answer::ErrorBody;
use pve_integration::layout::Root;
use tokio::process::Command;

use super::machine::is_machine;
use crate::api::blocking;
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::LocalNode;

/// As PVE gives each command.
const PATIENCE: Duration = Duration::from_secs(10);
const PATH: &str = "/sbin:/bin:/usr/sbin:/usr/bin";

/// One of a section's parts. In paths `NODE` is this node's name.
enum Part {
    /// A file of the root that is served; one that is missing is named all the same.
    File(&'static str),
    /// Each file of a folder whose name ends so.
    Files(&'static str, &'static str),
    /// A shell's line. It tells of the machine, so it is left out of the report on a directory.
    Run(&'static str),
}

use Part::{File, Files, Run};

const SECTIONS: &[(&str, &[Part])] = &[
    (
        "general system info",
        &[
            Run("hostname"),
            Run("date -R"),
            Run("cat /proc/cmdline"),
            File("/etc/hosts"),
            File("/etc/apt/sources.list"),
            Files("/etc/apt/sources.list.d/", ".list"),
            Files("/etc/apt/sources.list.d/", ".sources"),
            Run("apt-mark showhold"),
            Run("lscpu"),
        ],
    ),
    (
        "overall system load info",
        &[Run("top -b -c -w512 -n 1 -o TIME | head -n 30"), Run("head /proc/pressure/*")],
    ),
    (
        "info about storage",
        &[
            File("/etc/pve/storage.cfg"),
            File("/etc/fstab"),
            Run("findmnt --ascii"),
            Run("df --human -T"),
        ],
    ),
    ("info about virtual guests", &[Files("/etc/pve/nodes/NODE/lxc/", ".conf")]),
    (
        "info about network",
        &[
            Run("ip -details -statistics address"),
            Run("ip -details -4 route show"),
            Run("ip -details -6 route show"),
            File("/etc/network/interfaces"),
            Files("/etc/network/interfaces.d/", ""),
            Files("/etc/pve/sdn/", ".cfg"),
        ],
    ),
    (
        "info about firewall",
        &[Files("/etc/pve/firewall/", ".fw"), File("/etc/pve/nodes/NODE/host.fw")],
    ),
    ("info about cluster", &[File("/etc/pve/datacenter.cfg")]),
    ("info about jobs", &[File("/etc/pve/jobs.cfg")]),
    ("info about replication", &[File("/etc/pve/replication.cfg")]),
    ("info about hardware", &[Run("dmidecode -t bios"), Run("lspci -nnk")]),
    ("info about block devices", &[Run("lsblk --ascii"), Run("ls -l /dev/disk/by-*/")]),
    ("info about volumes", &[Run("pvs"), Run("lvs"), Run("vgs")]),
];

/// Everything that helps to understand this node, as text.
#[utoipa::path(
    get, path = "/nodes/{node}/report", tag = "nodes",
    responses(
        (status = 200, description = "The report", body = Data<String>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn node_report(
    State(app): State<App>,
    _: LocalNode,
) -> Result<Data<String>, ApiError> {
    let mut report = String::new();
    for (title, parts) in SECTIONS {
        report += &format!("\n==== {title} ====\n");
        for part in *parts {
            match *part {
                Run(line) if is_machine(&app) => report += &run(line).await,
                Run(_) => {}
                File(path) => {
                    let (root, path) =
                        (app.root().clone(), path.replace("NODE", app.node().as_str()));
                    report += &blocking(move || file(&root, &path)).await?;
                }
                Files(folder, ending) => {
                    let (root, folder) =
                        (app.root().clone(), folder.replace("NODE", app.node().as_str()));
                    report += &blocking(move || files(&root, &folder, ending)).await?;
                }
            }
        }
    }
    Ok(Data::new(report))
}

/// What the command says, complaints included: that it is missing or fails tells something too.
async fn run(line: &str) -> String {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("exec 2>&1; {line}")]).env("PATH", PATH);
    command.stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) => format!("\n# {line}\n{}", String::from_utf8_lossy(&output.stdout)),
        Ok(Err(err)) => format!("\n# {line}\n\nERROR: {err}\n"),
        Err(_) => format!("\n# {line}\n\nERROR: command '{line}' failed: got timeout\n"),
    }
}

fn file(root: &Root, path: &str) -> String {
    let content = match fs_err::read(root.below(path)) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) => format!("cat: {path}: No such file or directory\n"),
    };
    format!("\n# cat {path}\n{content}")
}

fn files(root: &Root, folder: &str, ending: &str) -> String {
    let mut names: Vec<_> = fs_err::read_dir(root.below(folder))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.ends_with(ending))
        .collect();
    names.sort_unstable();
    let mut text = format!("# output '{folder}*{ending}' file(s)\n");
    for name in names {
        text += &file(root, &format!("{folder}{name}"));
        text.push('\n');
    }
    text
}
