//! What is served, gathered from the modules under `api`: handlers for every request, and how the
//! OpenAPI document speaks of them, which is worked out only when somebody asks for it. A thousand
//! schemas would otherwise be built at each start, to be thrown away.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter};
use utoipa::openapi::HttpMethod;
use utoipa_axum::router::OpenApiRouter;

use crate::app::App;

/// Handlers of one path, named as `#[utoipa::path]` marked them.
macro_rules! routes {
    ($($handler:path),+ $(,)?) => {{
        let mut served = $crate::api_router::Served::new(|document| {
            document.routes(utoipa_axum::routes!($($handler),+))
        });
        $(
            // What utoipa_axum's own macro does for path and methods, without the schemas.
            let (path, methods) = utoipa_axum::paste! {(
                utoipa_axum::routes!(@path [path()] of $handler),
                utoipa_axum::routes!(@path [methods()] of $handler),
            )};
            served = served.on(path, methods, $handler);
        )+
        served
    }};
}
pub(crate) use routes;

/// Adds what is known of some handlers to a document.
type Describe = fn(OpenApiRouter<App>) -> OpenApiRouter<App>;

/// One path.
pub(crate) struct Served {
    path: String,
    verbs: Vec<&'static str>,
    handlers: MethodRouter<App>,
    describe: Describe,
}

impl Served {
    pub(crate) fn new(describe: Describe) -> Self {
        Self { path: String::new(), verbs: Vec::new(), handlers: MethodRouter::new(), describe }
    }

    pub(crate) fn on<H, T>(mut self, path: String, methods: Vec<HttpMethod>, handler: H) -> Self
    where
        H: Handler<T, App>,
        T: 'static,
    {
        debug_assert!(self.path.is_empty() || self.path == path, "{path} is not {}", self.path);
        let mut filters = Vec::new();
        for method in methods {
            let (verb, filter) = match method {
                HttpMethod::Get => ("GET", MethodFilter::GET),
                HttpMethod::Put => ("PUT", MethodFilter::PUT),
                HttpMethod::Post => ("POST", MethodFilter::POST),
                HttpMethod::Delete => ("DELETE", MethodFilter::DELETE),
                HttpMethod::Options | HttpMethod::Head | HttpMethod::Patch | HttpMethod::Trace => {
                    unreachable!("{path}: PVE's API has four verbs")
                }
            };
            self.verbs.push(verb);
            filters.push(filter);
        }
        if let Some(filter) = filters.into_iter().reduce(MethodFilter::or) {
            self.handlers = self.handlers.on(filter, handler);
        }
        self.path = path;
        self
    }
}

/// Everything that is served.
#[derive(Default)]
pub(crate) struct ApiRouter(Vec<Served>);

impl ApiRouter {
    pub(crate) fn routes(mut self, served: Served) -> Self {
        self.0.push(served);
        self
    }

    pub(crate) fn merge(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Paths and the verbs of each.
    pub(crate) fn served(&self) -> impl Iterator<Item = (&str, &[&'static str])> {
        self.0.iter().map(|served| (served.path.as_str(), served.verbs.as_slice()))
    }

    /// `document` with all of it described.
    pub(crate) fn describe(&self, document: OpenApiRouter<App>) -> OpenApiRouter<App> {
        self.0.iter().fold(document, |document, served| (served.describe)(document))
    }

    pub(crate) fn into_handlers(self) -> Router<App> {
        self.0
            .into_iter()
            .fold(Router::new(), |router, served| router.route(&served.path, served.handlers))
    }
}
