//! Wrong requests, in PVE's words.

use rstest::rstest;
use serde_json::json;
use tests::Client;

use crate::with_guest;

#[rstest]
#[case("vmid", "abc", "type check ('integer') failed - got 'abc'")]
#[case("vmid", "99", "invalid format - value does not look like a valid VM ID\n")]
#[case("memory", "8", "value must have a minimum value of 16")]
#[case("memory", "much", "type check ('integer') failed - got 'much'")]
#[case("unprivileged", "yes", "type check ('boolean') failed - got 'yes'")]
#[case("hostname", "a b", "invalid format - value does not look like a valid DNS name\n")]
#[case(
    "nonsense",
    "1",
    "property is not defined in schema and the schema does not allow additional properties"
)]
fn names_the_wrong_parameter_of_a_create(
    #[case] name: &str,
    #[case] value: &str,
    #[case] text: &str,
) {
    let daemon = with_guest().start();
    let mut all = vec![("ostemplate", "local:vztmpl/x.tar.gz"), (name, value)];
    if name != "vmid" {
        all.push(("vmid", "200"));
    }
    let reply = daemon.post("/nodes/pve1/lxc", &all);
    assert_eq!(reply.errors(), json!({ name: text }));
    assert_eq!(reply.json()["data"], json!(null));
    assert!(!daemon.config_path(200).exists());
}

#[test]
fn names_every_wrong_parameter_at_once() {
    let daemon = with_guest().start();
    let errors = daemon.post("/nodes/pve1/lxc", &[("memory", "x"), ("swap", "-1")]).errors();
    let names: Vec<_> = errors.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["memory", "ostemplate", "swap", "vmid"]);
    assert_eq!(errors["vmid"], "property is missing and it is not optional");
}

#[rstest]
#[case(
    "GET",
    "/nodes/pve1/lxc/999/config",
    "500 Configuration file 'nodes/pve1/lxc/999.conf' does not exist"
)]
#[case(
    "GET",
    "/nodes/pve1/lxc/999/status/current",
    "500 Configuration file 'nodes/pve1/lxc/999.conf' does not exist"
)]
#[case(
    "DELETE",
    "/nodes/pve1/lxc/999",
    "500 Configuration file 'nodes/pve1/lxc/999.conf' does not exist"
)]
#[case("POST", "/nodes/pve1/lxc/100/status/stop", "500 CT 100 not running")]
#[case("POST", "/nodes/pve1/lxc/100/status/shutdown", "500 CT 100 not running")]
#[case("POST", "/nodes/pve1/lxc/100/status/reboot", "500 VM 100 not running")]
#[case("PUT", "/nodes/pve1/lxc/100/config", "500 no options specified")]
#[case("GET", "/nothing", "501 Method 'GET /nothing' not implemented")]
#[case("PUT", "/version", "501 Method 'PUT /version' not implemented")]
#[case(
    "POST",
    "/nodes/pve1/lxc/100/status/fly",
    "501 Method 'POST /nodes/pve1/lxc/100/status/fly' not implemented"
)]
fn answers_as_pve_does(#[case] method: &str, #[case] path: &str, #[case] line: &str) {
    let daemon = with_guest().start();
    let reply = daemon.request(method, path, &[]);
    assert_eq!(reply.line(), line);
    assert_eq!(reply.header("content-type"), Some("application/json;charset=UTF-8"));
    assert_eq!(reply.json()["data"], json!(null));
    let message = line.split_once(' ').unwrap().1;
    assert_eq!(reply.json()["message"].as_str().unwrap().trim_end(), message);
}

#[rstest]
#[case::head("HEAD", "/api2/json/version", "", "501 method 'HEAD' not available")]
#[case::patch("PATCH", "/api2/json/version", "", "501 method 'PATCH' not available")]
#[case::format("GET", "/api2/foo/version", "", "501 no formatter for uri /version, foo")]
#[case::outside("GET", "/favicon.ico", "", "500 no such file '/favicon.ico'")]
#[case::body_on_get("GET", "/api2/json/version", "a=1", "501 Unexpected content for method 'GET'")]
fn refuses_what_http_allows(
    #[case] method: &str,
    #[case] url: &str,
    #[case] body: &str,
    #[case] line: &str,
) {
    let daemon = with_guest().start();
    let token = format!("PVEAPIToken={}", daemon.token());
    let mut headers = vec![("Authorization", token.as_str())];
    if !body.is_empty() {
        headers.push(("Content-Type", "application/x-www-form-urlencoded"));
    }
    let reply = Client::new(daemon.address()).request(
        &format!("{method} {url}"),
        &headers,
        body.as_bytes(),
    );
    assert_eq!(reply.line(), line);
}

#[test]
fn json_bodies_and_the_extjs_envelope() {
    let daemon = with_guest().start();
    let token = format!("PVEAPIToken={}", daemon.token());
    let headers = [("Authorization", token.as_str()), ("Content-Type", "application/json")];
    let mut client = Client::new(daemon.address());
    let put = client.request(
        "PUT /api2/json/nodes/pve1/lxc/100/config",
        &headers,
        br#"{"memory": 96, "swap": "32", "onboot": true}"#,
    );
    assert_eq!(put.line(), "200 OK");
    assert_eq!(put.json(), json!({"data": null}));
    let config =
        client.request("GET /api2/extjs/nodes/pve1/lxc/100/config", &headers[..1], b"").json();
    assert_eq!(config["success"], 1);
    assert_eq!(config["data"]["memory"], 96);
    assert_eq!(config["data"]["onboot"], 1);

    let wrong =
        client.request("PUT /api2/extjs/nodes/pve1/lxc/100/config", &headers, br#"{"memory": 1}"#);
    assert_eq!((wrong.status, wrong.json()["success"].clone()), (200, json!(0)));
    assert_eq!(wrong.json()["errors"]["memory"], "value must have a minimum value of 16");
    assert_eq!(wrong.json()["status"], "400");
}

/// Numbers without a bound, in every method that takes one: whatever PVE makes of them, no handler
/// may be at a loss.
#[test]
fn a_number_may_be_larger_than_any_machine_has() {
    let daemon = with_guest().start();
    let mut client = Client::new(daemon.address());
    let document = client.request("GET /api2/openapi.json", &[], b"").json();
    let mut sent = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let in_body = &operation["requestBody"]["content"]["application/json"]["schema"];
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let in_path = parameters.map(|p| (p["name"].as_str().unwrap(), &p["schema"]));
            let properties = in_body["properties"].as_object().into_iter().flatten();
            let all = in_path.chain(properties.map(|(name, schema)| (name.as_str(), schema)));
            let integers: Vec<_> = all.filter(|(_, schema)| is_unbounded(schema)).collect();
            for huge in ["99999999999999999999", "-99999999999999999999", "4294967296"] {
                for (name, _) in &integers {
                    let path = path
                        .replace("{node}", "pve1")
                        .replace("{vmid}", "100")
                        .replace(&format!("{{{name}}}"), huge)
                        .replace(['{', '}'], "");
                    let value = [(*name, huge)];
                    let beside: &[(&str, &str)] = if path.contains(huge) { &[] } else { &value };
                    let reply = daemon.request(&method.to_uppercase(), &path, beside);
                    assert!(
                        !reply.reason.contains("cannot read"),
                        "{method} {path} {name}={huge}: {}",
                        reply.line()
                    );
                    sent += 1;
                }
            }
        }
    }
    assert!(sent > 100, "{sent}");
}

fn is_unbounded(schema: &serde_json::Value) -> bool {
    schema["type"] == "integer" && schema.get("maximum").is_none()
}
