//! The limits that PVE's config has no key for, without a container: who may, what is refused, what
//! becomes of the file, and which files of a cgroup are written.

use std::path::PathBuf;

use rstest::rstest;
use serde_json::{Value, json};
use tests::{Client, Daemon, Reply, StandIn};

use crate::{ANN, CONFIG, with_guest, with_users};

const PATH: &str = "/nodes/pve1/oci/containers/100/limits";
const FILE: &str = "etc/pve/nodes/pve1/oci/100.conf";
const LINES: &str = "# ours\nruntime: crun\npids: 77\nhealth: none\nio-max: 8:0 rbps=1048576\n\
    io-max: 8:16 riops=7\n";

fn world(lines: &str) -> Daemon {
    with_guest().file(FILE, lines).start()
}

fn put(daemon: &Daemon, parameters: &[(&str, &str)]) -> Reply {
    daemon.put(PATH, parameters)
}

fn file(daemon: &Daemon) -> String {
    fs_err::read_to_string(daemon.root().join(FILE)).unwrap()
}

fn limits(daemon: &Daemon) -> Value {
    let mut limits = daemon.get(PATH).data();
    limits.as_object_mut().unwrap().remove("digest");
    limits
}

#[test]
fn are_set_and_deleted_and_all_else_is_kept() {
    let daemon = world(LINES);
    let shown = json!({"pids": 77, "io-max": ["8:0,rbps=1048576", "8:16,riops=7"]});
    assert_eq!(limits(&daemon), shown);

    let set = [
        ("io-weight", "50"),
        ("io-max", "8:16,wiops=5,rbps=9"),
        ("io-max", "wbps=3,device=8:32"),
        ("hugepages", "1G=1024"),
        ("hugepages", "2M=64"),
    ];
    assert_eq!(put(&daemon, &set).data(), Value::Null);
    assert_eq!(
        file(&daemon),
        "# ours\nruntime: crun\npids: 77\nhealth: none\nio-weight: 50\nio-max: 8:16 rbps=9 wiops=5\n\
         io-max: 8:32 wbps=3\nhugepages: 2M=64\nhugepages: 1G=1024\n"
    );
    let shown = json!({
        "pids": 77, "io-weight": 50, "io-max": ["8:16,rbps=9,wiops=5", "8:32,wbps=3"],
        "hugepages": ["2M=64", "1G=1024"],
    });
    assert_eq!(limits(&daemon), shown);
    let delete = [("delete", "io-max,hugepages;io-weight"), ("pids", "9")];
    assert_eq!(put(&daemon, &delete).data(), Value::Null);
    assert_eq!(file(&daemon), "# ours\nruntime: crun\nhealth: none\npids: 9\n");
    assert_eq!(limits(&daemon), json!({"pids": 9}));
}

#[test]
fn json_has_lists_and_an_empty_one_is_none() {
    let daemon = world(LINES);
    let body = json!({"pids": 3, "io-max": [], "hugepages": ["2M=4"]}).to_string();
    let mut client = Client::new(daemon.address());
    let head = format!("PUT /api2/json{PATH}");
    let token = format!("PVEAPIToken={}", daemon.token());
    let headers = [("Authorization", token.as_str()), ("Content-Type", "application/json")];
    let reply = client.request(&head, &headers, body.as_bytes());
    assert_eq!(reply.data(), Value::Null);
    assert_eq!(limits(&daemon), json!({"pids": 3, "hugepages": ["2M=4"]}));
}

#[test]
fn a_container_without_a_file_gets_one_only_for_a_limit() {
    let daemon = with_guest().start();
    let path = daemon.root().join(FILE);
    assert_eq!(limits(&daemon), json!({}));
    assert_eq!(put(&daemon, &[("delete", "pids")]).line(), "200 OK");
    assert!(!path.exists());
    let digest = daemon.get(PATH).data()["digest"].as_str().unwrap().to_owned();
    assert_eq!(put(&daemon, &[("pids", "5"), ("digest", &digest)]).line(), "200 OK");
    assert_eq!(file(&daemon), "pids: 5\n");
    assert_eq!(
        put(&daemon, &[("pids", "6"), ("digest", &digest)]).line(),
        "500 detected modified configuration - file changed by other user? Try again."
    );
    assert_eq!(file(&daemon), "pids: 5\n");
}

#[test]
fn are_for_those_who_may() {
    let daemon = world(LINES);
    let ann = [("Authorization", ANN)];
    assert_eq!(daemon.request_as(&ann, "GET", PATH, &[]).data()["pids"], 77);
    let reply = daemon.request_as(&ann, "PUT", PATH, &[("pids", "1")]);
    assert_eq!(reply.line(), "403 Permission check failed (/vms/100, VM.Config.Options)");
    let other = PATH.replace("100", "101");
    let reply = daemon.request_as(&ann, "GET", &other, &[]);
    assert_eq!(reply.line(), "403 Permission check failed (/vms/101, VM.Audit)");
    let missing = "500 Configuration file 'nodes/pve1/lxc/101.conf' does not exist";
    assert_eq!(daemon.get(&other).line(), missing);
    assert_eq!(daemon.put(&other, &[("pids", "1")]).line(), missing);
    assert_eq!(file(&daemon), LINES);
}

