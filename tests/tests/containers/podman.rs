//! Debian's podman with our binary as its runtime, and the same with Debian's crun: exit codes and
//! standard output must agree. What differs is listed in tests/podman/differences.toml, with a reason.

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
    ("run terminal", "run --rm -t img tty"),
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
        "run -d --name c --health-cmd 'test -e /tmp/healthy' --health-interval 0 img sh -c 'trap \"echo told; exit 5\" TERM; echo up; while :; do sleep 0.1; done'",
    ),
    ("exec", "exec c sh -c 'echo in; exit 9'"),
    ("exec terminal", "exec -t c tty"),
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
    ("pause", "pause c"),
    ("state paused", "inspect --format '{{.State.Status}}' c"),
    ("exec paused", "exec c true"),
    ("unpause", "unpause c"),
    ("rm running", "rm c"),
    ("stop", "stop c"),
    ("code", "inspect --format '{{.State.Status}} {{.State.ExitCode}}' c"),
    ("restart", "restart -t 1 c"),
    ("rm by force", "rm -f -t 1 c"),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Difference {
    command: String,
    /// For who reads it.
    #[serde(rename = "reason")]
    _reason: String,
}

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

    /// Exit code and both outputs.
    fn call(&self, line: &str) -> (Option<i32>, String, String) {
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

#[test]
fn podman_behaves_as_with_crun() {
    tests::require_machine();
    let folder = tempfile::tempdir().unwrap();
    let image = Content::default().file("bin/foreign", 0o755, "\x7fELF of another world");
    let archive = rootfs(folder.path(), "image.tar", &image);
    let podmen = [("/usr/bin/crun".into(), "crun"), (binary("proxmox-lxcri"), "ours")];
    let podmen = podmen.map(|(runtime, name)| {
        let folder = folder.path().join(name);
        fs::create_dir(&folder).unwrap();
        // No network, which is no business of the runtime; errors as JSON from ours as well.
        let conf = "[containers]\nnetns = \"none\"\nlog_driver = \"k8s-file\"\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\n\
                    [engine]\nruntime_supports_json = [\"crun\", \"proxmox-lxcri\"]\nruntime_supports_nocgroup = [\"crun\", \"proxmox-lxcri\"]\n";
        fs::write(folder.join("containers.conf"), conf).unwrap();
        let podman = Podman { folder, runtime };
        let (code, _, err) = podman.call(&format!("import {} img", archive.display()));
        assert_eq!(code, Some(0), "{err}");
        podman
    });
    let [theirs, ours] = &podmen;

    let mut differing = BTreeMap::new();
    for (name, line) in COMMANDS {
        let (theirs, ours) = (theirs.call(line), ours.call(line));
        if (theirs.0, same(&theirs.1)) != (ours.0, same(&ours.1)) {
            differing.insert(*name, (theirs, ours));
        }
    }
    let list = concat!(env!("CARGO_MANIFEST_DIR"), "/podman/differences.toml");
    let list: BTreeMap<String, Vec<Difference>> =
        toml::from_str(&fs::read_to_string(list).unwrap()).unwrap();
    let listed: BTreeSet<&str> =
        list.values().flatten().map(|difference| difference.command.as_str()).collect();
    let found: BTreeSet<&str> = differing.keys().copied().collect();
    assert_eq!(found, listed, "{differing:#?}");
}

/// Names of containers are never the same twice.
fn same(printed: &str) -> String {
    let id = |word: &str| word.len() >= 12 && word.chars().all(|c| c.is_ascii_hexdigit());
    printed
        .split('\n')
        .map(|line| if id(line.trim()) { "ID" } else { line })
        .collect::<Vec<_>>()
        .join("\n")
}
