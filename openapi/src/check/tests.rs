use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::schema::methods;

fn method(http: &str, path: &str) -> &'static Method {
    methods().get(http, path).unwrap()
}

fn config() -> &'static Method {
    method("PUT", "/nodes/{node}/lxc/{vmid}/config")
}

fn guest() -> Vec<(String, String)> {
    vec![("node".into(), "pve1".into()), ("vmid".into(), "100".into())]
}

/// Check a form against the config of container 100, the path left out of what comes back.
fn form(text: &str) -> Result<Value, BTreeMap<String, String>> {
    let path = guest();
    let input = Input { path: &path, body: parse_form(text), ..Input::default() };
    without_path(check(config(), input))
}

fn json_body(body: &Value) -> Result<Value, BTreeMap<String, String>> {
    let path = guest();
    let body = parse_json(body.to_string().as_bytes()).unwrap();
    without_path(check(config(), Input { path: &path, body, ..Input::default() }))
}

fn without_path(
    checked: Result<Map<String, Value>, ParamErrors>,
) -> Result<Value, BTreeMap<String, String>> {
    let mut map = checked.map_err(|errors| errors.0)?;
    assert_eq!((map.remove("node"), map.remove("vmid")), (Some(json!("pve1")), Some(json!(100))));
    Ok(Value::Object(map))
}

#[rstest]
#[case::number("memory=512", json!({"memory": 512}))]
#[case::boolean("onboot=1", json!({"onboot": 1}))]
#[case::pythons_boolean("onboot=True&protection=False", json!({"onboot": 1, "protection": 0}))]
#[case::boolean_of_a_file("onboot=yes&protection=off", json!({"onboot": 1, "protection": 0}))]
#[case::fraction("cpulimit=1.5", json!({"cpulimit": 1.5}))]
#[case::kept_as_written("memory=%2B512&cpulimit=1.50", json!({"memory": "+512", "cpulimit": "1.50"}))]
#[case::text_that_looks_like_a_number("hostname=100", json!({"hostname": "100"}))]
#[case::repeated_list("nameserver=1.1.1.1&nameserver=8.8.8.8", json!({"nameserver": "1.1.1.1,8.8.8.8"}))]
#[case::empty_text("description=", json!({"description": ""}))]
#[case::no_cache("_dc=123&memory=512", json!({"memory": 512}))]
#[case::semicolon("memory=512;swap=0", json!({"memory": 512, "swap": 0}))]
#[case::nothing("", json!({}))]
fn takes_forms(#[case] text: &str, #[case] values: Value) {
    assert_eq!(form(text), Ok(values));
}

#[test]
fn what_goes_into_no_config_is_a_number() {
    let path = [("node".to_owned(), "pve1".to_owned())];
    let query = parse_form("limit=%2B5&start=007&errors=1");
    let tasks = method("GET", "/nodes/{node}/tasks");
    let checked = check(tasks, Input { path: &path, query, ..Input::default() }).unwrap();
    let found = ["limit", "start", "errors"].map(|name| checked[name].clone());
    assert_eq!(found, [json!(5), json!(7), json!(1)]);
}

#[rstest]
#[case::numbers(json!({"memory": 512, "onboot": true, "swap": "0"}), json!({"memory": 512, "onboot": 1, "swap": 0}))]
#[case::whole_double(json!({"memory": 512.0}), json!({"memory": 512}))]
#[case::null_is_absent(json!({"hostname": null}), json!({}))]
#[case::array_for_a_list(json!({"tags": ["a", "b"]}), json!({"tags": "a,b"}))]
#[case::number_for_a_text(json!({"hostname": 7}), json!({"hostname": "7"}))]
fn takes_json(#[case] body: Value, #[case] values: Value) {
    assert_eq!(json_body(&body), Ok(values));
}

