//! A start that cannot be: one line on stderr that names the cause, and a non-zero exit.

use std::process::{Command, Output};

use tests::{Daemon, binary};

fn serve(arguments: &[&str]) -> Output {
    Command::new(binary("proxmox-lxcri")).arg("serve").args(arguments).output().unwrap()
}

#[track_caller]
fn fails(output: &Output, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{text}");
    let last = text.lines().last().unwrap_or_default();
    for word in words {
        assert!(last.contains(word), "{word:?} is not in {text:?}");
    }
}

#[test]
fn a_second_daemon_on_one_root_is_refused() {
    let daemon = Daemon::start();
    let root = daemon.root().to_str().unwrap();
    fails(
        &serve(&["--root", root, "--node", "pve1", "--plain-http", "--listen", "127.0.0.1:0"]),
        &["another daemon"],
    );
    assert_eq!(daemon.get("/version").status, 200);
}

#[test]
fn a_taken_port_is_named() {
    let daemon = Daemon::start();
    let other = tempfile::tempdir().unwrap();
    let address = daemon.address().to_string();
    let root = other.path().to_str().unwrap();
    fails(
        &serve(&["--root", root, "--node", "pve1", "--plain-http", "--listen", &address]),
        &[&address],
    );
}

#[test]
fn a_certificate_that_is_missing_is_named() {
    let other = tempfile::tempdir().unwrap();
    let root = other.path().to_str().unwrap();
    let options = ["--tls-cert", "/nowhere/cert.pem", "--tls-key", "/nowhere/key.pem"];
    let all =
        [&["--root", root, "--node", "pve1", "--listen", "127.0.0.1:0"][..], &options].concat();
    fails(&serve(&all), &["/nowhere/"]);
}

fn program(arguments: &[&str]) -> Output {
    Command::new(binary("proxmox-lxcri")).args(arguments).output().unwrap()
}

#[test]
fn wrong_usage_is_two_and_a_failure_one() {
    for wrong in [&["create"][..], &["state", "a/b"], &["--root", "/x", "serve"], &["nothing"]] {
        assert_eq!(program(wrong).status.code(), Some(2), "{wrong:?}");
    }
    let lxc = program(&["--runtime", "lxc", "run", "c1"]);
    assert_eq!(lxc.status.code(), Some(1));
    fails(&lxc, &["config.json"]);
}

#[test]
fn shows_what_the_runtime_can_do_and_a_config_to_begin_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();

    let output = program(&["--root", &format!("{path}/state"), "features"]);
    let features: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(features["annotations"]["run.oci.crun.version"], "1.28");
    assert_eq!(features["linux"]["cgroup"]["systemd"], false);

    assert!(program(&["spec", "--bundle", path]).status.success());
    let config = fs_err::read(folder.path().join("config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["process"]["args"][0], "sh");
    fails(&program(&["spec", "--bundle", path]), &["config.json", "already exists"]);
}

#[test]
fn completions_and_man_pages_come_from_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    for (shell, check) in [("bash", "bash -n"), ("zsh", ""), ("fish", "")] {
        let output = program(&["generate", "completions", shell]);
        assert!(output.status.success());
        for word in ["overrule-shutdown", "console-socket", "cacert"] {
            assert!(String::from_utf8_lossy(&output.stdout).contains(word), "{shell}: {word}");
        }
        let file = folder.path().join(shell);
        fs_err::write(&file, &output.stdout).unwrap();
        if let Some((program, option)) = check.split_once(' ') {
            assert!(Command::new(program).arg(option).arg(&file).status().unwrap().success());
        }
    }

    let pages = folder.path().join("man");
    assert!(program(&["generate", "man", pages.to_str().unwrap()]).status.success());
    for (page, word) in [
        ("proxmox-lxcri.1", "proxmox\\-lxcri\\-ct(1)"),
        ("proxmox-lxcri-serve.1", "plain\\-http"),
        ("proxmox-lxcri-ct-create.1", "bridge=vmbr0"),
        ("proxmox-lxcri-exec.1", "process"),
    ] {
        let text = fs_err::read_to_string(pages.join(page)).unwrap();
        assert!(text.contains(word), "{page}: {text}");
    }
    assert!(!pages.join("proxmox-lxcri-generate.1").exists());
}
