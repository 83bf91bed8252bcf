//! PVE's own daemon, on a PVE node: whatever is not served here is asked there, with the caller's own
//! credentials, so that one address serves everything. Nothing is judged on the way; pveproxy does.

mod headers;
mod settings;
mod tls;
mod upgrade;

use std::error::Error as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Request, Response, Uri, header};
use hyper::body::{Body as _, Bytes, Frame, SizeHint};
use pve_integration::errno::without_numbers;
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use rustix::io::Errno;

use crate::listen::Peer;

pub(crate) use self::headers::came_from_us;
pub use self::settings::SettingsError;
pub(crate) use self::settings::{RawSettings, Settings, on_pve};
pub(crate) use self::tls::known;
use self::upgrade::Wish;

/// As pve-http-server between nodes.
const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
/// Until an answer begins, and between two pieces of it. PVE's own calls end within half a minute.
const READ_PATIENCE: Duration = Duration::from_secs(120);
/// pveproxy closes what has been idle for five seconds.
const IDLE: Duration = Duration::from_secs(3);
/// A longer body takes its time before there can be an answer.
const LONG_BODY: u64 = 1 << 20;

/// Why pveproxy did not answer, in the three kinds that `AnyEvent::HTTP` has.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForwardError {
    #[error("{0}")]
    Connect(String),
    #[error("{0}")]
    Exchange(String),
    #[error("cannot ask pveproxy: {0}")]
    Request(String),
}

/// The path that a request had which goes to a handler and may go on to pveproxy from there.
#[derive(Clone, Debug)]
pub(crate) struct Detour(pub(crate) String);

/// Marks an answer that is not ours: it keeps its own headers.
#[derive(Clone, Copy)]
pub(crate) struct Forwarded;

#[derive(Debug)]
pub(crate) struct PveProxy {
    base: Url,
    client: Client,
    /// Without a limit on the time until an answer begins.
    uploads: Client,
}

impl PveProxy {
    pub(crate) fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let builder = || {
            Client::builder()
                .tls_backend_preconfigured(tls::config(settings))
                .connect_timeout(CONNECT_PATIENCE)
                .pool_idle_timeout(IDLE)
                .redirect(Policy::none())
                .referer(false)
                .http1_only()
                .no_proxy()
        };
        Ok(Self {
            base: settings.url.clone(),
            client: builder().read_timeout(READ_PATIENCE).build()?,
            uploads: builder().build()?,
        })
    }

    pub(crate) fn url(&self) -> &Url {
        &self.base
    }

    /// Whether it is what listens on `own`.
    pub(crate) fn is(&self, own: SocketAddr) -> bool {
        let same_host = match self.base.host_str() {
            Some("localhost") => own.ip().is_loopback() || own.ip().is_unspecified(),
            Some(host) => {
                let host = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
                host.is_ok_and(|host| {
                    host == own.ip() || host.is_loopback() && own.ip().is_unspecified()
                })
            }
            None => false,
        };
        same_host && self.base.port_or_known_default() == Some(own.port())
    }

    /// The request as it came, and the answer as it comes; both are streams, and become websockets.
    pub(crate) async fn forward(
        &self,
        parts: &Parts,
        body: Body,
    ) -> Result<Response<Body>, ForwardError> {
        let mut headers = headers::end_to_end(&parts.headers);
        headers::sign(&mut headers, parts.extensions.get::<Peer>());
        let wish = Wish::of(parts);
        if wish.is_some() {
            Wish::state(&mut headers);
        }
        let request = Request::builder().method(parts.method.clone()).uri(self.target(&parts.uri));
        let mut request =
            request.body(body).map_err(|err| ForwardError::Request(err.to_string()))?;
        *request.headers_mut() = headers;
        let answer = self.send(request).await?;
        Ok(match wish {
            Some(wish) => wish.granted(answer),
            None => answer,
        })
    }

    /// A form of ours.
    pub(crate) async fn post(
        &self,
        path: &str,
        form: String,
    ) -> Result<Response<Body>, ForwardError> {
        let uri = self.base.join(path).map_err(|err| ForwardError::Request(err.to_string()))?;
        let mut request = Request::new(Body::from(form));
        *request.method_mut() = Method::POST;
        *request.uri_mut() =
            uri.as_str().parse().map_err(|_| ForwardError::Request(uri.to_string()))?;
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(header::CONTENT_TYPE, form);
        headers::sign(request.headers_mut(), None);
        self.send(request).await
    }

    fn target(&self, uri: &Uri) -> String {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        format!("{}{path}", self.base.as_str().trim_end_matches('/'))
    }

    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, ForwardError> {
        let longest = request.body().size_hint().upper();
        let long = longest.is_none_or(|longest| longest > LONG_BODY);
        let client = if long { &self.uploads } else { &self.client };
        let (parts, body) = request.into_parts();
        let url = parts.uri.to_string();
        let empty = body.size_hint().exact() == Some(0);
        let mut request = client.request(parts.method, url).headers(parts.headers);
        if !empty {
            request = request.body(reqwest::Body::wrap(Outgoing(Mutex::new(body))));
        }
        let response = request.send().await.map_err(|err| failed(&err))?;
        let (mut parts, body) = Response::<reqwest::Body>::from(response).into_parts();
        parts.headers = headers::end_to_end(&parts.headers);
        parts.extensions.insert(Forwarded);
        Ok(Response::from_parts(parts, Body::new(body)))
    }
}

