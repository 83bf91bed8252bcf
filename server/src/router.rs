//! The table of contents: every path the daemon answers, and what surrounds all of them.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;

use crate::api;
use crate::api_router::ApiRouter;
use crate::app::App;
use crate::guard::{self, Guard};
use crate::packing;
use crate::pveproxy::Forwarded;
use crate::routes::Routes;

fn api() -> ApiRouter {
    ApiRouter::default()
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
    let api = api();
    let routes = Routes::of(api.served());
    let guard = Guard::new(app.clone(), routes, api.into_handlers().with_state(app.clone()));
    Router::new()
        .fallback(guard::serve)
        .with_state(guard)
        .layer(from_fn(packing::pack))
        .layer(from_fn(add_headers))
}

/// The OpenAPI 3.1 document of the API, made from the routes themselves.
pub fn document() -> OpenApi {
    let described = api().describe(OpenApiRouter::with_openapi(about()));
    openapi::document::complete(described.into_openapi())
}

pub(crate) fn document_text() -> String {
    document().to_json().expect("a document is made of strings, numbers and maps")
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
    use std::collections::{BTreeMap, BTreeSet};
    use std::fmt::Write as _;

    use openapi::parity::{Status, parity};

    use super::*;

    fn served(api: &ApiRouter) -> BTreeMap<&str, BTreeSet<&'static str>> {
        let sorted = |verbs: &[&'static str]| verbs.iter().copied().collect();
        api.served().map(|(path, verbs)| (path, sorted(verbs))).collect()
    }

    #[test]
    fn describes_what_it_serves() {
        let (api, document) = (api(), document());
        let described = |path: &str| {
            let item = document.paths.paths.get(path)?;
            let all = [("DELETE", &item.delete), ("GET", &item.get)];
            let more = [("POST", &item.post), ("PUT", &item.put)];
            let there = all.into_iter().chain(more).filter(|(_, operation)| operation.is_some());
            Some(there.map(|(verb, _)| verb).collect::<BTreeSet<_>>())
        };
        for (path, verbs) in served(&api) {
            assert_eq!(described(path), Some(verbs), "{path}");
        }
        assert_eq!(document.paths.paths.len(), served(&api).len());
    }

    /// What clients can rely on, one line a path; the whole document follows from it and from the
    /// method table, which has its own tests.
    #[test]
    fn serves() {
        let mut list = String::new();
        let api = api();
        for (path, verbs) in served(&api) {
            writeln!(list, "{path}: {}", Vec::from_iter(verbs).join(" ")).unwrap();
        }

        insta::assert_snapshot!(list);
    }

    /// `openapi/parity.toml` is what we tell about ourselves.
    #[test]
    fn serves_what_the_parity_list_says() {
        let api = api();
        let served: BTreeSet<_> = served(&api)
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
        Routes::of(api().served()); // panics with the name of what is not in the method table
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
