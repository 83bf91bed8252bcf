//! A request's body, read within PVE's limits. How a form is taken apart and what its values may be
//! is for `openapi::check`.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use openapi::check::{JsonError, Raw, parse_form, parse_json, why_broken};
use serde_json::Value;

use crate::refusal::Refusal;

/// PVE's `limit_max_post`.
const MAX_BYTES: usize = 512 * 1024;
/// For the whole body: a client that drips bytes must not hold a connection for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// Perl names the lines of its source: where pve-http-server 6.0.5 reads JSON, and where it first
/// looks into what it read.
const READ_AT: u32 = 934;
const USED_AT: u32 = 978;

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

/// Reads the body; none is the same as an empty one, and an empty one is no JSON.
pub(crate) async fn read(
    method: &Method,
    headers: &HeaderMap,
    body: Body,
) -> Result<RawParams, Refusal> {
    let takes_content = matches!(*method, Method::POST | Method::PUT);
    let Some(length) = content_length(headers) else {
        let is_json = takes_content && matches!(Kind::of(headers), Ok(Kind::Json));
        return if is_json { Kind::Json.parse(&Bytes::new()) } else { Ok(Vec::new()) };
    };
    if !takes_content {
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
        // Perl's split drops empty parts at the end only, and compares to the letter.
        match value.split([';', ',']).next().unwrap_or_default().trim_end() {
            "" | "0" | "application/x-www-form-urlencoded" => Ok(Self::Form),
            "application/json" => Ok(Self::Json),
            _ => Err(Refusal::version_not_supported(format!(
                "upload 'Content-Type '{value}' not implemented"
            ))),
        }
    }

    fn parse(&self, bytes: &Bytes) -> Result<RawParams, Refusal> {
        match self {
            Self::Form => Ok(parse_form(&String::from_utf8_lossy(bytes))),
            Self::Json => match parse_json(bytes) {
                Ok(params) => Ok(params),
                Err(JsonError::NoObject(Value::Null)) => Ok(Vec::new()),
                Err(JsonError::NoObject(other)) => Err(died(&no_object(&other), USED_AT)),
                Err(JsonError::Broken(err)) => {
                    Err(died(&why_broken(bytes).unwrap_or_else(|| err.to_string()), READ_AT))
                }
            },
        }
    }
}

/// Perl's words for who takes it for a hash all the same.
fn no_object(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            return "Not a HASH reference".to_owned();
        }
    };
    let dots = if text.chars().count() > 32 { "..." } else { "" };
    let text: String = text.chars().take(32).collect();
    format!("Can't use string (\"{text}\"{dots}) as a HASH ref while \"strict refs\" in use")
}

fn died(why: &str, line: u32) -> Refusal {
    Refusal::die(format!("{why} at /usr/share/perl5/PVE/APIServer/AnyEvent.pm line {line}."))
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
    #[case::two_types(Some("application/json ,text/plain"), r#"{"a":"1"}"#)]
    #[case::no_type_but(Some("; charset=utf-8"), "a=1")]
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
        "500 Not a HASH reference at /usr/share/perl5/PVE/APIServer/AnyEvent.pm line 978."
    )]
    #[case::text(
        Method::PUT,
        "1",
        Some("text/plain; charset=UTF-8"),
        "506 upload 'Content-Type 'text/plain; charset=UTF-8' not implemented"
    )]
    #[case::other_letters(
        Method::PUT,
        "1",
        Some("Application/JSON"),
        "506 upload 'Content-Type 'Application/JSON' not implemented"
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

    #[rstest]
    #[case(
        "[1",
        ", or ] expected while parsing array, at character offset 2 (before \"(end of string)\")",
        934
    )]
    #[case(
        "",
        "malformed JSON string, neither tag, array, object, number, string or atom, at character offset 0 (before \"(end of string)\")",
        934
    )]
    #[case("\"a\"", "Can't use string (\"a\") as a HASH ref while \"strict refs\" in use", 978)]
    #[tokio::test]
    async fn says_what_is_wrong_with_json(
        #[case] body: &'static str,
        #[case] why: &str,
        #[case] line: u32,
    ) {
        let headers = headers(&body.len().to_string(), Some("application/json"));

        let refusal = read(&Method::POST, &headers, Body::from(body)).await.unwrap_err();

        let file = "/usr/share/perl5/PVE/APIServer/AnyEvent.pm";
        assert_eq!(refusal.to_string(), format!("500 {why} at {file} line {line}."));
    }

    #[test]
    fn refuses_chunks() {
        let headers =
            [(header::TRANSFER_ENCODING, "chunked".parse().unwrap())].into_iter().collect();

        assert!(check_transfer(&headers).is_err());
    }
}
