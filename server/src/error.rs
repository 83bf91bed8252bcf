//! The one place where an error meets a status and PVE's error envelope. Which message an error has
//! is decided where the error is defined; which status it gets, here.

use std::collections::BTreeMap;
use std::fmt;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::ext::ReasonPhrase;
use openapi::check::ParamErrors;
use pve_integration::access::edit::EditError;
use pve_integration::access::{AuthError, Denied, KeyError};
use pve_integration::errno::without_numbers;
use pve_integration::firewall::FirewallError;
use pve_integration::interfaces::InterfacesError;
use pve_integration::jobs::JobsError;
use pve_integration::settings::SettingsError;
use pve_integration::storage::StorageError;
use serde_json::{Map, Value, json};

use crate::console::ConsoleError;
use crate::format::JSON;
use crate::guests::GuestError;
use crate::pveproxy::ForwardError;
use crate::refusal::Refusal;
use crate::tasks::TaskError;

/// What a client is told instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    status: StatusCode,
    message: String,
    errors: BTreeMap<String, String>,
}

impl ApiError {
    /// `message` is PVE's text without the newline that Perl's `die` ends it with.
    pub fn new(status: StatusCode, message: impl fmt::Display) -> Self {
        let message = without_numbers(&message.to_string()).into_owned();
        Self { status, message, errors: BTreeMap::new() }
    }

    /// Perl's plain `die`: a 500, and clients rely on it, for a missing guest as for a full disk.
    pub fn die(message: impl fmt::Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// One parameter is wrong.
    pub fn param(name: &str, message: impl fmt::Display) -> Self {
        let message = without_numbers(&message.to_string()).into_owned();
        Self::params([(name.to_owned(), message)].into())
    }

    pub(crate) fn params(errors: BTreeMap<String, String>) -> Self {
        let message = "Parameter verification failed.".to_owned();
        Self { status: StatusCode::BAD_REQUEST, message, errors }
    }

    /// `what` is what PVE puts in brackets: the path and privilege, or the rule that was broken.
    pub fn forbidden(what: impl fmt::Display) -> Self {
        Self::new(StatusCode::FORBIDDEN, format_args!("Permission check failed ({what})"))
    }

    /// The path and method that nobody answers, as the client wrote it.
    pub(crate) fn unknown(method: &str, path: &str) -> Self {
        let message = format_args!("Method '{method} {path}' not implemented");
        Self::new(StatusCode::NOT_IMPLEMENTED, message)
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn errors(&self) -> &BTreeMap<String, String> {
        &self.errors
    }

    /// The body where the status line says the rest.
    pub(crate) fn shown(&self) -> Value {
        let mut body = Map::new();
        body.insert("data".to_owned(), Value::Null);
        body.insert("message".to_owned(), self.wire_message().into());
        if !self.errors.is_empty() {
            body.insert("errors".to_owned(), json!(self.errors));
        }
        Value::Object(body)
    }

    /// The body where the status line says 200.
    pub(crate) fn hidden(&self) -> Value {
        let mut body = self.shown();
        body["success"] = 0.into();
        body["status"] = self.wire_status();
        body
    }

    /// A `die` text keeps its newline; the text for an unknown method is made without one.
    fn wire_message(&self) -> String {
        if self.status == StatusCode::NOT_IMPLEMENTED || self.message.ends_with('\n') {
            return self.message.clone();
        }
        format!("{}\n", self.message)
    }

    /// Perl exceptions carry their code as text; a plain `die` gets a number.
    fn wire_status(&self) -> Value {
        match self.status {
            StatusCode::INTERNAL_SERVER_ERROR | StatusCode::NOT_IMPLEMENTED => {
                self.status.as_u16().into()
            }
            status => status.as_str().into(),
        }
    }
}

/// The message up to its first newline, which some clients show and nothing else.
pub(crate) fn set_reason(response: &mut Response, message: &str) {
    let line = message.lines().next().unwrap_or_default();
    match ReasonPhrase::try_from(line.as_bytes().to_vec()) {
        Ok(reason) => {
            response.extensions_mut().insert(reason);
        }
        Err(_) => {
            tracing::debug!("message cannot be a reason phrase, the client sees the usual one")
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status.as_u16(), self.message)
    }
}

impl std::error::Error for ApiError {}

/// As json; the guard, which knows the format, words it anew for others.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static(JSON))];
        let body = self.shown().to_string();
        let mut response = (self.status, content_type, body).into_response();
        set_reason(&mut response, &self.message);
        response.extensions_mut().insert(self);
        response
    }
}

