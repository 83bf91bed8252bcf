//! The word after `/api2/`: how an answer is written, as pve-http-server's
//! `src/PVE/APIServer/Formatter/{Standard,HTML}.pm` do. Handlers answer with json; what comes out here
//! is what the client asked for.

mod entities;
mod html;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt as _;
use serde_json::Value;

use crate::envelope::Enveloped;
use crate::error::{ApiError, set_reason};

pub(crate) use html::Page;

/// PVE's content type, to the letter.
pub(crate) const JSON: &str = "application/json;charset=UTF-8";
const HTML: &str = "text/html;charset=UTF-8";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    /// Always 200; the status is inside.
    ExtJs,
    /// `ExtJs` with HTML's entities, for forms that a browser sends.
    HtmlJs,
    /// For people.
    Html,
    /// For virt-viewer.
    SpiceConfig,
    /// A picture that the answer has in it; we make none.
    Png,
}

impl Format {
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "json" => Some(Self::Json),
            "extjs" => Some(Self::ExtJs),
            "htmljs" => Some(Self::HtmlJs),
            "html" => Some(Self::Html),
            "spiceconfig" => Some(Self::SpiceConfig),
            "png" => Some(Self::Png),
            _ => None,
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Json | Self::ExtJs => JSON,
            Self::HtmlJs | Self::Html => HTML,
            Self::SpiceConfig => "application/x-virt-viewer;charset=UTF-8",
            Self::Png => "image/png",
        }
    }

    fn hides_status(self) -> bool {
        matches!(self, Self::ExtJs | Self::HtmlJs)
    }

    fn answer(self, status: StatusCode, body: impl Into<Body>) -> Response {
        let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type()))];
        (status, content_type, body.into()).into_response()
    }
}

/// Turns a handler's answer, which is json, into `format`. A download stays what it is.
pub(crate) async fn reformat(response: Response, format: Format, page: &Page<'_>) -> Response {
    if format == Format::Json {
        return response;
    }
    if let Some(error) = response.extensions().get::<ApiError>() {
        return refused(error, format, page);
    }
    if response.extensions().get::<Enveloped>().is_none() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(json) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
        return refused(&ApiError::die("the answer broke off"), format, page);
    };
    let body = match format {
        Format::Json => json.into(),
        Format::ExtJs => success(&json).into(),
        Format::HtmlJs => entities::encode(&String::from_utf8_lossy(&success(&json))).into(),
        Format::Html => return page.of(&read(&json)),
        Format::SpiceConfig => match spice_config(&read(&json)["data"]) {
            Ok(text) => text.into(),
            Err(error) => return refused(&error, format, page),
        },
        Format::Png => picture(&read(&json)["data"]).into(),
    };
    let content_type = HeaderValue::from_static(format.content_type());
    parts.headers.insert(header::CONTENT_TYPE, content_type);
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, body)
}

/// An error in any format.
pub(crate) fn refused(error: &ApiError, format: Format, page: &Page<'_>) -> Response {
    if format.hides_status() {
        let body = error.hidden().to_string();
        let body = if format == Format::HtmlJs { entities::encode(&body) } else { body };
        return format.answer(StatusCode::OK, body);
    }
    let mut response = match format {
        Format::Html => page.of_error(error),
        // They know no errors: the status line is all there is.
        Format::SpiceConfig | Format::Png => format.answer(error.status(), Body::empty()),
        Format::Json | Format::ExtJs | Format::HtmlJs => {
            format.answer(error.status(), error.shown().to_string())
        }
    };
    set_reason(&mut response, error.message());
    response
}

/// The envelope is an object of ours, so its first byte is a brace and a member follows.
fn success(json: &Bytes) -> Vec<u8> {
    [br#"{"success":1,"#, &json[1..]].concat()
}

fn read(json: &Bytes) -> Value {
    serde_json::from_slice(json).unwrap_or_default()
}

/// An object's members as virt-viewer reads them.
fn spice_config(data: &Value) -> Result<String, ApiError> {
    let line = |(key, value): (&String, &Value)| match value {
        Value::Null => None,
        Value::String(text) => Some(format!("{key}={text}\n")),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Some(format!("{key}={value}\n"))
        }
    };
    match data {
        Value::Object(members) => {
            Ok(format!("[virt-viewer]\n{}", members.iter().filter_map(line).collect::<String>()))
        }
        Value::Array(_) => Err(ApiError::die("Not a HASH reference")),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(String::new()),
    }
}

/// One byte a character, as Perl hands binary data on.
fn picture(data: &Value) -> Vec<u8> {
    let named = data["filename"].as_str().is_some_and(|name| !name.is_empty());
    let bytes = |image: &str| image.chars().filter_map(|c| u8::try_from(c).ok()).collect();
    data["image"].as_str().filter(|_| named).map(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::envelope::Data;

    async fn text(response: Response) -> String {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    async fn formatted(response: impl IntoResponse, format: Format) -> Response {
        reformat(response.into_response(), format, &Page::of_path("GET", "/x", None)).await
    }

    #[rstest]
    #[case::json(Format::Json, JSON, r#"{"data":"<é>"}"#)]
    #[case::extjs(Format::ExtJs, JSON, r#"{"success":1,"data":"<é>"}"#)]
    #[case::htmljs(
        Format::HtmlJs,
        HTML,
        "{&quot;success&quot;:1,&quot;data&quot;:&quot;&lt;&eacute;&gt;&quot;}"
    )]
    #[case::spice(Format::SpiceConfig, "application/x-virt-viewer;charset=UTF-8", "")]
    #[case::png(Format::Png, "image/png", "")]
    #[tokio::test]
    async fn writes(#[case] format: Format, #[case] kind: &str, #[case] body: &str) {
        let response = formatted(Data::new("<é>"), format).await;

        assert_eq!(response.headers()[header::CONTENT_TYPE], kind);
        assert_eq!(text(response).await, body);
    }

    #[rstest]
    #[case::extjs(Format::ExtJs, 200)]
    #[case::htmljs(Format::HtmlJs, 200)]
    #[case::html(Format::Html, 500)]
    #[case::spice(Format::SpiceConfig, 500)]
    #[case::png(Format::Png, 500)]
    #[tokio::test]
    async fn refuses(#[case] format: Format, #[case] status: u16) {
        let response = formatted(ApiError::die("no"), format).await;

        assert_eq!(response.status(), status);
        let silent = matches!(format, Format::SpiceConfig | Format::Png);
        assert_eq!(text(response).await.is_empty(), silent);
    }

    #[tokio::test]
    async fn leaves_a_download_alone() {
        assert_eq!(text(formatted("TASK OK\n", Format::ExtJs).await).await, "TASK OK\n");
    }

    #[test]
    fn a_spice_config_has_a_line_for_each_member() {
        let data = json!({"type": "spice", "port": 61000, "none": null});

        assert_eq!(spice_config(&data).unwrap(), "[virt-viewer]\nport=61000\ntype=spice\n");
        assert!(spice_config(&json!([])).is_err());
    }

    #[test]
    fn a_picture_is_bytes() {
        let data = json!({"filename": "x.png", "image": "\u{89}PNG"});

        assert_eq!(picture(&data), b"\x89PNG");
        assert!(picture(&json!({"image": "x"})).is_empty());
    }
}
