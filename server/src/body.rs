//! A request's body, read within PVE's limits. How a form is taken apart and what its values may be
//! is for `openapi::check`.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use openapi::check::{Raw, parse_form, parse_json};

use crate::refusal::Refusal;

/// PVE's `limit_max_post`.
const MAX_BYTES: usize = 512 * 1024;
/// For the whole body: a client that drips bytes must not hold a connection for ever.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) type RawParams = Vec<(String, Raw)>;

/// Refuses what PVE refuses before it looks at who asks.
pub(crate) fn check_transfer(headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(coding) = headers.get(header::TRANSFER_ENCODING) else { return Ok(()) };
    let coding = coding.to_str().unwrap_or_default();
    let message = match coding.to_ascii_lowercase().as_str() {
        "chunked" => "chunked transfer encoding not supported".to_owned(),
        _ => format!("Unknown transfer encoding '{coding}'"),
    };
    Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, message))
}

/// Reads the body; none is the same as an empty one, whatever its type.
pub(crate) async fn read(
    method: &Method,
    headers: &HeaderMap,
    body: Body,
) -> Result<RawParams, Refusal> {
    let Some(length) = content_length(headers) else { return Ok(Vec::new()) };
    if !matches!(*method, Method::POST | Method::PUT) {
        let message = format!("Unexpected content for method '{method}'");
        return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, message));
    }
    if length > MAX_BYTES {
        return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "for data too large"));
    }
    let kind = Kind::of(headers)?;
    let limited = Limited::new(body, MAX_BYTES).collect();
    let Ok(Ok(collected)) = tokio::time::timeout(PATIENCE, limited).await else {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "the request's body did not arrive"));
    };
    kind.parse(&collected.to_bytes())
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    let length = headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()?;
    (length > 0).then_some(length)
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Form,
    Json,
}

impl Kind {
    fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(Self::Form) };
        let value = value.to_str().unwrap_or_default();
        match value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "" | "application/x-www-form-urlencoded" => Ok(Self::Form),
            "application/json" => Ok(Self::Json),
            other => Err(Refusal::version_not_supported(format!(
                "upload 'Content-Type '{other}' not implemented"
            ))),
        }
    }

    fn parse(&self, bytes: &Bytes) -> Result<RawParams, Refusal> {
        match self {
            Self::Form => Ok(parse_form(&String::from_utf8_lossy(bytes))),
            Self::Json => match parse_json(bytes) {
                Ok(Some(params)) => Ok(params),
                Ok(None) => Err(malformed("an object was expected")),
                Err(err) => Err(malformed(err)),
            },
        }
    }
}

fn malformed(why: impl std::fmt::Display) -> Refusal {
    let message = format!("malformed JSON string, {why}");
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn headers(length: &str, kind: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, length.parse().unwrap());
        if let Some(kind) = kind {
            headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
        }
        headers
    }

    #[rstest]
    #[case::form(Some("application/x-www-form-urlencoded"), "a=1")]
    #[case::no_type(None, "a=1")]
    #[case::charset(Some("application/json; charset=utf-8"), r#"{"a":"1"}"#)]
    #[tokio::test]
    async fn reads_a_body(#[case] kind: Option<&str>, #[case] body: &'static str) {
        let headers = headers(&body.len().to_string(), kind);

        let params = read(&Method::POST, &headers, Body::from(body)).await.unwrap();

        assert_eq!(params.len(), 1);
        assert_eq!(params[0].0, "a");
    }

    #[rstest]
    #[case::too_large(Method::POST, "524289", None, "501 for data too large")]
    #[case::with_delete(Method::DELETE, "1", None, "501 Unexpected content for method 'DELETE'")]
    #[case::list(
        Method::POST,
        "2",
        Some("application/json"),
        "500 malformed JSON string, an object was expected"
    )]
    #[case::text(
        Method::PUT,
        "1",
        Some("text/plain"),
        "506 upload 'Content-Type 'text/plain' not implemented"
    )]
    #[tokio::test]
    async fn refuses(
        #[case] method: Method,
        #[case] length: &str,
        #[case] kind: Option<&str>,
        #[case] line: &str,
    ) {
        let refusal = read(&method, &headers(length, kind), Body::from("[]")).await.unwrap_err();

        assert_eq!(refusal.to_string(), line);
    }

    #[tokio::test]
    async fn takes_a_post_without_anything() {
        assert_eq!(read(&Method::POST, &HeaderMap::new(), Body::empty()).await, Ok(vec![]));
    }

    #[test]
    fn refuses_chunks() {
        let headers =
            [(header::TRANSFER_ENCODING, "chunked".parse().unwrap())].into_iter().collect();

        assert!(check_transfer(&headers).is_err());
    }
}
