//! Answers about tasks.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{AuthId, Upid};

/// What a task's id says, field by field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskFields {
    pub upid: Upid,
    pub node: String,
    pub pid: u32,
    pub pstart: u64,
    pub starttime: u32,
    #[serde(rename = "type")]
    pub kind: String,
    /// A text, though mostly a guest's number.
    pub id: String,
    /// Without the token.
    pub user: String,
    /// The name of the token that the task was started with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenid: Option<String>,
}

impl From<&Upid> for TaskFields {
    fn from(upid: &Upid) -> Self {
        let (user, tokenid) = match upid.user().parse() {
            Ok(AuthId::Token(token)) => (token.user().to_string(), Some(token.name().to_owned())),
            Ok(AuthId::User(_)) | Err(_) => (upid.user().to_owned(), None),
        };
        Self {
            upid: upid.clone(),
            node: upid.node().to_string(),
            pid: upid.pid(),
            pstart: upid.pstart(),
            starttime: upid.starttime(),
            kind: upid.kind().to_owned(),
            id: upid.id().to_owned(),
            user,
            tokenid,
        }
    }
}

/// A task in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskRow {
    #[serde(flatten)]
    pub task: TaskFields,
    /// Epoch seconds; not while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endtime: Option<u64>,
    /// `OK`, `WARNINGS: 1`, what went wrong, or `RUNNING`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    Running,
    Stopped,
}

/// `tasks/{upid}/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskStatus {
    #[serde(flatten)]
    pub task: TaskFields,
    pub status: TaskState,
    /// Only when stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exitstatus: Option<String>,
}

/// A line of a log, of a task's or a container's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskLogLine {
    /// Counted from 1.
    pub n: u64,
    pub t: String,
}
