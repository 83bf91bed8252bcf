//! Storages: what is on them, and how files and volumes come and go.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use rstest::rstest;
use serde_json::json;
use tests::{Client, Daemon, Reply, eventually, form};

use crate::{ANN, with_users};

const BACKUP: &str = "vzdump-lxc-100-2026_01_31-01_02_03.tar.zst";
/// SHA-256 of `abc`.
const SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn dump(daemon: &Daemon) -> std::path::PathBuf {
    daemon.root().join("var/lib/vz/dump")
}

fn with_backup() -> Daemon {
    Daemon::builder().file(&format!("var/lib/vz/dump/{BACKUP}"), "backup").start()
}

/// What the task `reply` names ended in.
fn end(daemon: &Daemon, reply: &Reply) -> String {
    let upid = reply.data().as_str().unwrap().to_owned();
    eventually(30, "the task ends", || {
        let status = daemon.get(&format!("/nodes/pve1/tasks/{upid}/status")).data();
        (status["status"] == "stopped").then(|| status["exitstatus"].as_str().unwrap().to_owned())
    })
}

#[test]
fn definitions_one_by_one_and_by_type() {
    let daemon = Daemon::start();
    let local = daemon.get("/storage/local").data();
    assert_eq!((&local["type"], &local["storage"]), (&json!("dir"), &json!("local")));
    assert_eq!(daemon.get("/storage?type=dir").data()[0], local);
    assert_eq!(daemon.get("/storage?type=nfs").data(), json!([]));
    assert_eq!(daemon.get("/storage/nope").line(), "500 storage 'nope' does not exist");
}

#[test]
fn a_backup_has_notes_and_can_be_protected() {
    let daemon = with_backup();
    let path = format!("/nodes/pve1/storage/local/content/local:backup/{BACKUP}");

    let plain = daemon.get(&path).data();
    assert_eq!(plain["path"], dump(&daemon).join(BACKUP).to_str().unwrap());
    assert_eq!(
        [&plain["format"], &plain["size"], &plain["notes"], &plain["protected"]],
        [&json!("raw"), &json!(6), &json!(""), &json!(0)]
    );
    let changed = daemon.put(&path, &[("notes", "one\ntwo"), ("protected", "1")]);
    assert_eq!(changed.data(), json!(null));
    assert_eq!(daemon.get(&path).data()["notes"], "one\ntwo");
    let row = daemon.get("/nodes/pve1/storage/local/content?content=backup").data()[0].clone();
    assert_eq!(
        [&row["notes"], &row["protected"], &row["subtype"], &row["vmid"], &row["format"]],
        [&json!("one"), &json!(1), &json!("lxc"), &json!(100), &json!("tar.zst")]
    );

    let refused = daemon.delete(&path);
    let protected = format!("cannot remove protected volume 'backup/{BACKUP}' on 'local'");
    assert_eq!(end(&daemon, &refused), protected);
    let refused = daemon.delete(&format!("{path}?delay=20"));
    assert_eq!(refused.line(), format!("500 {protected}"));
    daemon.put(&path, &[("protected", "0")]).data();
    assert_eq!(daemon.delete(&format!("{path}?delay=20")).data(), json!(null));
    assert_eq!(fs_err::read_dir(dump(&daemon)).unwrap().count(), 0);
}

#[rstest]
#[case::storage_and_slash("content/local:vztmpl/a.tar")]
#[case::slash("content/vztmpl/a.tar")]
#[case::encoded("content/local%3Avztmpl%2Fa.tar")]
fn a_template_is_removed_by_any_spelling(#[case] spelling: &str) {
    let daemon = Daemon::start();
    fs_err::write(daemon.templates().join("a.tar"), "x").unwrap();

    let reply = daemon.delete(&format!("/nodes/pve1/storage/local/{spelling}"));

    assert!(reply.data().as_str().unwrap().contains(":imgdel:local:"), "{}", reply.text());
    assert_eq!(end(&daemon, &reply), "OK");
    assert!(!daemon.templates().join("a.tar").exists());
}

#[rstest]
#[case::other_storage("other:vztmpl/a.tar", "storage ID mismatch (other != local)\n")]
#[case::no_id("l:x", "unable to parse volume ID 'l:x'\n")]
fn a_volume_must_be_of_the_storage(#[case] volume: &str, #[case] complaint: &str) {
    let daemon = Daemon::start();
    let reply = daemon.get(&format!("/nodes/pve1/storage/local/content/{volume}"));
    assert_eq!(reply.errors(), json!({ "volume": complaint }));
}

