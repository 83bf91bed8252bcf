//! `state`, `list`, `ps` and `features`: what crun prints, key for key.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use fs_err as fs;
use libcrun::{State, Status};
use oci_verbs::{ContainerId, Format, List, Ps};
use rustix::process::Pid;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Context;
use super::error::{Error, Result};
use super::lxc::Container;

/// Of the state document, not of bundles.
pub(super) const OCI_VERSION: &str = "1.0.0";

/// One container, whoever runs it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) id: String,
    /// 0 without a process.
    pub(super) pid: i32,
    pub(super) status: &'static str,
    pub(super) bundle: PathBuf,
    pub(super) rootfs: PathBuf,
    pub(super) created: String,
    pub(super) owner: Option<String>,
}

impl From<Status> for Row {
    fn from(status: Status) -> Self {
        Self {
            id: status.id,
            pid: status.pid.unwrap_or(0),
            status: word(status.state),
            bundle: status.bundle,
            rootfs: status.rootfs,
            created: status.created,
            owner: status.owner,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    oci_version: &'static str,
    id: &'a str,
    pid: i32,
    status: &'static str,
    bundle: &'a Path,
    rootfs: &'a Path,
    created: &'a str,
    /// Always none, as there is no systemd in here; crun writes it then too.
    #[serde(rename = "systemd-scope")]
    systemd_scope: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<&'a str>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    annotations: Map<String, Value>,
}

#[derive(Serialize)]
struct Listed<'a> {
    id: &'a str,
    pid: i32,
    status: &'static str,
    bundle: &'a Path,
    created: &'a str,
    owner: &'a str,
}

pub(super) fn state(context: &Context, id: &ContainerId) -> Result<()> {
    let status = context.runtime.state(id.as_str())?;
    let path = context.runtime.state_root.join(id.as_str()).join("config.json");
    let config: Value =
        serde_json::from_slice(&fs::read(&path)?).map_err(|source| Error::Json { path, source })?;
    let annotations = config.get("annotations").and_then(Value::as_object);
    print_state(&status.into(), annotations.cloned().unwrap_or_default())
}

pub(super) fn print_state(row: &Row, annotations: Map<String, Value>) -> Result<()> {
    print_json(&Shown {
        oci_version: OCI_VERSION,
        id: &row.id,
        pid: row.pid,
        status: row.status,
        bundle: &row.bundle,
        rootfs: &row.rootfs,
        created: &row.created,
        systemd_scope: "",
        owner: row.owner.as_deref(),
        annotations,
    })
}

pub(super) fn list(context: &Context, list: &List) -> Result<()> {
    let mut rows: Vec<Row> = context.runtime.list()?.into_iter().map(Row::from).collect();
    for container in Container::all(&context.runtime.state_root)? {
        rows.push(container.row()?);
    }
    rows.sort_by(|a, b| a.id.cmp(&b.id));
    match list.format {
        Format::Json => print_json(&rows.iter().map(listed).collect::<Vec<_>>()),
        Format::Table => print(&table(&rows, list.quiet)),
    }
}

fn listed(row: &Row) -> Listed<'_> {
    Listed {
        id: &row.id,
        pid: row.pid,
        status: row.status,
        bundle: &row.bundle,
        created: &row.created,
        owner: row.owner.as_deref().unwrap_or_default(),
    }
}

/// In crun's columns.
fn table(containers: &[Row], quiet: bool) -> String {
    if quiet {
        return containers.iter().map(|row| format!("{}\n", row.id)).collect();
    }
    let names = containers.iter().map(|row| row.id.len());
    let width = names.max().unwrap_or(0).max("NAME".len()) + 1;
    let mut text = format!(
        "{:<width$}{:<10}{:<8} {:<39} {:<30} {}\n",
        "NAME", "PID", "STATUS", "BUNDLE PATH", "CREATED", "OWNER"
    );
    for row in containers.iter().map(listed) {
        let bundle = row.bundle.display().to_string();
        writeln!(
            text,
            "{:<width$}{:<10}{:<8} {bundle:<39} {:<30} {}",
            row.id, row.pid, row.status, row.created, row.owner
        )
        .expect("a string takes everything");
    }
    text
}

