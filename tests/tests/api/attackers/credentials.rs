//! Tickets, tokens and CSRF tokens that are forged, stale, borrowed or half.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rstest::rstest;
use tests::{Builder, Daemon, Reply, SHA256_OF_SECRET_WORD};

const FAILED: &str = "401 Authentication failed!";
const NO_CSRF: &str = "401 Permission denied - invalid csrf token";

/// joe and sam have passwords, the others only tokens: off is disabled, old has expired, ann's token
/// `sep` has less than ann, and her `late` has expired.
const USERS: &str = "user:root@pam:1:0:::::\n\
    user:ann@pve:1:0:::::\n\
    user:joe@pve:1:0:::::\n\
    user:off@pve:0:0:::::\n\
    user:old@pve:1:1000000:::::\n\
    user:sam@pve:1:0:::::\n\
    token:root@pam!test:0:0::\n\
    token:ann@pve!all:0:0::\n\
    token:ann@pve!late:1000000:0::\n\
    token:ann@pve!sep:0:1::\n\
    token:off@pve!t:0:0::\n\
    token:old@pve!t:0:0::\n\
    \n\n\n\
    acl:1:/:ann@pve,joe@pve,off@pve,old@pve,sam@pve:Administrator:\n\
    acl:1:/vms/100:ann@pve!sep:PVEAuditor:\n";
const SECRET: &str = "11111111-2222-3333-4444-555555555555";
const CONFIG: &str = "/nodes/pve1/lxc/100/config";

fn world() -> Builder {
    let ids =
        ["root@pam!test", "ann@pve!all", "ann@pve!late", "ann@pve!sep", "off@pve!t", "old@pve!t"];
    let secrets: String = ids.iter().map(|id| format!("{id} {SECRET}\n")).collect();
    let hash = SHA256_OF_SECRET_WORD;
    Daemon::builder()
        .file("etc/pve/user.cfg", USERS)
        .file("etc/pve/priv/token.cfg", &secrets)
        .file("etc/pve/priv/shadow.cfg", &format!("joe:{hash}:\nsam:{hash}:\n"))
        .file("etc/pve/nodes/pve1/lxc/100.conf", crate::CONFIG)
        .token(&format!("root@pam!test={SECRET}"))
}

/// A ticket and its CSRF token.
fn login(daemon: &Daemon, user: &str) -> (String, String) {
    let fields = [("username", user), ("password", "secret-word")];
    let answer = daemon.request_as(&[], "POST", "/access/ticket", &fields).data();
    let text = |name: &str| answer[name].as_str().unwrap().to_owned();
    (text("ticket"), text("CSRFPreventionToken"))
}

fn read(daemon: &Daemon, ticket: &str) -> Reply {
    daemon.request_as(&[("Cookie", &format!("PVEAuthCookie={ticket}"))], "GET", CONFIG, &[])
}

fn write(daemon: &Daemon, ticket: &str, csrf: Option<&str>) -> Reply {
    let cookie = format!("PVEAuthCookie={ticket}");
    let mut headers = vec![("Cookie", cookie.as_str())];
    headers.extend(csrf.map(|csrf| ("CSRFPreventionToken", csrf)));
    daemon.request_as(&headers, "PUT", CONFIG, &[("memory", "64")])
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub(super) fn openssl(arguments: &[&str], input: &str) -> Vec<u8> {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl is installed, ca-certificates needs it");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}");
    output.stdout
}

pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |chunk: &[u8]| -> String {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        let digit = |at: usize| match at <= chunk.len() {
            true => char::from(DIGITS[(bits >> (18 - 6 * at) & 63) as usize]),
            false => '=',
        };
        (0..4).map(digit).collect()
    };
    bytes.chunks(3).map(group).collect()
}

/// As whoever has `key` would sign it.
fn signed(key: &Path, plain: &str) -> String {
    let signature = openssl(&["dgst", "-sha256", "-sign", key.to_str().unwrap()], plain);
    format!("{plain}::{}", base64(&signature))
}

/// The daemon with a ticket key that is three hours old, and that key.
fn with_an_old_key() -> (Daemon, std::path::PathBuf) {
    let mut daemon = world().start();
    daemon.kill();
    let public =
        fs_err::File::options().write(true).open(daemon.root().join("etc/pve/authkey.pub"));
    let three_hours_ago = SystemTime::now() - Duration::from_secs(3 * 3600);
    public.unwrap().set_modified(three_hours_ago).unwrap();
    daemon.launch();
    let key = daemon.root().join("etc/pve/priv/authkey.key");
    (daemon, key)
}