#[rstest]
#[case::traversal("vztmpl/../../../../etc/passwd")]
#[case::encoded("vztmpl%2F..%2F..%2F..%2Fetc%2Fpasswd")]
#[case::image("100/../../x.raw")]
fn no_volume_leaves_the_storage(#[case] volume: &str) {
    let daemon = Daemon::start();
    for method in ["GET", "DELETE"] {
        let path = format!("/nodes/pve1/storage/local/content/local:{volume}");
        let reply = daemon.request(method, &path, &[]);
        assert!(reply.reason.starts_with("unable to parse directory volume name"), "{reply:?}");
    }
}

#[test]
fn who_may_not_use_a_storage_sees_and_removes_nothing() {
    let daemon = with_users().file("var/lib/vz/template/cache/a.tar", "x").start();
    let path = "/nodes/pve1/storage/local/content/local:vztmpl/a.tar";
    let ann = [("Authorization", ANN)];

    let seen = daemon.request_as(&ann, "GET", path, &[]);
    let removed = daemon.request_as(&ann, "DELETE", path, &[]);

    assert_eq!(
        seen.line(),
        "403 Permission check failed (/storage/local, Datastore.AllocateSpace|Datastore.Audit)"
    );
    assert_eq!(removed.line(), "403 Permission check failed (/storage/local, Datastore.Allocate)");
}

#[test]
fn an_image_is_made_under_its_name() {
    let daemon = Daemon::start();
    let fields = [("vmid", "100"), ("filename", "vm-100-disk-9.raw"), ("size", "2M")];

    let made = daemon.post("/nodes/pve1/storage/local/content", &fields);

    assert_eq!(made.data(), "local:100/vm-100-disk-9.raw");
    let path = daemon.root().join("var/lib/vz/images/100/vm-100-disk-9.raw");
    assert_eq!(fs_err::metadata(path).unwrap().len(), 2 << 20);
    let again = daemon.post("/nodes/pve1/storage/local/content", &fields);
    assert!(again.reason.ends_with("vm-100-disk-9.raw' already exists"), "{}", again.line());
    let odd = [("vmid", "100"), ("filename", "../x.raw"), ("size", "1")];
    let odd = daemon.post("/nodes/pve1/storage/local/content", &odd);
    assert_eq!(odd.line(), "500 unable to parse volume filename '../x.raw'");
}

fn part(name: &str, value: &str) -> String {
    format!("--b0\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

fn file(name: &str, value: &str) -> String {
    format!(
        "--b0\r\nContent-Disposition: form-data; name=\"filename\"; filename=\"{name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n{value}\r\n"
    )
}

const UPLOAD: &str = "POST /api2/json/nodes/pve1/storage/local/upload";
const MULTIPART: (&str, &str) = ("Content-Type", "multipart/form-data; boundary=b0");

fn upload(daemon: &Daemon, parts: &[String]) -> Reply {
    let token = format!("PVEAPIToken={}", daemon.token());
    let body = parts.concat() + "--b0--\r\n";
    let headers = [("Authorization", token.as_str()), MULTIPART];
    Client::new(daemon.address()).request(UPLOAD, &headers, body.as_bytes())
}

fn templates(daemon: &Daemon) -> Vec<String> {
    let entries = fs_err::read_dir(daemon.templates()).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn an_uploaded_template_is_listed() {
    let daemon = Daemon::start();
    let large = "0123456789abcdef".repeat(100_000);

    let reply = upload(&daemon, &[part("content", "vztmpl"), file("my box.tar", &large)]);

    assert!(reply.data().as_str().unwrap().contains(":imgcopy::"), "{}", reply.text());
    assert_eq!(end(&daemon, &reply), "OK");
    let row = daemon.get("/nodes/pve1/storage/local/content?content=vztmpl").data()[0].clone();
    assert_eq!(row["volid"], "local:vztmpl/my_box.tar");
    assert_eq!(row["size"], large.len());
    let stored = fs_err::read_to_string(daemon.templates().join("my_box.tar")).unwrap();
    assert!(stored == large);
}

#[rstest]
#[case::right(SHA256, "OK")]
#[case::wrong("00", &format!("checksum mismatch: got '{SHA256}' != expect '00'"))]
fn a_checksum_is_verified(#[case] checksum: &str, #[case] exit: &str) {
    let daemon = Daemon::start();
    let parts = [
        part("content", "vztmpl"),
        part("checksum-algorithm", "sha256"),
        part("checksum", checksum),
        file("a.tar", "abc"),
    ];

    let reply = upload(&daemon, &parts);

    assert_eq!(end(&daemon, &reply), exit);
    assert_eq!(templates(&daemon).len(), usize::from(exit == "OK"));
}

#[rstest]
#[case::extension(&[part("content", "vztmpl"), file("a.zip", "x")], "wrong file extension")]
#[case::no_content(
    &[file("a.tar", "x")],
    "property is missing and it is not optional"
)]
#[case::content(
    &[part("content", "backup"), file("a.tar", "x")],
    "value 'backup' does not have a value in the enumeration 'iso, vztmpl, import'"
)]
fn an_upload_is_checked(#[case] parts: &[String], #[case] complaint: &str) {
    let daemon = Daemon::start();
    let errors = upload(&daemon, parts).errors();
    let complaints: Vec<_> = errors.as_object().unwrap().values().collect();
    assert_eq!(complaints, [complaint]);
    assert_eq!(templates(&daemon), [""; 0]);
}