pub(super) fn ps(context: &Context, ps: &Ps) -> Result<()> {
    let pids = context.runtime.pids(ps.id.as_str())?;
    print_pids(&pids.into_iter().filter_map(Pid::from_raw).collect::<Vec<_>>(), ps.format)
}

pub(super) fn print_pids(pids: &[Pid], format: Format) -> Result<()> {
    let pids: Vec<i32> = pids.iter().map(|pid| pid.as_raw_nonzero().get()).collect();
    match format {
        Format::Json => print_json(&pids),
        Format::Table => {
            let lines = pids.iter().map(|pid| format!("{pid}\n"));
            print(&std::iter::once("PID\n".to_owned()).chain(lines).collect::<String>())
        }
    }
}

/// The document of the runtime specification's features.md, with what crun adds.
pub(super) fn features(context: &Context) -> Result<()> {
    let features = context.runtime.features()?;
    let (linux, annotations) = (&features.linux, &features.annotations);
    print_json(&json!({
        "ociVersionMin": features.oci_version_min,
        "ociVersionMax": features.oci_version_max,
        "hooks": features.hooks,
        "mountOptions": features.mount_options,
        "linux": {
            "namespaces": linux.namespaces,
            "capabilities": linux.capabilities,
            "cgroup": {
                "v1": linux.cgroup.v1,
                "v2": linux.cgroup.v2,
                "systemd": linux.cgroup.systemd,
                "systemdUser": false,
            },
            "seccomp": {
                "enabled": linux.seccomp.enabled,
                "actions": linux.seccomp.actions,
                "operators": linux.seccomp.operators,
            },
            "apparmor": {"enabled": linux.apparmor},
            "selinux": {"enabled": linux.selinux},
            "mountExtensions": {"idmap": {"enabled": linux.idmapped_mounts}},
            "intelRdt": {"enabled": false}, // `update` has none of its options
            "netDevices": {"enabled": linux.net_devices},
            "memoryPolicy": {
                "modes": linux.memory_policy.modes,
                "flags": linux.memory_policy.flags,
            },
        },
        "annotations": {
            "io.github.seccomp.libseccomp.version": annotations.libseccomp,
            "org.opencontainers.runc.checkpoint.enabled": "false",
            "run.oci.crun.checkpoint.enabled": "false",
            "run.oci.crun.commit": annotations.commit,
            "run.oci.crun.version": annotations.version,
            "run.oci.crun.wasm": "false",
        },
        "potentiallyUnsafeConfigAnnotations": features.unsafe_annotations,
    }))
}

fn word(state: State) -> &'static str {
    match state {
        State::Created => "created",
        State::Running => "running",
        State::Paused => "paused",
        State::Stopped => "stopped",
    }
}

pub(super) fn print_json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|err| Error::Output(err.into()))?;
    print(&format!("{text}\n"))
}

fn print(text: &str) -> Result<()> {
    io::stdout().write_all(text.as_bytes()).map_err(Error::Output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_crun_s_columns() {
        let row = Row {
            id: "a-longer-name".to_owned(),
            pid: 0,
            status: "stopped",
            bundle: "/b".into(),
            rootfs: "/b/rootfs".into(),
            created: "2026-01-01T00:00:00.000000Z".to_owned(),
            owner: Some("root".to_owned()),
        };
        let text = table(std::slice::from_ref(&row), false);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        for (head, value) in [
            ("PID", "0"),
            ("STATUS", "stopped"),
            ("BUNDLE", "/b"),
            ("CREATED", "2026"),
            ("OWNER", "root"),
        ] {
            let at = lines[0].find(head).unwrap();
            assert!(lines[1][at..].starts_with(value), "{head}: {text}");
        }
        assert_eq!(table(&[row], true), "a-longer-name\n");
    }
}
