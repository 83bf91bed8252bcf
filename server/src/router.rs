//! The table of contents: every path the daemon answers, and what surrounds all of them.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;

use crate::api;
use crate::app::App;
use crate::guard::{self, Guard};
use crate::packing;
use crate::pveproxy::Forwarded;
use crate::routes::Routes;

fn handlers() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(about())
        .merge(api::root::router())
        .merge(api::version::router())
        .merge(api::access::router())
        .merge(api::cluster::router())
        .merge(api::nodes::router())
        .merge(api::tasks::router())
        .merge(api::storage::router())
        .merge(api::lxc::router())
        .merge(api::pools::router())
        .merge(api::oci::router())
        .merge(api::rrd::router())
        .merge(api::bulk::router())
}

/// The whole service: what `listen` gives connections to.
pub fn router(app: &App) -> Router {
    let (handlers, document) = handlers().split_for_parts();
    let routes = Routes::of(&document);
    let document = openapi::document::complete(document)
        .to_json()
        .expect("a document is made of strings, numbers and maps");
    let guard = Guard::new(app.clone(), routes, handlers.with_state(app.clone()), document);
    Router::new()
        .fallback(guard::serve)
        .with_state(guard)
        .layer(from_fn(packing::pack))
        .layer(from_fn(add_headers))
}

/// The OpenAPI 3.1 document of the API, made from the routes themselves.
pub fn document() -> OpenApi {
    openapi::document::complete(handlers().into_openapi())
}

fn about() -> OpenApi {
    let info = InfoBuilder::new()
        .title("proxmox-lxcri")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Containers as guests of Proxmox VE: the container part of PVE's API, and below \
             /nodes/{node}/oci what PVE lacks.",
        ))
        .build();
    OpenApiBuilder::new().info(info).build()
}

/// What pveproxy says with every answer, and no more. hyper adds `Date`.
async fn add_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if response.extensions().get::<Forwarded>().is_some() {
        return response; // it has pveproxy's own
    }
    let headers = response.headers_mut();
    headers.insert(header::SERVER, HeaderValue::from_static("pve-api-daemon/3.0"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=0"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    let now = httpdate::fmt_http_date(std::time::SystemTime::now());
    if let Ok(now) = HeaderValue::from_str(&now) {
        headers.insert(header::EXPIRES, now);
    }
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;

    use openapi::parity::{Status, parity};

    use super::*;
    use crate::routes::served;

    /// What clients can rely on, one line a path; the whole document follows from it and from the
    /// method table, which has its own tests.
    #[test]
    fn serves() {
        let mut list = String::new();
        for (path, verbs) in served(&document()) {
            writeln!(list, "{path}: {}", verbs.join(" ")).unwrap();
        }

        insta::assert_snapshot!(list);
    }

    /// `openapi/parity.toml` is what we tell about ourselves.
    #[test]
    fn serves_what_the_parity_list_says() {
        let document = document();
        let served: BTreeSet<_> = served(&document)
            .iter()
            .flat_map(|(path, verbs)| verbs.iter().map(move |verb| format!("{verb} {path}")))
            .collect();
        let wrong: Vec<_> = parity()
            .unwrap()
            .into_iter()
            .filter(|(method, entry)| (entry.status == Status::Served) != served.contains(method))
            .map(|(method, _)| method)
            .collect();

        assert_eq!(wrong, [""; 0], "change their status in openapi/parity.toml");
    }

    #[test]
    fn declares_what_it_serves() {
        Routes::of(&document()); // panics with the name of what is not in the method table
    }

    #[test]
    fn gives_each_operation_its_own_id() {
        let document = document();
        let mut ids: Vec<_> = document
            .paths
            .paths
            .values()
            .flat_map(|item| [&item.get, &item.put, &item.post, &item.delete])
            .flatten()
            .map(|operation| operation.operation_id.clone().unwrap())
            .collect();
        ids.sort_unstable();
        let all = ids.len();
        ids.dedup();

        assert_eq!(ids.len(), all);
    }
}
