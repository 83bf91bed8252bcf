//! Answers by gzip or deflate, as pve-http-server's `AnyEvent.pm` packs them: at once, so that their
//! length is told, and by what the client names, whatever weights it gives.

use std::io::{self, Write as _};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use http_body_util::{BodyExt as _, Collected};
use hyper::body::Body as _;

use crate::pveproxy::Forwarded;

/// PVE leaves as many bytes as they are.
const SHORT: u64 = 1024;
/// What is longer is packed on another thread, so that other answers need not wait.
const LONG: usize = 128 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    /// zlib's form of it, as PVE and RFC 9110 mean the word.
    Deflate,
}

impl Coding {
    fn accepted(request: &Request) -> Option<Self> {
        let accepted = request.headers().get(header::ACCEPT_ENCODING)?.to_str().ok()?;
        match accepted {
            all if all.contains("gzip") => Some(Self::Gzip),
            all if all.contains("deflate") => Some(Self::Deflate),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    /// Better levels take longer than the answer did.
    fn pack(self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let (packed, level) = (Vec::with_capacity(bytes.len() / 4), Compression::fast());
        match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(packed, level);
                encoder.write_all(bytes)?;
                encoder.finish()
            }
            Self::Deflate => {
                let mut encoder = ZlibEncoder::new(packed, level);
                encoder.write_all(bytes)?;
                encoder.finish()
            }
        }
    }
}

/// What is packed for everyone, asked or not.
pub(crate) fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    Coding::Gzip.pack(bytes)
}

pub(crate) async fn pack(request: Request, next: Next) -> Response {
    let coding = Coding::accepted(&request);
    let response = next.run(request).await;
    match coding {
        Some(coding) if may_be_packed(&response) => packed(coding, response).await,
        Some(_) | None => response,
    }
}

/// Streams go as they are, and pveproxy packed what it wanted to.
fn may_be_packed(response: &Response) -> bool {
    response.body().size_hint().exact().is_some_and(|length| length > SHORT)
        && !response.headers().contains_key(header::CONTENT_ENCODING)
        && response.extensions().get::<Forwarded>().is_none()
}

async fn packed(coding: Coding, response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let Ok(plain) = body.collect().await.map(Collected::to_bytes) else {
        return Response::from_parts(parts, Body::empty()); // of a known length, so never
    };
    let done = if plain.len() > LONG {
        let plain = Bytes::clone(&plain);
        tokio::task::spawn_blocking(move || coding.pack(&plain)).await.ok().and_then(Result::ok)
    } else {
        coding.pack(&plain).ok()
    };
    let Some(done) = done else { return Response::from_parts(parts, plain.into()) };
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    parts.headers.insert(header::CONTENT_LENGTH, done.len().into());
    Response::from_parts(parts, done.into())
}
