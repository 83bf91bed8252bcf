//! What a task gets to write its log with.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use openapi::Upid;
use pve_integration::errno::without_numbers;
use pve_integration::tasks::{Outcome, TaskWriter};

/// A task's log. Clones write to the same; after the task has ended they write nowhere.
#[derive(Clone)]
pub struct TaskLog(Arc<Inner>);

struct Inner {
    upid: Upid,
    warnings: AtomicU32,
    writer: Mutex<Option<TaskWriter>>,
}

impl TaskLog {
    pub(super) fn new(upid: Upid, writer: TaskWriter) -> Self {
        let writer = Mutex::new(Some(writer));
        Self(Arc::new(Inner { upid, warnings: AtomicU32::new(0), writer }))
    }

    pub(crate) fn upid(&self) -> &Upid {
        &self.0.upid
    }

    /// A line for whoever watches the task. That it could not be written does not stop the work:
    /// the daemon's own log says so.
    pub fn line(&self, text: impl AsRef<str>) {
        let text = without_numbers(text.as_ref().trim_end_matches('\n'));
        let mut writer = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Err(err)) = writer.as_mut().map(|writer| writer.line(&text)) {
            tracing::error!(task.upid = %self.0.upid, error = %err, "cannot write a task's log: {err}");
        }
    }

    /// Something the user should know, though the work goes on. The task ends in `WARNINGS`.
    pub fn warn(&self, text: impl AsRef<str>) {
        let text = text.as_ref();
        self.0.warnings.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(task.upid = %self.0.upid, "{text}");
        self.line(format!("WARN: {text}"));
    }

    /// Warnings that somebody else has told already.
    pub(crate) fn warned(&self, count: u32) {
        self.0.warnings.fetch_add(count, Ordering::Relaxed);
    }

    /// What a task that returned no error ends in.
    pub(super) fn success(&self) -> Outcome {
        match self.0.warnings.load(Ordering::Relaxed) {
            0 => Outcome::Ok,
            count => Outcome::Warnings(count),
        }
    }

    pub(super) fn finish(&self, outcome: &Outcome) {
        let writer = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(err)) = writer.map(|writer| writer.finish(outcome)) {
            tracing::error!(task.upid = %self.0.upid, error = %err, "cannot end a task's log: {err}");
        }
    }
}
