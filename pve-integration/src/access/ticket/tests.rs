use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use rstest::rstest;

use super::super::keys::tests::{SHARED, keys};
use super::*;

const MADE: u64 = 0x6B04_3E48;
const DAY: u64 = 24 * 3600;

fn alice() -> UserId {
    "alice@pve".parse().unwrap()
}

/// Whether a ticket made at `MADE` counts `later` seconds on, with a key from `key_age` before.
fn holds(key_age: i64, replaced: bool, later: i64) -> bool {
    let at = |offset: i64| MADE.saturating_add_signed(offset);
    let ticket = make(&SHARED, &alice(), MADE).unwrap();
    let keys = keys(at(-key_age), replaced);
    verify(&keys, &ticket, at(later)) == Some(Content::User(alice()))
}

#[rstest]
#[case::at_once(4000, false, 0, true)]
#[case::just_before_the_end(4000, false, 7199, true)]
#[case::at_the_end(4000, false, 7200, false)]
#[case::clock_behind(4000, false, -299, true)]
#[case::from_the_future(4000, false, -300, false)]
#[case::as_old_as_its_key(0, false, 100, true)]
#[case::a_little_older_than_its_key(-299, false, 400, true)]
#[case::older_than_its_key(-300, false, 400, false)]
#[case::made_with_a_key_that_was_overdue(90_000, false, 100, false)]
#[case::made_before_its_key_was_overdue(86_000, false, 1000, true)]
#[case::of_the_previous_key(-100, true, 500, true)]
#[case::of_the_previous_key_after_it_was_replaced(300, true, 500, false)]
#[case::of_the_previous_key_too_old(-7000, true, 7200, false)]
fn counts(#[case] key_age: i64, #[case] replaced: bool, #[case] later: i64, #[case] valid: bool) {
    assert_eq!(holds(key_age, replaced, later), valid);
}

#[test]
fn has_pves_form() {
    let ticket = make(&SHARED, &alice(), MADE).unwrap();
    let (plain, signature) = ticket.split_once("::").unwrap();

    assert_eq!(plain, "PVE:alice@pve:6B043E48");
    assert_eq!(STANDARD.decode(signature).unwrap().len(), 256);
}

/// Made with openssl from a throw-away key.
#[rstest]
#[case::sha1(
    "PVE:alice@pve:6B043E48",
    "jgz2sieZU6UOccmCOQaUZ0u43vXcEmw0nnG5FBGjXsxGrp5iTLfRahxdMrd1wTOQBRf1bQgz1u2QxwpTcGfc04PbFFh+Av7y1pKYVJ1b19ZiQgkv3kf6dsRGbALlTGBukPZIR/YV8roaeUokw8mbsfOUEfkdD6IXWDZ7VH3XUisKQtqlUtX2STNRu32VElOXvaMeyGe822zQWZ8HFlskPSOtv+E9KACZ/yz2O4mR12YaOP76N4UA3WY1h8dAF1+izy6kZBeDwyn5lt1hfxdgfZIkK4Be0q3IhQ6m2tNkGNHcwaQF5ni/iNKqdTWo6Gz8kdfmSsz6YOmR0FzMDGAFUg==",
    Some("alice@pve")
)]
#[case::sha256(
    "PVE:alice@pve:6B043E48",
    "mmafO6V3vtOyMDVxpFi7bs0W4gHYhr/cY+OWzzl9N2SJ33CQsQw/UI52joExmoo3ssM7r1rl12FIzfJeZsK9eJ2mklDHYa/1eaOLthwOoeh1zSMpwZO6HZYuWeN5U7ZE2mZw8YeVHA8yFLT9uiZGg/Y3JFtisDvk5CWChtqv62ZZEqD6H/Z5lI5ETwiyZy4b3pApYXkigvGTsE/mKOdX0d8Qav9eNhdPmAoAZxsteLUt9RnioKllmNz/4Q7b08/iSW0s1AwMSe77mcSt1GrjKst6z4dlaRcYZDbivuW4UmxRhXTbCLLVT2PjgaExr5utq7IcJACa4+WzxDQhr7shsw==",
    Some("alice@pve")
)]
#[case::signature_of_another(
    "PVE:root@pam:6B043E48",
    "jgz2sieZU6UOccmCOQaUZ0u43vXcEmw0nnG5FBGjXsxGrp5iTLfRahxdMrd1wTOQBRf1bQgz1u2QxwpTcGfc04PbFFh+Av7y1pKYVJ1b19ZiQgkv3kf6dsRGbALlTGBukPZIR/YV8roaeUokw8mbsfOUEfkdD6IXWDZ7VH3XUisKQtqlUtX2STNRu32VElOXvaMeyGe822zQWZ8HFlskPSOtv+E9KACZ/yz2O4mR12YaOP76N4UA3WY1h8dAF1+izy6kZBeDwyn5lt1hfxdgfZIkK4Be0q3IhQ6m2tNkGNHcwaQF5ni/iNKqdTWo6Gz8kdfmSsz6YOmR0FzMDGAFUg==",
    None
)]
fn verifies_what_others_signed(
    #[case] plain: &str,
    #[case] signature: &str,
    #[case] user: Option<&str>,
) {
    const KEY: &str = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAwhXQzwUwdHxsrbWAsD3MaFu6FLUlVE+YTajb4D3PojSR2j1IcCcBUv1CfLPk6Jee0x+OdlARGZlsrhodZ5c7uXKk6NmQZIlWuemehppXDJLblwERFL8ACsU8gaTGQc0+jumoRGR9kH2PxMsVFgSJZ2IQUqLHUrupQX3eQb0LLWnbPGJM2xlZiO6Jro2HsWbzmmC1bU0rAf4j21J4XURBLPneCZJiWCx87GRKm61Tj7QeJRCEm2QgAPyslRLs5V0N3JNn7u42hhuzWSNoSINaA+1o6WXrn3koE6txHjnhkwmYYn/Jy2NvkBs0w70dLM5Q6t+GKsHM6vA9kaP2T146IwIDAQAB";
    let key = Public::new(STANDARD.decode(KEY).unwrap(), MADE - 4000);

    let content = verify_with(&key, false, &format!("{plain}::{signature}"), MADE);
    assert_eq!(content, user.map(|user| Content::User(user.parse().unwrap())));
}

