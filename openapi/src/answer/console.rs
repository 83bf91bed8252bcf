//! Answers about consoles.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Upid;

/// A console that waits for its one client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TerminalConsole {
    /// Who it was opened for, a user or a token.
    pub user: String,
    /// To be shown to it, within 40 seconds.
    pub ticket: String,
    /// A number as text.
    #[schema(example = "5900")]
    pub port: String,
    pub upid: Upid,
}

/// As [`TerminalConsole`], for VNC clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VncConsole {
    #[serde(flatten)]
    pub console: TerminalConsole,
    /// What the node's certificate is verified with (PEM).
    pub cert: String,
    /// Of the VNC protocol; for websocket clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// `vncwebsocket` without an upgrade.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConsolePort {
    pub port: String,
}
