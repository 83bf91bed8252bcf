use std::thread;

use fs_err as fs;
use rstest::rstest;

use super::*;
use crate::access::{Access, Shadow};

const WORLD: &str = include_str!("../../../../tests/golden/world/user.cfg");

/// The recorded world, to be changed.
fn world() -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::new(dir.path()).unwrap();
    fs::create_dir_all(root.etc_pve().join("priv")).unwrap();
    fs::write(root.user_cfg(), WORLD).unwrap();
    (dir, root)
}

fn config(root: &Root) -> UserConfig {
    UserConfig::parse(&fs::read_to_string(root.user_cfg()).unwrap())
}

fn refused<T: std::fmt::Debug>(done: Result<T, EditError>) -> String {
    done.unwrap_err().to_string()
}

#[test]
fn edits_at_the_same_time_lose_nothing() {
    let (_dir, root) = world();
    thread::scope(|scope| {
        for number in 0..8 {
            let root = &root;
            scope.spawn(move || create_group(root, &format!("g{number}"), String::new()).unwrap());
        }
    });
    assert_eq!(config(&root).groups.len(), 9);
    assert_eq!(fs::read_dir(root.etc_pve()).unwrap().count(), 2);
}

#[test]
fn a_new_user_has_what_was_given() {
    let (_dir, root) = world();
    let settings = UserChange {
        comment: Some("new: one".to_owned()),
        groups: Some(vec!["ops".to_owned()]),
        ..UserChange::default()
    };
    let id: UserId = "eve@pve".parse().unwrap();
    let new = NewUser { id: id.clone(), password: Some("eve-secret".into()), settings };
    create_user(&root, new).unwrap();

    let config = config(&root);
    assert!(config.users[&id].enable && config.groups["ops"].users.contains(&id));
    assert!(config.to_string().contains("user:eve@pve:1:0::::new%3A one::\n"), "{config}");
    authenticate(&root, &id, &"eve-secret".into()).unwrap();
    assert_eq!(refused(authenticate(&root, &id, &"wrong".into())), "invalid credentials");
    set_password(&root, &id, &"another-secret".into()).unwrap();
    authenticate(&root, &id, &"another-secret".into()).unwrap();
}

#[rstest]
#[case::known("alice@pve", None, "create user failed: user 'alice@pve' already exists")]
#[case::no_group("eve@pve", Some("gone"), "create user failed: no such group 'gone'")]
#[case::no_realm("eve@nowhere", None, "create user failed: auth domain 'nowhere' does not exist")]
fn a_refused_user_leaves_nothing(
    #[case] id: &str,
    #[case] group: Option<&str>,
    #[case] reason: &str,
) {
    let (_dir, root) = world();
    let settings =
        UserChange { groups: group.map(|group| vec![group.to_owned()]), ..UserChange::default() };
    let new = NewUser { id: id.parse().unwrap(), password: Some("eve-secret".into()), settings };
    assert_eq!(refused(create_user(&root, new)), reason);
    assert_eq!(fs::read_to_string(root.user_cfg()).unwrap(), WORLD);
    assert!(!root.shadow_cfg().exists());
}

#[test]
fn a_realm_may_take_all_cases_for_one() {
    let (_dir, root) = world();
    fs::write(root.domains_cfg(), "pve: pve\n\tcase-sensitive 0\n").unwrap();
    let new = NewUser {
        id: "ALICE@pve".parse().unwrap(),
        password: None,
        settings: UserChange::default(),
    };
    assert_eq!(
        refused(create_user(&root, new)),
        "create user failed: user 'alice@pve' already exists"
    );
}

