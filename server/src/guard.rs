//! Everything between a request and a handler, in PVE's order (pve-manager's `PVE/HTTPServer.pm`,
//! `auth_handler` and `rest_handler`): the verb, the URL, who asks, the body, the formatter, the
//! method, conflicting and forbidden parameters, permissions, the node, the parameter check. It is
//! driven by the method table; no handler repeats any of it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method as Verb, Request, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use openapi::check::{self, Given, Input};
use openapi::schema::{Method, Permissions};
use openapi::{AuthId, Privilege};
use pve_integration::access::AuthError;
use pve_integration::storage::StorageConfig;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};
use tower::ServiceExt as _;
use tracing::{Instrument as _, Span, field};

use crate::api::blocking;
use crate::app::App;
use crate::body::{self, RawParams};
use crate::credentials::{CSRF, Credentials};
use crate::docs;
use crate::error::ApiError;
use crate::extract::{Caller, Checked, unknown_node};
use crate::format::{self, Format, JSON, Page};
use crate::listen::Peer;
use crate::pveproxy::{Detour, PveProxy, came_from_us};
use crate::refusal::Refusal;
use crate::router;
use crate::routes::{Found, Routes};
use crate::target::Target;
use crate::upload::{self, Upload};

/// Whoever is not known waits, counted from the request's start, so that guessing is slow.
const UNAUTHORIZED_DELAY: Duration = Duration::from_secs(3);

/// Served beside the API, to anyone: it says what the program can do, not what it holds.
pub(crate) const DOCUMENT: &str = "/api2/openapi.json";

/// Served here, and still asked of pveproxy where there is one: how the paths begin.
const PVE_KNOWS_BETTER: [&str; 2] = ["/nodes/{node}/report", "/cluster/ha/"];

/// For whom root asks, on the unix socket: pveproxy has proved who that is, USER@REALM or a token of
/// theirs. Says nothing anywhere else.
const ON_BEHALF_OF: HeaderName = HeaderName::from_static("x-lxcri-user");
/// What pveproxy's plug-in calls this request; it is in its log too.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-lxcri-request");

/// All that a handler sees of a request's headers: the wish to become a websocket.
const HANDSHAKE: [HeaderName; 5] = [
    header::CONNECTION,
    header::UPGRADE,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_VERSION,
];

#[derive(Clone)]
pub(crate) struct Guard {
    app: App,
    routes: Arc<Routes>,
    handlers: Router,
    document: Arc<OnceLock<Bytes>>,
}

impl Guard {
    pub(crate) fn new(app: App, routes: Routes, handlers: Router) -> Self {
        Self { app, routes: Arc::new(routes), handlers, document: Arc::default() }
    }
}

/// The one entry.
pub(crate) async fn serve(State(guard): State<Guard>, request: Request<Body>) -> Response {
    let start = Instant::now();
    // Never the query: it may hold secrets.
    let span = tracing::info_span!(
        "request",
        verb = %request.method(),
        path = request.uri().path(),
        user.id = field::Empty,
        request.id = field::Empty
    );
    if let Some(id) = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()) {
        span.record("request.id", id);
    }
    let wants_more = wants_more(&request);
    let mut response = match guard.answer(request, start).instrument(span).await {
        Ok(response) => response,
        Err(refusal) => {
            let response = refusal.into_response();
            delay(response.status(), start).await;
            response
        }
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return response; // it says `Connection: upgrade`, and browsers insist on that
    }
    let keep = response.status().as_u16() < 400 && wants_more;
    let connection = HeaderValue::from_static(if keep { "Keep-Alive" } else { "close" });
    response.headers_mut().insert(header::CONNECTION, connection);
    response
}

/// Whether the client will send another request on this connection, for all it says.
fn wants_more(request: &Request<Body>) -> bool {
    match request.headers().get(header::CONNECTION) {
        Some(value) => !value.to_str().unwrap_or_default().to_lowercase().contains("close"),
        None => request.version() > Version::HTTP_10,
    }
}