#[rstest]
#[case::valid(60, "200 OK")]
#[case::almost_expired(7100, "200 OK")]
#[case::expired(7210, FAILED)]
#[case::from_the_future(-400, FAILED)]
fn a_ticket_lives_two_hours(#[case] age: i64, #[case] line: &str) {
    let (daemon, key) = with_an_old_key();
    let made = now().checked_add_signed(-age).unwrap();
    let ticket = signed(&key, &format!("PVE:joe@pve:{made:08X}"));
    assert_eq!(read(&daemon, &ticket).line(), line);
}

#[rstest]
#[case::of_nobody("PVE:eve@pve:{now}", FAILED)]
#[case::of_one_who_is_disabled("PVE:off@pve:{now}", FAILED)]
#[case::of_one_who_has_expired("PVE:old@pve:{now}", FAILED)]
#[case::for_a_console("PVEVNC:joe@pve:{now}", FAILED)]
#[case::half_way_to_a_second_factor("PVE:!tfa!%7B%22totp%22%3Atrue%7D:{now}", "401 No ticket")]
#[case::with_a_line_of_its_own("PVE:joe@pve\n:{now}", FAILED)]
fn what_we_signed_is_not_always_a_ticket(#[case] plain: &str, #[case] line: &str) {
    let (daemon, key) = with_an_old_key();
    let ticket = signed(&key, &plain.replace("{now}", &format!("{:08X}", now())));
    let ticket = ticket.replace('%', "%25").replace('\n', "%0A");
    assert_eq!(read(&daemon, &ticket).line(), line);
}

#[test]
fn a_ticket_of_another_key_is_none() {
    let daemon = world().start();
    let key = daemon.root().join("own.key");
    openssl(&["genrsa", "-out", key.to_str().unwrap(), "2048"], "");
    let ticket = signed(&key, &format!("PVE:root@pam:{:08X}", now()));
    assert_eq!(read(&daemon, &ticket).line(), FAILED);
}

#[rstest]
#[case::another_user("joe@pve", "root@pam")]
#[case::another_prefix("PVE:", "PVEVNC:")]
#[case::no_signature("::", "")]
#[case::two_signatures("::", "::AAAA::")]
fn a_ticket_that_was_changed_is_none(#[case] old: &str, #[case] new: &str) {
    let daemon = world().start();
    let (ticket, _) = login(&daemon, "joe@pve");
    assert_eq!(read(&daemon, &ticket).line(), "200 OK");
    assert_eq!(read(&daemon, &ticket.replacen(old, new, 1)).line(), FAILED);
}

#[test]
fn a_ticket_is_as_good_as_its_user_is_now() {
    let daemon = world().start();
    let (ticket, _) = login(&daemon, "joe@pve");
    // A new password ends no session, on PVE as here: the signature is all there is to a ticket.
    let fields = [("userid", "joe@pve"), ("password", "another-word")];
    let changed = as_root(&daemon, "PUT", "/access/password", &fields);
    assert_eq!(changed.line(), "200 OK", "{}", changed.text());
    assert_eq!(read(&daemon, &ticket).line(), "200 OK");

    let enable = |on: &str| daemon.put("/access/users/joe@pve", &[("enable", on)]).data();
    enable("0");
    assert_eq!(read(&daemon, &ticket).line(), FAILED);
    enable("1");
    assert_eq!(read(&daemon, &ticket).line(), "200 OK");
    daemon.delete("/access/users/joe@pve").data();
    assert_eq!(read(&daemon, &ticket).line(), FAILED);
}

/// As root@pam itself, of whom a token is not enough for everything.
pub(crate) fn as_root(
    daemon: &Daemon,
    method: &str,
    path: &str,
    parameters: &[(&str, &str)],
) -> Reply {
    let csrf = csrf_of(daemon, "root@pam", now());
    let cookie = format!("PVEAuthCookie={}", signed_root(daemon));
    let headers = [("Cookie", cookie.as_str()), ("CSRFPreventionToken", csrf.as_str())];
    daemon.request_as(&headers, method, path, parameters)
}

fn signed_root(daemon: &Daemon) -> String {
    let key = daemon.root().join("etc/pve/priv/authkey.key");
    signed(&key, &format!("PVE:root@pam:{:08X}", now()))
}

