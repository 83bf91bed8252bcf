use rstest::rstest;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;

/// What a recorded answer becomes when it is read and written again.
fn again<T: DeserializeOwned + Serialize>(recorded: &Value) -> Value {
    let answer: T = serde_json::from_value(recorded.clone()).unwrap();
    serde_json::to_value(answer).unwrap()
}

/// The answers recorded for `path`, or the rows of them, that have `key`.
fn recorded(path: &str, key: &str) -> Vec<Value> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/requests.jsonl");
    let text = fs_err::read_to_string(file).unwrap();
    let mut found = Vec::new();
    for line in text.lines() {
        let request: Value = serde_json::from_str(line).unwrap();
        if request["method"] != "GET" || request["path"] != format!("/api2/json{path}") {
            continue;
        }
        let data = &request["json"]["data"];
        let rows = data.as_array().map_or(std::slice::from_ref(data), Vec::as_slice);
        found.extend(rows.iter().filter(|row| row.get(key).is_some()).cloned());
    }
    assert!(!found.is_empty(), "nothing recorded for {path}");
    found
}

type Again = fn(&Value) -> Value;

#[rstest]
#[case::version("/version", "version", again::<VersionInfo>)]
#[case::nodes("/nodes", "node", again::<NodeRow>)]
#[case::guests("/nodes/pve1/lxc", "vmid", again::<GuestRow>)]
#[case::status("/nodes/pve1/lxc/102/status/current", "vmid", again::<GuestStatus>)]
#[case::config("/nodes/pve1/lxc/100/config?vmid=100", "digest", again::<ConfigAnswer>)]
#[case::pending("/nodes/pve1/lxc/102/pending", "key", again::<PendingRow>)]
#[case::tasks("/nodes/pve1/tasks", "upid", again::<TaskRow>)]
#[case::storages("/nodes/pve1/storage", "storage", again::<StorageRow>)]
#[case::storage("/nodes/pve1/storage/local/status", "type", again::<StorageStatus>)]
#[case::resources("/cluster/resources", "vmid", again::<ResourceRow>)]
fn writes_what_pve_wrote(#[case] path: &str, #[case] key: &str, #[case] again: Again) {
    for answer in recorded(path, key) {
        assert_eq!(again(&answer), answer);
    }
}

#[test]
fn a_task_of_a_token_names_user_and_token() {
    let upid: crate::Upid =
        "UPID:pve1:00000095:0004FA7A:6B043E62:vzstart:104:root@pam!t1:".parse().unwrap();
    let status = TaskStatus {
        task: TaskFields::from(&upid),
        status: TaskState::Stopped,
        exitstatus: Some("you can't start a CT if it's a template".to_owned()),
    };
    let written = json!({
        "id": "104", "pstart": 326_266, "tokenid": "t1", "node": "pve1", "pid": 149,
        "starttime": 1_795_440_226, "type": "vzstart", "user": "root@pam",
        "upid": "UPID:pve1:00000095:0004FA7A:6B043E62:vzstart:104:root@pam!t1:",
        "exitstatus": "you can't start a CT if it's a template", "status": "stopped",
    });
    assert_eq!(serde_json::to_value(status).unwrap(), written);
}

#[rstest]
#[case(0.0, "0")]
#[case(0.25, "0.25")]
#[case(8.0, "8")]
fn numbers_look_like_perl_s(#[case] cpu: f64, #[case] text: &str) {
    let row = NodeRow { cpu: Some(cpu), ..NodeRow::default() };
    assert_eq!(serde_json::to_value(row).unwrap()["cpu"].to_string(), text);
}

#[test]
fn an_error_without_parameters_has_no_errors() {
    let body = ErrorBody { message: "no\n".to_owned(), ..ErrorBody::default() };
    assert_eq!(serde_json::to_value(body).unwrap(), json!({"data": null, "message": "no\n"}));
}