/// 301 is the way to the login page, and as slow.
async fn delay(status: StatusCode, start: Instant) {
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::MOVED_PERMANENTLY) {
        sleep_until(start + UNAUTHORIZED_DELAY).await;
    }
}

/// Who asks, and how it was shown.
struct Identity {
    /// Nobody, where that is enough.
    caller: Option<Caller>,
    by_token: bool,
}

impl Guard {
    /// `Err` is what is answered before there is a formatter.
    async fn answer(&self, request: Request<Body>, start: Instant) -> Result<Response, Refusal> {
        let (parts, body) = request.into_parts();
        let verb = &parts.method;
        if !matches!(*verb, Verb::GET | Verb::POST | Verb::PUT | Verb::DELETE) {
            let reason = format!("method '{verb}' not available");
            return Err(Refusal::bare(StatusCode::NOT_IMPLEMENTED, reason));
        }
        body::check_transfer(&parts.headers)?;
        if verb == Verb::GET && parts.uri.path() == DOCUMENT {
            return Ok(self.document().await);
        }
        if verb == Verb::GET
            && let Some(page) = docs::serve(parts.uri.path())
        {
            return Ok(page);
        }
        let target = Target::parse(parts.uri.path());
        if let Some(pveproxy) = self.asks_pve(&target, &parts) {
            return Ok(pveproxy.forward(&parts, body).await?);
        }
        let (format, path) = match target {
            Target::Api { format, path } => (format, path),
            Target::NoFormat => {
                return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "no such uri"));
            }
            Target::File(path) => return Err(Refusal::no_such_file(&path)),
        };
        let found = self.routes.find(verb, &path);
        let identity = self.identify(&parts, found.as_ref(), &format)?;
        let upload = found.as_ref().filter(|found| upload::is_upload(found.method));
        let received = match (upload, upload::boundary(&parts.headers)) {
            (Some(found), Some(boundary)) => {
                require_upload(&identity, found)?;
                self.receive(found, boundary, &parts, body).await
            }
            _ => Ok((body::read(verb, &parts.headers, body).await?, None)),
        };
        let Some(format) = Format::named(&format) else {
            let message = format!("no formatter for uri {path}, {format}");
            return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, message));
        };
        let verb = verb.clone();
        let page = Page::of_path(verb.as_str(), &path, found.as_ref().map(|found| found.method));
        let response = match &found {
            None => ApiError::unknown(verb.as_str(), &path).into_response(),
            Some(found) => match self.call(&path, found, received, identity, parts).await {
                Ok(response) => response,
                Err(error) => error.into_response(),
            },
        };
        if response.status() == StatusCode::UNAUTHORIZED {
            delay(response.status(), start).await;
        }
        Ok(format::reformat(response, format, &page).await)
    }

    /// What is not served here is pveproxy's, where there is one: what we have no handler for, the
    /// other nodes, what PVE tells of itself, and the pages for people.
    fn asks_pve(&self, target: &Target, parts: &Parts) -> Option<&PveProxy> {
        let pveproxy = self.app.pveproxy().filter(|_| !came_from_us(&parts.headers))?;
        // What its plug-in sends is not for it.
        if on_behalf_of(parts).is_some() {
            return None;
        }
        let Target::Api { format, path } = target else { return Some(pveproxy) };
        let Some(found) = self.routes.find(&parts.method, path) else { return Some(pveproxy) };
        let ours = |node: &str| node == "localhost" || node == self.app.node().as_str();
        let elsewhere = found.variable("node").is_some_and(|node| !ours(node));
        let knows_better =
            PVE_KNOWS_BETTER.iter().any(|start| found.method.path.starts_with(start));
        (elsewhere || knows_better || Format::named(format).is_none()).then_some(pveproxy)
    }

    async fn call(
        &self,
        path: &str,
        found: &Found,
        received: Result<(RawParams, Option<Upload>), ApiError>,
        identity: Identity,
        mut parts: Parts,
    ) -> Result<Response, ApiError> {
        let (body, upload) = received?;
        if let Some(upload) = upload {
            parts.extensions.insert(upload);
        }
        if self.app.pveproxy().is_some() && !came_from_us(&parts.headers) {
            parts.extensions.insert(Detour(parts.uri.path().to_owned()));
        }
        let query = check::parse_form(parts.uri.query().unwrap_or_default());
        let input = Input { path: &found.variables, query, body };
        Ok(self.dispatch(self.admit(path, found, input, identity, parts)?).await)
    }

    /// To disk, on the storage it is for: it may be larger than memory.
    async fn receive(
        &self,
        found: &Found,
        boundary: String,
        parts: &Parts,
        body: Body,
    ) -> Result<(RawParams, Option<Upload>), ApiError> {
        let id = found.variable("storage").unwrap_or_default().parse().map_err(ApiError::die)?;
        let config = StorageConfig::read(self.app.root())?;
        let storage = config.dir(self.app.root(), self.app.node(), &id)?;
        let head = (&parts.uri, &parts.headers);
        let (params, upload) = upload::receive(&storage, boundary, head, body).await?;
        Ok((params, Some(upload)))
    }

    /// Made for the first who asks: most daemons are never asked, and it is large.
    async fn document(&self) -> Response {
        let document = Arc::clone(&self.document);
        let text = move || document.get_or_init(|| router::document_text().into()).clone();
        match blocking(text).await {
            Ok(text) => {
                let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static(JSON))];
                (content_type, text).into_response()
            }
            Err(err) => err.into_response(),
        }
    }

    async fn dispatch(&self, request: Request<Body>) -> Response {
        match self.handlers.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    /// A method for everyone looks at no credentials, wrong ones included.
    fn identify(
        &self,
        parts: &Parts,
        found: Option<&Found>,
        format: &str,
    ) -> Result<Identity, Refusal> {
        let behalf = on_behalf_of(parts).map(str::parse::<AuthId>).transpose();
        let behalf = behalf.map_err(|err| {
            Refusal::bare(StatusCode::BAD_REQUEST, format!("{ON_BEHALF_OF}: {err}"))
        })?;
        let credentials = Credentials::of(&parts.headers);
        let by_token = credentials.is_token() || matches!(behalf, Some(AuthId::Token(_)));
        if found.is_some_and(|found| is_for_everyone(found.method)) {
            return Ok(Identity { caller: None, by_token });
        }
        let access = self.app.access().current().map_err(|err| {
            tracing::error!(error = %err, "cannot read who may do what: {err}");
            Refusal::bare(StatusCode::INTERNAL_SERVER_ERROR, err.to_string())
        })?;
        let proved =
            |auth| Identity { caller: Some(Caller::proved(auth, access.clone())), by_token };
        if let Some(auth) = behalf {
            return Ok(proved(auth));
        }
        match &credentials {
            Credentials::Token(secret) => match access.verify_token(secret.expose_secret()) {
                Ok(token) => Ok(proved(AuthId::Token(token))),
                Err(err) => Err(refuse(format, &err)),
            },
            Credentials::Ticket(ticket) => match access.verify_ticket(ticket.expose_secret()) {
                Ok(user) => {
                    let upload = found.is_some_and(|found| upload::is_upload(found.method));
                    if parts.method != Verb::GET && !upload {
                        let sent = parts.headers.get(CSRF).and_then(|value| value.to_str().ok());
                        if access.verify_csrf(&user, sent.unwrap_or_default()).is_err() {
                            let reason = "Permission denied - invalid csrf token";
                            return Err(Refusal::unauthorized(reason));
                        }
                    }
                    Ok(proved(AuthId::User(user)))
                }
                Err(err) => Err(refuse(format, &err)),
            },
            Credentials::None => {
                let peer = parts.extensions.get::<Peer>();
                if peer.is_some_and(|peer| peer.is_local_root()) {
                    return Ok(proved(AuthId::User(root())));
                }
                if format == "html" {
                    return Err(Refusal::login_page());
                }
                Err(Refusal::unauthorized("No ticket"))
            }
        }
    }

    /// Judges a call; what comes out may be handled.
    fn admit(
        &self,
        path: &str,
        found: &Found,
        input: Input<'_>,
        identity: Identity,
        mut parts: Parts,
    ) -> Result<Request<Body>, ApiError> {
        let method = found.method;
        if let Some(errors) = check::conflicts(&input) {
            return Err(errors.into());
        }
        if identity.by_token && !method.allowtoken {
            return Err(ApiError::forbidden(format_args!(
                "URI '{path}' not available with API token, need proper ticket.\n"
            )));
        }
        let mut given = check::merge(method, input);
        if let Some(caller) = identity.caller {
            let param = |name: &str| given.get(name).and_then(plain);
            Span::current().record("user.id", field::display(caller.auth()));
            caller.access().allowed(Some(caller.auth()), method.permissions.as_ref(), &param)?;
            parts.extensions.insert(caller);
        }
        self.settle_node(method, &mut given)?;
        let checked = check::check_given(method, given)?;
        parts.extensions.insert(Checked(Arc::new(checked)));

        let mut request = Request::new(Body::empty());
        *request.method_mut() = parts.method;
        *request.uri_mut() = found.uri();
        for name in HANDSHAKE {
            if let Some(value) = parts.headers.remove(&name) {
                request.headers_mut().insert(name, value);
            }
        }
        *request.extensions_mut() = parts.extensions;
        Ok(request)
    }

    /// Puts our own name for `localhost`; refuses other nodes' names where a node has to answer.
    fn settle_node(&self, method: &Method, given: &mut Given) -> Result<(), ApiError> {
        let ours = self.app.node().as_str();
        match given.get_mut("node") {
            Some(Value::String(node)) if node == "localhost" => ours.clone_into(node),
            Some(Value::String(node)) if node != ours && method.proxyto == Some("node") => {
                return Err(unknown_node(node));
            }
            Some(_) | None => {}
        }
        Ok(())
    }
}