#[rstest]
#[case::object(json!({"memory": {}}), "memory", "type check ('integer') failed - got HASH")]
#[case::array(json!({"hostname": ["a"]}), "hostname", "type check ('string') failed - got ARRAY")]
#[case::boolean(json!({"memory": true}), "memory", "type check ('integer') failed - got JSON::PP::Boolean")]
#[case::fraction(json!({"memory": 512.5}), "memory", "type check ('integer') failed - got '512.5'")]
#[case::unknown_null(json!({"foo": null}), "foo", "property is not defined in schema and the schema does not allow additional properties")]
fn refuses_json(#[case] body: Value, #[case] name: &str, #[case] message: &str) {
    assert_eq!(json_body(&body), Err([(name.into(), message.into())].into()));
}

#[test]
fn reports_all_parameters_at_once() {
    let errors = form("memory=8&cores=x&foo=1").unwrap_err();
    assert_eq!(errors.keys().collect::<Vec<_>>(), ["cores", "foo", "memory"]);
}

#[test]
fn the_first_failure_of_a_value_wins() {
    let long = format!("hostname={}!", "x".repeat(300));
    let errors = form(&long).unwrap_err();
    assert_eq!(errors["hostname"], "invalid format - value does not look like a valid DNS name\n");
}

#[test]
fn joins_errors_of_one_path_with_a_literal_backslash_n() {
    let crs = "crs=ha-auto-rebalance-margin%3D1,ha-auto-rebalance-threshold%3D1";
    let input = Input { body: parse_form(crs), ..Input::default() };
    let errors = check(method("PUT", "/cluster/options"), input).unwrap_err().0;
    assert_eq!(
        errors["crs"],
        "invalid format - format error\ncrs.ha-auto-rebalance: \
         missing property required by 'crs.ha-auto-rebalance-margin'\\n\
         missing property required by 'crs.ha-auto-rebalance-threshold'\n"
    );
}

#[rstest]
#[case::one_value(json!({"vms": "100"}), Ok(json!([100])))]
#[case::array(json!({"vms": [100, "101"]}), Ok(json!([100, 101])))]
#[case::bad_item(json!({"vms": ["100", "99"]}), Err(("vms[1]", "invalid format - value does not look like a valid VM ID\n")))]
#[case::null_item(json!({"vms": [null]}), Err(("vms[0]", "property is missing and it is not optional")))]
#[case::false_scalar(json!({"vms": 0}), Err(("vms", "type check ('array') failed")))]
fn arrays(#[case] body: Value, #[case] wanted: Result<Value, (&str, &str)>) {
    let body = parse_json(body.to_string().as_bytes()).unwrap();
    let input = Input { body, ..Input::default() };
    let found = check(method("POST", "/cluster/bulk-action/guest/start"), input);
    let wanted = wanted.map_err(|(name, message)| ParamErrors::one(name, message));
    assert_eq!(found.map(|mut map| map.remove("vms").unwrap()), wanted);
}

#[test]
fn the_query_wins_over_the_body() {
    let path = guest();
    let (query, body) = (parse_form("memory=64"), parse_form("memory=8&swap=1"));
    let checked = check(config(), Input { path: &path, query, body }).unwrap();
    assert_eq!((&checked["memory"], &checked["swap"]), (&json!(64), &json!(1)));
}

#[rstest]
#[case::same("vmid=100", None)]
#[case::other("vmid=101", Some("vmid"))]
#[case::repeated("vmid=100&vmid=100", Some("vmid"))]
#[case::first_by_name("vmid=1&node=x", Some("node"))]
#[case::unrelated("memory=1", None)]
fn finds_conflicts_with_the_path(#[case] query: &str, #[case] name: Option<&str>) {
    let path = guest();
    let found = conflicts(&Input { path: &path, query: parse_form(query), ..Input::default() });
    assert_eq!(found.as_ref().and_then(|errors| errors.0.keys().next().map(String::as_str)), name);
}

