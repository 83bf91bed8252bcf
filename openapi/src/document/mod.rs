//! The OpenAPI document: what the routes' own macros say, completed from the method table, so that
//! what is published and what is checked cannot part. Answers stay as the routes declare them.

mod security;
mod shape;
mod words;

use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{Content, LicenseBuilder, OpenApi, RefOr, Required, Response, ServerBuilder};

use crate::schema::{Method, Permissions, Property, methods};
use words::Words;

/// Fill in what the table knows: parameters, bodies, who may call. Operations that it does not
/// have, and descriptions that are there already, stay as they are.
#[must_use]
pub fn complete(mut document: OpenApi) -> OpenApi {
    let words = Words::read();
    "proxmox-lxcri".clone_into(&mut document.info.title);
    let license =
        LicenseBuilder::new().name("AGPL-3.0-or-later").identifier(Some("AGPL-3.0-or-later"));
    document.info.license = Some(license.build());
    document.servers = Some(vec![ServerBuilder::new().url("/api2/json").build()]);
    for (path, item) in &mut document.paths.paths {
        for (verb, operation) in [
            ("GET", &mut item.get),
            ("PUT", &mut item.put),
            ("POST", &mut item.post),
            ("DELETE", &mut item.delete),
        ] {
            if let (Some(operation), Some(method)) = (operation, methods().get(verb, path)) {
                fill(operation, method, &words);
            }
        }
    }
    security::declare(document.components.get_or_insert_default());
    document
}

fn fill(operation: &mut Operation, method: &Method, words: &Words) {
    let in_path = |name: &str| method.path.contains(&format!("{{{name}}}"));
    let has_body = matches!(method.method, "POST" | "PUT");
    let (path, rest): (Vec<_>, Vec<_>) =
        method.parameters.iter().partition(|(name, _)| in_path(name));
    let mut parameters: Vec<_> =
        path.into_iter().map(|(name, property)| parameter(name, property, true, words)).collect();
    operation.request_body = None;
    if has_body && !rest.is_empty() {
        let schema = shape::object(rest.iter().copied(), words);
        let required = rest.iter().any(|(_, property)| !property.optional);
        operation.request_body = Some(RefOr::T(body(&schema, required)));
    } else {
        let query = rest.into_iter().map(|(name, prop)| parameter(name, prop, false, words));
        parameters.extend(query);
    }
    operation.parameters =
        Some(parameters.into_iter().map(RefOr::T).collect()).filter(|all: &Vec<_>| !all.is_empty());
    refusals(operation, method);
    operation.security = Some(security::required(method));
    let rights = security::in_words(method);
    operation.description = Some(match operation.description.take() {
        Some(text) => format!("{text}\n\n{rights}"),
        None => rights,
    });
}

/// What PVE's server says of every method alike.
const REFUSED: &str = "PVE's error envelope; `message` is the status line's reason too. 400: \
    parameters are wrong, `errors` says which. 403: the caller lacks a right. 500: whatever else \
    failed, a guest that is not there, a lock, a bad value, in PVE's words. 501: not available here.";
/// Before there is a formatter, so without an envelope.
const UNKNOWN: &str = "No valid ticket, API token or CSRF token: a status line without a body, \
    three seconds late.";

fn refusals(operation: &mut Operation, method: &Method) {
    let answers = &mut operation.responses.responses;
    if let Some(RefOr::T(default)) = answers.get_mut("default") {
        REFUSED.clone_into(&mut default.description);
    }
    if method.permissions != Some(Permissions::World) {
        answers.insert("401".to_owned(), RefOr::T(Response::new(UNKNOWN)));
    }
}

fn parameter(name: &str, property: &Property, in_path: bool, words: &Words) -> Parameter {
    let required = if in_path || !property.optional { Required::True } else { Required::False };
    let mut built = ParameterBuilder::new()
        .name(name)
        .parameter_in(if in_path { ParameterIn::Path } else { ParameterIn::Query })
        .required(required)
        .schema(Some(shape::of(property, None)))
        .build();
    built.description = words.of(name).map(str::to_owned);
    built
}

/// The same fields as a form or as JSON.
fn body(schema: &Schema, required: bool) -> RequestBody {
    let content = || Content::new(Some(schema.clone()));
    RequestBodyBuilder::new()
        .content("application/x-www-form-urlencoded", content())
        .content("application/json", content())
        .required(Some(if required { Required::True } else { Required::False }))
        .build()
}

#[cfg(test)]
mod tests;
