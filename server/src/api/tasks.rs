//! `/nodes/N/tasks`: what was and is being done. How tasks run is `crate::tasks`'; here they are
//! looked at and stopped.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Read as _;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use openapi::answer::{self, ErrorBody, TaskLogLine, TaskRow, TaskStatus};
use openapi::{Privilege, Upid, Vmid};
use pve_integration::tasks::{Entry, Filter, Source, StatusKind, TaskDir, owned_by};
use serde::Deserialize;

use super::{Name, blocking, names};
use crate::api_router::{ApiRouter, routes};
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, LocalNode, Params};
use crate::packing::gzip;
use crate::tasks::{TaskState, Tasks};

pub(crate) fn router() -> ApiRouter {
    ApiRouter::default()
        .routes(routes!(tasks))
        .routes(routes!(task_index, stop_task))
        .routes(routes!(task_status))
        .routes(routes!(task_log))
}

#[derive(Deserialize)]
struct Wanted {
    #[serde(default)]
    start: u64,
    limit: Option<u64>,
    userfilter: Option<String>,
    typefilter: Option<String>,
    statusfilter: Option<String>,
    vmid: Option<Vmid>,
    #[serde(default)]
    errors: u8,
    since: Option<i64>,
    until: Option<i64>,
    source: Option<String>,
}

impl Wanted {
    fn filter(self, caller: &Caller, node: &LocalNode) -> Filter {
        let audits = caller.may(Privilege::SysAudit, &path(node));
        let statuses = self.statusfilter.map(|list| {
            list.split([',', ';', ' ', '\0'])
                .filter_map(|status| status.parse::<StatusKind>().ok())
                .collect::<BTreeSet<_>>()
        });
        Filter {
            owner: (!audits).then(|| caller.auth().clone()),
            user: self.userfilter,
            kind: self.typefilter,
            vmid: self.vmid,
            errors: self.errors != 0,
            statuses,
            since: self.since,
            until: self.until,
            source: match self.source.as_deref() {
                Some("active") => Source::Active,
                Some("all") => Source::All,
                Some(_) | None => Source::Archive,
            },
            start: self.start,
            limit: self.limit.unwrap_or(50),
        }
    }
}

fn path(node: &LocalNode) -> String {
    format!("/nodes/{}", node.name())
}

