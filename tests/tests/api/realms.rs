//! Realms and second factors: what an administrator sets, reads back and takes away.

use serde_json::json;

use crate::{ANN, with_users};

const LDAP: &[(&str, &str)] = &[
    ("realm", "corp"),
    ("type", "ldap"),
    ("server1", "10.0.0.1"),
    ("base_dn", "dc=x,dc=y"),
    ("user_attr", "uid"),
    ("password", "bind-secret"),
];

#[test]
fn a_realm_is_added_changed_and_deleted() {
    let daemon = with_users().start();
    assert_eq!(daemon.post("/access/domains", LDAP).data(), json!(null));
    assert_eq!(
        daemon.post("/access/domains", LDAP).line(),
        "500 add auth server failed: domain 'corp' already exists"
    );
    let change = [("port", "636"), ("default", "1")];
    assert_eq!(daemon.put("/access/domains/corp", &change).line(), "200 OK");
    let realm = daemon.get("/access/domains/corp").data();
    assert_eq!((&realm["type"], &realm["port"]), (&json!("ldap"), &json!(636)));
    assert_eq!((&realm["default"], &realm["password"]), (&json!(1), &json!(null)));
    let digest = realm["digest"].as_str().unwrap();
    let stale = [("comment", "x"), ("digest", &"0".repeat(40))];
    assert_eq!(
        daemon.put("/access/domains/corp", &stale).line(),
        "500 update auth server failed: detected modified configuration - file changed by other \
         user? Try again."
    );
    let fresh = [("comment", "x"), ("digest", digest)];
    assert_eq!(daemon.put("/access/domains/corp", &fresh).line(), "200 OK");
    let listed = daemon.get("/access/domains").data();
    assert!(listed.to_string().contains(r#""comment":"x""#), "{listed}");

    assert_eq!(daemon.delete("/access/domains/corp").line(), "200 OK");
    assert_eq!(
        daemon.delete("/access/domains/corp").line(),
        "500 delete auth server failed: authentication domain 'corp' does not exist"
    );
    assert!(!daemon.root().join("etc/pve/priv/realm/corp.pw").exists());
}

#[test]
fn realms_are_for_those_who_may() {
    let daemon = with_users().start();
    let refused = daemon.request_as(&[("Authorization", ANN)], "POST", "/access/domains", LDAP);
    assert_eq!(refused.line(), "403 Permission check failed (/access/realm, Realm.Allocate)");
    assert!(!daemon.root().join("etc/pve/priv/realm/corp.pw").exists());
}

#[test]
fn second_factors_are_told_and_a_lock_on_them_ends() {
    let tfa = r#"{"users":{"joe@pve":{"totp":[{"x":1}],"totp-locked":true}}}"#;
    let daemon = with_users().file("etc/pve/priv/tfa.cfg", tfa).start();
    let path = "/access/users/joe@pve/tfa";
    assert_eq!(daemon.get(path).data(), json!({}));
    assert_eq!(daemon.get(&format!("{path}?multiple=1")).data(), json!({"user": ["totp"]}));
    let unlock = "/access/users/joe@pve/unlock-tfa";
    assert_eq!(daemon.put(unlock, &[]).data(), 1);
    assert_eq!(daemon.put(unlock, &[]).data(), 0);
}