#[rstest]
#[case::none("pids", "0", "pids", "value must have a minimum value of 1")]
#[case::many("pids", "4194305", "pids", "value must have a maximum value of 4194304")]
#[case::word("pids", "max", "pids", "type check ('integer') failed - got 'max'")]
#[case::weight("io-weight", "10001", "io-weight", "value must have a maximum value of 10000")]
#[case::device(
    "io-max",
    "sda,rbps=1",
    "io-max[0]",
    "invalid format - format error\nio-max[0].device: value does not match the regex pattern\n"
)]
#[case::no_device(
    "io-max",
    "rbps=1",
    "io-max[0]",
    "invalid format - format error\nio-max[0].device: property is missing and it is not optional\n"
)]
#[case::rate(
    "io-max",
    "8:0,rbps=0",
    "io-max[0]",
    "invalid format - format error\nio-max[0].rbps: value must have a minimum value of 1\n"
)]
#[case::no_rate(
    "io-max",
    "8:0",
    "io-max",
    "'8:0' is not MAJOR:MINOR of a device with limits of rbps, wbps, riops or wiops, which are at least 1"
)]
#[case::number(
    "io-max",
    "4096:0,rbps=1",
    "io-max",
    "'4096:0,rbps=1' is not MAJOR:MINOR of a device"
)]
#[case::page("hugepages", "2M", "hugepages[0]", "value does not match the regex pattern")]
#[case::delete("delete", "pids,memory", "delete", "unknown option 'memory'")]
#[case::other("memory", "1", "memory", "property is not defined in schema")]
fn a_bad_value_is_named(
    #[case] name: &str,
    #[case] value: &str,
    #[case] key: &str,
    #[case] why: &str,
) {
    let daemon = world(LINES);
    let reply = put(&daemon, &[(name, value)]);
    assert_eq!(reply.line(), "400 Parameter verification failed.");
    let said = reply.errors()[key].as_str().unwrap_or_default().to_owned();
    assert!(said.starts_with(why), "{}", reply.errors());
    assert_eq!(file(&daemon), LINES);
}

#[test]
fn a_request_that_contradicts_itself_is_refused() {
    let daemon = world(LINES);
    let error = |parameters: &[(&str, &str)], key: &str| {
        let reply = put(&daemon, parameters);
        assert_eq!(reply.line(), "400 Parameter verification failed.");
        reply.errors()[key].as_str().unwrap_or_default().to_owned()
    };
    let both = error(&[("pids", "1"), ("delete", "pids")], "delete");
    assert_eq!(both, "you can't use '-pids' and -delete pids' at the same time");
    let twice = [("io-max", "8:0,rbps=1"), ("io-max", "08:0,wbps=1")];
    assert_eq!(error(&twice, "io-max"), "names one thing twice");
    let twice = [("hugepages", "2M=1"), ("hugepages", "2M=2")];
    assert_eq!(error(&twice, "hugepages"), "names one thing twice");
    assert_eq!(put(&daemon, &[]).line(), "500 no options specified");
    assert_eq!(file(&daemon), LINES);
}

/// Somebody's editor left it there.
#[test]
fn a_line_that_is_no_limit_is_told_and_can_be_replaced() {
    let daemon = world("pids: many\nio-max: 8:0 rbps=1\nio-max: sda rbps=1\n");
    let why = "'many' is not a number of processes from 1 to 4194304";
    let line = format!("500 unable to parse value of 'oci: pids' - {why}");
    assert_eq!(daemon.get(PATH).line(), line);
    assert_eq!(daemon.get("/nodes/pve1/oci/containers/100/bundle").line(), line);

    assert_eq!(put(&daemon, &[("pids", "5"), ("delete", "io-max")]).line(), "200 OK");
    assert_eq!(file(&daemon), "pids: 5\n");
}

#[test]
fn a_lock_of_the_config_holds_for_them() {
    let config = format!("{CONFIG}lock: backup\n");
    let daemon =
        with_users().file("etc/pve/nodes/pve1/lxc/100.conf", &config).file(FILE, LINES).start();
    assert_eq!(put(&daemon, &[("pids", "5")]).line(), "500 CT is locked (backup)");
    assert_eq!(file(&daemon), LINES);
}

