//! A container's bundle without a container: what a start would use, which key put what there, and
//! what a bundle asks for when one is to be made from it.

use rstest::rstest;
use serde_json::{Value, json};
use tests::{Builder, Daemon, StandIn};

use crate::attackers::as_root;
use crate::{ANN, with_guest, with_users};

const PATH: &str = "/nodes/pve1/oci/containers/100/bundle";

/// An application whose memory is to change, with a secret.
const APPLICATION: &str = "arch: amd64\nentrypoint: /bin/app 'a b'\nhostname: box\nmemory: 64\n\
    onboot: 1\nostype: unmanaged\nrootfs: local:100/vm-100-disk-0.raw,ro=1\nunprivileged: 1\n\
    lxc.environment.runtime: SECRET=hunter2\nlxc.init.cwd: /srv\n\n\
    [pve:pending]\nhostname: next\nmemory: 128\n";

fn application() -> Builder {
    with_users()
        .file("etc/pve/nodes/pve1/lxc/100.conf", APPLICATION)
        .file("etc/pve/nodes/pve1/oci/100.conf", "image: local:vztmpl/x.tar\npids: 77\n")
        .file("etc/proxmox-lxcri/policy.toml", "drop-capabilities = [\"NET_RAW\"]\n")
}

fn with_config(config: &str) -> Builder {
    with_users().file("etc/pve/nodes/pve1/lxc/100.conf", config)
}

fn bundle(daemon: &Daemon, query: &str) -> Value {
    daemon.get(&format!("{PATH}{query}")).data()
}

#[test]
fn is_what_the_next_start_would_use() {
    let daemon = application().start();
    let file = daemon.config_path(100);
    let before = fs_err::read(&file).unwrap();

    let document = bundle(&daemon, "");

    assert_eq!(document["hostname"], "next", "what waits is applied");
    assert_eq!(document["process"]["args"], json!(["/bin/app", "a b"]));
    assert_eq!(document["process"]["cwd"], "/srv");
    assert_eq!(document["process"]["terminal"], false);
    assert_eq!(document["root"]["readonly"], true);
    assert_eq!(document["linux"]["uidMappings"][0]["hostID"], 100_000);
    let kept = document["process"]["capabilities"]["bounding"].as_array().unwrap();
    assert!(!kept.contains(&json!("CAP_NET_RAW")), "the host's policy counts");
    assert!(kept.contains(&json!("CAP_CHOWN")));
    let env = document["process"]["env"].as_array().unwrap();
    assert!(env.contains(&json!("SECRET=hunter2")));
    assert_eq!(document["linux"]["resources"]["memory"], Value::Null, "the monitor sets limits");
    assert_eq!(fs_err::read(&file).unwrap(), before, "and nothing is changed");

    let limits = &bundle(&daemon, "?limits=1")["linux"]["resources"];
    assert_eq!(limits["memory"]["limit"], 128 << 20, "{limits}");
}

#[test]
fn each_key_is_explained() {
    let daemon = application().start();
    let rows = bundle(&daemon, "?explain=1");
    let rows = rows.as_array().unwrap();
    let row = |key: &str, path: &str| {
        let found = rows.iter().find(|row| row["key"] == key && row["path"] == path);
        found.unwrap_or_else(|| panic!("no {key} {path} in {rows:?}")).clone()
    };
    assert_eq!(row("hostname", "hostname")["value"], "next");
    assert_eq!(row("rootfs", "root.readonly")["value"], true);
    assert_eq!(row("lxc.init.cwd", "process.cwd")["value"], "/srv");
    assert_eq!(row("entrypoint", "process.args")["value"], json!(["/bin/app", "a b"]));
    assert!(
        row("unprivileged", "linux.uidMappings[0]")["why"].as_str().unwrap().contains("100000")
    );
    row("policy.toml", "process.capabilities.bounding");
    row("default", "ociVersion");
    let onboot = rows.iter().find(|row| row["key"] == "onboot").unwrap();
    assert_eq!(onboot["why"], "no matter of a start: who starts it, not how");
    assert_eq!(onboot["path"], Value::Null);
}

