//! Pools, in both forms that clients use.

use rstest::rstest;
use serde_json::{Value, json};

use crate::{ANN, with_guest};

#[rstest]
#[case::by_path("/pools/p1", &[])]
#[case::by_name("/pools", &[("poolid", "p1")])]
fn a_pool_has_members_and_goes_when_it_is_empty(
    #[case] path: &str,
    #[case] named: &[(&str, &str)],
) {
    let daemon = with_guest().start();
    assert_eq!(daemon.get("/pools").data(), json!([]));
    let made = daemon.post("/pools", &[("poolid", "p1"), ("comment", "one")]);
    assert_eq!(made.data(), Value::Null);
    assert_eq!(daemon.get("/pools").data(), json!([{"poolid": "p1", "comment": "one"}]));
    let put = |more: &[(&str, &str)]| daemon.request("PUT", path, &[named, more].concat());
    assert_eq!(put(&[("vms", "100"), ("storage", "local")]).data(), Value::Null);
    assert_eq!(
        put(&[("vms", "100")]).line(),
        "500 update pools failed: VM 100 is already a pool member"
    );
    let get = |more: &[(&str, &str)]| {
        let data = daemon.request("GET", path, &[named, more].concat()).data();
        data.as_array().map_or_else(|| data.clone(), |rows| rows[0].clone())
    };
    let pool = get(&[]);
    assert_eq!((&pool["poolid"], &pool["comment"]), (&json!("p1"), &json!("one")));
    let ids: Vec<_> =
        pool["members"].as_array().unwrap().iter().map(|row| row["id"].clone()).collect();
    assert_eq!(ids, ["lxc/100", "storage/pve1/local"]);
    assert_eq!(pool["members"][0]["status"], "stopped");
    let storages = get(&[("type", "storage")]);
    assert_eq!(storages["members"].as_array().unwrap().len(), 1);
    let resources = daemon.get("/cluster/resources").data();
    assert!(resources.as_array().unwrap().iter().any(|row| row["pool"] == "p1"), "{resources}");

    let delete = || daemon.request("DELETE", path, named);
    assert_eq!(delete().line(), "500 delete pool failed: pool 'p1' is not empty (contains VM 100)");
    put(&[("vms", "100"), ("storage", "local"), ("delete", "1")]).data();
    assert_eq!(delete().data(), Value::Null);
    assert_eq!(delete().line(), "500 delete pool failed: pool 'p1' does not exist");
}

#[test]
fn a_pool_below_another_has_a_slash_in_its_name() {
    let daemon = with_guest().start();
    let orphan = daemon.post("/pools", &[("poolid", "a/b")]);
    assert_eq!(orphan.line(), "500 create pool failed: parent 'a' of pool 'a/b' does not exist");
    for name in ["a", "a/b"] {
        daemon.post("/pools", &[("poolid", name)]).data();
    }
    let delete = |name: &str| daemon.request("DELETE", "/pools", &[("poolid", name)]);
    assert_eq!(
        delete("a").line(),
        "500 delete pool failed: pool 'a' is not empty (contains pool 'a/b')"
    );
    delete("a/b").data();
    delete("a").data();
}

#[test]
fn members_need_rights_of_their_own() {
    let daemon = with_guest().start();
    daemon.post("/pools", &[("poolid", "p1")]).data();
    let grant = [("path", "/pool/p1"), ("roles", "PVEPoolAdmin"), ("users", "ann@pve")];
    daemon.put("/access/acl", &grant).data();
    let ann = [("Authorization", ANN)];
    let add = daemon.request_as(&ann, "PUT", "/pools/p1", &[("vms", "100")]);
    assert_eq!(
        add.line(),
        "500 update pools failed: 403 Permission check failed (/vms/100, Permissions.Modify|VM.Allocate)"
    );
    let other = daemon.request_as(&ann, "GET", "/pools", &[("poolid", "p2")]);
    assert_eq!(other.line(), "403 Permission check failed (/pool/p2, Pool.Audit)");
}

#[test]
fn a_destroyed_container_leaves_no_rights_to_the_next_of_its_number() {
    let daemon = with_guest().start();
    daemon.post("/pools", &[("poolid", "p1")]).data();
    daemon.put("/pools/p1", &[("vms", "100")]).data();
    let destroy = daemon.delete("/nodes/pve1/lxc/100");
    daemon.task(&destroy).ok();
    let text = fs_err::read_to_string(daemon.root().join("etc/pve/user.cfg")).unwrap();
    assert!(text.contains("pool:p1::::\n") && !text.contains("/vms/100"), "{text}");
}
