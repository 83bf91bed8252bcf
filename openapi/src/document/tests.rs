use std::collections::BTreeSet;

use rstest::rstest;
use serde_json::{Value, json};
use utoipa::openapi::path::{HttpMethod, OperationBuilder, PathItem};
use utoipa::openapi::{InfoBuilder, OpenApiBuilder, PathsBuilder};

use super::*;

fn names(method: &Method) -> BTreeSet<&'static str> {
    method.parameters.iter().map(|(name, _)| name).collect()
}

/// A document with every operation of the table, as a router would declare them.
fn whole() -> Value {
    let mut paths = PathsBuilder::new().build();
    for method in methods().iter() {
        let http = match method.method {
            "GET" => HttpMethod::Get,
            "PUT" => HttpMethod::Put,
            "POST" => HttpMethod::Post,
            _ => HttpMethod::Delete,
        };
        paths.add_path_operation(method.path, vec![http], OperationBuilder::new().build());
    }
    let info = InfoBuilder::new().title("x").version("1").build();
    let document = OpenApiBuilder::new().info(info).paths(paths).build();
    serde_json::to_value(complete(document)).unwrap()
}

fn operation<'d>(document: &'d Value, http: &str, path: &str) -> &'d Value {
    &document["paths"][path][http.to_ascii_lowercase()]
}

/// All names that an operation publishes, numbered ones as in the table.
fn published(operation: &Value) -> BTreeSet<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let listed = operation["parameters"].as_array().into_iter().flatten();
    let mut names: BTreeSet<_> = listed.map(|parameter| text(&parameter["name"])).collect();
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    names.extend(
        schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone()),
    );
    let numbered = schema["patternProperties"].as_object().into_iter().flatten();
    names.extend(numbered.map(|(pattern, _)| {
        let stem = pattern.trim_start_matches('^').split("(?:").next().unwrap();
        format!("{stem}[n]")
    }));
    names
}

#[test]
fn every_parameter_of_the_table_is_published_and_no_other() {
    let document = whole();
    for method in methods().iter() {
        let operation = operation(&document, method.method, method.path);
        let wanted: BTreeSet<_> = names(method).into_iter().map(str::to_owned).collect();
        assert_eq!(published(operation), wanted, "{} {}", method.method, method.path);
    }
}

#[test]
fn variables_of_a_path_are_parameters_of_it() {
    let document = whole();
    for method in methods().iter() {
        let listed = operation(&document, method.method, method.path)["parameters"].clone();
        let in_path = listed.as_array().into_iter().flatten().filter(|p| p["in"] == "path").count();
        assert_eq!(in_path, method.path.matches('{').count(), "{}", method.path);
    }
}

#[rstest]
#[case::range("PUT", "memory", json!({"type": "integer", "minimum": 16, "default": 512}))]
#[case::boolean("PUT", "onboot", json!({"type": "integer", "enum": [0, 1], "default": 0}))]
#[case::choices("PUT", "arch", json!({"type": "string", "default": "amd64",
    "enum": ["amd64", "i386", "arm64", "armhf", "riscv32", "riscv64"]}))]
#[case::format("PUT", "hostname", json!({"type": "string", "format": "dns-name", "maxLength": 255}))]
#[case::pattern("PUT", "entrypoint", json!({"type": "string", "pattern": "^(?:[^\\x00-\\x08\\x0a-\\x1F\\x7F]+)$", "default": "/sbin/init"}))]
fn limits_are_those_of_the_check(#[case] http: &str, #[case] name: &str, #[case] wanted: Value) {
    let document = whole();
    let config = operation(&document, http, "/nodes/{node}/lxc/{vmid}/config");
    let body = &config["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"];
    let mut found = body["properties"][name].clone();
    assert!(found.as_object_mut().unwrap().remove("description").is_some(), "{name}");
    assert_eq!(found, wanted);
}

#[test]
fn says_who_may() {
    let document = whole();
    let current = operation(&document, "GET", "/nodes/{node}/lxc/{vmid}/status/current");
    let start = operation(&document, "POST", "/nodes/{node}/lxc/{vmid}/status/start");
    let login = operation(&document, "POST", "/access/ticket");
    assert_eq!(current["description"], "Needs VM.Audit on `/vms/{vmid}`.");
    assert_eq!(current["security"], json!([{"PVEAPIToken": []}, {"PVEAuthCookie": []}]));
    assert_eq!(
        start["security"],
        json!([{"PVEAPIToken": []}, {"CSRFPreventionToken": [], "PVEAuthCookie": []}])
    );
    assert_eq!(login["security"], json!([{}]));
}

#[test]
fn says_how_it_refuses() {
    let document = whole();
    let config = operation(&document, "PUT", "/nodes/{node}/lxc/{vmid}/config");
    let login = operation(&document, "POST", "/access/ticket");
    assert!(config["responses"]["401"]["content"].is_null());
    assert!(config["responses"]["401"]["description"].is_string());
    // A failed login is an answer of the method's own.
    assert!(login["responses"]["401"].is_null());
}

#[test]
fn the_head_of_the_document() {
    let document = whole();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["title"], "proxmox-lxcri");
    assert_eq!(document["info"]["license"]["identifier"], "AGPL-3.0-or-later");
    assert_eq!(document["servers"], json!([{"url": "/api2/json"}]));
    assert_eq!(document["components"]["securitySchemes"].as_object().unwrap().len(), 3);
}

#[test]
fn leaves_alone_what_the_table_does_not_have() {
    let operation = OperationBuilder::new().summary(Some("Ours")).build();
    let mut paths = PathsBuilder::new().build();
    paths.paths.insert("/elsewhere".to_owned(), PathItem::new(HttpMethod::Get, operation));
    let info = InfoBuilder::new().title("x").version("1").build();
    let document = complete(OpenApiBuilder::new().info(info).paths(paths).build());
    let document = serde_json::to_value(document).unwrap();
    assert_eq!(document["paths"]["/elsewhere"]["get"], json!({"summary": "Ours", "responses": {}}));
}

#[test]
fn words_are_about_parameters_that_exist() {
    let known: BTreeSet<_> = methods().iter().flat_map(names).collect();
    for name in Words::read().names() {
        assert!(known.contains(name), "{name}");
    }
}

#[test]
fn every_parameter_of_a_container_is_described() {
    let words = Words::read();
    let ours = methods().iter().filter(|method| {
        method.path.starts_with("/nodes/{node}/lxc") || method.path.contains("{node}/oci")
    });
    for (name, _) in ours.flat_map(|method| method.parameters.iter()) {
        assert!(words.of(name).is_some(), "{name}");
    }
}
