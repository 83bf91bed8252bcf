use std::os::unix::fs::PermissionsExt;
use std::sync::LazyLock;
use std::time::SystemTime;

use super::*;

/// One pair for all tests, as making one takes long.
pub(crate) static SHARED: LazyLock<Keys> = LazyLock::new(|| {
    let private = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    Keys { private: Some(private), current: None, old: None, csrf: None }
});

/// Keys to verify with what `SHARED` signed.
pub(crate) fn keys(since: u64, replaced: bool) -> Keys {
    let der = public_der(SHARED.private.as_ref().unwrap()).unwrap();
    let public = Some(Public::new(der, since));
    let (current, old) = if replaced { (None, public) } else { (public, None) };
    Keys { private: None, current, old, csrf: None }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn empty_root() -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::new(dir.path()).unwrap();
    fs::create_dir_all(root.etc_pve().join("priv")).unwrap();
    (dir, root)
}

fn contents(root: &Root) -> Vec<Option<String>> {
    files(root).iter().map(|path| optional(path).unwrap()).collect()
}

#[test]
fn makes_what_is_missing_and_keeps_what_is_there() {
    let (_dir, root) = empty_root();
    keep(&root, now()).unwrap();
    let made = contents(&root);
    keep(&root, now()).unwrap();

    assert_eq!(contents(&root), made);
    let mode = fs::metadata(root.authkey_key()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let keys = Keys::read(&root).unwrap();
    assert!(keys.current.unwrap().verify("x", &Keys::read(&root).unwrap().sign("x").unwrap()));
    assert!(keys.csrf.is_some() && keys.old.is_none());
}

#[test]
fn changes_the_ticket_key_after_a_day() {
    let (_dir, root) = empty_root();
    keep(&root, now()).unwrap();
    let before = Keys::read(&root).unwrap();
    keep(&root, now() + LIFETIME + 10).unwrap();

    let after = Keys::read(&root).unwrap();
    let signed = before.sign("x").unwrap();
    assert!(!after.current.unwrap().verify("x", &signed));
    assert!(after.old.unwrap().verify("x", &signed));
}

#[test]
fn completes_a_change_that_was_interrupted() {
    let (_dir, root) = empty_root();
    keep(&root, now()).unwrap();
    let before = contents(&root);
    keep(&root, now() + LIFETIME + 10).unwrap();
    let after = contents(&root);
    // As if it had stopped right after the private key.
    atomic::write(&root.authkey_pub(), 0o640, before[1].as_ref().unwrap().as_bytes()).unwrap();
    fs::remove_file(old_path(&root)).unwrap();

    keep(&root, now() + LIFETIME + 20).unwrap();

    assert_eq!(contents(&root), after);
}

#[test]
fn reads_both_forms_of_a_private_key() {
    let (_dir, root) = empty_root();
    keep(&root, now()).unwrap();
    let pem = fs::read_to_string(root.authkey_key()).unwrap();
    let (_, pkcs8) = from_pem(&pem).unwrap();
    // PKCS#8 wraps the older form, the last thing in it, in 26 bytes.
    let older = to_pem("RSA PRIVATE KEY", &pkcs8[26..]);
    atomic::write(&root.authkey_key(), 0o600, older.as_bytes()).unwrap();

    let keys = Keys::read(&root).unwrap();
    assert!(keys.current.as_ref().unwrap().verify("x", &keys.sign("x").unwrap()));
}

#[test]
fn names_a_file_that_is_no_key() {
    let (_dir, root) = empty_root();
    fs::write(root.authkey_key(), "nonsense").unwrap();
    assert!(keep(&root, now()).unwrap_err().to_string().ends_with("authkey.key' is no RSA key"));
}