#[test]
fn the_environment_is_for_those_who_may_see_it() {
    let daemon = application().start();
    let ann = [("Authorization", ANN)];
    for query in ["", "?limits=1", "?explain=1"] {
        let text =
            daemon.request_as(&ann, "GET", &format!("{PATH}{query}"), &[]).data().to_string();
        assert!(!text.contains("hunter2") && text.contains("/bin/app"), "{text}");
        assert!(bundle(&daemon, query).to_string().contains("hunter2"));
    }
    let other = "/nodes/pve1/oci/containers/101/bundle";
    let reply = daemon.request_as(&ann, "GET", other, &[]);
    assert_eq!(reply.line(), "403 Permission check failed (/vms/101, VM.Audit)");
}

#[rstest]
#[case::value(
    "memory: 8\nrootfs: local:100/x.raw\n",
    "500 unable to parse value of 'memory' - value must have a minimum value of 16"
)]
#[case::template(
    "rootfs: local:100/x.raw\ntemplate: 1\n",
    "500 you can't start a CT if it's a template"
)]
#[case::bridge(
    "net0: name=eth0,bridge=lxcri-none\nrootfs: local:100/x.raw\n",
    "500 bridge 'lxcri-none' does not exist"
)]
#[case::device(
    "dev0: /dev/none-such\nrootfs: local:100/x.raw\n",
    "500 dev0: cannot pass on '/dev/none-such': No such file or directory"
)]
#[case::pending(
    "rootfs: local:100/x.raw\n\n[pve:pending]\nentrypoint: sh -c 'x\n",
    "500 unable to parse value of 'entrypoint' - missing closing quote"
)]
#[case::policy(
    "features: nesting=1\nrootfs: local:100/x.raw\n",
    "500 features: nesting is refused by this host's policy"
)]
fn what_a_start_refuses_has_no_bundle(#[case] config: &str, #[case] line: &str) {
    let policy = "[refuse]\nfeatures = [\"nesting\"]\n";
    let daemon = with_config(config).file("etc/proxmox-lxcri/policy.toml", policy).start();
    for query in ["", "?explain=1"] {
        assert_eq!(daemon.get(&format!("{PATH}{query}")).line(), line);
    }
}

#[test]
fn the_list_has_what_the_caller_may_audit() {
    let daemon = application().file("etc/pve/nodes/pve1/lxc/101.conf", "hostname: b\n").start();
    let _running = StandIn::start(daemon.root(), 101, "lxc/101");
    let path = "/nodes/pve1/oci/containers";
    let first = json!({
        "vmid": 100, "state": "stopped", "runtime": "crun", "runtime-by": "auto",
        "image": "local:vztmpl/x.tar",
    });

    let rows = daemon.get(path).data();
    assert_eq!(rows[0], first);
    assert_eq!((&rows[1]["vmid"], &rows[1]["state"]), (&json!(101), &json!("running")));
    assert!(rows[1]["runs-under"].is_string(), "{rows}");

    let ann = [("Authorization", ANN)];
    assert_eq!(daemon.request_as(&ann, "GET", path, &[]).data(), json!([first]));
}

/// The least that is a bundle, with `more` in its process and in its part for Linux.
fn document(process: &Value, linux: &Value) -> String {
    let mut whole = json!({
        "ociVersion": "1.0.2", "hostname": "of-bundle", "root": {"path": "rootfs"},
        "process": {
            "user": {"uid": 7, "gid": 0}, "args": ["/bin/app", "it's"], "cwd": "/srv",
            "env": ["A=1"], "noNewPrivileges": true,
            "capabilities": {
                "bounding": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"],
            },
        },
        "linux": {
            "uidMappings": [{"containerID": 0, "hostID": 100_000, "size": 65536}],
            "gidMappings": [{"containerID": 0, "hostID": 100_000, "size": 65536}],
        },
    });
    for (part, more) in [("process", process), ("linux", linux)] {
        let more = more.as_object().unwrap().clone();
        whole[part].as_object_mut().unwrap().extend(more);
    }
    whole.to_string()
}

const NEW: &str = "/nodes/pve1/oci/containers";
const TEMPLATE: (&str, &str) = ("ostemplate", "local:vztmpl/x.tar.gz");

