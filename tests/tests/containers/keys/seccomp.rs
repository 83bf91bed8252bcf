//! `lxc.seccomp.profile`: a file of LXC's format, which LXC reads itself and we for libcrun.

use std::path::{Path, PathBuf};

use rstest::rstest;
use serde::Deserialize;

use super::{guest, has_lines};
use crate::{PATIENT, SUBVOL, UNPRIVILEGED, runtimes, sh};

/// What an application may call.
#[derive(Deserialize)]
struct Calls {
    allow: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    names: Vec<String>,
}

fn calls() -> impl Iterator<Item = String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../pve-integration/src/bundle/seccomp/application.toml");
    let calls: Calls = toml::from_str(&fs_err::read_to_string(path).unwrap()).unwrap();
    calls.allow.into_iter().flat_map(|group| group.names)
}

/// `rmdir` finds no such folder where it is let through.
const SCRIPT: &str = "touch /x; mkdir /y 2>&1; chmod 600 /x 2>&1; rmdir /tmp/none 2>&1; echo end";

/// What the script says in a container that has this profile.
fn seen(runtime: &str, profile: &str) -> String {
    let daemon = runtimes::daemon(runtime);
    let path = written(daemon.root(), profile);
    let line = format!("lxc.seccomp.profile: {}\n", path.display());
    let guest = guest(&daemon, &[SUBVOL, UNPRIVILEGED], &sh(SCRIPT), &line);
    let task = guest.task("start", &[]);
    assert!(!task.log.contains("lxc.seccomp.profile"), "{}", task.log);
    guest.wait();
    let output = guest.output();
    guest.destroy();
    output
}

fn written(root: &Path, profile: &str) -> PathBuf {
    let path = root.join("etc/profile.seccomp");
    fs_err::write(&path, profile).unwrap();
    path
}

#[rstest]
fn a_deny_list_answers(#[values("crun", "lxc")] runtime: &str) {
    let profile = "2\ndenylist\nreject_force_umount  # as PVE\n[all]\n\
        chmod errno 1\nfchmodat errno 1\nfchmodat2 errno 1\n\
        no_such_call errno 1\n\
        [x86_64]\nmkdir errno 38\nmkdirat errno 38\n\
        [arm64]\nrmdir errno 38\n";
    let output = seen(runtime, profile);
    has_lines(
        &output,
        &[
            "chmod: /x: Operation not permitted",
            "mkdir: can't create directory '/y': Function not implemented",
            "rmdir: '/tmp/none': No such file or directory",
            "end",
        ],
    );
}

#[rstest]
fn an_allow_list_leaves_the_rest_out(#[values("crun", "lxc")] runtime: &str) {
    let left_out = ["chmod", "fchmodat", "fchmodat2", "mkdir", "mkdirat"];
    let names: Vec<_> = calls().filter(|name| !left_out.contains(&name.as_str())).collect();
    let profile = format!(
        "2\nallowlist errno 38\n[all]\n{}\nmkdir errno 1\nmkdirat errno 1\n",
        names.join("\n")
    );
    let output = seen(runtime, &profile);
    has_lines(
        &output,
        &[
            "chmod: /x: Function not implemented",
            "mkdir: can't create directory '/y': Operation not permitted",
            "end",
        ],
    );
}

#[rstest]
#[case::crun("crun", "profile.seccomp: line 4: 'forbid' is no action")]
#[case::lxc("lxc", "")]
fn a_bad_profile_is_no_start(#[case] runtime: &str, #[case] reason: &str) {
    let daemon = runtimes::daemon(runtime);
    let path = written(daemon.root(), "2\ndenylist\n[all]\nchmod forbid\n");
    let line = format!("lxc.seccomp.profile: {}\n", path.display());
    let guest = guest(&daemon, &[SUBVOL, UNPRIVILEGED], PATIENT, &line);
    let failed = guest.task("start", &[]).failed();
    assert!(failed.contains(reason), "{failed}");
    // And one that is mended is read anew.
    fs_err::write(&path, "2\ndenylist\n[all]\nchmod errno 1\n").unwrap();
    guest.start();
    guest.wait_for_output("ready");
    guest.stop();
    guest.destroy();
}
