use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;

const WORLD: &str = include_str!("../../../../tests/golden/world/user.cfg");

fn who(text: &str) -> AuthId {
    text.parse().unwrap()
}

/// The roles' names would do, but a privilege is what is asked for: `a` and `b` are roles that
/// have one privilege each.
fn config(lines: &str) -> UserConfig {
    let base = "user:u@pve:1:0::::::\ntoken:u@pve!t1:0:1::\ntoken:u@pve!t0:0:0::\n\
        token:root@pam!t1:0:0::\ntoken:root@pam!t2:0:1::\ngroup:g:u@pve::\ngroup:h:u@pve::\n\
        role:a:VM.Audit:\nrole:b:VM.Console:\nrole:s:Datastore.Audit:\n";
    let config = UserConfig::parse(&format!("{base}{lines}"));
    assert!(config.ignored.is_empty(), "{:?}", config.ignored);
    config
}

fn held(lines: &str, auth: &str, path: &str) -> String {
    let permissions = config(lines).permissions(&who(auth), path);
    permissions.into_iter().map(|(p, below)| format!("{p}={} ", u8::from(below))).collect()
}

#[rstest]
#[case::inherited("acl:1:/vms:u@pve:a:", "VM.Audit=1 ")]
#[case::not_propagating("acl:0:/vms:u@pve:a:", "")]
#[case::at_the_path_itself("acl:0:/vms/100:u@pve:a:", "VM.Audit=0 ")]
#[case::deeper_replaces("acl:1:/:u@pve:a:\nacl:1:/vms:u@pve:b:", "VM.Console=1 ")]
#[case::deeper_non_propagating_does_not("acl:1:/:u@pve:a:\nacl:0:/vms:u@pve:b:", "VM.Audit=1 ")]
#[case::user_before_group("acl:1:/vms:@g:a:\nacl:1:/vms:u@pve:b:", "VM.Console=1 ")]
#[case::deeper_group_replaces_user("acl:1:/:u@pve:a:\nacl:1:/vms:@g:b:", "VM.Console=1 ")]
#[case::groups_add_up("acl:1:/vms:@g:a:\nacl:1:/vms:@h:b:", "VM.Audit=1 VM.Console=1 ")]
#[case::no_access_wins_at_its_level("acl:1:/vms:u@pve:a,NoAccess:", "")]
#[case::deeper_lifts_no_access("acl:1:/:u@pve:NoAccess:\nacl:1:/vms:u@pve:a:", "VM.Audit=1 ")]
#[case::pool_adds(
    "pool:p::100::\nacl:1:/vms:u@pve:a:\nacl:1:/pool/p:u@pve:b:",
    "VM.Audit=1 VM.Console=0 "
)]
#[case::pool_from_above("pool:p/q::100::\nacl:1:/pool/p:u@pve:b:", "VM.Console=0 ")]
#[case::other_pool("pool:p::101::\nacl:1:/pool/p:u@pve:b:", "")]
#[case::pool_no_access_beats_acl(
    "pool:p::100::\nacl:1:/vms:u@pve:a:\nacl:1:/pool/p:u@pve:NoAccess:",
    ""
)]
#[case::acl_no_access_beats_pool(
    "pool:p::100::\nacl:1:/vms:u@pve:NoAccess:\nacl:1:/pool/p:u@pve:b:",
    ""
)]
fn a_user_holds_on_a_guest(#[case] lines: &str, #[case] expected: &str) {
    assert_eq!(held(lines, "u@pve", "/vms/100"), expected);
}

#[rstest]
#[case::separated_has_nothing_of_its_users("u@pve!t1", "acl:1:/:u@pve:a:", "")]
#[case::separated_has_nothing_its_user_lacks("u@pve!t1", "acl:1:/:u@pve!t1:a:", "")]
#[case::separated_not_even_where_nothing_is_inherited("u@pve!t1", "acl:0:/vms/100:u@pve!t1:a:", "")]
#[case::separated_has_what_both_have("u@pve!t1", "acl:1:/:u@pve!t1,u@pve:a:", "VM.Audit=1 ")]
#[case::flag_needs_both("u@pve!t1", "acl:0:/vms/100:u@pve!t1:a:\nacl:1:/:u@pve:a:", "VM.Audit=0 ")]
#[case::separated_is_in_no_group("u@pve!t1", "acl:1:/:@g:a:", "")]
#[case::separated_through_a_pool(
    "u@pve!t1",
    "pool:p::100::\nacl:1:/pool/p:u@pve!t1:b:\nacl:1:/:u@pve:b:",
    "VM.Console=0 "
)]
#[case::full_is_its_user("u@pve!t0", "acl:1:/:@g:a:", "VM.Audit=1 ")]
#[case::unknown_token("u@pve!nope", "acl:1:/:u@pve:a:", "")]
#[case::separated_of_root("root@pam!t2", "acl:0:/vms/100:root@pam!t2:a:", "VM.Audit=0 ")]
fn a_token_holds_on_a_guest(#[case] auth: &str, #[case] lines: &str, #[case] expected: &str) {
    assert_eq!(held(lines, auth, "/vms/100"), expected);
}