#[rstest]
#[case::plus("a=b+c", "a: b c")]
#[case::utf8("a=%C3%A9", "a: é")]
#[case::repeated("a=1&b=x&a=2&a=3", "a: 1|2|3, b: x")]
#[case::no_value("a&b=", "a: , b: ")]
#[case::second_equals_sign("a=b=c", "a: b")]
#[case::empty_then_full("a=&a=1", "a: 1")]
#[case::full_then_empty("a=1&a=", "a: ")]
#[case::broken_escape("a=%zz", "a: %zz")]
fn takes_forms_apart(#[case] text: &str, #[case] wanted: &str) {
    let fields = parse_form(text).into_iter().map(|(name, raw)| match raw {
        Raw::Text(text) => format!("{name}: {text}"),
        Raw::Many(texts) => format!("{name}: {}", texts.join("|")),
        Raw::Json(json) => panic!("{json} in a form"),
    });
    assert_eq!(fields.collect::<Vec<_>>().join(", "), wanted);
}

#[test]
fn an_empty_field_is_absent_unless_the_root_daemon_is_asked() {
    let path = guest();
    let get = method("GET", "/nodes/{node}/lxc/{vmid}/config");
    let input = Input { path: &path, query: parse_form("current="), ..Input::default() };
    assert!(check(get, input).is_ok());
    assert_eq!(form("onboot=").unwrap_err()["onboot"], "type check ('boolean') failed - got ''");
    let text = "type check ('boolean') failed - got 'true'";
    assert_eq!(form("onboot=true").unwrap_err()["onboot"], text);
}

#[test]
fn a_property_string_with_a_rule_of_its_own() {
    let path = [("storage".to_owned(), "local".to_owned())];
    let body = parse_form("prune-backups=keep-all%3D1,keep-last%3D2");
    let update = method("PUT", "/storage/{storage}");
    let errors = check(update, Input { path: &path, body, ..Input::default() }).unwrap_err();
    let message = "invalid format - keep-all cannot be set together with other options.\n";
    assert_eq!(errors, ParamErrors::one("prune-backups", message));
}

#[test]
fn ten_thousand_fields_take_well_under_a_second() {
    let text: String = (0..10_000).map(|n| format!("net0=name=eth{n}&mp{n}=x&")).collect();
    let start = std::time::Instant::now();
    assert!(form(&text).is_err());
    assert!(start.elapsed() < std::time::Duration::from_secs(2), "{:?}", start.elapsed());
}

#[rstest]
#[case::arrays("[")]
#[case::objects("{\"a\":")]
fn deep_json_is_refused(#[case] open: &str) {
    let body = format!("{{\"hostname\":{}", open.repeat(200_000));
    assert!(parse_json(body.as_bytes()).is_err());
}

#[rstest]
#[case(b"[1]")]
#[case(b"null")]
fn json_that_is_no_object_has_no_fields(#[case] body: &[u8]) {
    assert!(matches!(parse_json(body), Err(JsonError::NoObject(_))));
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z0-9=,:/. \n\\PC]{0,30}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,5}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Whatever is sent for whatever parameter: an answer, and one that can be sent.
    #[test]
    fn never_panics(place in any::<prop::sample::Index>(), value in anything(), text in "\\PC{0,40}") {
        let all: Vec<_> = methods().iter().collect();
        let method = place.get(&all);
        let names: Vec<_> = method.parameters.iter().map(|(name, _)| name.replace("[n]", "0")).collect();
        let body = names.into_iter().map(|name| (name, Raw::Json(value.clone()))).collect();
        let query = parse_form(&text);
        let errors = check(method, Input { path: &[], query, body }).err().unwrap_or_default();
        prop_assert!(errors.0.values().all(|message| !message.is_empty()));
    }

    #[test]
    fn what_passed_passes_again(memory in 16..1_000_000, cpulimit in 0.0..8192.0, onboot: bool) {
        let sent = json!({"memory": memory, "cpulimit": cpulimit, "onboot": onboot});
        let checked = json_body(&sent).unwrap();
        prop_assert_eq!(json_body(&checked), Ok(checked));
    }
}
