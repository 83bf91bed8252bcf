//! The node itself: a shell on it, its log, its end. Only where the daemon serves the machine and not
//! a directory of it.

use std::path::Path;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use openapi::Privilege;
use openapi::answer::{ConsolePort, ErrorBody, TaskLogLine, TerminalConsole, VncConsole};
use serde::Deserialize;
use tokio::process::Command;

use crate::api::console::{self, ScreenParams, WebsocketParams};
use crate::app::App;
use crate::console::{Place, Source, Upgrade};
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, LocalNode, Params};

/// So that the answer reaches the client.
const POWER_DELAY: Duration = Duration::from_secs(2);

pub(super) fn is_machine(app: &App) -> bool {
    app.root().prefix() == Path::new("/")
}

/// With `--root DIR` the caller's rights are those of that directory's user.cfg, which say nothing
/// about the machine.
fn require_machine(app: &App, what: &str) -> Result<(), ApiError> {
    if is_machine(app) {
        return Ok(());
    }
    Err(ApiError::die(format_args!(
        "{what} is not available: this daemon serves the directory '{}', not the machine",
        app.root().prefix().display()
    )))
}

fn place(app: &App) -> Place {
    let path = format!("/nodes/{}", app.node());
    Place { path, privilege: Privilege::SysConsole, kind: "vncshell", id: String::new() }
}

#[derive(Deserialize)]
pub(super) struct ShellParams {
    cmd: Option<String>,
}

/// As `get_shell_command` of pve-manager; what is not root logs in.
fn shell(app: &App, caller: &Caller, params: &ShellParams) -> Result<Source, ApiError> {
    let line: &[&str] = match params.cmd.as_deref() {
        _ if !caller.is_root() => &["/bin/login"],
        None | Some("login") => &["/bin/login", "-f", "root"],
        Some(other) => {
            return Err(ApiError::die(format_args!("'{other}' is a command of a PVE node")));
        }
    };
    require_machine(app, "a shell")?;
    Ok(Source::Program(line.iter().map(|&word| word.to_owned()).collect()))
}