#[rstest]
#[case::no_json(
    "{",
    "this is no config.json of an OCI bundle: EOF while parsing an object at line 1 column 1"
)]
#[case::no_program(
    &document(&json!({"args": []}), &json!({})),
    "process.args: names no program"
)]
#[case::control(
    &document(&json!({"args": ["a\nb"]}), &json!({})),
    "process.args: holds a control character, which no config can"
)]
fn what_is_no_bundle_is_refused_by_name(#[case] text: &str, #[case] reason: &str) {
    let daemon = with_users().start();
    let reply = daemon.post(NEW, &[("vmid", "200"), TEMPLATE, ("bundle", text)]);
    assert_eq!(reply.line(), "400 Parameter verification failed.");
    let error = reply.json()["errors"]["bundle"].as_str().unwrap().to_owned();
    assert!(error.starts_with(reason), "{error}");
    assert!(!daemon.config_path(200).exists());
}

/// ann may make containers on storage local in her pool.
const POOLED: &str = "user:root@pam:1:0:::::\nuser:ann@pve:1:0:::::\ntoken:ann@pve!look:0:0::\n\
    token:root@pam!test:0:0::\n\n\npool:p1:::::\n\n\
    acl:1:/pool/p1:ann@pve:PVEAdmin:\nacl:1:/storage/local:ann@pve:PVEDatastoreUser:\n";

#[rstest]
#[case::privileged(json!({}), json!({"uidMappings": null, "gidMappings": null}), "/, Sys.Modify")]
#[case::device(
    json!({}),
    json!({"devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]}),
    "configuring device passthrough is only allowed for root@pam"
)]
#[case::capability(
    json!({"capabilities": {"bounding": ["CAP_SYS_ADMIN"]}}),
    json!({}),
    "'lxc.cap.keep' of a bundle is only allowed for root@pam"
)]
#[case::ids(
    json!({}),
    json!({"uidMappings": [{"containerID": 0, "hostID": 0, "size": 9}]}),
    "'lxc.idmap' of a bundle is only allowed for root@pam"
)]
fn a_bundle_gives_no_more_than_its_caller_may(
    #[case] process: Value,
    #[case] linux: Value,
    #[case] what: &str,
) {
    let daemon = with_users().file("etc/pve/user.cfg", POOLED).start();
    let text = document(&process, &linux);
    let form = [("vmid", "200"), ("pool", "p1"), TEMPLATE, ("bundle", &text)];
    let reply = daemon.request_as(&[("Authorization", ANN)], "POST", NEW, &form);
    assert_eq!(reply.line(), format!("403 Permission check failed ({what})"));
}

#[test]
fn a_create_says_what_the_bundle_loses_and_gets_as_far_as_its_template() {
    let daemon = with_guest().file("etc/pve/user.cfg", POOLED).start();
    let text = document(&json!({"oomScoreAdj": 5}), &json!({}));
    let form = [("pool", "p1"), TEMPLATE, ("bundle", text.as_str())];

    let task = daemon.task(&daemon.request_as(&[("Authorization", ANN)], "POST", NEW, &form));

    assert!(task.upid.contains(":vzcreate:101:"), "the next free number: {}", task.upid);
    let warning = "bundle: process.oomScoreAdj: cannot be said by a container's config";
    assert!(task.log.contains(warning), "{}", task.log);
    assert!(task.log.contains("bundle: root.path: 'rootfs' is not read"), "{}", task.log);
    let error = "unable to create CT 101 - volume 'local:vztmpl/x.tar.gz' does not exist";
    assert_eq!(task.failed(), error);
    assert!(!daemon.config_path(101).exists());
}

#[test]
fn root_may_name_what_is_for_root() {
    let daemon = with_users().start();
    let text = document(&json!({"capabilities": {"bounding": ["CAP_SYS_ADMIN"]}}), &json!({}));
    let form = [("vmid", "200"), TEMPLATE, ("bundle", text.as_str())];
    assert_eq!(daemon.post(NEW, &form).line().split(' ').next(), Some("403"), "no token of root's");
    daemon.task(&as_root(&daemon, "POST", NEW, &form)).failed();
}
