//! Debian's podman with our binary as its runtime, and the same with Debian's crun: exit codes, standard
//! output and messages must agree. What differs is listed in tests/podman/differences.toml, with a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fs_err as fs;
use serde::Deserialize;
use tests::{Content, binary, rootfs};

/// Name, and podman's arguments.
const COMMANDS: &[(&str, &str)] = &[
    ("run", "run --rm img echo hello"),
    ("run fails", "run --rm img sh -c 'echo out; exit 7'"),
    ("run missing program", "run --rm img /bin/nothing"),
    ("run no program", "run --rm img /etc/passwd"),
    ("run foreign program", "run --rm img /bin/foreign"),
    (
        "run terminal",
        "run --rm -t img sh -c 'test -t 0 && test -t 1 && test -t 2 && echo terminal'",
    ),
    (
        "run limits",
        "run --rm --memory 64m --pids-limit 33 img cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max",
    ),
    (
        "run user",
        "run --rm --user 12:34 --workdir /tmp -e X=y img sh -c 'id -u; id -g; echo $PWD $X'",
    ),
    ("run init caps", "run --rm --cap-drop all img grep Cap /proc/self/status"),
    ("run no cgroup", "run --rm --cgroups=disabled img echo free"),
    (
        "detach",
        "run -d --name c --memory 64m --pids-limit 44 --health-cmd 'test -e /tmp/healthy' --health-interval 0 img sh -c 'trap \"echo told; exit 5\" TERM; echo up; sleep 1000 & wait'",
    ),
    ("exec", "exec c sh -c 'echo in; exit 9'"),
    ("exec terminal", "exec -t c sh -c 'test -t 0 && test -t 1 && echo terminal'"),
    ("exec user", "exec -u 7 -e Y=z -w /etc c sh -c 'id -u; echo $PWD $Y'"),
    ("exec missing program", "exec c nothing"),
    ("unhealthy", "healthcheck run c"),
    ("exec detached", "exec -d c touch /tmp/healthy"),
    (
        "exec waits",
        "exec c sh -c 'while ! test -e /tmp/healthy; do sleep 0.1; done; ls /proc/self/fd'",
    ),
    ("healthy", "healthcheck run c"),
    ("logs", "logs c"),
    ("top", "top c args"),
    ("limits", "exec c cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max"),
    ("kill nothing", "kill -s 0 c"),
    ("pause", "pause c"),
    ("state paused", "inspect --format '{{.State.Status}}' c"),
    ("exec paused", "exec c true"),
    ("unpause", "unpause c"),
    ("rm running", "rm c"),
    ("stop", "stop c"),
    ("code", "inspect --format '{{.State.Status}} {{.State.ExitCode}}' c"),
    ("restart", "restart -t 1 c"),
    ("rm by force", "rm -f -t 1 c"),
    ("detach deaf", "run -d --name d img sh -c 'trap \"\" TERM; while :; do sleep 0.1; done'"),
    ("stop deaf", "stop -t 1 d"),
    ("code deaf", "inspect --format '{{.State.Status}} {{.State.ExitCode}}' d"),
    ("rm", "rm d"),
    ("gone", "ps -a -q"),
];

/// Where podman asks its own settings what a runtime can do, by the runtime's name.
const AS_INSTALLED: &[&str] =
    &["run", "run missing program", "run no program", "run foreign program", "run no cgroup"];

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
struct Difference {
    command: String,
    what: What,
    /// With podman's settings untouched; else they say of ours what they say of crun.
    #[serde(default)]
    as_installed: bool,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
enum What {
    Code,
    Stdout,
    Stderr,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(default)]
    difference: Vec<Reasoned>,
}

#[derive(Debug, Deserialize)]
struct Reasoned {
    #[serde(flatten)]
    difference: Difference,
    reason: String,
}

/// Exit code and both outputs.
type Told = (Option<i32>, String, String);

struct Podman {
    folder: PathBuf,
    runtime: PathBuf,
}

impl Podman {
    fn command(&self, line: &str) -> Command {
        let folder = |name: &str| self.folder.join(name);
        let mut command = Command::new("podman");
        command.arg("--root").arg(folder("storage")).arg("--runroot").arg(folder("run"));
        command.arg("--tmpdir").arg(folder("tmp")).arg("--runtime").arg(&self.runtime);
        command.args([
            "--storage-driver=vfs",
            "--cgroup-manager=cgroupfs",
            "--events-backend=none",
        ]);
        command.args(split(line)).stdin(Stdio::null());
        // Health checks are timers of systemd's else.
        command.env("DISABLE_HC_SYSTEMD", "true").env("CONTAINERS_CONF", folder("containers.conf"));
        command
    }

