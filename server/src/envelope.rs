//! What surrounds an answer: pve-http-server's `json` and `extjs` formatters
//! (`src/PVE/APIServer/Formatter/Standard.pm`). Errors are enveloped by `error`.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt as _;
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::ApiError;

/// PVE's content type, to the letter.
pub(crate) const JSON: &str = "application/json;charset=UTF-8";

/// The word after `/api2/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    ExtJs,
}

/// An answer: `{"data": ...}` and what PVE puts beside it.
#[derive(Clone, Debug, PartialEq, Eq, ToSchema)]
pub struct Data<T> {
    pub data: T,
    /// How many there are when `data` is one page of them. Left out when zero, as PVE does.
    pub total: Option<u64>,
    /// The diff that a network change would make. Left out when empty.
    pub changes: Option<String>,
}

impl<T> Data<T> {
    pub fn new(data: T) -> Self {
        Self { data, total: None, changes: None }
    }

    pub fn page(data: T, total: u64) -> Self {
        Self { data, total: Some(total), changes: None }
    }
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    data: &'a T,
    #[serde(skip_serializing_if = "is_none_or_zero")]
    total: Option<u64>,
    #[serde(skip_serializing_if = "is_none_or_empty")]
    changes: Option<&'a str>,
}

fn is_none_or_zero(total: &Option<u64>) -> bool {
    total.unwrap_or_default() == 0
}

fn is_none_or_empty(changes: &Option<&str>) -> bool {
    changes.unwrap_or_default().is_empty()
}

/// Marks a response whose body is a JSON envelope, unlike a download.
#[derive(Clone, Copy)]
struct Enveloped;

impl<T: Serialize> IntoResponse for Data<T> {
    fn into_response(self) -> Response {
        let Self { data, total, changes } = &self;
        let envelope = Envelope { data, total: *total, changes: changes.as_deref() };
        match serde_json::to_vec(&envelope) {
            Ok(body) => {
                let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static(JSON))];
                let mut response = (content_type, body).into_response();
                response.extensions_mut().insert(Enveloped);
                response
            }
            Err(err) => {
                ApiError::die(format_args!("cannot encode the answer: {err}")).into_response()
            }
        }
    }
}

/// Turns a handler's json into `format`.
pub(crate) async fn reformat(response: Response, format: Format) -> Response {
    if format == Format::Json {
        return response;
    }
    if let Some(error) = response.extensions().get::<ApiError>() {
        return error.respond(format);
    }
    if response.extensions().get::<Enveloped>().is_none() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(json) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
        return ApiError::die("the answer broke off").respond(format);
    };
    // The envelope is an object of ours, so the first byte is its brace and a member follows.
    let mut extjs = br#"{"success":1,"#.to_vec();
    extjs.extend_from_slice(&json[1..]);
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(extjs))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    async fn text(response: Response) -> String {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[rstest]
    #[case::nothing(Data::new(None), r#"{"data":null}"#)]
    #[case::page(Data::page(Some(1), 7), r#"{"data":1,"total":7}"#)]
    #[case::no_total(Data::page(None, 0), r#"{"data":null}"#)]
    #[case::changes(
        Data { data: Some(1), total: None, changes: Some("+x".to_owned()) },
        r#"{"data":1,"changes":"+x"}"#
    )]
    #[tokio::test]
    async fn envelopes(#[case] data: Data<Option<u8>>, #[case] body: &str) {
        assert_eq!(text(data.into_response()).await, body);
    }

    #[tokio::test]
    async fn adds_success_for_extjs() {
        let response = reformat(Data::new("x").into_response(), Format::ExtJs).await;

        assert_eq!(response.headers()[header::CONTENT_TYPE], JSON);
        assert_eq!(text(response).await, r#"{"success":1,"data":"x"}"#);
    }

    #[tokio::test]
    async fn leaves_a_download_alone() {
        let response = reformat("TASK OK\n".into_response(), Format::ExtJs).await;

        assert_eq!(text(response).await, "TASK OK\n");
    }

    #[tokio::test]
    async fn words_an_error_anew_for_extjs() {
        let response = reformat(ApiError::die("no").into_response(), Format::ExtJs).await;

        assert_eq!(response.status(), 200);
        assert!(text(response).await.contains(r#""success":0"#));
    }
}