#[test]
fn two_writers_lose_nothing_of_each_other() {
    const ROUNDS: u32 = 40;
    let daemon = world("# ours\nhealth: none\n");
    let write = |key: &str| {
        for number in 1..=ROUNDS {
            let reply = put(&daemon, &[(key, &number.to_string())]);
            assert_eq!(reply.line(), "200 OK");
            let now = limits(&daemon)[key].clone();
            assert_eq!(now, number, "what nobody else writes is what was written");
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| write("pids"));
        scope.spawn(|| write("io-weight"));
    });
    assert_eq!(limits(&daemon), json!({"pids": ROUNDS, "io-weight": ROUNDS}));
    assert!(file(&daemon).starts_with("# ours\nhealth: none\n"));
}

/// Of two who saw the same, one is told to look again.
#[test]
fn a_digest_lets_one_of_two_through() {
    let daemon = world(LINES);
    let digest = daemon.get(PATH).data()["digest"].as_str().unwrap().to_owned();
    let lines: Vec<_> = std::thread::scope(|scope| {
        let write = |pids| {
            let (daemon, digest) = (&daemon, &digest);
            scope.spawn(move || put(daemon, &[("pids", pids), ("digest", digest)]).line())
        };
        [write("1"), write("2")].map(|thread| thread.join().unwrap()).into()
    });
    assert_eq!(lines.iter().filter(|line| *line == "200 OK").count(), 1, "{lines:?}");
}

/// A cgroup of plain files, for a container that somebody plays.
fn running(config: &str, files: &[&str]) -> (Daemon, PathBuf, StandIn) {
    let daemon = with_users()
        .file("etc/pve/nodes/pve1/lxc/100.conf", config)
        .file(FILE, LINES)
        .file("sys/fs/cgroup/cgroup.controllers", "io pids hugetlb\n")
        .start();
    let parent = format!("lxcri-{:08x}", fnv64(daemon.root().to_str().unwrap().as_bytes()) >> 32);
    let cgroup = format!("{parent}/100");
    let folder = daemon.root().join("sys/fs/cgroup").join(&cgroup);
    fs_err::create_dir_all(&folder).unwrap();
    files.iter().for_each(|file| fs_err::write(folder.join(file), "as it was").unwrap());
    let stand_in = StandIn::start(daemon.root(), 100, &cgroup);
    (daemon, folder, stand_in)
}

/// As the daemon names the cgroup of a root's containers.
fn fnv64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[test]
fn a_container_that_runs_has_them_at_once() {
    let files = ["pids.max", "io.weight", "io.max", "hugetlb.2MB.max"];
    let (daemon, folder, _running) = running(CONFIG, &files);
    let now = |file: &str| fs_err::read_to_string(folder.join(file)).unwrap();

    let set = [("pids", "9"), ("io-max", "8:32,wbps=3"), ("hugepages", "2M=64")];
    assert_eq!(put(&daemon, &set).line(), "200 OK");
    assert_eq!(now("pids.max"), "9");
    assert_eq!(now("io.max"), "8:32 rbps=max wbps=3 riops=max wiops=max");
    assert_eq!(now("hugetlb.2MB.max"), "67108864");
    assert_eq!(now("io.weight"), "as it was", "nobody asked for that");

    // A limit that this host does not have is for another host, and each start warns of it.
    assert_eq!(put(&daemon, &[("hugepages", "1G=1024"), ("io-weight", "5")]).line(), "200 OK");
    assert_eq!((now("hugetlb.2MB.max"), now("io.weight")), ("max".to_owned(), "5".to_owned()));
    assert!(!folder.join("hugetlb.1GB.max").exists());

    assert_eq!(put(&daemon, &[("delete", "pids,io-weight")]).line(), "200 OK");
    assert_eq!((now("pids.max"), now("io.weight")), ("max".to_owned(), "100".to_owned()));
}

/// The file then says what it said, and so does what was told before.
#[test]
fn a_limit_that_cannot_be_set_is_named_and_nothing_is_changed() {
    let (daemon, folder, _running) = running(CONFIG, &["pids.max"]);
    // A folder is no file, whoever writes.
    fs_err::create_dir(folder.join("io.weight")).unwrap();

    let reply = put(&daemon, &[("pids", "9"), ("io-weight", "5")]);

    assert_eq!(reply.line(), "400 Parameter verification failed.");
    let errors = reply.errors();
    let said = errors["io-weight"].as_str().unwrap();
    assert!(said.starts_with("unable to hotplug io-weight: "), "{said}");
    assert_eq!(errors["pids"], Value::Null);
    assert_eq!(file(&daemon), LINES);
    assert_eq!(fs_err::read_to_string(folder.join("pids.max")).unwrap(), "77");
}

#[test]
fn a_raw_line_counts_more() {
    let config = format!("{CONFIG}lxc.cgroup2.pids.max: 3\n");
    let (daemon, folder, _running) = running(&config, &["pids.max", "io.weight"]);
    assert_eq!(put(&daemon, &[("pids", "9"), ("io-weight", "5")]).line(), "200 OK");
    assert_eq!(fs_err::read_to_string(folder.join("pids.max")).unwrap(), "as it was");
    assert_eq!(fs_err::read_to_string(folder.join("io.weight")).unwrap(), "5");
}
