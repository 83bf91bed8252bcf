//! Consoles for VNC clients: PVE's `vncterm`, a VNC server around a command, where it is installed.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use openapi::AuthId;
use pve_integration::layout::Root;
use tokio::net::TcpListener;
use tokio::process::Command;

use super::password::password;
use super::session::Ended;
use super::{Console, ConsoleError, Consoles, PORTS, Place, Source};

const VNCTERM: &str = "/usr/bin/vncterm";
/// How long PVE waits for it to listen.
const READY_PATIENCE: Duration = Duration::from_secs(5);
const READY_POLL: Duration = Duration::from_millis(50);

/// How a VNC client wants it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Screen {
    pub(crate) websocket: bool,
    pub(crate) width: Option<u32>,
    pub(crate) height: Option<u32>,
}

impl Consoles {
    /// The console, and the VNC password of a websocket client.
    pub(crate) async fn vnc(
        &self,
        place: Place,
        source: &Source,
        screen: Screen,
        who: &AuthId,
    ) -> Result<(Console, Option<String>), ConsoleError> {
        let (reserved, port) = reserve(screen).await?;
        let ticket = self.ticket(who, &place.path, port).await?;
        let password = if screen.websocket { Some(password()?) } else { None };
        let ticket = match &password {
            Some(password) => format!("{password}:{ticket}"),
            None => ticket,
        };
        let secret = password.clone().unwrap_or_else(|| ticket.clone());
        let program = PathBuf::from(VNCTERM);
        let installed = program.exists();
        let mut line = arguments(&place, screen, port);
        line.extend(command_line(&self.0.root, source));
        let stop = self.0.stop.clone();
        let (kind, id) = (place.kind, place.id);
        let upid = self.0.tasks.spawn(kind, &id, who, move |_, cancel| async move {
            if !installed {
                return Err(missing());
            }
            drop(reserved);
            let mut command = Command::new(&program);
            command.args(&line).env("PVE_VNC_TICKET", secret).current_dir("/");
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = command.kill_on_drop(true).spawn().map_err(|err| err.to_string())?;
            tokio::select! {
                ended = child.wait() => match ended {
                    Ok(status) if status.success() => Ok(()),
                    Ok(status) => Err(format!("command '{}' failed: {status}", program.display())),
                    Err(err) => Err(err.to_string()),
                },
                () = cancel.cancelled() => Err(Ended::Cancelled.to_string()),
                () = stop.cancelled() => Err(Ended::Cancelled.to_string()),
            }
        })?;
        if !installed {
            return Err(ConsoleError::Missing(missing()));
        }
        wait_ready(port).await?;
        Ok((Console { ticket, port, upid }, password))
    }
}

fn missing() -> String {
    format!(
        "unable to start a VNC console: '{VNCTERM}' is not installed, it is in the package vncterm; \
         a terminal console (termproxy) works without it"
    )
}

/// Holds the port until `vncterm` is about to take it.
async fn reserve(screen: Screen) -> Result<(TcpListener, u16), ConsoleError> {
    let address = if screen.websocket { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
    for port in PORTS {
        if let Ok(listener) = TcpListener::bind((address, port)).await {
            return Ok((listener, port));
        }
    }
    Err(ConsoleError::NoPort)
}

fn arguments(place: &Place, screen: Screen, port: u16) -> Vec<String> {
    let (port, privilege) = (port.to_string(), place.privilege.to_string());
    let mut line =
        ["-rfbport", &port, "-timeout", "10", "-authpath", &place.path].map(str::to_owned).to_vec();
    line.extend(["-perm", &privilege, "-verify-port"].map(str::to_owned));
    for (name, size) in [("-width", screen.width), ("-height", screen.height)] {
        line.extend(size.into_iter().flat_map(|size| [name.to_owned(), size.to_string()]));
    }
    if screen.websocket {
        line.extend(["-notls", "-listen", "localhost"].map(str::to_owned));
    }
    line.push("-c".to_owned());
    line
}

/// LXC's own tool asks whoever supervises the container, our monitor as well.
fn command_line(root: &Root, source: &Source) -> Vec<String> {
    match source {
        Source::Program(line) => line.clone(),
        Source::Container { vmid, tty, .. } => {
            let (path, vmid) = (root.lxc_path().display().to_string(), vmid.to_string());
            let mut line =
                ["lxc-console", "-P", &path, "-n", &vmid, "-e", "-1"].map(str::to_owned).to_vec();
            if *tty == 0 {
                line.extend(["-t", "0"].map(str::to_owned));
            }
            line
        }
    }
}

/// PVE asks `ss`; a connection of ours would be the one client that `vncterm` takes.
async fn wait_ready(port: u16) -> Result<(), ConsoleError> {
    let listening = async {
        while !listens(Path::new("/proc/net"), port) {
            tokio::time::sleep(READY_POLL).await;
        }
    };
    let ready = tokio::time::timeout(READY_PATIENCE, listening).await;
    ready.map_err(|_| ConsoleError::NotReady(port))
}

/// `sl local_address rem_address st`: the port in hex, and 0A for a listener.
fn listens(tables: &Path, port: u16) -> bool {
    let end = format!(":{port:04X}");
    ["tcp", "tcp6"].iter().any(|table| {
        let table = fs_err::read_to_string(tables.join(table)).unwrap_or_default();
        table.lines().any(|line| {
            let mut words = line.split_whitespace().skip(1);
            words.next().is_some_and(|local| local.ends_with(&end)) && words.nth(1) == Some("0A")
        })
    })
}

#[cfg(test)]
mod tests {
    use lxc_protocol::client::Client;
    use openapi::Privilege;

    use super::*;

    #[test]
    fn calls_vncterm_as_pve_does() {
        let place = Place {
            path: "/vms/100".to_owned(),
            privilege: Privilege::VmConsole,
            kind: "vncproxy",
            id: "100".to_owned(),
        };
        let root = Root::new("/").unwrap();
        let client = Client::new(&root.lxc_path(), "100");
        let source = Source::Container { vmid: "100".parse().unwrap(), client, tty: -1 };
        let screen = Screen { websocket: true, width: Some(800), height: None };

        let line = [arguments(&place, screen, 5901), command_line(&root, &source)].concat();

        assert_eq!(
            line.join(" "),
            "-rfbport 5901 -timeout 10 -authpath /vms/100 -perm VM.Console -verify-port -width 800 \
             -notls -listen localhost -c lxc-console -P /var/lib/lxc -n 100 -e -1"
        );
    }

    #[tokio::test]
    async fn sees_who_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();

        assert!(listens(Path::new("/proc/net"), port));
        drop(listener);
        assert!(!listens(Path::new("/proc/net"), port));
    }
}
