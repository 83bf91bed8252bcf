//! Runs the jobs of `jobs.cfg` when they are due, as pvescheduler does: a look at each full minute,
//! one job after the other. On a PVE node pvescheduler does it, and there is none here.

use std::str::FromStr as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use openapi::{AuthId, Upid};
use pve_integration::access::is_cluster;
use pve_integration::jobs::{self, Clock, Job, Jobs, JobsError, REALM_SYNC, Run, Scheduled};
use pve_integration::local_time;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::api::nodes::vzdump;
use crate::app::App;
use crate::error::ApiError;
use crate::extract::Caller;
use crate::tasks::{TaskError, TaskState};

const MINUTE: u64 = 60;
/// Of a job; vzdump knows none of them.
const NOT_VZDUMPS: [&str; 4] = ["comment", "enabled", "repeat-missed", "schedule"];

pub(crate) async fn run(app: App, stop: CancellationToken) {
    if is_cluster(app.root()) {
        return;
    }
    let mut first = true;
    loop {
        look(&app, first).await;
        first = false;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let into = Duration::new(now.as_secs() % MINUTE, now.subsec_nanos());
        let rest = Duration::from_secs(MINUTE).saturating_sub(into);
        if stop.run_until_cancelled(tokio::time::sleep(rest)).await.is_none() {
            return;
        }
    }
}

fn epoch() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

async fn look(app: &App, first: bool) {
    let due = match blocking(app, move |app| due(app, first)).await {
        Ok(due) => due,
        Err(err) => {
            tracing::error!(error = %err, "cannot look for jobs that are due: {err}");
            return;
        }
    };
    for job in due {
        if let Err(err) = run_job(app, &job).await {
            tracing::error!(job.id = %job.id, error = %err, "job '{}': {err}", job.id);
        }
    }
}

fn due(app: &App, first: bool) -> Result<Vec<Scheduled>, JobsError> {
    let clock = Clock { now: epoch(), zone: local_time::zone() };
    let warn = |text| tracing::warn!("{text}");
    jobs::due(app.root(), app.node(), &clock, first, |upid| ended(app, upid), warn)
}

/// How a task ended, if it did.
fn ended(app: &App, upid: &str) -> Option<String> {
    let status = Upid::from_str(upid).map_err(TaskError::from);
    match status.and_then(|upid| app.tasks().status(&upid)) {
        Ok(TaskState::Running) => None,
        Ok(TaskState::Stopped(end)) => Some(end),
        Err(err) => Some(err.to_string()),
    }
}

async fn run_job(app: &App, job: &Scheduled) -> Result<(), JobsError> {
    let starting = job.clone();
    if !blocking(app, move |app| Ok(jobs::starting(app.root(), &starting, epoch())?)).await? {
        return Ok(());
    }
    let run = match begin(app, job).await {
        // What there is nothing to do for is answered with a word.
        Ok(upid) if upid.starts_with("UPID:") => Run::Task(upid),
        Ok(word) => Run::Over(word),
        Err(err) => {
            tracing::warn!(job.id = %job.id, "job '{}' did not begin: {}", job.id, err.message());
            Run::Over(err.message().to_owned())
        }
    };
    let job = job.clone();
    blocking(app, move |app| Ok(jobs::started(app.root(), &job, &run, epoch())?)).await
}

/// What it runs as: the task's UPID.
async fn begin(app: &App, job: &Scheduled) -> Result<String, ApiError> {
    if job.kind == REALM_SYNC {
        return Err(ApiError::die("this daemon asks no directory server, a sync needs a PVE node"));
    }
    let id = job.id.clone();
    let job = blocking(app, move |app| Ok(Jobs::read(app.root())?.get(&id).cloned())).await?;
    let Some(job) = job else { return Err(ApiError::die("it was removed")) };
    let root = AuthId::from_str("root@pam").map_err(ApiError::die)?;
    let caller = Caller::proved(root, app.access().current()?);
    vzdump::back_up(app, &caller, app.node(), &parameters(job)).await
}

fn parameters(job: Job) -> Map<String, Value> {
    let mut values = job.values;
    values.retain(|name, _| !NOT_VZDUMPS.contains(&name.as_str()));
    values.insert("job-id".to_owned(), job.id.into());
    values.insert("quiet".to_owned(), 1.into());
    values
}

async fn blocking<T: Send + 'static>(
    app: &App,
    work: impl FnOnce(&App) -> Result<T, JobsError> + Send + 'static,
) -> Result<T, JobsError> {
    let app = app.clone();
    let done = tokio::task::spawn_blocking(move || work(&app)).await;
    done.unwrap_or_else(|err| Err(std::io::Error::other(err).into()))
}
