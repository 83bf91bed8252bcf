//! What surrounds an answer (pve-http-server, `src/PVE/APIServer/Formatter/Standard.pm`). Errors are
//! enveloped by `error`; `format` writes both as the client wants them.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::format::JSON;

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
pub(crate) struct Enveloped;

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

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
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
}