/// Open a shell on the node for a terminal.
#[utoipa::path(
    post, path = "/nodes/{node}/termproxy", tag = "nodes",
    responses(
        (status = 200, description = "Where it waits", body = Data<TerminalConsole>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn node_termproxy(
    State(app): State<App>,
    caller: Caller,
    _: LocalNode,
    Params(params): Params<ShellParams>,
) -> Result<Data<TerminalConsole>, ApiError> {
    let source = shell(&app, &caller, &params)?;
    console::terminal(&app, place(&app), source, &caller).await
}

/// Open a shell on the node for a VNC client.
#[utoipa::path(
    post, path = "/nodes/{node}/vncshell", tag = "nodes",
    responses(
        (status = 200, description = "Where it waits", body = Data<VncConsole>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn node_vncshell(
    State(app): State<App>,
    caller: Caller,
    _: LocalNode,
    Params(params): Params<ShellParams>,
    Params(screen): Params<ScreenParams>,
) -> Result<Data<VncConsole>, ApiError> {
    if params.cmd.as_deref().is_some_and(|cmd| cmd != "login") {
        caller.require_root("user != root@pam")?;
    }
    let source = shell(&app, &caller, &params)?;
    console::vnc(&app, place(&app), &source, &screen, &caller).await
}

/// The way to a shell that waits.
#[utoipa::path(
    get, path = "/nodes/{node}/vncwebsocket", tag = "nodes",
    responses(
        (status = 101, description = "From here on a websocket"),
        (status = 200, description = "Without an upgrade", body = Data<ConsolePort>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn node_vncwebsocket(
    node: LocalNode,
    caller: Caller,
    Params(params): Params<WebsocketParams>,
    upgrade: Upgrade,
) -> Result<Response, ApiError> {
    console::websocket(&params, &format!("/nodes/{}", node.name()), &caller, upgrade).await
}

#[derive(Deserialize)]
pub(super) struct PowerParams {
    command: String,
}

/// Reboot the machine, or switch it off.
#[utoipa::path(
    post, path = "/nodes/{node}/status", tag = "nodes",
    responses(
        (status = 200, description = "Always null", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn node_power(
    State(app): State<App>,
    caller: Caller,
    _: LocalNode,
    Params(params): Params<PowerParams>,
) -> Result<Data<Option<String>>, ApiError> {
    let program = if params.command == "reboot" { "/sbin/reboot" } else { "/sbin/poweroff" };
    require_machine(&app, &format!("a node {}", params.command))?;
    tracing::warn!(user.id = %caller.auth(), "{} of the node was asked for", params.command);
    tokio::spawn(async move {
        tokio::time::sleep(POWER_DELAY).await;
        if let Err(err) = Command::new(program).status().await {
            tracing::error!(error = %err, "cannot run {program}: {err}");
        }
    });
    Ok(Data::new(None))
}

#[derive(Deserialize)]
pub(super) struct SyslogParams {
    start: Option<u64>,
    limit: Option<u64>,
    since: Option<String>,
    until: Option<String>,
    service: Option<String>,
}

impl SyslogParams {
    fn arguments(&self) -> Vec<String> {
        let mut line = ["-o", "short", "--no-pager"].map(str::to_owned).to_vec();
        let service = self.service.as_deref().map(|service| match service {
            "postfix" => "postfix@-",
            "sshd" => "ssh",
            other => other,
        });
        let since = self.since.as_deref();
        for (name, value) in
            [("--unit", service), ("--since", since), ("--until", self.until.as_deref())]
        {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                line.push(format!("{name}={value}"));
            }
        }
        line
    }
}

/// The machine's log, a page of it.
#[utoipa::path(
    get, path = "/nodes/{node}/syslog", tag = "nodes",
    responses(
        (status = 200, description = "Lines", body = Data<Vec<TaskLogLine>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn node_syslog(
    State(app): State<App>,
    _: LocalNode,
    Params(params): Params<SyslogParams>,
) -> Result<Data<Vec<TaskLogLine>>, ApiError> {
    if !is_machine(&app) {
        return Ok(Data::page(no_content(), 1)); // a directory has no log
    }
    let (start, limit) = (params.start.unwrap_or(0), params.limit.filter(|limit| *limit > 0));
    let (lines, total) = journal(params.arguments(), start, limit.unwrap_or(50)).await?;
    Ok(Data::page(lines, total))
}

/// PVE's line for an empty log.
fn no_content() -> Vec<TaskLogLine> {
    vec![TaskLogLine { n: 1, t: "no content".to_owned() }]
}

/// Reads all of it, to count; keeps one page.
async fn journal(
    arguments: Vec<String>,
    start: u64,
    limit: u64,
) -> Result<(Vec<TaskLogLine>, u64), ApiError> {
    use tokio::io::{AsyncBufReadExt as _, BufReader};

    let failed =
        |err: std::io::Error| ApiError::die(format_args!("cannot read the journal: {err}"));
    let mut command = Command::new("journalctl");
    command.args(arguments).stdin(std::process::Stdio::null()).kill_on_drop(true);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let mut child = command.spawn().map_err(failed)?;
    let stdout = child.stdout.take().ok_or_else(|| ApiError::die("no journal"))?;
    let mut reader = BufReader::new(stdout);
    let (mut lines, mut count, mut line) = (Vec::new(), 0, Vec::new());
    while reader.read_until(b'\n', &mut line).await.map_err(failed)? > 0 {
        count += 1;
        if count > start && count - start <= limit {
            let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
            lines.push(TaskLogLine { n: count, t: text });
        }
        line.clear();
    }
    let status = child.wait().await.map_err(failed)?;
    if !status.success() {
        let code = status.code().unwrap_or_default();
        return Err(ApiError::die(format_args!("command 'journalctl' failed: exit code {code}")));
    }
    if count == 0 {
        return Ok((no_content(), 1));
    }
    Ok((lines, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_journalctl_as_pve_does() {
        let params = SyslogParams {
            start: None,
            limit: None,
            since: Some("2026-01-02".to_owned()),
            until: None,
            service: Some("sshd".to_owned()),
        };
        assert_eq!(
            params.arguments().join(" "),
            "-o short --no-pager --unit=ssh --since=2026-01-02"
        );
    }
}