#[rstest]
#[case("root@pam")]
#[case("root@pam!t1")]
fn root_and_its_full_token_hold_everything(#[case] auth: &str) {
    assert_eq!(config("").permissions(&who(auth), "/x").len(), Privilege::ALL.len());
}

#[test]
fn a_pool_gives_rights_on_its_storage() {
    let lines = "pool:p:::local:\nacl:1:/pool/p:u@pve:s:";
    assert_eq!(held(lines, "u@pve", "/storage/local"), "Datastore.Audit=0 ");
}

#[rstest]
#[case::all(false, "Permission check failed (/vms/100, VM.Audit)")]
#[case::any(true, "Permission check failed (/vms/100, VM.Audit|VM.Migrate)")]
fn a_refusal_says_what_is_missing(#[case] any: bool, #[case] text: &str) {
    let privileges = [Privilege::VmAudit, Privilege::VmMigrate];
    let denied = config("").check(&who("u@pve"), "vms//100/", &privileges, any).unwrap_err();
    assert_eq!(denied.to_string(), text);
}

#[test]
fn any_of_none_is_refused() {
    assert!(config("").check(&who("u@pve"), "/", &[], true).is_err());
}

/// Recorded: POST /access/ticket of alice@pve.
#[test]
fn a_login_is_told_what_pve_tells() {
    let config = UserConfig::parse(WORLD);
    let map = serde_json::to_value(config.capabilities(&who("alice@pve"))).unwrap();
    let vms = [
        "VM.Audit",
        "VM.Backup",
        "VM.Config.CDROM",
        "VM.Config.Cloudinit",
        "VM.Console",
        "VM.GuestAgent.Audit",
        "VM.GuestAgent.FileRead",
        "VM.GuestAgent.FileSystemMgmt",
        "VM.GuestAgent.FileWrite",
        "VM.PowerMgmt",
    ];
    let none: [&str; 0] = [];
    let expected = json!({
        "access": none, "dc": none, "mapping": none, "nodes": none, "sdn": none, "storage": none,
        "vms": vms,
    });
    assert_eq!(map, expected);
}

/// Recorded: GET /access/permissions.
#[rstest]
#[case("root@pam!sep", &["/: Datastore.Audit Mapping.Audit Pool.Audit SDN.Audit Sys.Audit VM.Audit VM.GuestAgent.Audit"])]
#[case("alice@pve", &[
    "/vms/100: VM.Audit VM.PowerMgmt",
    "/vms/102: VM.Audit VM.Backup VM.Config.CDROM VM.Config.Cloudinit VM.Console VM.GuestAgent.Audit \
     VM.GuestAgent.FileRead VM.GuestAgent.FileSystemMgmt VM.GuestAgent.FileWrite VM.PowerMgmt",
])]
fn shows_the_permissions_pve_shows(#[case] auth: &str, #[case] expected: &[&str]) {
    let effective = UserConfig::parse(WORLD).effective(&who(auth));
    let lines: Vec<_> = effective
        .iter()
        .map(|(path, held)| {
            let names: Vec<_> = held.keys().map(|p| p.as_str()).collect();
            format!("{path}: {}", names.join(" "))
        })
        .collect();
    assert_eq!(lines, expected);
}

fn acl() -> impl Strategy<Value = String> {
    let line = "acl:[01]:/(vms|vms/100|pool/p|):(u@pve|u@pve!t1|@g):(a|b|NoAccess):";
    proptest::collection::vec(line, 0..8)
        .prop_map(|lines| format!("pool:p::100::\n{}", lines.join("\n")))
}

proptest! {
    #[test]
    fn a_separated_token_never_has_more_than_its_user(acl in acl()) {
        let config = config(&acl);
        let user = config.permissions(&who("u@pve"), "/vms/100");
        for privilege in config.permissions(&who("u@pve!t1"), "/vms/100").keys() {
            prop_assert!(user.contains_key(privilege));
        }
    }
}