/// Tasks, newest first; ended ones unless `source` says otherwise. Who may not audit the node sees
/// their own.
#[utoipa::path(
    get, path = "/nodes/{node}/tasks", tag = "tasks",
    responses(
        (status = 200, description = "One page of them", body = Data<Vec<TaskRow>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn tasks(
    State(app): State<App>,
    caller: Caller,
    node: LocalNode,
    Params(wanted): Params<Wanted>,
) -> Result<Data<Vec<TaskRow>>, ApiError> {
    let filter = wanted.filter(&caller, &node);
    let tasks = app.tasks().clone();
    let list = blocking(move || tasks.list(&filter)).await?.map_err(ApiError::die)?;
    Ok(Data::page(list.entries.into_iter().map(row).collect(), list.total))
}

fn row(entry: Entry) -> TaskRow {
    let Entry { upid, endtime, status, .. } = entry;
    TaskRow {
        status: status.or_else(|| endtime.is_none().then(|| "RUNNING".to_owned())),
        endtime,
        task: (&upid).into(),
    }
}

#[derive(Deserialize)]
struct TaskName {
    upid: String,
}

impl TaskName {
    fn parse(&self) -> Result<Upid, ApiError> {
        self.upid.parse().map_err(|_| ApiError::param("upid", "unable to parse worker upid"))
    }

    /// One that has a log, which is how PVE knows a task.
    fn find(&self, tasks: &Tasks) -> Result<Upid, ApiError> {
        let upid = self.parse()?;
        if tasks.exists(&upid) { Ok(upid) } else { Err(ApiError::param("upid", "no such task")) }
    }
}

/// Whoever started a task may see and stop it; others need the right on the node.
fn require(
    caller: &Caller,
    upid: &Upid,
    node: &LocalNode,
    privilege: Privilege,
) -> Result<(), ApiError> {
    if owned_by(upid, caller.auth()) { Ok(()) } else { caller.require(privilege, &path(node)) }
}

/// What is below a task.
#[utoipa::path(
    get, path = "/nodes/{node}/tasks/{upid}", tag = "tasks",
    responses(
        (status = 200, description = "The parts", body = Data<Vec<Name>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn task_index() -> Data<Vec<Name>> {
    Data::new(names(&["log", "status"]))
}

/// Stop a task. It ends in its own time; its log says that it was stopped.
#[utoipa::path(
    delete, path = "/nodes/{node}/tasks/{upid}", tag = "tasks",
    responses(
        (status = 200, description = "Always null", body = Data<Option<String>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn stop_task(
    State(app): State<App>,
    caller: Caller,
    node: LocalNode,
    Params(name): Params<TaskName>,
) -> Result<Data<Option<String>>, ApiError> {
    let upid = name.find(app.tasks())?;
    require(&caller, &upid, &node, Privilege::SysModify)?;
    app.tasks().abort(&upid).await?;
    Ok(Data::new(None))
}

/// Whether a task runs, or how it ended.
#[utoipa::path(
    get, path = "/nodes/{node}/tasks/{upid}/status", tag = "tasks",
    responses(
        (status = 200, description = "The task", body = Data<TaskStatus>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn task_status(
    State(app): State<App>,
    caller: Caller,
    node: LocalNode,
    Params(name): Params<TaskName>,
) -> Result<Data<TaskStatus>, ApiError> {
    let upid = name.find(app.tasks())?;
    require(&caller, &upid, &node, Privilege::SysAudit)?;
    let (status, exitstatus) = match app.tasks().status(&upid)? {
        TaskState::Running => (answer::TaskState::Running, None),
        TaskState::Stopped(text) => (answer::TaskState::Stopped, Some(text)),
    };
    Ok(Data::new(TaskStatus { task: (&upid).into(), status, exitstatus }))
}

#[derive(Deserialize)]
struct Page {
    start: Option<u64>,
    limit: Option<u64>,
    #[serde(default)]
    download: u8,
}

/// A page of a task's log, or all of it as a file.
#[utoipa::path(
    get, path = "/nodes/{node}/tasks/{upid}/log", tag = "tasks",
    responses(
        (status = 200, description = "Lines, counted from 1", body = Data<Vec<TaskLogLine>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn task_log(
    State(app): State<App>,
    caller: Caller,
    node: LocalNode,
    Params(name): Params<TaskName>,
    Params(page): Params<Page>,
) -> Result<Response, ApiError> {
    let upid = name.parse()?;
    require(&caller, &upid, &node, Privilege::SysAudit)?;
    if page.download != 0 {
        if page.start.is_some() || page.limit.is_some() {
            let text = "'download' cannot be used together with 'start' or 'limit' parameters";
            return Err(ApiError::die(text));
        }
        return download(TaskDir::new(app.root()), upid).await;
    }
    let (start, limit) = (page.start.unwrap_or(0), page.limit.unwrap_or(50));
    let tasks = app.tasks().clone();
    let log = blocking(move || tasks.log(&upid, start, limit)).await?;
    let lines = log.lines.into_iter().map(|line| TaskLogLine { n: line.n, t: line.t });
    Ok(Data::page(lines.collect::<Vec<_>>(), log.total).into_response())
}

/// Bytes of a log that PVE hands out as they are. It packs longer ones whatever the client accepts.
const PLAIN_DOWNLOAD: usize = 1024;

async fn download(dir: TaskDir, upid: Upid) -> Result<Response, ApiError> {
    let name = format!("task-{}-{}-{}.log", upid.node(), upid.kind(), utc(upid.starttime()));
    let read = move || {
        let path = dir.log_path(&upid);
        let failed = |err| format!("Could not open file '{}' - {err}", path.display());
        let mut text = Vec::new();
        let opened = OpenOptions::new().read(true).open(&path);
        opened.and_then(|mut file| file.read_to_end(&mut text)).map_err(failed)?;
        let long = text.len() > PLAIN_DOWNLOAD;
        Ok::<_, String>((if long { gzip(&text).map_err(failed)? } else { text }, long))
    };
    let (text, packed) = blocking(read).await?.map_err(ApiError::die)?;
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    if packed {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    // A UPID's parts have no quotes and no blanks.
    if let Ok(value) = format!("attachment; filename=\"{name}\"").parse() {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

/// Seconds since 1970 as `2026-11-23T19:57:45Z`.
fn utc(seconds: u32) -> String {
    jiff::Timestamp::from_second(seconds.into()).map(|time| time.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(0, "1970-01-01T00:00:00Z")]
    #[case(951_782_400, "2000-02-29T00:00:00Z")]
    #[case(1_795_440_225, "2026-11-23T13:23:45Z")]
    #[case(u32::MAX, "2106-02-07T06:28:15Z")]
    fn writes_a_date(#[case] seconds: u32, #[case] text: &str) {
        assert_eq!(utc(seconds), text);
    }
}
