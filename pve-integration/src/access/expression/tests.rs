use rstest::rstest;
use serde_json::{Value, json};

use super::*;

/// `adm` manages users of group g and realm pve; `u` is in g, `v` in none.
const CONFIG: &str = "user:u@pve:1:0::::::\nuser:v@pve:1:0::::::\nuser:adm@pve:1:0::::::\n\
    token:root@pam!t1:0:0::\ntoken:u@pve!t1:0:0::\ngroup:g:u@pve::\ngroup:h:::\n\
    role:um:User.Modify,Realm.AllocateUser:\nrole:vm:VM.Audit,VM.Clone:\n\
    acl:1:/access/groups/g:adm@pve:um:\nacl:1:/access/realm/pve:adm@pve:um:\nacl:1:/vms/100:u@pve:vm:\n";

fn verdict(who: &str, permissions: &Value, params: &[(&str, &str)]) -> String {
    let who: Option<AuthId> = (who != "nobody").then(|| who.parse().unwrap());
    let param = |name: &str| {
        params.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    let permissions: Option<Permissions> = serde_json::from_value(permissions.clone()).unwrap();
    match UserConfig::parse(CONFIG).allowed(who.as_ref(), permissions.as_ref(), &param) {
        Ok(()) => "ok".to_owned(),
        Err(denied) => denied.to_string().replace("Permission check failed", "failed"),
    }
}

#[rstest]
#[case::world("nobody", json!({"user": "world"}), "ok")]
#[case::world_for_those_logged_in("u@pve", json!({"user": "world"}), "ok")]
#[case::nobody("nobody", json!({"user": "all"}), "failed (user != null)")]
#[case::all("u@pve", json!({"user": "all"}), "ok")]
#[case::all_beats_a_check("u@pve", json!({"user": "all", "check": ["perm", "/", ["Sys.Audit"]]}), "ok")]
#[case::none_is_for_root("root@pam", Value::Null, "ok")]
#[case::none_is_not_for_roots_token("root@pam!t1", Value::Null, "failed (user != root@pam)")]
#[case::empty_or("u@pve", json!({"check": ["or"]}), "failed")]
fn who_may_at_all(#[case] who: &str, #[case] permissions: Value, #[case] expected: &str) {
    assert_eq!(verdict(who, &permissions, &[]), expected);
}

#[rstest]
#[case::held(json!(["perm", "/vms/{vmid}", ["VM.Audit"]]), &[("vmid", "100")], "ok")]
#[case::lacking(json!(["perm", "/vms/{vmid}", ["VM.Audit"]]), &[("vmid", "101")], "failed (/vms/101, VM.Audit)")]
#[case::missing(json!(["perm", "/vms/{vmid}", ["VM.Audit"]]), &[], "failed (/vms/-, VM.Audit)")]
#[case::first_lacking(json!(["perm", "/vms/100", ["VM.Audit", "VM.Backup", "VM.Migrate"]]), &[], "failed (/vms/100, VM.Backup)")]
#[case::any(json!(["perm", "/vms/100", ["VM.Audit", "VM.Migrate"], "any", 1]), &[], "ok")]
#[case::none_of_any(json!(["perm", "/vms/1", ["VM.Audit", "VM.Migrate"], "any", 1]), &[], "failed (/vms/1, VM.Audit|VM.Migrate)")]
#[case::bad_path(json!(["perm", "/vms/{vmid}", ["VM.Audit"]]), &[("vmid", "1 00")], "failed (, VM.Audit)")]
#[case::upwards(json!(["perm", "/vms/{vmid}", ["VM.Audit"]]), &[("vmid", "1/../100")], "failed (/vms/1/../100, VM.Audit)")]
#[case::required(json!(["perm", "/pool/{pool}", ["VM.Allocate"], "require_param", "pool"]), &[], "failed")]
#[case::or_is_bare(json!(["or", ["perm", "/", ["Sys.Audit"]], ["perm", "/x", ["Sys.Audit"]]]), &[], "failed")]
#[case::or_finds_one(json!(["or", ["perm", "/", ["Sys.Audit"]], ["perm", "/vms/100", ["VM.Audit"]]]), &[], "ok")]
#[case::and_names_it(json!(["and", ["perm", "/vms/100", ["VM.Clone"]], ["perm", "/", ["Sys.Audit"]]]), &[], "failed (/, Sys.Audit)")]
#[case::and_in_or_is_not_quiet(
    json!(["or", ["and", ["perm", "/", ["Sys.Audit"]]], ["perm", "/vms/100", ["VM.Audit"]]]),
    &[],
    "failed (/, Sys.Audit)"
)]
fn paths(#[case] check: Value, #[case] params: &[(&str, &str)], #[case] expected: &str) {
    assert_eq!(verdict("u@pve", &json!({ "check": check }), params), expected);
}

#[rstest]
#[case::self_("u@pve", "u@pve", "ok")]
#[case::token_is_not_self("u@pve!t1", "u@pve", "failed")]
#[case::other("u@pve", "v@pve", "failed")]
#[case::manager("adm@pve", "u@pve", "ok")]
#[case::of_another_group("adm@pve", "v@pve", "failed")]
#[case::unknown("adm@pve", "w@pve", "failed")]
#[case::invalid("adm@pve", "w", "user name 'w' is too short")]
fn oneself_or_a_manager(#[case] who: &str, #[case] userid: &str, #[case] expected: &str) {
    let check =
        json!({"check": ["or", ["userid-param", "self"], ["userid-group", ["User.Modify"]]]});
    assert_eq!(verdict(who, &check, &[("userid", userid)]), expected);
}

#[rstest]
#[case::into_own_group("w@pve", "g", "ok")]
#[case::into_another("w@pve", "g,h", "failed (/access/groups/h, User.Modify)")]
#[case::into_none("w@pve", "", "failed (/access/groups, User.Modify)")]
#[case::into_one_that_is_not_there("w@pve", "gone", "failed (/access/groups/gone, User.Modify)")]
#[case::of_another_realm("w@pam", "g", "failed (/access/realm/pam, Realm.AllocateUser)")]
fn a_manager_creates_users(#[case] userid: &str, #[case] groups: &str, #[case] expected: &str) {
    let check = json!({"check": ["and", ["userid-param", "Realm.AllocateUser"],
        ["userid-group", ["User.Modify"], "groups_param", "create"]]});
    assert_eq!(verdict("adm@pve", &check, &[("userid", userid), ("groups", groups)]), expected);
}

#[test]
fn changing_a_user_that_is_not_there_is_no_matter_of_rights() {
    let check = json!({"check": ["userid-group", ["User.Modify"], "groups_param", "update"]});
    assert_eq!(verdict("adm@pve", &check, &[("userid", "w@pve")]), "no such user ('w@pve')");
}

#[rstest]
#[case::guest("/vms/100", "failed (/vms/100, Permissions.Modify|VM.Allocate)")]
#[case::all_guests("/vms", "failed (/vms, Permissions.Modify)")]
#[case::not_a_path("/a b", "failed")]
fn changing_acls(#[case] path: &str, #[case] expected: &str) {
    let check = json!({"check": ["perm-modify", "{path}"]});
    assert_eq!(verdict("u@pve", &check, &[("path", path)]), expected);
}
