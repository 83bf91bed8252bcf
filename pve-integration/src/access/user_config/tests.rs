use proptest::prelude::*;
use rstest::rstest;

use super::*;

/// The tree that PVE's recorded answers were given on.
const WORLD: &str = include_str!("../../../../tests/golden/world/user.cfg");

#[test]
fn reads_each_kind_of_line() {
    let config = UserConfig::parse(WORLD);

    assert_eq!(config.ignored, Vec::<String>::new());
    let alice = &config.users[&"alice@pve".parse().unwrap()];
    assert_eq!((alice.comment.as_str(), alice.email.as_str()), ("a$c", "alice@example.com"));
    assert!(!config.users[&"bob@pve".parse().unwrap()].enable);
    assert_eq!(config.users[&"old@pve".parse().unwrap()].expire, 1_000_000);
    assert!(config.find_token(&"root@pam!sep".parse().unwrap()).unwrap().privsep);
    assert_eq!(config.groups["ops"].comment, "op group");
    assert_eq!(config.pools["p1"].vms, [102].into());
    assert_eq!(config.roles["CTMini"].len(), 2);
    let vm = &config.acl.children["vms"].children["102"];
    assert_eq!(vm.groups["ops"], [("PVEVMUser".to_owned(), true)].into());
}

#[test]
fn writes_what_pve_writes() {
    insta::assert_snapshot!(UserConfig::parse(WORLD));
}

#[rstest]
#[case::kind("volume:x:", "user config - ignore config line: volume:x:")]
#[case::user("user:alice:1:0:", "user config - ignore user 'alice' - invalid user name")]
#[case::expire(
    "user:al@pve:1:-5:",
    "user config - ignore user 'al@pve' - (illegal characters in expire '-5')"
)]
#[case::orphan(
    "token:al@pve!t1:0:1::",
    "user config - ignore token 'al@pve!t1' - user does not exist"
)]
#[case::member("group:g:al@pve:", "user config - ignore invalid group member 'al@pve'")]
#[case::privilege("role:r:VM.Fly:", "user config - ignore invalid privilege 'VM.Fly'")]
#[case::builtin("role:NoAccess:VM.Audit:", "user config - ignore role 'NoAccess' - it is built in")]
#[case::acl_role("acl:1:/:root@pam:Nope:", "user config - ignore invalid acl role 'Nope'")]
#[case::acl_path(
    "acl:1:/a b:root@pam:PVEAdmin:",
    "user config - ignore invalid path in acl '/a b'"
)]
#[case::acl_token(
    "acl:1:/:root@pam!xx:PVEAdmin:",
    "user config - ignore invalid acl token 'root@pam!xx'"
)]
#[case::pool(
    "pool:a/b/c/d:::",
    "user config - ignore pool 'a/b/c/d' - invalid characters in pool name"
)]
#[case::vmid("pool:p::x:", "user config - ignore invalid vmid 'x' in pool 'p'")]
fn tells_what_it_ignores(#[case] line: &str, #[case] reason: &str) {
    assert_eq!(UserConfig::parse(line).ignored, [reason]);
}

#[test]
fn keeps_a_vmid_in_the_first_pool_that_names_it() {
    let config = UserConfig::parse("pool:a::100:\npool:b::100:\n");

    assert!(config.pools["b"].vms.is_empty());
    assert_eq!(config.ignored, ["user config - ignore duplicate vmid '100' in pool 'b'"]);
}

#[test]
fn has_root_even_in_an_empty_file() {
    assert!(UserConfig::parse("").users[&"root@pam".parse().unwrap()].enable);
}

#[test]
fn does_not_write_what_root_was_given() {
    let config = UserConfig::parse("acl:1:/:root@pam,root@pve:PVEAdmin:");

    assert!(config.to_string().contains("acl:1:/:root@pve:PVEAdmin:\n"));
}

#[test]
fn a_user_who_comes_again_has_no_tokens_nor_what_they_were_granted() {
    let config = UserConfig::parse(
        "user:b@pve:0:::::::\ntoken:b@pve!t1::::\nacl:0:/vms/100:b@pve!t1:NoAccess:\nuser:b@pve:0:::::::",
    );

    let written = config.to_string();

    assert!(!written.contains("t1"), "{written}");
    assert_eq!(UserConfig::parse(&written).to_string(), written);
}

/// Lines of every kind that refer to the same few names, so that most of them mean something.
fn lines() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        "user:[ab]@pve:[01]:[0-9]{0,3}:[a-z%3A]{0,4}:é?:[a-z@]{0,3}:[ -~]{0,5}:x?:",
        "token:[ab]@pve!t[12]:[0-9]{0,2}:[01]?:[a-z ]{0,3}:",
        "group:g[12]:([ab]@pve,?){0,2}:[ -9;-~]{0,4}:",
        "pool:p(/q){0,2}:[a-z]{0,3}:(10[0-3],?){0,3}:(local)?:",
        "role:r[12]:(VM.Audit,?|Sys.Audit,?|x,?){0,3}:",
        "acl:[01]:/(vms/100|pool/p|):(@g1,?|a@pve,?|b@pve!t1,?){0,3}:(r1,?|NoAccess,?){0,2}:",
        "[ -~]{0,12}",
    ];
    proptest::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn what_is_written_reads_back_the_same(text in lines()) {
        let written = UserConfig::parse(&text).to_string();
        prop_assert_eq!(UserConfig::parse(&written).to_string(), written);
    }

    #[test]
    fn never_panics(text in any::<String>()) {
        drop(UserConfig::parse(&text));
    }
}
