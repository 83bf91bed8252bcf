//! `query-url-metadata`: what a download would bring, asked before it starts.

use axum::extract::State;
use openapi::answer::{ErrorBody, UrlMetadata};
use reqwest::header::{self, HeaderMap};
use serde::Deserialize;

use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{LocalNode, Params};
use crate::fetch;

#[derive(Deserialize)]
pub(super) struct Source {
    url: String,
    #[serde(rename = "verify-certificates", default = "verify")]
    verify_certificates: u8,
}

fn verify() -> u8 {
    1
}

/// Name, size and type of a file, by its URL.
#[utoipa::path(
    get, path = "/nodes/{node}/query-url-metadata", tag = "nodes",
    responses(
        (status = 200, description = "What its server says", body = Data<UrlMetadata>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn url_metadata(
    State(app): State<App>,
    _: LocalNode,
    Params(source): Params<Source>,
) -> Result<Data<UrlMetadata>, ApiError> {
    let client = fetch::client(app.root(), source.verify_certificates != 0);
    let request = client.map_err(ApiError::die)?.head(&source.url);
    let invalid = |what: String| ApiError::die(format_args!("invalid server response: '{what}'"));
    let response = request
        .send()
        .await
        .map_err(|err| invalid(format!("500 {}", fetch::FetchError::from(err))))?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(invalid(response.status().to_string()));
    }
    Ok(Data::new(metadata(&source.url, response.headers())))
}

fn metadata(url: &str, headers: &HeaderMap) -> UrlMetadata {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let named = text(header::CONTENT_DISPOSITION).and_then(|value| {
        let rest = value.split_once("filename=")?.1;
        match rest.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next(),
            None => rest.split(';').next(),
        }
    });
    let path = url.split('?').next().unwrap_or_default();
    let last = path.split_once("://").and_then(|(_, rest)| Some(rest.rsplit_once('/')?.1));
    let filename = named.or(last).filter(|name| !name.is_empty());
    let kind = text(header::CONTENT_TYPE).and_then(|value| value.split(';').next());
    UrlMetadata {
        filename: filename.map(str::to_owned),
        size: text(header::CONTENT_LENGTH).and_then(|size| size.parse().ok()),
        mimetype: kind.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("http://h/a/b.tar?x=/y", None, Some("b.tar"))]
    #[case("http://h/a", Some("attachment; filename=\"c d.iso\"; x=1"), Some("c d.iso"))]
    #[case("http://h/a", Some("attachment; filename=c.iso;x"), Some("c.iso"))]
    #[case("http://h/", None, None)]
    #[case("http://h", None, None)]
    fn finds_a_name(
        #[case] url: &str,
        #[case] disposition: Option<&str>,
        #[case] name: Option<&str>,
    ) {
        let mut headers = HeaderMap::new();
        if let Some(text) = disposition {
            headers.insert(header::CONTENT_DISPOSITION, text.parse().unwrap());
        }
        assert_eq!(metadata(url, &headers).filename.as_deref(), name);
    }
}
