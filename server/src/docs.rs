//! `/api-docs`: Swagger UI over our own document, from the program itself. A browser that shows it
//! asks nobody else: the page names only files of ours, and the policy it comes with forbids more.

use std::sync::{Arc, LazyLock};

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use utoipa_swagger_ui::Config;

use crate::guard::DOCUMENT;
use crate::refusal::Refusal;

const PAGE: &str = "/api-docs";

/// Styles set by script are Swagger UI's way; its images are within its own files.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

/// Without "none" the page would show the document to a validator on the internet.
static CONFIG: LazyLock<Arc<Config<'static>>> =
    LazyLock::new(|| Arc::new(Config::from(DOCUMENT).validator_url("none")));

/// `None` if `path` is another's.
pub(crate) fn serve(path: &str) -> Option<Response> {
    let rest = path.strip_prefix(PAGE)?;
    let Some(file) = rest.strip_prefix('/') else {
        // The page's own addresses are relative.
        let to_folder = (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, "/api-docs/")]);
        return rest.is_empty().then(|| to_folder.into_response());
    };
    let found = match utoipa_swagger_ui::serve(file, CONFIG.clone()) {
        Ok(Some(found)) => found,
        Ok(None) => return Some(Refusal::no_such_file(path).into_response()),
        Err(err) => {
            let refusal =
                Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the page: {err}"));
            return Some(refusal.into_response());
        }
    };
    let mut response = Response::new(Body::from(found.bytes.into_owned()));
    let headers = response.headers_mut();
    headers.extend(HEADERS);
    if let Ok(kind) = HeaderValue::try_from(found.content_type) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    Some(response)
}