#[rstest]
#[case::no_file(&[part("content", "vztmpl")])]
#[case::behind_the_file(&[file("a.tar", "x"), part("content", "vztmpl")])]
#[case::unknown(&[part("content", "vztmpl"), part("x", "y"), file("a.tar", "x")])]
fn an_upload_has_its_parts_in_order(#[case] parts: &[String]) {
    let daemon = Daemon::start();
    let reply = upload(&daemon, parts);
    assert!(reply.line().starts_with("500 upload failed"), "{}", reply.line());
    assert_eq!(templates(&daemon), [""; 0]);
}

#[test]
fn a_form_without_a_file_is_no_upload() {
    let daemon = Daemon::start();
    let fields = [("content", "vztmpl"), ("filename", "a.tar")];
    let reply = daemon.post("/nodes/pve1/storage/local/upload", &fields);
    assert_eq!(reply.line(), "500 missing temporary file name");
    let named =
        [("content", "vztmpl"), ("filename", "a.tar"), ("tmpfilename", "/var/tmp/pveupload-1")];
    let reply = daemon.post("/nodes/pve1/storage/local/upload", &named);
    assert_eq!(reply.line(), "500 missing temporary file name");
}

#[test]
fn a_page_uploads_with_its_cookie_alone_and_only_what_its_user_may() {
    let daemon = with_users().start();
    let login = [("username", "joe@pve"), ("password", "secret-word")];
    let answer = daemon.request_as(&[], "POST", "/access/ticket", &login).data();
    let cookie = format!("PVEAuthCookie={}", answer["ticket"].as_str().unwrap());
    let body = [part("content", "vztmpl"), file("a.tar", "x"), "--b0--\r\n".to_owned()].concat();

    let headers = [("Cookie", cookie.as_str()), MULTIPART];
    let reply = Client::new(daemon.address()).request(UPLOAD, &headers, body.as_bytes());
    assert_eq!(end(&daemon, &reply), "OK");
    let headers = [("Authorization", ANN), MULTIPART];
    let reply = Client::new(daemon.address()).request(UPLOAD, &headers, body.as_bytes());
    assert_eq!(
        reply.line(),
        "403 Permission check failed (/storage/local, Datastore.AllocateTemplate)"
    );
}

#[test]
fn an_upload_that_breaks_off_leaves_nothing() {
    let mut daemon = Daemon::start();
    let begin = |daemon: &Daemon| {
        let mut stream = TcpStream::connect(daemon.address()).unwrap();
        let body = [part("content", "vztmpl"), file("a.tar", &"x".repeat(1 << 20))].concat();
        let head = format!(
            "{UPLOAD} HTTP/1.1\r\nHost: x\r\nAuthorization: PVEAPIToken={}\r\n{}: {}\r\n\
             Content-Length: {}\r\n\r\n",
            daemon.token(),
            MULTIPART.0,
            MULTIPART.1,
            body.len() + (1 << 20),
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        stream
    };
    let storage = daemon.root().join("var/lib/vz");
    let entries = || fs_err::read_dir(&storage).unwrap().count();
    let before = entries();

    let client_left = begin(&daemon);
    drop(client_left);
    let _daemon_dies = begin(&daemon);
    daemon.kill();

    assert_eq!(templates(&daemon), [""; 0]);
    assert_eq!(entries(), before);
}

/// Answers one request with `response`.
fn serve_once(response: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 1024];
        assert!(stream.read(&mut head).unwrap() > 0);
        stream.write_all(response.as_bytes()).unwrap();
    });
    format!("http://{address}/images/a.tar?x=1")
}

const ABC: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Type: application/x-tar; a=b\r\n\
    Connection: close\r\n\r\nabc";