#[test]
fn a_deleted_user_is_forgotten_everywhere() {
    let (_dir, root) = world();
    let alice: UserId = "alice@pve".parse().unwrap();
    set_password(&root, &alice, &"alice-secret".into()).unwrap();
    let tfa = root.etc_pve().join("priv/tfa.cfg");
    fs::write(&tfa, r#"{"users":{"alice@pve":{"totp":[{}]},"bob@pve":{}}}"#).unwrap();

    delete_user(&root, &alice).unwrap();

    let text = fs::read_to_string(root.user_cfg()).unwrap();
    assert!(!text.contains("alice"), "{text}");
    assert!(Shadow::parse(&fs::read_to_string(root.shadow_cfg()).unwrap()).get("alice").is_none());
    assert_eq!(fs::read_to_string(&tfa).unwrap(), r#"{"users":{"bob@pve":{}}}"#);
    delete_user(&root, &alice).unwrap();
}

#[test]
fn a_user_whose_second_factor_cannot_be_forgotten_is_shut_out() {
    let (_dir, root) = world();
    fs::write(root.etc_pve().join("priv/tfa.cfg"), "{").unwrap();
    let alice: UserId = "alice@pve".parse().unwrap();
    let reason = refused(delete_user(&root, &alice));
    assert!(reason.starts_with("delete user failed: ") && reason.contains("tfa.cfg"), "{reason}");
    assert!(!config(&root).users[&alice].enable);
}

#[test]
fn a_token_opens_until_its_secret_is_made_anew() {
    let (_dir, root) = world();
    let id: TokenId = "alice@pve!ci".parse().unwrap();
    let new = NewToken { privsep: true, expire: 0, comment: "ci".to_owned() };
    let opens = |secret: &secrecy::SecretString| {
        let access = Access::read(&root).unwrap();
        access.verify_token(&format!("{id}={}", secret.expose_secret())).is_ok()
    };
    let first = create_token(&root, &id, new.clone()).unwrap();
    assert!(opens(&first));
    assert_eq!(
        refused(create_token(&root, &id, new)),
        "generating token failed: Token already exists."
    );

    let change =
        TokenChange { regenerate: true, delete: vec!["comment".into()], ..Default::default() };
    let (token, second) = change_token(&root, &id, change).unwrap();
    assert!(token.privsep && token.comment.is_empty());
    assert!(!opens(&first) && opens(second.as_ref().unwrap()));

    let change = TokenChange { delete: vec!["expire".into()], ..Default::default() };
    assert_eq!(
        refused(change_token(&root, &id, change)),
        "updating token info failed: 400 Parameter verification failed.\n\
         delete: unknown option 'expire'\n"
    );
    delete_token(&root, &id).unwrap();
    assert!(!fs::read_to_string(root.token_cfg()).unwrap().contains("ci"));
    assert_eq!(
        refused(delete_token(&root, &id)),
        "deleting token failed: no such token 'ci' for user 'alice@pve'"
    );
}

#[test]
fn a_role_or_group_goes_with_its_name() {
    let (_dir, root) = world();
    assert_eq!(
        refused(update_role(&root, "PVEAdmin", [].into(), false)),
        "auto-generated role 'PVEAdmin' cannot be modified"
    );
    update_role(&root, "CTMini", [openapi::Privilege::VmConsole].into(), true).unwrap();
    assert_eq!(config(&root).roles["CTMini"].len(), 3);
    delete_role(&root, "CTMini").unwrap();
    assert_eq!(
        refused(delete_role(&root, "CTMini")),
        "delete role failed: role 'CTMini' does not exist"
    );
    delete_group(&root, "ops").unwrap();
    assert!(!fs::read_to_string(root.user_cfg()).unwrap().contains("ops"));
}

fn members(delete: bool, allow_move: bool) -> PoolChange {
    PoolChange {
        vms: vec!["102".parse().unwrap()],
        storage: vec!["local".parse().unwrap()],
        delete,
        allow_move,
        ..PoolChange::default()
    }
}

#[test]
fn a_guest_is_in_one_pool() {
    let (_dir, root) = world();
    let me = "root@pam".parse().unwrap();
    create_pool(&root, "p2", String::new()).unwrap();
    assert_eq!(
        refused(change_pool(&root, &me, "p2", &members(false, false))),
        "update pools failed: VM 102 belongs already to pool 'p1' and 'allow-move' is not set"
    );
    change_pool(&root, &me, "p2", &members(false, true)).unwrap();
    let config = config(&root);
    assert!(config.pools["p1"].vms.is_empty() && config.pools["p2"].vms.contains(&102));
    assert_eq!(
        refused(change_pool(&root, &me, "p2", &members(false, true))),
        "update pools failed: VM 102 is already a pool member"
    );
    assert_eq!(
        refused(change_pool(&root, &"alice@pve".parse().unwrap(), "p2", &members(true, false))),
        "update pools failed: 403 Permission check failed (/vms/102, Permissions.Modify|VM.Allocate)"
    );
}

#[test]
fn a_guest_that_is_gone_leaves_no_rights_behind() {
    let (_dir, root) = world();
    forget_guest(&root, "999".parse().unwrap()).unwrap();
    assert_eq!(fs::read_to_string(root.user_cfg()).unwrap(), WORLD);
    forget_guest(&root, "102".parse().unwrap()).unwrap();
    let text = fs::read_to_string(root.user_cfg()).unwrap();
    assert!(text.contains("/vms/100") && text.contains("pool:p1:"), "{text}");
    assert!(!text.contains("102"), "{text}");
}

#[test]
fn only_an_empty_pool_is_deleted() {
    let (_dir, root) = world();
    let gone = Inventory { guest: &|_| false, storage: &|_| false };
    let there = Inventory { guest: &|id| id == 102, storage: &|_| true };
    create_pool(&root, "p1/a1", String::new()).unwrap();
    let reason = |inventory| refused(delete_pool(&root, "p1", inventory));
    assert_eq!(reason(gone), "delete pool failed: pool 'p1' is not empty (contains pool 'p1/a1')");
    delete_pool(&root, "p1/a1", gone).unwrap();
    assert_eq!(reason(there), "delete pool failed: pool 'p1' is not empty (contains VM 102)");
    delete_pool(&root, "p1", gone).unwrap();
    assert_eq!(reason(gone), "delete pool failed: pool 'p1' does not exist");
}

#[rstest]
#[case("p1", "create pool failed: pool 'p1' already exists")]
#[case("no/x", "create pool failed: parent 'no' of pool 'no/x' does not exist")]
#[case("1x", "create pool failed: pool name must start with a letter")]
#[case("p1/1x", "create pool failed: pool name must start with a letter")]
fn refuses_a_pool(#[case] name: &str, #[case] reason: &str) {
    let (_dir, root) = world();
    assert_eq!(refused(create_pool(&root, name, String::new())), reason);
}