impl From<ParamErrors> for ApiError {
    fn from(errors: ParamErrors) -> Self {
        Self::params(errors.0)
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        if denied.is_permission() {
            Self::new(StatusCode::FORBIDDEN, denied)
        } else {
            Self::die(denied)
        }
    }
}

impl From<KeyError> for ApiError {
    fn from(err: KeyError) -> Self {
        tracing::error!(error = %err, "cannot read who may do what: {err}");
        Self::die(err)
    }
}

/// What one PVE node says when it asks another in vain (pve-http-server's `proxy_request`, whose
/// statuses are those of `AnyEvent::HTTP`): a status line and no more.
impl From<ForwardError> for Refusal {
    fn from(err: ForwardError) -> Self {
        let status = match err {
            ForwardError::Connect(_) => 595,
            ForwardError::Exchange(_) => 596,
            ForwardError::Request(_) => 599,
        };
        let status = StatusCode::from_u16(status).expect("three digits are a status");
        Self::bare(status, err.to_string())
    }
}

/// PVE dies of them, also of what would be a 400 or 403 elsewhere: it is raised under a lock, whose
/// holder makes a text of it.
impl From<EditError> for ApiError {
    fn from(err: EditError) -> Self {
        Self::die(err)
    }
}

impl From<JobsError> for ApiError {
    fn from(err: JobsError) -> Self {
        Self::die(err)
    }
}

impl From<StorageError> for ApiError {
    fn from(err: StorageError) -> Self {
        match err {
            StorageError::NoStorage(_)
            | StorageError::Disabled(_)
            | StorageError::NotOnNode(..)
            | StorageError::Kind { .. }
            | StorageError::NoPath
            | StorageError::Content(..)
            | StorageError::VolumeName(_)
            | StorageError::NoVolume(_)
            | StorageError::NoFormat(_)
            | StorageError::SizeZero(_)
            | StorageError::NotesOfBackups
            | StorageError::AttributeOfBackups(_)
            | StorageError::Protected { .. }
            | StorageError::FileName(_)
            | StorageError::Extension { .. }
            | StorageError::ImageExists(_)
            | StorageError::NoQuota
            | StorageError::NoQemu(_)
            | StorageError::NoFreeName { .. }
            | StorageError::NoMkfs(_)
            | StorageError::Format { .. }
            | StorageError::During { .. }
            | StorageError::Defined(_)
            | StorageError::Property(_)
            | StorageError::Required(_)
            | StorageError::IllegalPath(_)
            | StorageError::NoneAndMore
            | StorageError::Fixed(_)
            | StorageError::NoOption(_)
            | StorageError::Undeletable(..)
            | StorageError::SetAndDelete(_)
            | StorageError::Modified
            | StorageError::LineFeed(_)
            | StorageError::IsBase
            | StorageError::NotMounted(..)
            | StorageError::NoDirectory(..)
            | StorageError::OneForTwo { .. }
            | StorageError::Access(_)
            | StorageError::Lock(_)
            | StorageError::Io { .. } => Self::die(err),
        }
    }
}

impl From<ConsoleError> for ApiError {
    fn from(err: ConsoleError) -> Self {
        match err {
            ConsoleError::Ticket(err) => err.into(),
            ConsoleError::Task(err) => err.into(),
            ConsoleError::NoPort
            | ConsoleError::Keys(_)
            | ConsoleError::Random
            | ConsoleError::Missing(_)
            | ConsoleError::NotReady(_)
            | ConsoleError::Connect { .. } => Self::die(err),
        }
    }
}

