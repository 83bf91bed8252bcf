//! A container's console, from the browser's side.

use serde_json::Value;
use tests::{Content, Daemon, Guest, Terminal, descriptors, eventually, rootfs};

use crate::{PATIENT, SMALL, SUBVOL, UNPRIVILEGED, daemon};

/// An init with a login of sorts, which opens and closes the console as a getty does.
const INIT: &str = "#!/bin/sh\ntrap 'exit 0' PWR TERM\nexec </dev/null >/dev/null 2>&1\n\
    while :; do sh -c 'echo -n \"login: \"; read name; echo \"hello $name\"; exec sh -i' \
    </dev/console >/dev/console 2>&1; done\n";

fn with_login(daemon: &Daemon) -> Guest<'_> {
    let content = Content::default().file("sbin/init", 0o755, INIT);
    rootfs(&daemon.templates(), "login.tar.gz", &content);
    let options = [SUBVOL, SMALL, UNPRIVILEGED, ("cmode", "console")];
    let guest = daemon.create(100, "login.tar.gz", &options);
    guest.start();
    guest.wait_for_output("login: ");
    guest
}

fn open(daemon: &Daemon) -> Value {
    daemon.post("/nodes/pve1/lxc/100/termproxy", &[]).data()
}

fn browser(daemon: &Daemon, opened: &Value) -> Terminal {
    let path = "/nodes/pve1/lxc/100/vncwebsocket";
    let mut terminal = Terminal::websocket(daemon.address(), daemon.token(), path, opened);
    terminal.log_in(opened);
    terminal.expect("OK");
    terminal
}

#[test]
fn a_browser_logs_in_and_types() {
    let daemon = daemon();
    let guest = with_login(&daemon);
    let opened = open(&daemon);
    let mut terminal = browser(&daemon, &opened);
    terminal.send("1:132:50:");
    terminal.type_in("joe\r");
    terminal.expect("hello joe");
    terminal.type_in("echo $((6*7)) && stat -L -c %F /dev/console; exit\r");
    terminal.expect("42");
    terminal.expect("character special");
    // The shell ends, the console does not: its login is there again, for us and for another.
    terminal.send("2");
    let mut second = browser(&daemon, &open(&daemon));
    second.type_in("ann\r");
    second.expect("hello ann");
    terminal.expect("hello ann");

    guest.stop();
    second.rest();
    terminal.rest();
    daemon.task_of(opened["upid"].as_str().unwrap()).ok();
    guest.destroy();
}

#[test]
fn a_client_that_is_killed_leaves_nothing() {
    let daemon = daemon();
    let guest = with_login(&daemon);
    let monitor =
        tests::processes_of(daemon.root()).into_iter().find(|(_, line)| line.contains(" run "));
    let monitor = u32::try_from(monitor.expect("the monitor runs").0).unwrap();
    drop(browser(&daemon, &open(&daemon)));
    let settled = || (descriptors(daemon.pid()), descriptors(monitor));
    eventually(20, "the tasks' end", || {
        (daemon.get("/nodes/pve1/tasks?source=active").data() == serde_json::json!([]))
            .then_some(())
    });
    let before = settled();
    for _ in 0..5 {
        let opened = open(&daemon);
        let mut terminal = browser(&daemon, &opened);
        terminal.type_in("x");
        drop(terminal);
        daemon.task_of(opened["upid"].as_str().unwrap()).ok();
    }
    eventually(20, "no more descriptors than before", || {
        let now = settled();
        (now.0 <= before.0 && now.1 <= before.1).then_some(())
    });
    guest.stop();
    guest.destroy();
}

#[test]
fn a_program_without_a_terminal_shows_its_output() {
    let daemon = daemon();
    let script = "/bin/sh -c 'while :; do echo tick; sleep 0.2; done'";
    let guest =
        daemon.create(100, crate::BUSYBOX, &[SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", script)]);
    guest.start();
    let mut terminal = browser(&daemon, &open(&daemon));
    terminal.type_in("lost\r");
    terminal.expect("tick");
    guest.stop();
    terminal.rest();
    guest.destroy();
}

#[test]
fn a_shell_comes_without_a_login_where_lxc_is_installed() {
    if !["/usr/bin/lxc-attach", "/bin/lxc-attach"]
        .iter()
        .any(|path| std::path::Path::new(path).exists())
    {
        return;
    }
    let daemon = daemon();
    let guest = daemon.create(
        100,
        crate::BUSYBOX,
        &[SUBVOL, SMALL, UNPRIVILEGED, ("cmode", "shell"), ("entrypoint", PATIENT)],
    );
    guest.start();
    let opened = open(&daemon);
    let mut terminal = browser(&daemon, &opened);
    // What is typed before its prompt, the shell takes for the answer to a question of its own.
    terminal.expect("# ");
    terminal.type_in("echo in $((40+2)); exit\r");
    terminal.expect("in 42");
    terminal.rest();
    daemon.task_of(opened["upid"].as_str().unwrap()).ok();
    guest.stop();
    guest.destroy();
}