#[rstest]
#[case::right(ABC, SHA256, "OK")]
#[case::wrong(ABC, "00", &format!("checksum mismatch: got '{SHA256}' != expect '00'"))]
#[case::missing(
    "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    SHA256,
    "download failed: the server answered '404 Not Found'"
)]
fn a_download_is_whole_or_nothing(
    #[case] response: &'static str,
    #[case] checksum: &str,
    #[case] exit: &str,
) {
    let daemon = Daemon::start();
    let url = serve_once(response);
    let fields = [
        ("content", "vztmpl"),
        ("filename", "a.tar"),
        ("url", &url),
        ("checksum", checksum),
        ("checksum-algorithm", "sha256"),
    ];

    // Ansible has all of them in the query.
    let path = format!("/nodes/pve1/storage/local/download-url?{}", form(&fields));
    let reply = daemon.post(&path, &[]);

    assert!(reply.data().as_str().unwrap().contains(":download:a.tar:"), "{}", reply.text());
    assert_eq!(end(&daemon, &reply), exit);
    assert_eq!(templates(&daemon).len(), usize::from(exit == "OK"));
}

#[test]
fn a_download_that_breaks_off_leaves_nothing() {
    let daemon = Daemon::start();
    let url = serve_once("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
    let fields = [("content", "vztmpl"), ("filename", "a.tar"), ("url", &url)];

    let reply = daemon.post("/nodes/pve1/storage/local/download-url", &fields);

    assert!(end(&daemon, &reply).starts_with("download failed: "));
    assert_eq!(templates(&daemon), [""; 0]);
}

#[test]
fn a_download_replaces_nothing() {
    let daemon = Daemon::start();
    fs_err::write(daemon.templates().join("a.tar"), "abc").unwrap();
    let path = "/nodes/pve1/storage/local/download-url";
    let fields = [("content", "vztmpl"), ("filename", "a.tar"), ("url", "http://127.0.0.1:9/a")];

    let refused = end(&daemon, &daemon.post(path, &fields));
    assert!(refused.starts_with("refusing to override existing file '"), "{refused}");
    let known = [("checksum", SHA256), ("checksum-algorithm", "sha256")];
    let there = daemon.post(path, &[&fields[..], &known].concat());
    assert_eq!(end(&daemon, &there), "OK");
}

#[rstest]
#[case::name("a.zip", "vztmpl", "filename")]
#[case::kind("a.tar", "rootdir", "content")]
fn a_download_is_checked_first(#[case] name: &str, #[case] content: &str, #[case] wrong: &str) {
    let daemon = Daemon::start();
    let fields = [("content", content), ("filename", name), ("url", "http://127.0.0.1:9/")];
    let errors = daemon.post("/nodes/pve1/storage/local/download-url", &fields).errors();
    assert_eq!(errors.as_object().unwrap().keys().collect::<Vec<_>>(), [wrong]);
}

#[test]
fn a_list_of_storages_knows_what_another_node_can_reach() {
    let daemon = with_users().start();
    assert_eq!(daemon.get("/nodes/pve1/storage?target=pve1").data()[0]["storage"], "local");
    assert_eq!(daemon.get("/nodes/pve1/storage?target=pve2").data(), json!([]));
    let unknown = daemon.get("/nodes/pve1/storage?storage=nope");
    assert_eq!(unknown.line(), "400 Parameter verification failed.");
    assert_eq!(unknown.errors()["storage"], "No such storage.");
}

/// Only who looks for a kind of content is not told of what cannot be used.
#[test]
fn a_storage_of_another_node_is_known_and_not_usable() {
    let config = "dir: local\n\tpath /var/lib/vz\n\tcontent iso\n\n\
        dir: far\n\tpath /srv/far\n\tcontent iso\n\tnodes pve2\n\n\
        dir: off\n\tpath /srv/off\n\tcontent iso\n\tdisable\n";
    let daemon = Daemon::builder().file("etc/pve/storage.cfg", config).start();
    for id in ["far", "off"] {
        let status = daemon.get(&format!("/nodes/pve1/storage/{id}/status")).data();
        let known = json!({
            "type": "dir", "content": "iso", "enabled": 0, "active": 0, "shared": 0,
            "total": 0, "used": 0, "avail": 0,
        });
        assert_eq!(status, known);
    }
    let listed = |query: &str| {
        let rows = daemon.get(&format!("/nodes/pve1/storage{query}")).data();
        let rows = rows.as_array().unwrap().iter();
        let mut ids: Vec<_> = rows
            .map(|row| (row["storage"].as_str().unwrap().to_owned(), row["enabled"] == 1))
            .collect();
        ids.sort();
        ids
    };
    let (local, far, off) =
        (("local".to_owned(), true), ("far".to_owned(), false), ("off".to_owned(), false));
    assert_eq!(listed(""), [far.clone(), local.clone(), off]);
    assert_eq!(listed("?enabled=1"), [far, local.clone()]);
    assert_eq!(listed("?content=iso"), [local]);
    let errors = daemon.get("/nodes/pve1/storage?content=iso&storage=far").errors();
    assert_eq!(errors, json!({"storage": "No such storage."}));
    let resources = daemon.get("/cluster/resources?type=storage").data();
    assert_eq!(resources.as_array().unwrap().len(), 1, "{resources}");
}