#[rstest]
#[case::second_factor("!tfa!%7B%22totp%22%3Atrue%7D", Some(Content::SecondFactor))]
#[case::older_second_factor("tfa!alice@pve", Some(Content::SecondFactor))]
#[case::no_user("alice", None)]
fn other_contents(#[case] data: &str, #[case] content: Option<Content>) {
    let plain = format!("PVE:{data}:{MADE:08X}");
    let ticket = format!("{plain}::{}", STANDARD.encode(SHARED.sign(&plain).unwrap()));
    assert_eq!(verify(&keys(MADE - DAY / 2, false), &ticket, MADE), content);
}

#[rstest]
#[case("")]
#[case("PVE:alice@pve:6B043E48")]
#[case("PVE:alice@pve:6B043E48::")]
#[case("PVE:alice@pve:6b043e48::AAAA")]
#[case("PVEVNC:6B043E48::AAAA")]
fn refuses_a_malformed_ticket(#[case] ticket: &str) {
    assert_eq!(verify(&keys(MADE - 4000, false), ticket, MADE), None);
}

proptest! {
    #[test]
    fn no_changed_byte_is_accepted(at in 0_usize..300, byte in 0x21_u8..0x7f) {
        let ticket = make(&SHARED, &alice(), MADE).unwrap();
        let mut changed = ticket.clone().into_bytes();
        let at = at % changed.len();
        changed[at] = byte;
        let changed = String::from_utf8(changed).unwrap();
        // The last digits of base64 have bits that count for nothing, but ours must be zero.
        prop_assume!(changed != ticket);
        prop_assert_eq!(verify(&keys(MADE - 4000, false), &changed, MADE), None);
    }
}

/// The key remembers what it found good: that, and nothing like it.
#[test]
fn a_good_ticket_vouches_for_no_other() {
    let keys = keys(MADE - 4000, false);
    let ticket = make(&SHARED, &alice(), MADE).unwrap();
    let holds = |ticket: &str, later| verify(&keys, ticket, MADE + later).is_some();

    assert!(holds(&ticket, 0) && holds(&ticket, 0));
    assert!(!holds(&ticket, 7200), "it grows old all the same");
    assert!(!holds(&ticket.replace("alice", "root"), 0));
    assert!(!holds(&ticket.replace("@pve:", "@pve:X"), 0));
    let (plain, signature) = ticket.rsplit_once("::").unwrap();
    let mut other = STANDARD.decode(signature).unwrap();
    other[0] ^= 1;
    assert!(!holds(&format!("{plain}::{}", STANDARD.encode(other)), 0));
}
