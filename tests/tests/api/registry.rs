//! Images from registries: an honest one, and those that lie.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rstest::rstest;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tests::{Daemon, eventually};

use crate::{ANN, with_users};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const PULL: &str = "/nodes/pve1/storage/local/oci-registry-pull";

/// What a path is answered with: status line, headers, body.
#[derive(Clone)]
struct Answer {
    head: String,
    body: Body,
}

#[derive(Clone)]
enum Body {
    Bytes(Vec<u8>),
    /// Without an end.
    Endless,
    /// So much of it, then nothing more until the client leaves.
    Stalls(Vec<u8>),
}

impl Answer {
    fn ok(kind: &str, body: &[u8]) -> Self {
        let length = body.len();
        Self {
            head: format!("200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}"),
            body: Body::Bytes(body.to_vec()),
        }
    }

    fn head(head: &str) -> Self {
        Self { head: format!("{head}\r\nContent-Length: 0"), body: Body::Bytes(Vec::new()) }
    }
}

/// A registry on loopback, without TLS; it dies with the test's process.
struct Registry {
    address: SocketAddr,
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let registry = Self {
            address: listener.local_addr().unwrap(),
            answers: Arc::default(),
            asked: Arc::default(),
        };
        let (answers, asked) = (Arc::clone(&registry.answers), Arc::clone(&registry.asked));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (answers, asked) = (Arc::clone(&answers), Arc::clone(&asked));
                std::thread::spawn(move || serve(&stream.unwrap(), &answers, &asked));
            }
        });
        registry
    }

    fn set(&self, path: &str, answer: Answer) {
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn reference(&self, rest: &str) -> String {
        format!("localhost:{}/{rest}", self.address.port())
    }

    fn blob(&self, content: &[u8]) -> Value {
        let digest = digest(content);
        self.set(&format!("/v2/a/box/blobs/{digest}"), Answer::ok("x/y", content));
        json!({ "mediaType": "x/y", "digest": digest, "size": content.len() })
    }

    fn image(&self, layer: &[u8]) -> Vec<u8> {
        let mut config = self.blob(br#"{"architecture":"amd64","os":"linux"}"#);
        config["mediaType"] = "application/vnd.oci.image.config.v1+json".into();
        let mut layer = self.blob(layer);
        layer["mediaType"] = "application/vnd.oci.image.layer.v1.tar".into();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer, layer],
        });
        manifest.to_string().into_bytes()
    }

    /// `a/box:1` for this machine and others; the digest of this one's manifest.
    fn publish(&self, layer: &[u8]) -> String {
        let manifest = self.image(layer);
        let own = digest(&manifest);
        self.set(&format!("/v2/a/box/manifests/{own}"), Answer::ok(MANIFEST, &manifest));
        let entry = |digest: &str, arch: &str| {
            json!({
                "mediaType": MANIFEST, "digest": digest, "size": manifest.len(),
                "platform": {"os": "linux", "architecture": arch},
            })
        };
        let other = digest(b"other");
        let index = json!({
            "schemaVersion": 2, "mediaType": INDEX,
            "manifests": [entry(&other, "s390x"), entry(&own, "amd64"), entry(&own, "arm64")],
        });
        self.set("/v2/a/box/manifests/1", Answer::ok(INDEX, index.to_string().as_bytes()));
        own
    }
}

fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(content)))
}

