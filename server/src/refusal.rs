//! Answers given before any formatter: a status line, and a plain body or none. PVE wraps them in
//! no envelope, not even for `extjs`.

use std::fmt;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::error::set_reason;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    status: StatusCode,
    reason: String,
    body: String,
    location: Option<&'static str>,
}

impl Refusal {
    /// The message is the reason phrase and the body.
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let reason = message.into();
        Self { status, body: reason.clone(), reason, location: None }
    }

    /// The message is the reason phrase; the body is empty.
    pub(crate) fn bare(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into(), body: String::new(), location: None }
    }

    pub(crate) fn unauthorized(reason: &str) -> Self {
        Self::bare(StatusCode::UNAUTHORIZED, reason)
    }

    /// A person with a browser is sent to the login page instead.
    pub(crate) fn login_page() -> Self {
        let location = Some("/api2/html/access/ticket");
        Self { location, ..Self::bare(StatusCode::MOVED_PERMANENTLY, "Moved") }
    }

    /// PVE's 506 for what it cannot read, which has nothing to do with HTTP's meaning of it.
    pub(crate) fn version_not_supported(message: String) -> Self {
        Self::new(StatusCode::VARIANT_ALSO_NEGOTIATES, message)
    }

    pub(crate) fn no_such_file(path: &str) -> Self {
        Self::die(format!("no such file '{path}'"))
    }

    /// As Perl's `die`, whose newline stays in the body.
    pub(crate) fn die(reason: String) -> Self {
        let body = format!("{reason}\n");
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, reason, body, location: None }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status.as_u16(), self.reason)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        if let Some(location) = self.location {
            response.headers_mut().insert(header::LOCATION, HeaderValue::from_static(location));
        }
        set_reason(&mut response, &self.reason);
        response
    }
}
