//! The order of the checks and the words of each, through the whole router without a socket.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use hyper::ext::ReasonPhrase;
use openapi::UserId;
use pve_integration::layout::Root;
use rstest::rstest;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;
use tower::ServiceExt as _;

use super::*;
use crate::programs::Programs;
use crate::router::router;

const USERS: &str = "\
user:root@pam:1:0:::::
token:root@pam!t1:0:0::
token:root@pam!sep:0:1::
user:alice@pve:1:0:::::
user:bob@pve:0:0:::::
role:Starter:VM.Audit,VM.PowerMgmt:
acl:1:/vms/100:alice@pve:Starter:
acl:0:/:root@pam!sep:PVEAuditor:
";
const SECRETS: &str = "\
root@pam!t1 aaaaaaaa-2222-3333-4444-555555555555
root@pam!sep bbbbbbbb-2222-3333-4444-555555555555
";
const TOKEN: &str = "PVEAPIToken=root@pam!t1=aaaaaaaa-2222-3333-4444-555555555555";
const SEPARATE: &str = "PVEAPIToken=root@pam!sep=bbbbbbbb-2222-3333-4444-555555555555";

struct World {
    _dir: TempDir,
    app: App,
}

struct Answer {
    line: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (root, node) = (Root::new(dir.path()).unwrap(), "pve1".parse().unwrap());
        pve_integration::access::first_start(&root, &node).unwrap();
        fs_err::write(root.user_cfg(), USERS).unwrap();
        fs_err::write(root.token_cfg(), SECRETS).unwrap();
        Self { _dir: dir, app: App::new(root, node, Programs::both("/nonexistent/lxcri-monitor")) }
    }

    /// `alice@pve`'s ticket and CSRF token.
    fn session(&self) -> (String, String) {
        let alice: UserId = "alice@pve".parse().unwrap();
        let session = self.app.access().current().unwrap().issue(&alice).unwrap();
        (session.ticket.expose_secret().to_owned(), session.csrf.expose_secret().to_owned())
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = router(&self.app).oneshot(request).await.unwrap();
        let code = response.status().as_u16();
        let reason = response.extensions().get::<ReasonPhrase>();
        let reason = reason.map(|reason| String::from_utf8_lossy(reason.as_bytes()).into_owned());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let body = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { line: format!("{code} {}", reason.unwrap_or_default()).trim().to_owned(), body }
    }

    async fn call(&self, verb: &str, path: &str, credentials: &str) -> Answer {
        let request = Request::builder()
            .method(verb)
            .uri(path)
            .header(header::AUTHORIZATION, credentials)
            .body(Body::empty());
        self.send(request.unwrap()).await
    }
}

#[rstest]
#[case::plain("/api2/json/version", "200")]
#[case::sloppy("/api2/json//version/", "200")]
#[case::no_cache("/api2/json/version?_dc=1", "200")]
#[case::extjs("/api2/extjs/version", "200")]
#[case::root("/api2/json", "200")]
#[case::localhost("/api2/json/nodes/localhost/version", "200")]
#[case::encoded("/api2/json/nodes/%70ve1/version", "200")]
#[case::unknown_path("/api2/json/doesnotexist", "501 Method 'GET /doesnotexist' not implemented")]
#[case::blank(
    "/api2/json/nodes/a%20b/version",
    "501 Method 'GET /nodes/a b/version' not implemented"
)]
#[case::unknown_parameter("/api2/json/version?foo=1", "400 Parameter verification failed.")]
#[case::conflict("/api2/json/nodes/pve1/version?node=x", "400 Parameter verification failed.")]
#[case::other_node(
    "/api2/json/nodes/pve9/tasks",
    "500 hostname lookup 'pve9' failed - failed to get address info for: pve9: \
     Name or service not known"
)]
#[case::traversal(
    "/api2/json/nodes/..%2F..%2Fetc/version",
    "501 Method 'GET /nodes/../../etc/version' not implemented"
)]
#[tokio::test]
async fn answers_a_token(#[case] path: &str, #[case] line: &str) {
    assert_eq!(World::new().call("GET", path, TOKEN).await.line, line);
}

#[tokio::test]
async fn takes_a_blank_after_the_header_name() {
    let header = TOKEN.replacen('=', " ", 1);

    assert_eq!(World::new().call("GET", "/api2/json/version", &header).await.line, "200");
}

#[rstest]
#[case::nothing("", "401 No ticket")]
#[case::unknown_token("PVEAPIToken=root@pam!no=aaaaaaaa", "401 Authentication failed!")]
#[case::wrong_secret("PVEAPIToken=root@pam!t1=aaaaaaaa", "401 Authentication failed!")]
#[case::garbage("PVEAPIToken=garbage", "401 Authentication failed!")]
#[case::forged("PVEAuthCookie=PVE:root@pam:6B043E48::AAAA", "401 Authentication failed!")]
#[tokio::test(start_paused = true)]
async fn keeps_strangers_out(#[case] credentials: &str, #[case] line: &str) {
    let start = Instant::now();

    let answer = World::new().call("GET", "/api2/extjs/version", credentials).await;

    assert_eq!(answer.line, line);
    assert_eq!(answer.body, "", "no envelope, not even for extjs");
    assert!(start.elapsed() >= Duration::from_secs(3));
}