/// One request a connection; what is no HTTP, as a TLS hello, is left without an answer.
fn serve(
    stream: &TcpStream,
    answers: &Mutex<HashMap<String, Answer>>,
    asked: &Mutex<Vec<String>>,
) -> Option<()> {
    let mut reader = BufReader::new(stream);
    if *reader.fill_buf().ok()?.first()? == 0x16 {
        return None;
    }
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut authorization = String::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        match header.trim_end().split_once(':') {
            None => break,
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                authorization = value.trim().to_owned();
            }
            Some(_) => {}
        }
    }
    let target = line.split(' ').nth(1)?.to_owned();
    asked.lock().unwrap().push(format!("{target} {authorization}").trim_end().to_owned());
    let port = stream.local_addr().ok()?.port();
    let answers = answers.lock().unwrap().clone();
    let locked = answers.contains_key("/token") && authorization != "Bearer let-me-in";
    let answer = match answers.get(target.split('?').next()?) {
        Some(_) if locked && target.starts_with("/v2/") => &Answer::head(&format!(
            "401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"http://127.0.0.1:{port}/token\",\
             service=\"here\",scope=\"repository:a/box:pull\""
        )),
        Some(answer) => answer,
        None => &Answer::head("404 Not Found"),
    };
    let mut out = stream;
    write!(out, "HTTP/1.1 {}\r\nConnection: close\r\n\r\n", answer.head).ok()?;
    match &answer.body {
        Body::Bytes(bytes) => out.write_all(bytes).ok()?,
        Body::Endless => while out.write_all(&[b' '; 1 << 16]).is_ok() {},
        Body::Stalls(bytes) => {
            out.write_all(bytes).ok()?;
            std::io::copy(&mut reader, &mut std::io::sink()).ok()?;
        }
    }
    Some(())
}

fn start(daemon: &Daemon, registry: &Registry) -> String {
    let fields = [("reference", registry.reference("a/box:1"))];
    let fields = fields.each_ref().map(|(name, value)| (*name, value.as_str()));
    daemon.post(PULL, &fields).data().as_str().unwrap().to_owned()
}

fn end(daemon: &Daemon, upid: &str) -> String {
    eventually(30, "the task ends", || {
        let status = daemon.get(&format!("/nodes/pve1/tasks/{upid}/status")).data();
        (status["status"] == "stopped").then(|| status["exitstatus"].as_str().unwrap().to_owned())
    })
}

fn log(daemon: &Daemon, upid: &str) -> Vec<String> {
    let lines = daemon.get(&format!("/nodes/pve1/tasks/{upid}/log?limit=500")).data();
    let lines = lines.as_array().unwrap().iter();
    lines.map(|line| line["t"].as_str().unwrap().to_owned()).collect()
}

/// Nothing is left on the storage, by whatever name.
fn left(daemon: &Daemon) -> Vec<String> {
    let entries = fs_err::read_dir(daemon.templates()).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn entries(archive: &std::path::Path) -> HashMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(fs_err::File::open(archive).unwrap());
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (entry.path().unwrap().display().to_string(), content)
    });
    entries.collect()
}

