use std::path::Path;

use fs_err as fs;
use rstest::rstest;

use super::*;
use crate::layout::Root;

struct World {
    _dir: tempfile::TempDir,
    root: Root,
}

impl World {
    /// The tree PVE's recorded answers were given on, with keys of its own.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path()).unwrap();
        fs::create_dir_all(root.etc_pve().join("priv")).unwrap();
        let world = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/world");
        for file in ["user.cfg", "domains.cfg", "priv/token.cfg", "priv/shadow.cfg"] {
            fs::copy(world.join(file), root.etc_pve().join(file)).unwrap();
        }
        keys::keep(&root, now()).unwrap();
        Self { _dir: dir, root }
    }

    fn access(&self) -> Access {
        Access::read(&self.root).unwrap()
    }

    fn append(&self, file: &str, line: &str) {
        let path = self.root.etc_pve().join(file);
        let text = keys::optional(&path).unwrap().unwrap_or_default();
        fs::write(path, format!("{text}{line}\n")).unwrap();
    }
}

fn outcome<T: ToString>(result: Result<T, AuthError>) -> String {
    result.map_or_else(|err| err.to_string(), |ok| ok.to_string())
}

#[rstest]
#[case::right("alice@pve", "alicepw1", "ok")]
#[case::wrong("alice@pve", "alicepw2", "invalid credentials")]
#[case::empty("alice@pve", "", "invalid credentials")]
#[case::disabled("bob@pve", "alicepw1", "user 'bob@pve' is disabled")]
#[case::expired("old@pve", "x", "user 'old@pve' access expired")]
#[case::unknown("ghost@pve", "x", "no such user ('ghost@pve')")]
#[case::pam("root@pam", "x", "passwords of realm 'pam' can only be checked on a PVE node")]
#[case::no_password("eve@pve", "x", "invalid credentials")]
#[case::realm("eve@corp", "x", "auth domain 'corp' does not exist")]
#[case::second_factor(
    "tim@pve",
    "alicepw1",
    "user 'tim@pve' has a second factor, which can only be checked on a PVE node"
)]
#[case::second_factor_but_wrong("tim@pve", "alicepw2", "invalid credentials")]
#[case::second_factor_in_the_file(
    "tom@pve",
    "alicepw1",
    "user 'tom@pve' has a second factor, which can only be checked on a PVE node"
)]
#[case::yescrypt(
    "yes@pve",
    "x",
    "password hashes of kind '$y$' are not supported; set the password anew"
)]
fn a_password(#[case] user: &str, #[case] password: &str, #[case] expected: &str) {
    let world = World::new();
    let hash = "$5$abcdefgh$vzzG96PS0M/j/bPDbNSLd4FbOFBU3BKZmYZNn/eh4A5";
    world.append(
        "user.cfg",
        "user:eve@pve:1:0::::::\nuser:eve@corp:1:0::::::\nuser:tim@pve:1:0:::::x:",
    );
    world.append("user.cfg", "user:tom@pve:1:0::::::\nuser:yes@pve:1:0::::::");
    world.append("priv/shadow.cfg", &format!("tim:{hash}:\ntom:{hash}:\nyes:$y$j9T$a$b:"));
    world.append(
        "priv/tfa.cfg",
        r#"{"users": {"tom@pve": {"totp": [{}]}, "alice@pve": {"totp": []}}}"#,
    );

    let result = world.access().login(&user.parse().unwrap(), &password.into()).map(|()| "ok");
    assert_eq!(outcome(result), expected);
}

#[rstest]
#[case::right("alice@pve!tok=11111111-2222-3333-4444-555555555555", "alice@pve!tok")]
#[case::wrong("alice@pve!tok=11111111-2222-3333-4444-555555555556", "invalid token value!")]
#[case::unknown("alice@pve!nope=x", "no such token 'nope' for user 'alice@pve'")]
#[case::of_a_disabled_user("bob@pve!tok=bbbbbbbb", "user 'bob@pve' is disabled")]
#[case::of_an_expired_user("old@pve!tok=cccccccc", "user 'old@pve' access expired")]
#[case::expired("alice@pve!gone=dddddddd", "token 'gone' access expired")]
#[case::no_secret("alice@pve!tok", "no tokenid specified")]
#[case::no_token("alice@pve=x", "no tokenid specified")]
#[case::not_in_user_cfg("alice@pve!ghost=eeeeeeee", "no such token 'ghost' for user 'alice@pve'")]
fn a_token(#[case] sent: &str, #[case] expected: &str) {
    let world = World::new();
    world.append(
        "user.cfg",
        "token:bob@pve!tok:0:0::\ntoken:old@pve!tok:0:0::\ntoken:alice@pve!gone:1000:0::",
    );
    world.append(
        "priv/token.cfg",
        "bob@pve!tok bbbbbbbb\nold@pve!tok cccccccc\nalice@pve!gone dddddddd\nalice@pve!ghost eeeeeeee",
    );
    assert_eq!(outcome(world.access().verify_token(sent)), expected);
}

#[test]
fn a_session_is_its_users_alone() {
    let world = World::new();
    let access = world.access();
    let alice = "alice@pve".parse().unwrap();
    let session = access.issue(&alice).unwrap();
    let (ticket, csrf) = (session.ticket.expose_secret(), session.csrf.expose_secret());

    assert_eq!(access.verify_ticket(ticket).unwrap(), alice);
    assert!(access.verify_csrf(&alice, csrf).is_ok());
    assert!(access.verify_csrf(&"root@pam".parse().unwrap(), csrf).is_err());
    assert!(World::new().access().verify_ticket(ticket).is_err()); // signed elsewhere
}

#[rstest]
#[case::own("alice@pve", "alice@pve", true)]
#[case::of_root("root@pam", "alice@pve", true)]
#[case::of_another("alice@pve", "root@pam", false)]
#[case::for_a_disabled_user("root@pam", "bob@pve", false)]
fn a_ticket_renews(#[case] holder: &str, #[case] wanted: &str, #[case] allowed: bool) {
    let access = World::new().access();
    let ticket = access.issue(&holder.parse().unwrap()).unwrap().ticket;
    assert_eq!(access.login(&wanted.parse().unwrap(), &ticket).is_ok(), allowed);
}

#[test]
fn a_disabled_users_ticket_ends_at_once() {
    let world = World::new();
    let ticket = world.access().issue(&"alice@pve".parse().unwrap()).unwrap().ticket;
    world.append("user.cfg", "user:alice@pve:0:0::::::");

    let err = world.access().verify_ticket(ticket.expose_secret()).unwrap_err();
    assert_eq!(err.to_string(), "user 'alice@pve' is disabled");
}

#[test]
fn a_change_of_the_files_is_seen() {
    let world = World::new();
    let access = world.access();
    assert!(!access.is_current()); // too fresh to tell
    let past = SystemTime::now() - std::time::Duration::from_secs(60);
    let mut files = vec![world.root.user_cfg(), world.root.domains_cfg(), world.root.token_cfg()];
    files.extend(keys::files(&world.root));
    for file in files.iter().filter(|file| file.exists()) {
        fs::OpenOptions::new().write(true).open(file).unwrap().file().set_modified(past).unwrap();
    }
    let access = world.access();
    assert!(access.is_current());

    world.append("user.cfg", "user:eve@pve:1:0::::::");
    assert!(!access.is_current());
}