    fn call(&self, line: &str) -> Told {
        // Not pipes: conmon stays with a container and would keep them open.
        let (out, err) = (self.folder.join("out"), self.folder.join("err"));
        let file = |path: &Path| fs::File::create(path).unwrap().into_parts().0;
        let status = self.command(line).stdout(file(&out)).stderr(file(&err)).status().unwrap();
        let read = |path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        (status.code(), read(out), read(err))
    }
}

/// As a shell does, without its variables.
fn split(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in line.chars() {
        match (quote, c) {
            (None, '\'') => quote = Some(c),
            (Some('\''), '\'') => quote = None,
            (None, ' ') => words.push(std::mem::take(&mut word)),
            _ => word.push(c),
        }
    }
    words.push(word);
    words
}

/// One of a runtime's own, with the image.
fn podman(folder: &Path, name: &str, runtime: PathBuf, settings: &str, archive: &Path) -> Podman {
    let folder = folder.join(name);
    fs::create_dir(&folder).unwrap();
    // No network, which is no business of the runtime.
    let conf = "[containers]\nnetns = \"none\"\nlog_driver = \"k8s-file\"\n\
                default_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\n";
    fs::write(folder.join("containers.conf"), format!("{conf}{settings}")).unwrap();
    let podman = Podman { folder, runtime };
    let (code, _, err) = podman.call(&format!("import {} img", archive.display()));
    assert_eq!(code, Some(0), "{err}");
    podman
}

#[test]
fn podman_behaves_as_with_crun() {
    tests::require_machine();
    let folder = tempfile::tempdir().unwrap();
    let image = Content::default().file("bin/foreign", 0o755, "\x7fELF of another world");
    let archive = rootfs(folder.path(), "image.tar", &image);
    let known = "[engine]\nruntime_supports_json = [\"crun\", \"proxmox-lxcri\"]\n\
                 runtime_supports_nocgroup = [\"crun\", \"proxmox-lxcri\"]\n";
    let (path, crun) = (folder.path(), PathBuf::from("/usr/bin/crun"));
    let theirs = podman(path, "crun", crun, known, &archive);
    let ours = podman(path, "ours", binary("proxmox-lxcri"), known, &archive);
    let unknown = podman(path, "unknown", binary("proxmox-lxcri"), "", &archive);

    let mut found = BTreeMap::new();
    for (name, line) in COMMANDS {
        let expected = theirs.call(line);
        let also = AS_INSTALLED.contains(name).then_some((true, &unknown));
        for (as_installed, podman) in [(false, &ours)].into_iter().chain(also) {
            for (what, pair) in differences(&expected, &podman.call(line)) {
                found.insert(Difference { command: (*name).to_owned(), what, as_installed }, pair);
            }
        }
    }
    let list = concat!(env!("CARGO_MANIFEST_DIR"), "/podman/differences.toml");
    let list: List = toml::from_str(&fs::read_to_string(list).unwrap()).unwrap();
    assert!(list.difference.iter().all(|difference| !difference.reason.is_empty()));
    let listed: BTreeSet<_> = list.difference.iter().map(|listed| &listed.difference).collect();
    assert_eq!(found.keys().collect::<BTreeSet<_>>(), listed, "{found:#?}");
}

/// Theirs and ours of what is not the same.
fn differences(theirs: &Told, ours: &Told) -> Vec<(What, [String; 2])> {
    let code = |told: &Told| format!("{:?}", told.0);
    let [out, err] = [|told: &Told| same(&told.1), |told: &Told| same(&told.2)];
    [
        (What::Code, [code(theirs), code(ours)]),
        (What::Stdout, [out(theirs), out(ours)]),
        (What::Stderr, [err(theirs), err(ours)]),
    ]
    .into_iter()
    .filter(|(_, [theirs, ours])| theirs != ours)
    .collect()
}

/// Without what is never the same: containers' numbers, times, and where the runtime is.
fn same(printed: &str) -> String {
    let id = |word: &str| word.len() >= 12 && word.chars().all(|c| c.is_ascii_hexdigit());
    let ends = |c: char| !c.is_ascii_alphanumeric();
    let words = printed.split_inclusive(ends).map(|word| match word.trim_end_matches(ends) {
        bare if id(bare) => word.replace(bare, "ID"),
        _ => word.to_owned(),
    });
    let lines = words.collect::<String>();
    let lines = lines.split('\n').map(|line| match (line, line.split_once(": ")) {
        (_, Some(("Error", rest))) if rest.starts_with('/') => {
            format!("Error: RUNTIME: {}", rest.split_once(": ").map_or("", |(_, why)| why))
        }
        (logged, _) if logged.starts_with("time=") => {
            logged.split_once(' ').map_or("", |(_, rest)| rest).to_owned()
        }
        (other, _) => other.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}