/// As we make it: two HMACs, the first of nothing with the whole key file.
fn csrf_of(daemon: &Daemon, user: &str, made: u64) -> String {
    let hmac = |key: &[u8], text: &str| {
        let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let key = format!("hexkey:{key}");
        base64(&openssl(&["dgst", "-sha256", "-mac", "HMAC", "-macopt", &key, "-binary"], text))
    };
    let file = fs_err::read(daemon.root().join("etc/pve/pve-www.key")).unwrap();
    let secret = hmac(&file, "");
    let secret = secret.trim_end_matches('=');
    let mac = hmac(secret.as_bytes(), &format!("{made:08X}:{user}"));
    format!("{made:08X}:{}", mac.trim_end_matches('='))
}

#[rstest]
#[case::its_own("joe@pve", 0, "200 OK")]
#[case::almost_expired("joe@pve", 7100, "200 OK")]
#[case::expired("joe@pve", 7210, NO_CSRF)]
#[case::from_the_future("joe@pve", -400, NO_CSRF)]
#[case::another_users("sam@pve", 0, NO_CSRF)]
fn a_csrf_token_is_of_its_user_and_time(#[case] user: &str, #[case] age: i64, #[case] line: &str) {
    let daemon = world().start();
    let (ticket, _) = login(&daemon, "joe@pve");
    let csrf = csrf_of(&daemon, user, now().checked_add_signed(-age).unwrap());
    assert_eq!(write(&daemon, &ticket, Some(&csrf)).line(), line);
}

#[rstest]
#[case::absent(None)]
#[case::empty(Some(""))]
#[case::nonsense(Some("6B043E48:AAAA"))]
fn without_a_csrf_token_nothing_is_written(#[case] csrf: Option<&str>) {
    let daemon = world().start();
    let (ticket, _) = login(&daemon, "joe@pve");
    assert_eq!(write(&daemon, &ticket, csrf).line(), NO_CSRF);
    assert_eq!(daemon.get(CONFIG).data()["memory"], 256);
}

#[rstest]
#[case::good("ann@pve!all", SECRET, "200 OK")]
#[case::of_a_disabled_user("off@pve!t", SECRET, FAILED)]
#[case::of_an_expired_user("old@pve!t", SECRET, FAILED)]
#[case::expired("ann@pve!late", SECRET, FAILED)]
#[case::unknown("ann@pve!none", SECRET, FAILED)]
#[case::empty("ann@pve!all", "", FAILED)]
#[case::one_digit_less("ann@pve!all", "11111111-2222-3333-4444-55555555555", FAILED)]
#[case::of_another_line("ann@pve!all", "11111111-2222-3333-4444-555555555555\nx", FAILED)]
fn a_token_opens_only_when_all_of_it_is_right(
    #[case] id: &str,
    #[case] secret: &str,
    #[case] line: &str,
) {
    let daemon = world().start();
    let secret = secret.replace('\n', "%0A");
    let header = format!("PVEAPIToken={id}={secret}");
    let reply = daemon.request_as(&[("Authorization", &header)], "GET", CONFIG, &[]);
    assert_eq!(reply.line(), line);
}

#[test]
fn a_separated_token_may_what_both_may() {
    let daemon = world().start();
    let header = format!("PVEAPIToken=ann@pve!sep={SECRET}");
    let ask = |verb: &str, path: &str, fields: &[(&str, &str)]| {
        daemon.request_as(&[("Authorization", &header)], verb, path, fields).line()
    };
    assert_eq!(ask("GET", CONFIG, &[]), "200 OK");
    let denied = "403 Permission check failed (/vms/100, VM.PowerMgmt)";
    assert_eq!(ask("POST", "/nodes/pve1/lxc/100/status/start", &[]), denied);
    let denied = "403 Permission check failed (/vms/101, VM.Audit)";
    assert_eq!(ask("GET", "/nodes/pve1/lxc/101/config", &[]), denied);
    assert!(ask("PUT", CONFIG, &[("memory", "64")]).starts_with("403 "));
    let password = [("userid", "ann@pve"), ("password", "longer-word")];
    assert!(ask("PUT", "/access/password", &password).starts_with("403 "));
    // Nor does it give itself more.
    let acl = [("path", "/"), ("roles", "Administrator"), ("tokens", "ann@pve!sep")];
    assert!(ask("PUT", "/access/acl", &acl).starts_with("403 "));
    let whole = [("privsep", "0")];
    assert!(ask("PUT", "/access/users/ann@pve/token/sep", &whole).starts_with("403 "));
}