/// In the words of PVE, where one node asks another: those of `AnyEvent::HTTP`.
fn failed(err: &reqwest::Error) -> ForwardError {
    let mut source = err.source();
    let (mut system, mut tls) = (None, false);
    let mut text = err.to_string();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        if let Some(cause) = cause.downcast_ref::<io::Error>() {
            system = cause.raw_os_error().or(system);
        }
        tls |= is_tls(cause);
        source = cause.source();
    }
    tracing::warn!(error = %text, "pveproxy did not answer: {text}");
    let words = |errno: i32| {
        let text = io::Error::from_raw_os_error(errno).to_string();
        without_numbers(&text).into_owned()
    };
    let timed_out = || "Connection timed out".to_owned();
    match (err.is_timeout(), err.is_connect()) {
        (true, true) => ForwardError::Connect(timed_out()),
        (true, false) => ForwardError::Exchange(timed_out()),
        (false, true) if tls => {
            let words = "tls_process_server_certificate: certificate verify failed";
            ForwardError::Exchange(words.to_owned())
        }
        // A name without an address is a device that is not there, to it.
        (false, true) => ForwardError::Connect(words(system.unwrap_or(Errno::NXIO.raw_os_error()))),
        (false, false) => {
            ForwardError::Exchange(words(system.unwrap_or(Errno::PIPE.raw_os_error())))
        }
    }
}

/// Libraries wrap it in one `io::Error` or several, which do not count as sources.
fn is_tls(cause: &(dyn std::error::Error + 'static)) -> bool {
    let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    cause.is::<rustls::Error>() || inner.is_some_and(|inner| is_tls(inner))
}

/// A client's body, which only one thread at a time may hold; reqwest wants more, and uses no more.
struct Outgoing(Mutex<Body>);

impl hyper::body::Body for Outgoing {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let body = self.0.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        Pin::new(body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).is_end_stream()
    }

    /// Exact where the client said how long it is: pveproxy takes no chunks.
    fn size_hint(&self) -> SizeHint {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).size_hint()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("https://127.0.0.1:8006", "127.0.0.1:8006", true)]
    #[case("https://127.0.0.1:8006", "0.0.0.0:8006", true)]
    #[case("https://localhost:8006", "[::1]:8006", true)]
    #[case("https://[::1]:8006", "[::1]:8006", true)]
    #[case("https://127.0.0.1:8006", "127.0.0.1:8443", false)]
    #[case("https://10.0.0.1:8006", "127.0.0.1:8006", false)]
    fn knows_itself(#[case] url: &str, #[case] own: &str, #[case] is: bool) {
        let settings = Settings { url: url.parse().unwrap(), ca: None, pins: Vec::new() };
        assert_eq!(PveProxy::new(&settings).unwrap().is(own.parse().unwrap()), is);
    }
}