/// Of a ticket in a parameter; who a request is from is judged before there is an envelope.
impl From<AuthError> for ApiError {
    fn from(err: AuthError) -> Self {
        let status = match err {
            AuthError::ConsoleTicket => StatusCode::UNAUTHORIZED,
            AuthError::Ticket
            | AuthError::TicketHalf
            | AuthError::Csrf
            | AuthError::ConsoleRights(_)
            | AuthError::NoToken
            | AuthError::NoSuchUser(_)
            | AuthError::Disabled(_)
            | AuthError::Expired(_)
            | AuthError::NoSuchToken(_)
            | AuthError::TokenExpired(_)
            | AuthError::TokenValue
            | AuthError::NoSuchRealm(_)
            | AuthError::ForeignRealm(_)
            | AuthError::SecondFactor(_)
            | AuthError::Password(_)
            | AuthError::Keys(_)
            | AuthError::Io(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, err)
    }
}

impl From<TaskError> for ApiError {
    fn from(err: TaskError) -> Self {
        match err {
            TaskError::NoSuchTask => Self::param("upid", err),
            TaskError::ShuttingDown
            | TaskError::TooMany
            | TaskError::Upid(_)
            | TaskError::Start(_)
            | TaskError::Foreign(_)
            | TaskError::Signal(_) => Self::die(err),
        }
    }
}

impl From<InterfacesError> for ApiError {
    fn from(err: InterfacesError) -> Self {
        match err {
            InterfacesError::Param { name, text } => Self::param(name, text),
            InterfacesError::Refused(_) | InterfacesError::Lock(_) | InterfacesError::Io(_) => {
                Self::die(err)
            }
        }
    }
}

impl From<SettingsError> for ApiError {
    fn from(err: SettingsError) -> Self {
        match err {
            SettingsError::Param { name, text } => Self::param(name, text),
            SettingsError::Modified
            | SettingsError::Refused(_)
            | SettingsError::Lock(_)
            | SettingsError::Io(_) => Self::die(err),
        }
    }
}

impl From<FirewallError> for ApiError {
    fn from(err: FirewallError) -> Self {
        match err {
            FirewallError::Param { name, text } => Self::param(&name, text),
            FirewallError::Modified
            | FirewallError::NoIpSet(_)
            | FirewallError::IpSetNotEmpty(_)
            | FirewallError::NoAlias(_)
            | FirewallError::Address
            | FirewallError::NoRule(_)
            | FirewallError::NoRules
            | FirewallError::MixedFamilies
            | FirewallError::RuleType(_)
            | FirewallError::Lock(_)
            | FirewallError::Io(_) => Self::die(err),
        }
    }
}

/// Perl's plain `die` is a 500 and clients rely on it: a missing guest is no 404 here.
impl From<GuestError> for ApiError {
    fn from(err: GuestError) -> Self {
        match err {
            GuestError::Params(errors) => Self::params(errors),
            GuestError::Firewall(err) => err.into(),
            GuestError::Format(errors) => Self { errors, ..Self::die("format error") },
            GuestError::Config(_)
            | GuestError::Taken { .. }
            | GuestError::AlreadyRunning(_)
            | GuestError::NotRunning(_)
            | GuestError::RuntimeInUse(_)
            | GuestError::NothingToReboot(_)
            | GuestError::DestroyRunning(_)
            | GuestError::Locked(_)
            | GuestError::Protected(_)
            | GuestError::Template
            | GuestError::NoSnapshot(_)
            | GuestError::NoOptions
            | GuestError::Creating { .. }
            | GuestError::Restoring { .. }
            | GuestError::Storage(_)
            | GuestError::Runtime(_)
            | GuestError::Task(_)
            | GuestError::Listing(_)
            | GuestError::Refused(_)
            | GuestError::Io { .. } => Self::die(err),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use rstest::rstest;

    use super::*;

    async fn body(response: Response) -> Value {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&bytes).unwrap()
    }

    fn reason(response: &Response) -> String {
        let reason = response.extensions().get::<ReasonPhrase>().unwrap();
        String::from_utf8(reason.as_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn says_the_message_twice() {
        let error = ApiError::die("CT 102 already running");

        let response = error.into_response();

        assert_eq!(response.status(), 500);
        assert_eq!(reason(&response), "CT 102 already running");
        assert_eq!(
            body(response).await,
            json!({"data": null, "message": "CT 102 already running\n"})
        );
    }

    #[tokio::test]
    async fn keeps_the_reason_to_one_line() {
        let error = ApiError::forbidden("URI '/access/password' not available\n");

        let response = error.into_response();

        assert_eq!(
            reason(&response),
            "Permission check failed (URI '/access/password' not available"
        );
    }

    #[rstest]
    #[case::exception(ApiError::param("vmid", "x"), json!("400"))]
    #[case::forbidden(ApiError::forbidden("/vms/100, VM.Audit"), json!("403"))]
    #[case::died(ApiError::die("x"), json!(500))]
    #[case::unknown(ApiError::unknown("GET", "/x"), json!(501))]
    fn hides_the_status_in_extjs(#[case] error: ApiError, #[case] status: Value) {
        let body = error.hidden();

        assert_eq!(body["status"], status);
        assert_eq!(body["success"], json!(0));
    }

    #[tokio::test]
    async fn ends_no_line_after_an_unknown_method() {
        let response = ApiError::unknown("GET", "/doesnotexist").into_response();

        assert_eq!(body(response).await["message"], "Method 'GET /doesnotexist' not implemented");
    }
}