/// Only root on this machine may speak for others.
fn on_behalf_of(parts: &Parts) -> Option<&str> {
    let peer = parts.extensions.get::<Peer>()?;
    let header = parts.headers.get(ON_BEHALF_OF).filter(|_| peer.is_local_root())?;
    // Nobody has an empty name.
    Some(header.to_str().unwrap_or_default())
}

/// A scalar as text, for rules that come before the check.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(u8::from(*flag).to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// An upload may come without a CSRF token, and is long: before a byte of it is read, PVE asks for the
/// right.
fn require_upload(identity: &Identity, found: &Found) -> Result<(), Refusal> {
    let path = format!("/storage/{}", found.variable("storage").unwrap_or_default());
    let Some(caller) = &identity.caller else { return Err(Refusal::unauthorized("No ticket")) };
    caller.require(Privilege::DatastoreAllocateTemplate, &path).map_err(|denied| {
        let message = denied.message().to_owned();
        Refusal::bare(StatusCode::FORBIDDEN, message)
    })
}

fn is_for_everyone(method: &Method) -> bool {
    method.permissions == Some(Permissions::World)
}

/// A person with a browser gets a page, a program a status line. The log has the cause; the client
/// must not learn which half was wrong.
fn refuse(format: &str, cause: &AuthError) -> Refusal {
    tracing::info!(error = %cause, "authentication failed: {cause}");
    if format == "html" {
        return Refusal::login_page();
    }
    // A ticket that waits for its second factor is none yet, to PVE.
    let half = matches!(cause, AuthError::TicketHalf);
    let reason = if half { "No ticket" } else { "Authentication failed!" };
    Refusal::unauthorized(reason)
}

fn root() -> openapi::UserId {
    "root@pam".parse().expect("a valid user id")
}

#[cfg(test)]
mod tests;
