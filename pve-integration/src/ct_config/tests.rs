//! Claims about parsing and printing whole files.

use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn parse(text: &str) -> ContainerConfig {
    ContainerConfig::parse(text.as_bytes())
}

/// What a config looks like once PVE has written every section.
fn canonical(config: &ContainerConfig) -> ContainerConfig {
    let mut config = config.clone();
    config.main = config.main.fresh();
    for (_, section) in &mut config.sections {
        *section = section.fresh();
    }
    config
}

#[rstest]
fn gives_recorded_files_back(#[files("tests/corpus/golden/*.conf")] path: PathBuf) {
    let bytes = fs::read(&path).unwrap();
    let config = ContainerConfig::parse(&bytes);

    assert_eq!(config.to_bytes(), bytes);
    assert_eq!(config.warnings(), [""; 0]);
}

/// PVE wrote these, all but the raw `é` in one description, so our canonical form must be theirs.
#[rstest]
fn prints_recorded_files_as_pve_does(#[files("tests/corpus/golden/*.conf")] path: PathBuf) {
    let text = fs::read_to_string(&path).unwrap();

    assert_eq!(canonical(&parse(&text)).to_string(), text.replace('é', "%C3%A9"));
}

#[test]
fn reads_what_pve_reads() {
    let config = parse(
        "#one\n#two%3A\nmemory: 1024 \nonboot: yes\nlxc.environment.runtime: A=1\n\
         lxc.cap.drop = sys_admin\nlxc.environment.runtime = B=x y\nmyown: kept\n\n\
         [PVE:pending]\ndelete: swap\n\n[s1]\nsnapstate: delete\nmemory: 256\n",
    );

    assert_eq!(config.description(), Some("one\ntwo:\n"));
    assert_eq!((config.memory(), config.onboot()), (1024, true));
    assert_eq!(config.env(), ["A=1", "B=x y"]);
    assert_eq!(config.get("env"), Some("A=1\0B=x y"));
    assert_eq!(config.get("myown"), Some("kept"));
    assert_eq!(config.current().lxc(), [("lxc.cap.drop".to_owned(), "sys_admin".to_owned())]);
    assert_eq!(config.pending().unwrap().get("delete"), Some("swap"));
    assert_eq!(config.snapshot("s1").unwrap().get("snapstate"), Some("delete"));
}

#[rstest]
#[case::no_key("what is this", "unable to parse config: what is this")]
#[case::indented(" memory: 1", "unable to parse config:  memory: 1")]
#[case::delete("delete: swap", "property 'delete' is only allowed in [pve:pending]")]
#[case::unknown_raw("lxc.foo: 1", "unable to parse config: lxc.foo: 1")]
#[case::refused_raw(
    "lxc.rootfs.path: /",
    "lxc.rootfs.path: lxc.rootfs.path is auto generated from rootfs"
)]
fn warns_of_a_line_and_keeps_it(#[case] line: &str, #[case] warning: &str) {
    let mut config = parse(&format!("{line}\nmemory: 512\n"));

    assert_eq!(config.warnings(), [warning]);
    config.set("memory", "1024");
    assert_eq!(config.to_string(), format!("memory: 1024\n{line}\n"));
}

#[test]
fn leaves_the_sections_alone_that_nobody_changed() {
    let mut config = parse("swap: 0\nmemory:512\n\n\n[bb]\nz: 1\na: 2\n[aa]\nmemory:   7");

    config.set("swap", "1");
    config.pending_mut().set("cores", "2");

    let expected =
        "memory: 512\nswap: 1\n\n[pve:pending]\ncores: 2\n\n\n[bb]\nz: 1\na: 2\n[aa]\nmemory:   7";
    assert_eq!(config.to_string(), expected);
}

#[test]
fn sorts_a_new_snapshot_in_and_takes_an_old_one_out() {
    let mut config = parse("memory: 512\n\n[aa]\nmemory: 1\n\n[cc]\nmemory: 3");
    let current = config.current().clone();

    config.set_snapshot("bb", &current);
    assert_eq!(config.snapshots().map(|(name, _)| name).collect::<Vec<_>>(), ["aa", "bb", "cc"]);
    assert!(config.remove_snapshot("aa"));

    assert_eq!(config.to_string(), "memory: 512\n\n[bb]\nmemory: 512\n\n[cc]\nmemory: 3");
}

#[test]
fn writes_no_empty_pending_section() {
    let mut config = parse("memory: 512\n\n[pve:pending]\nmemory: 1024\n");

    config.pending_mut().remove("memory");

    assert_eq!(config.to_string(), "memory: 512\n");
    assert_eq!(config.pending(), None);
}

#[test]
fn setting_what_is_set_changes_nothing() {
    let text = "swap:  0\nmemory:512";
    let mut config = parse(text);

    config.set("swap", "0");
    config.remove("cores");

    assert_eq!(config.to_string(), text);
}

#[test]
fn keeps_bytes_that_are_no_text() {
    let bytes = b"#caf\xe9\n\xff\xfe\nmemory: 512\n";

    assert_eq!(ContainerConfig::parse(bytes).to_bytes(), bytes);
}

struct World {
    _dir: tempfile::TempDir,
    root: Root,
    node: NodeName,
    vmid: Vmid,
}

fn world(text: &str) -> World {
    let dir = tempfile::tempdir().unwrap();
    let (root, node) = (Root::new(dir.path()).unwrap(), "pve1".parse().unwrap());
    let vmid = "100".parse().unwrap();
    fs::create_dir_all(root.lxc_configs(&node)).unwrap();
    fs::write(root.lxc_config(&node, vmid), text).unwrap();
    World { _dir: dir, root, node, vmid }
}