#[tokio::test]
async fn asks_nobody_who_wants_to_log_in() {
    let world = World::new();

    for path in ["/api2/json/access/domains", "/api2/json/access/ticket"] {
        assert_eq!(world.call("GET", path, "").await.line, "200", "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn demands_the_csrf_token_for_changes() {
    let world = World::new();
    let (ticket, csrf) = world.session();
    let start = |csrf: &str| {
        Request::post("/api2/json/nodes/pve1/lxc/100/status/start")
            .header(header::COOKIE, format!("PVEAuthCookie={ticket}"))
            .header(CSRF, csrf)
            .body(Body::empty())
            .unwrap()
    };

    let without = world.send(start("")).await;
    let with = world.send(start(&csrf)).await;

    assert_eq!(without.line, "401 Permission denied - invalid csrf token");
    assert_ne!(with.line, without.line);
    let read = world.call("GET", "/api2/json/version", &format!("PVEAuthCookie={ticket}")).await;
    assert_eq!(read.line, "200");
}

#[rstest]
#[case::no_right(
    "GET",
    "/api2/json/nodes/pve1/lxc/101/config",
    "403 Permission check failed (/vms/101, VM.Audit)"
)]
#[case::before_parameters(
    "GET",
    "/api2/json/nodes/pve1/lxc/1/config?nonsense=1",
    "403 Permission check failed (/vms/1, VM.Audit)"
)]
#[case::before_the_node(
    "GET",
    "/api2/json/nodes/pve9/lxc/101/config",
    "403 Permission check failed (/vms/101, VM.Audit)"
)]
#[tokio::test]
async fn holds_a_user_to_their_rights(#[case] verb: &str, #[case] path: &str, #[case] line: &str) {
    let world = World::new();
    let (ticket, _) = world.session();

    let answer = world.call(verb, path, &format!("PVEAuthCookie={ticket}")).await;

    assert_eq!(answer.line, line);
}

#[tokio::test]
async fn holds_a_separate_token_to_its_own_rights() {
    let world = World::new();

    let answer = world.call("POST", "/api2/json/nodes/pve1/lxc/100/status/start", SEPARATE).await;

    assert_eq!(answer.line, "403 Permission check failed (/vms/100, VM.PowerMgmt)");
}

#[tokio::test(start_paused = true)]
async fn does_not_say_why_a_login_failed() {
    let world = World::new();
    let login = |user: &str| {
        Request::post("/api2/extjs/access/ticket")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONTENT_LENGTH, "100") // any: the body is in memory
            .body(Body::from(json!({"username": user, "password": "wrong"}).to_string()))
            .unwrap()
    };
    let start = Instant::now();

    for user in ["alice@pve", "bob@pve", "ghost@pve", "root@pam", "nobody"] {
        let answer = world.send(login(user)).await;

        assert_eq!(answer.line, "200", "{user}");
        let expected = json!({
            "success": 0, "status": "401", "message": "authentication failure\n", "data": null
        });
        assert_eq!(answer.json(), expected, "{user}");
    }
    assert!(start.elapsed() >= Duration::from_secs(5 * 3));
}

#[tokio::test]
async fn renews_a_ticket_for_a_ticket() {
    let world = World::new();
    let (ticket, _) = world.session();
    let body = json!({"username": "alice", "realm": "pve", "password": ticket}).to_string();
    let request = Request::post("/api2/json/access/ticket")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONTENT_LENGTH, body.len())
        .body(Body::from(body));

    let data = world.send(request.unwrap()).await.json()["data"].take();

    assert_eq!(data["username"], "alice@pve");
    assert!(data["ticket"].as_str().unwrap().starts_with("PVE:alice@pve:"));
    assert_eq!(data["cap"]["vms"]["VM.Audit"], 1);
    assert_eq!(data.get("NeedTFA"), None);
}

#[tokio::test]
async fn shows_its_document_to_anyone() {
    let document = World::new().call("GET", DOCUMENT, "").await.json();

    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    assert!(document["paths"]["/access/ticket"]["post"].is_object());
}

/// As pveproxy's plug-in asks, or somebody who would like to be it.
async fn on_behalf(peer: Peer, who: &str, path: &str) -> String {
    let request = Request::builder()
        .uri(path)
        .header(ON_BEHALF_OF, who)
        .header(REQUEST_ID, "42")
        .extension(peer)
        .body(Body::empty());
    World::new().send(request.unwrap()).await.line
}

#[rstest]
#[case::root("root@pam", "200")]
#[case::a_user_without_the_right(
    "alice@pve",
    "403 Permission check failed (/nodes/pve1, Sys.Audit)"
)]
#[case::a_token_with_its_users_rights("root@pam!t1", "200")]
#[case::a_token_with_fewer("root@pam!sep", "403 Permission check failed (/nodes/pve1, Sys.Audit)")]
#[case::nobody("alice", "400")]
#[case::an_empty_name("", "400")]
#[tokio::test]
async fn root_speaks_for_others(#[case] who: &str, #[case] line: &str) {
    let got = on_behalf(Peer::Local { uid: 0 }, who, "/api2/json/nodes/pve1/status").await;

    assert!(got.starts_with(line), "{got}");
}

#[rstest]
#[case::another_user(Peer::Local { uid: 33 })]
#[case::the_network(Peer::Network(([127, 0, 0, 1], 1).into()))]
#[tokio::test]
async fn nobody_else_does(#[case] peer: Peer) {
    assert_eq!(on_behalf(peer, "root@pam", "/api2/json/nodes/pve1/status").await, "401 No ticket");
}
