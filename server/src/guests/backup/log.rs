//! What a run says: to the task, and of each guest also to the file that lies beside its backup.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use pve_integration::local_time;

use crate::tasks::TaskLog;

#[derive(Clone)]
pub(super) struct BackupLog {
    task: TaskLog,
    /// Of one guest.
    file: Option<Arc<Mutex<String>>>,
}

impl BackupLog {
    pub(super) fn of_task(task: &TaskLog) -> Self {
        Self { task: task.clone(), file: None }
    }

    pub(super) fn of_guest(task: &TaskLog) -> Self {
        Self { task: task.clone(), file: Some(Arc::default()) }
    }

    pub(super) fn info(&self, text: impl AsRef<str>) {
        for line in text.as_ref().lines() {
            self.task.line(format!("INFO: {line}"));
            self.keep("INFO", line);
        }
    }

    /// For whoever watches; the file has the time in front of each line anyway.
    pub(super) fn info_task(&self, text: impl AsRef<str>) {
        self.task.line(format!("INFO: {}", text.as_ref()));
    }

    pub(super) fn warn(&self, text: impl AsRef<str>) {
        for line in text.as_ref().lines() {
            self.task.warn(line);
            self.keep("WARN", line);
        }
    }

    pub(super) fn error(&self, text: impl AsRef<str>) {
        for line in text.as_ref().lines() {
            self.task.line(format!("ERROR: {line}"));
            self.keep("ERROR", line);
        }
    }

    fn keep(&self, level: &str, line: &str) {
        let Some(file) = &self.file else { return };
        let time = local_time::format(now(), "%F %H:%M:%S");
        let mut text = file.lock().unwrap_or_else(PoisonError::into_inner);
        text.push_str(&format!("{time} {level}: {line}\n"));
    }

    pub(super) fn upid(&self) -> String {
        self.task.upid().to_string()
    }

    /// All that was said of the guest.
    pub(super) fn text(&self) -> String {
        let file = self.file.as_ref();
        file.map(|text| text.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .unwrap_or_default()
    }
}

pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or_default()
}