impl World {
    fn lock(&self, timeout: Duration) -> Result<Locked, ConfigError> {
        Locked::open(&self.root, &self.node, self.vmid, timeout)
    }

    fn text(&self) -> String {
        fs::read_to_string(self.root.lxc_config(&self.node, self.vmid)).unwrap()
    }
}

#[test]
fn a_second_writer_waits_and_gives_up_in_pves_words() {
    let world = world("memory: 512\n");
    let held = world.lock(LOCK_TIMEOUT).unwrap();

    let err = world.lock(Duration::from_millis(20)).unwrap_err().to_string();
    drop(held);

    assert!(err.starts_with("can't lock file '/"), "{err}");
    assert!(err.ends_with("/run/lock/lxc/pve-config-100.lock' - got timeout"), "{err}");
    assert!(world.lock(Duration::ZERO).is_ok());
}

#[test]
fn commits_what_was_changed_and_nothing_over_anothers_change() {
    let world = world("memory: 512\n");
    let mut locked = world.lock(LOCK_TIMEOUT).unwrap();
    locked.config.set("memory", "1024");
    locked.config.set("unused0", "local:100/a.raw");
    locked.config.set("mp0", "local:100/a.raw,mp=/a");

    let written = locked.commit().unwrap();
    assert_eq!(world.text(), "memory: 1024\nmp0: local:100/a.raw,mp=/a\n");
    assert_eq!(written, digest(world.text().as_bytes()));

    let mut locked = world.lock(LOCK_TIMEOUT).unwrap();
    fs::write(world.root.lxc_config(&world.node, world.vmid), "memory: 7\n").unwrap();
    locked.config.set("memory", "2048");
    let err = locked.commit().unwrap_err().to_string();
    assert_eq!(err, "detected modified configuration - file changed by other user? Try again.");
    assert_eq!(world.text(), "memory: 7\n");
}

#[test]
fn refuses_a_value_that_would_become_a_line() {
    let world = world("memory: 512\n");
    let mut locked = world.lock(LOCK_TIMEOUT).unwrap();
    locked.config.set("hostname", "a\nunprivileged: 0");

    let err = locked.commit().unwrap_err().to_string();

    assert_eq!(err, "detected invalid newline inside property 'hostname'");
    assert_eq!(world.text(), "memory: 512\n");
}

#[test]
fn creates_once_and_names_what_is_missing() {
    let world = world("");
    let other = "101".parse().unwrap();

    let locked = Locked::create(&world.root, &world.node, other, LOCK_TIMEOUT).unwrap();
    locked.commit().unwrap();
    let err = Locked::create(&world.root, &world.node, other, LOCK_TIMEOUT).unwrap_err();
    assert_eq!(err.to_string(), "CT 101 already exists on node 'pve1'");

    Locked::open(&world.root, &world.node, other, LOCK_TIMEOUT).unwrap().remove().unwrap();
    let err = read(&world.root, &world.node, other).unwrap_err().to_string();
    assert_eq!(err, "Configuration file 'nodes/pve1/lxc/101.conf' does not exist");
}

/// Lines of every kind the parser knows, and of none.
fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,8}[0-9]{0,2}:[ \t]{0,2}[ -~]{0,20}",
        "#[ -~é%]{0,20}",
        "lxc\\.[a-z.]{1,12}( ?=|:) ?[ -~]{0,12}",
        "lxc\\.environment\\.runtime: [A-Z]{1,4}=[ -~]{0,6}",
        "\\[[a-zA-Z:_-]{0,8}\\][ \t]{0,2}",
        Just("[pve:pending]".to_owned()),
        Just("delete: swap,!mp0".to_owned()),
        Just("snapstate: prepare".to_owned()),
        "[ \t\r]{0,3}",
        "\\PC{0,20}",
    ]
}

fn file() -> impl Strategy<Value = String> {
    (proptest::collection::vec(line(), 0..24), any::<bool>())
        .prop_map(|(lines, end)| lines.join("\n") + if end { "\n" } else { "" })
}

proptest! {
    #[test]
    fn gives_any_file_back(text in file()) {
        prop_assert_eq!(parse(&text).to_string(), text);
    }

    #[test]
    fn gives_any_bytes_back(bytes: Vec<u8>) {
        prop_assert_eq!(ContainerConfig::parse(&bytes).to_bytes(), bytes);
    }

    /// The canonical form means the same, and printing it again changes nothing.
    #[test]
    fn the_canonical_form_is_stable(text in file()) {
        let once = canonical(&parse(&text)).to_bytes();
        let again = ContainerConfig::parse(&once);

        prop_assert_eq!(canonical(&again).to_bytes(), once);
    }

    /// A change in one section keeps every other key and every line.
    #[test]
    fn a_change_loses_nothing(text in file()) {
        let before = parse(&text);
        let mut after = before.clone();
        after.set("cores", "7");
        let after = ContainerConfig::parse(&after.to_bytes());

        prop_assert_eq!(after.get("cores"), Some("7"));
        for (key, value) in before.current().iter().filter(|(key, _)| !matches!(*key, "cores" | "description" | "env" | "snapstate" | "delete")) {
            prop_assert_eq!(after.get(key), Some(value));
        }
        prop_assert_eq!(after.current().lxc(), before.current().lxc());
        prop_assert_eq!(
            after.snapshots().collect::<Vec<_>>(),
            before.snapshots().collect::<Vec<_>>()
        );
    }
}
