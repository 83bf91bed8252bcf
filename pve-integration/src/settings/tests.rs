use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Map, Value, json};

use super::*;

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().unwrap()
}

#[rstest]
#[case("10.0.0.1 a.b c\n# any thing!\n\n::1 localhost\n", None)]
#[case("10.0.0 a\n", Some("data: Invalid IP '10.0.0'"))]
#[case(" 10.0.0.1 a\n", Some("data: Invalid IP ''"))]
#[case("10.0.0.1 a_b\n", Some("data: Invalid Hostname 'a_b'"))]
#[case("10.0.0.1 a # b\n", Some("data: Invalid Hostname '#'"))]
fn checks_hosts(#[case] text: &str, #[case] message: Option<&str>) {
    let dir = tempfile::tempdir().unwrap();
    fs_err::create_dir(dir.path().join("etc")).unwrap();
    let root = Root::new(dir.path()).unwrap();

    let done = write_hosts(&root, text, None);

    assert_eq!(done.err().map(|err| err.to_string()).as_deref(), message);
    let written = fs_err::read_to_string(dir.path().join("etc/hosts")).ok();
    assert_eq!(written.as_deref(), message.is_none().then_some(text));
}

#[test]
fn a_node_s_notes_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (root, node) = (Root::new(dir.path()).unwrap(), "pve1".parse().unwrap());
    let file = dir.path().join("etc/pve/nodes/pve1/config");
    let change = |set: &Value, delete: &str, seen: Option<&str>| {
        change_node_config(&root, &node, object(set), delete, seen).map_err(|err| err.to_string())
    };

    change(&json!({"description": "rack: 7", "startall-onboot-delay": 5}), "", None).unwrap();
    let text = "#rack%3A 7\nstartall-onboot-delay: 5\n";
    assert_eq!(fs_err::read_to_string(&file).unwrap(), text);
    let stale = change(&json!({}), "", Some(&"a".repeat(40))).unwrap_err();
    assert!(stale.starts_with("detected modified configuration"), "{stale}");
    let twice = json!({"acmedomain0": "a.example", "acmedomain1": "domain=A.example"});
    assert_eq!(
        change(&twice, "", None).unwrap_err(),
        "duplicate domain 'a.example' in ACME config properties 'acmedomain1' and 'acmedomain0'"
    );
    let unknown = json!({"acmedomain0": "a.example,plugin=x"});
    let refused = change(&unknown, "", None).unwrap_err();
    assert_eq!(refused, "plugin 'x' for domain 'a.example' not found!");
    assert_eq!(fs_err::read_to_string(&file).unwrap(), text);
    change(&json!({}), "description", None).unwrap();
    assert_eq!(fs_err::read_to_string(&file).unwrap(), "startall-onboot-delay: 5\n");
}

#[test]
fn a_zone_is_one_of_the_machine_s() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::new(dir.path()).unwrap();
    for wrong in ["Mars/Foo", "../../etc/passwd", ""] {
        let refused = set_timezone(&root, wrong).unwrap_err();
        assert_eq!(refused.to_string(), "timezone: No such timezone");
    }
    set_timezone(&root, "UTC").unwrap();
    set_timezone(&root, "UTC").unwrap();
    assert_eq!(fs_err::read_to_string(dir.path().join("etc/timezone")).unwrap(), "UTC\n");
    let link = fs_err::read_link(dir.path().join("etc/localtime")).unwrap();
    assert_eq!(link.to_str(), Some("/usr/share/zoneinfo/UTC"));
}

proptest! {
    #[test]
    fn key_values_are_read_as_they_were_written(text in ".{0,200}") {
        let read = KeyValues::parse(&text);
        let written = read.comments() + &read.lines().unwrap();
        prop_assert_eq!(KeyValues::parse(&written).values, read.values);
    }
}