#[test]
fn an_image_is_pulled_as_an_oci_archive() {
    let (daemon, registry) = (Daemon::start(), Registry::start());
    let layer = b"layer".repeat(1000);
    let manifest = registry.publish(&layer);
    registry.set("/token", Answer::ok("application/json", br#"{"token":"let-me-in"}"#));

    let upid = start(&daemon, &registry);

    assert_eq!(end(&daemon, &upid), "OK");
    assert!(upid.contains(":ociregistrypull:box_1.tar:"), "{upid}");
    let log = log(&daemon, &upid);
    let progress = format!("Copying blob {}", digest(&layer));
    assert_eq!(log.iter().filter(|line| **line == progress).count(), 1, "{log:?}");
    assert_eq!(log.last().unwrap(), "TASK OK");
    let row = daemon.get("/nodes/pve1/storage/local/content?content=vztmpl").data()[0].clone();
    assert_eq!(row["volid"], "local:vztmpl/box_1.tar");
    let entries = entries(&daemon.templates().join("box_1.tar"));
    let index: Value = serde_json::from_slice(&entries["index.json"]).unwrap();
    assert_eq!(index["manifests"][0]["digest"], manifest);
    assert_eq!(entries["oci-layout"], br#"{"imageLayoutVersion":"1.0.0"}"#);
    for (name, content) in entries.iter().filter(|(name, _)| name.len() > "blobs/sha256/".len()) {
        assert_eq!(name.replace("blobs/sha256/", "sha256:"), digest(content));
    }
    assert_eq!(entries[&format!("blobs/sha256/{}", &digest(&layer)[7..])], layer);
    let asked = registry.asked();
    let token = "/token?service=here&scope=repository%3Aa%2Fbox%3Apull".to_owned();
    assert_eq!(asked.iter().filter(|asked| **asked == token).count(), 1, "{asked:?}");

    let fields = [("reference", registry.reference("a/box:1"))];
    let again = daemon.post(PULL, &[(fields[0].0, &fields[0].1)]);
    assert_eq!(again.line(), "500 refusing to override existing file 'box_1.tar'");
    let named = daemon.post(PULL, &[(fields[0].0, &fields[0].1), ("filename", "../x y")]);
    assert_eq!(end(&daemon, named.data().as_str().unwrap()), "OK");
    assert!(daemon.templates().join("x_y.tar").is_file());
}

/// What is wrong with the layer's answer, or with another's.
fn spoil(registry: &Registry, fault: &str) {
    let layer = format!("/v2/a/box/blobs/{}", digest(b"layer"));
    let tag = "/v2/a/box/manifests/1";
    let port = registry.address.port();
    let endless = |kind: &str| Answer {
        head: format!("200 OK\r\nContent-Type: {kind}"),
        body: Body::Endless,
    };
    match fault {
        "digest" => registry.set(&layer, Answer::ok("x/y", b"LAYER")),
        "endless blob" => registry.set(&layer, endless("x/y")),
        "short blob" => registry.set(&layer, Answer::ok("x/y", b"lay")),
        "broken off" => registry.set(
            &layer,
            Answer {
                head: "200 OK\r\nContent-Length: 5".to_owned(),
                body: Body::Bytes(b"lay".to_vec()),
            },
        ),
        "loop" => registry.set(&layer, Answer::head(&format!("307 X\r\nLocation: {layer}"))),
        "plain" => {
            let location = "307 X\r\nLocation: http://192.0.2.1/layer";
            registry.set(&layer, Answer::head(location));
        }
        "endless manifest" => registry.set(tag, endless(MANIFEST)),
        "no tag" => {
            let said = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest\nunknown"}]}"#;
            let mut answer = Answer::ok("application/json", said);
            answer.head = answer.head.replace("200 OK", "404 Not Found");
            registry.set(tag, answer);
        }
        "login" => {
            let ask = "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"";
            registry.set(tag, Answer::head(ask));
        }
        "foreign realm" => {
            let ask = "401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"http://192.0.2.1/t\"";
            registry.set(tag, Answer::head(ask));
        }
        "endless token" => {
            let realm = format!("Bearer realm=\"http://localhost:{port}/tokens\"");
            let ask = format!("401 Unauthorized\r\nWWW-Authenticate: {realm}");
            registry.set(tag, Answer::head(&ask));
            registry.set("/tokens", endless("application/json"));
        }
        "huge" => {
            let mut manifest: Value = serde_json::from_slice(&registry.image(b"layer")).unwrap();
            manifest["layers"][0]["size"] = (1_u64 << 62).into();
            registry.set(tag, Answer::ok(MANIFEST, manifest.to_string().as_bytes()));
        }
        "platform" => {
            let index = json!({"schemaVersion": 2, "manifests": []});
            registry.set(tag, Answer::ok(INDEX, index.to_string().as_bytes()));
        }
        "other manifest" => {
            let other = registry.image(b"other");
            let path = format!("/v2/a/box/manifests/{}", digest(&registry.image(b"layer")));
            registry.set(&path, Answer::ok(MANIFEST, &other));
        }
        other => panic!("{other}"),
    }
}

#[rstest]
#[case("digest", "is not what the registry sent")]
#[case("endless blob", "is longer than the 5 bytes that the manifest says")]
#[case("short blob", "ended after 3 of 5 bytes")]
#[case("broken off", "cannot ask registry")]
#[case("loop", "too many redirects")]
#[case("plain", "redirected to where nothing is encrypted")]
#[case("endless manifest", "is longer than 4194304 bytes: a manifest")]
#[case("no tag", "answered '404 Not Found': manifest\\nunknown")]
#[case("login", "wants a login")]
#[case("foreign realm", "which is neither https nor local")]
#[case("endless token", "is longer than 1048576 bytes: a token")]
#[case("huge", "the image needs ")]
#[case("platform", "the image is not made for linux/")]
#[case("other manifest", "is not what the registry sent")]
fn a_registry_that_lies_is_found_out(#[case] fault: &str, #[case] complaint: &str) {
    let (daemon, registry) = (Daemon::start(), Registry::start());
    registry.publish(b"layer");
    spoil(&registry, fault);

    let upid = start(&daemon, &registry);

    let exit = end(&daemon, &upid);
    assert!(exit.contains(complaint), "{exit}");
    assert_eq!(left(&daemon), [""; 0]);
}

fn stalled(daemon: &Daemon) -> (Registry, String) {
    let registry = Registry::start();
    registry.publish(b"layer");
    let layer = format!("/v2/a/box/blobs/{}", digest(b"layer"));
    let head = "200 OK\r\nContent-Length: 5".to_owned();
    registry.set(&layer, Answer { head, body: Body::Stalls(b"lay".to_vec()) });
    let upid = start(daemon, &registry);
    eventually(30, "the layer is asked for", || registry.asked().contains(&layer).then_some(()));
    (registry, upid)
}

#[test]
fn a_pull_can_be_aborted() {
    let daemon = Daemon::start();
    let (_registry, upid) = stalled(&daemon);

    daemon.delete(&format!("/nodes/pve1/tasks/{upid}")).data();

    assert_eq!(end(&daemon, &upid), "got interrupted by signal");
    assert_eq!(left(&daemon), [""; 0]);
}

#[test]
fn a_daemon_that_is_killed_leaves_nothing_of_a_pull() {
    let mut daemon = Daemon::start();
    let (_registry, upid) = stalled(&daemon);
    // What one is left with where the filesystem wants files to have names.
    let named = daemon.templates().join(".upload.tmp.1.0");
    fs_err::write(&named, "half").unwrap();

    daemon.kill();
    daemon.launch();

    assert_eq!(end(&daemon, &upid), "unexpected status");
    eventually(30, "the file is swept away", || (!named.exists()).then_some(()));
    assert_eq!(left(&daemon), [""; 0]);
}

#[test]
fn tags_are_listed_page_by_page() {
    let (daemon, registry) = (Daemon::start(), Registry::start());
    let next = r#"200 OK
Link: </v2/a/box/tags/more?last=1>; rel="next""#;
    let mut first = Answer::ok("application/json", br#"{"name":"a/box","tags":["1"]}"#);
    first.head = first.head.replace("200 OK", &next.replace('\n', "\r\n"));
    registry.set("/v2/a/box/tags/list", first);
    let last = Answer::ok("application/json", br#"{"name":"a/box","tags":["2","latest"]}"#);
    registry.set("/v2/a/box/tags/more", last);
    let ask = |reference: &str| {
        let reference = registry.reference(reference);
        daemon.request("GET", "/nodes/pve1/query-oci-repo-tags", &[("reference", &reference)])
    };

    assert_eq!(ask("a/box").data(), json!(["1", "2", "latest"]));
    let missing = ask("no/box");
    assert!(missing.line().starts_with("500 registry 'localhost:"), "{}", missing.line());
    assert!(missing.line().ends_with("answered '404 Not Found'"), "{}", missing.line());
    assert!(ask("A/../box").errors()["reference"].is_string());
}

#[test]
fn the_datacenters_proxy_is_asked() {
    let registry = Registry::start();
    let proxy = format!("http_proxy: http://{}\n", registry.address);
    let daemon = Daemon::builder().file("etc/pve/datacenter.cfg", &proxy).start();
    let fields = [("reference", "registry.invalid/a/box:1")];

    let upid = daemon.post(PULL, &fields).data().as_str().unwrap().to_owned();

    let exit = end(&daemon, &upid);
    assert!(exit.starts_with("cannot ask registry 'registry.invalid': "), "{exit}");
    assert_eq!(registry.asked(), ["registry.invalid:443"]);
}

#[test]
fn who_may_not_fill_the_storage_pulls_nothing() {
    let daemon = with_users().start();
    let fields = [("reference", "localhost:1/a/box:1")];

    let refused = daemon.request_as(&[("Authorization", ANN)], "POST", PULL, &fields);

    assert_eq!(
        refused.line(),
        "403 Permission check failed (/storage/local, Datastore.AllocateTemplate)"
    );
}
