//! `ct`: the daemon's guests, as `pct` has PVE's.

mod exec;
mod limits;
mod settings;

use std::path::PathBuf;

use clap::Subcommand;
use openapi::Vmid;
use serde_json::Value;

use super::client::{Client, ClientError, Format, Parameter, Target};
use super::follow::{follow, upid};
use super::show;
use settings::settings;

pub use exec::Exec;
pub use limits::Limits;

/// Containers of the daemon.
#[derive(Debug, Subcommand)]
pub enum Ct {
    /// Show the containers.
    List,
    /// Show whether a container runs, and what it uses.
    Status { vmid: Vmid },
    /// Make a container from a template or an image.
    Create(Create),
    /// Start a container.
    Start {
        vmid: Vmid,
        #[command(flatten)]
        how: How,
    },
    /// Stop a container at once.
    Stop {
        vmid: Vmid,
        /// End a shutdown that is under way.
        #[arg(long)]
        overrule_shutdown: bool,
        #[command(flatten)]
        how: How,
    },
    /// Ask a container to end.
    Shutdown {
        vmid: Vmid,
        /// Seconds it has for that.
        #[arg(long, value_name = "SECONDS")]
        timeout: Option<u32>,
        /// Stop it if it takes longer.
        #[arg(long)]
        force_stop: bool,
        #[command(flatten)]
        how: How,
    },
    /// Start the containers that start with the host, in their order; what the host does at boot.
    StartAll {
        #[command(flatten)]
        how: How,
    },
    /// Ask all containers to end, in the reverse order; what the host does when it shuts down.
    StopAll {
        /// Seconds that those have whose startup setting does not say.
        #[arg(long, value_name = "SECONDS")]
        timeout: Option<u32>,
        #[command(flatten)]
        how: How,
    },
    /// Run a program in a running container of this machine; its exit code is ours.
    Exec(Exec),
    /// Show what a container wrote.
    Logs {
        vmid: Vmid,
        /// The last so many lines.
        #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 500)]
        lines: u32,
    },
    /// Show a container's settings, or change them.
    Config(Config),
    /// Show the limits of a container that its settings have no words for, or change them.
    Limits(Limits),
    /// Show the OCI bundle that a container's next start would use.
    Bundle {
        vmid: Vmid,
        /// List which setting puts what there, and why, instead.
        #[arg(long)]
        explain: bool,
        /// With the limits, which a start sets on the cgroup above the container's.
        #[arg(long, conflicts_with = "explain")]
        limits: bool,
    },
    /// Remove a container and its volumes.
    Destroy {
        vmid: Vmid,
        /// Though it runs.
        #[arg(long)]
        force: bool,
        /// From backup jobs, replication and access rights too.
        #[arg(long)]
        purge: bool,
        /// Also volumes that no setting names.
        #[arg(long)]
        destroy_unreferenced_disks: bool,
        #[command(flatten)]
        how: How,
    },
}

/// Of what takes time.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct How {
    /// Print the task's UPID and do not wait for its end.
    #[arg(long)]
    detach: bool,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Settings are the parameters of the API and of pct, such as --hostname web \
    --memory 512 --net0 name=eth0,bridge=vmbr0,ip=dhcp --start. They come last: every word behind the \
    template is one of them."
)]
pub struct Create {
    /// Print the task's UPID and do not wait for its end.
    #[arg(long)]
    detach: bool,
    /// Take the settings from the config.json of an OCI bundle; those of the command line count more.
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    vmid: Vmid,
    /// Template, backup or image, say local:vztmpl/debian-13.tar.zst.
    ostemplate: String,
    #[arg(value_name = "--KEY VALUE", trailing_var_arg = true, allow_hyphen_values = true)]
    settings: Vec<String>,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Settings are the parameters of the API and of pct, such as --memory 512 or \
    --delete net1. They come last: every word behind the container's number is one of them."
)]
pub struct Config {
    /// Show what holds now, without what waits for the next start.
    #[arg(long)]
    current: bool,
    vmid: Vmid,
    #[arg(value_name = "--KEY VALUE", trailing_var_arg = true, allow_hyphen_values = true)]
    settings: Vec<String>,
}

pub async fn run(target: &Target, command: &Ct) -> Result<(), ClientError> {
    let on = |path: Vmid, below: &str| target.guest(path, below);
    let client = || Client::new(target);
    match command {
        Ct::List => list(&client()?.get(&target.guests(), &[]).await?, target.format()),
        Ct::Status { vmid } => {
            let status = client()?.get(&on(*vmid, "/status/current"), &[]).await?;
            object(&status, target.format())
        }
        Ct::Create(create) => {
            let mut form = settings(&create.settings)?;
            form.push(("vmid".to_owned(), create.vmid.to_string()));
            form.push(("ostemplate".to_owned(), create.ostemplate.clone()));
            let path = match &create.bundle {
                Some(file) => {
                    form.push(("bundle".to_owned(), fs_err::read_to_string(file)?));
                    target.oci("/containers")
                }
                None => target.guests(),
            };
            let client = client()?;
            let answer = client.post(&path, &form).await?;
            finish(&client, target, &answer, create.detach).await
        }
        Ct::Start { vmid, how } => act(target, &on(*vmid, "/status/start"), &[], *how).await,
        Ct::Stop { vmid, overrule_shutdown, how } => {
            let form = flags(&[("overrule-shutdown", *overrule_shutdown)]);
            act(target, &on(*vmid, "/status/stop"), &form, *how).await
        }
        Ct::Shutdown { vmid, timeout, force_stop, how } => {
            let mut form = flags(&[("forceStop", *force_stop)]);
            form.extend(timeout.map(|timeout| ("timeout".to_owned(), timeout.to_string())));
            act(target, &on(*vmid, "/status/shutdown"), &form, *how).await
        }
        Ct::StartAll { how } => act(target, &target.all("/startall"), &[], *how).await,
        Ct::StopAll { timeout, how } => {
            let form = timeout.map(|timeout| ("timeout".to_owned(), timeout.to_string()));
            act(target, &target.all("/stopall"), form.as_slice(), *how).await
        }
        Ct::Exec(exec) => exec::run(target, exec).await,
        Ct::Logs { vmid, lines } => {
            let path = target.oci(&format!("/containers/{vmid}/logs"));
            let query = [("limit".to_owned(), lines.to_string())];
            logs(&client()?.get(&path, &query).await?, target.format())
        }
        Ct::Bundle { vmid, explain, limits } => {
            let path = target.oci(&format!("/containers/{vmid}/bundle"));
            let query = flags(&[("explain", *explain), ("limits", *limits)]);
            let answer = client()?.get(&path, &query).await?;
            match (explain, target.format()) {
                (true, Format::Text) => explained(&answer),
                (false, Format::Text) | (_, Format::Json) => Ok(show::print_json(&answer)?),
            }
        }
        Ct::Config(config) => self::config(target, config).await,
        Ct::Limits(limits) => limits::run(target, limits).await,
        Ct::Destroy { vmid, force, purge, destroy_unreferenced_disks, how } => {
            let query = flags(&[
                ("force", *force),
                ("purge", *purge),
                ("destroy-unreferenced-disks", *destroy_unreferenced_disks),
            ]);
            let client = client()?;
            let answer = client.delete(&on(*vmid, ""), &query).await?;
            finish(&client, target, &answer, how.detach).await
        }
    }
}

async fn act(target: &Target, path: &str, form: &[Parameter], how: How) -> Result<(), ClientError> {
    let client = Client::new(target)?;
    let answer = client.post(path, form).await?;
    finish(&client, target, &answer, how.detach).await
}

async fn finish(
    client: &Client,
    target: &Target,
    answer: &Value,
    detach: bool,
) -> Result<(), ClientError> {
    let upid = upid(answer)?;
    if !detach {
        return follow(client, &upid, target.format()).await;
    }
    match target.format() {
        Format::Text => show::print(&format!("{upid}\n"))?,
        Format::Json => show::print_json(answer)?,
    }
    Ok(())
}

/// Those that were given, as PVE writes yes.
fn flags(flags: &[(&str, bool)]) -> Vec<Parameter> {
    let given = flags.iter().filter(|(_, given)| *given);
    given.map(|(name, _)| ((*name).to_owned(), "1".to_owned())).collect()
}

/// In pct's columns.
fn list(containers: &Value, format: Format) -> Result<(), ClientError> {
    let mut sorted = show::rows(containers).to_vec();
    sorted.sort_by_key(|row| row.get("vmid").and_then(Value::as_u64));
    if format == Format::Json {
        return Ok(show::print_json(&sorted.into())?);
    }
    let cells = |row: &Value| {
        ["vmid", "status", "lock", "name"].map(|key| show::word(row.get(key))).to_vec()
    };
    let rows: Vec<_> = sorted.iter().map(cells).collect();
    Ok(show::print(&show::table(&["VMID", "Status", "Lock", "Name"], &rows))?)
}

fn object(object: &Value, format: Format) -> Result<(), ClientError> {
    match format {
        Format::Text => show::print(&show::lines(object, &["digest", "lxc"]))?,
        Format::Json => show::print_json(object)?,
    }
    Ok(())
}

/// What is long is cut: `--format json` has all of it.
fn explained(rows: &Value) -> Result<(), ClientError> {
    const MOST: usize = 40;
    let short = |text: String| match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    };
    let cells = |row: &Value| {
        let word = |key| show::word(row.get(key));
        vec![word("key"), word("path"), short(word("value")), word("why")]
    };
    let rows: Vec<_> = show::rows(rows).iter().map(cells).collect();
    Ok(show::print(&show::table(&["Key", "Path", "Value", "Why"], &rows))?)
}

fn logs(lines: &Value, format: Format) -> Result<(), ClientError> {
    if format == Format::Json {
        return Ok(show::print_json(lines)?);
    }
    let lines = show::rows(lines).iter().map(|line| line.get("t").and_then(Value::as_str));
    Ok(show::print(
        &lines.map(|line| line.unwrap_or_default().to_owned() + "\n").collect::<String>(),
    )?)
}

async fn config(target: &Target, config: &Config) -> Result<(), ClientError> {
    let form = settings(&config.settings)?;
    let (client, path) = (Client::new(target)?, target.guest(config.vmid, "/config"));
    if !form.is_empty() {
        client.put(&path, &form).await?;
        return Ok(());
    }
    let answer = client.get(&path, &flags(&[("current", config.current)])).await?;
    object(&answer, target.format())?;
    if target.format() == Format::Text {
        // Pairs, as a key may be there more than once.
        let raw = show::rows(answer.get("lxc").unwrap_or(&Value::Null));
        let line =
            |pair: &Value| format!("{}: {}\n", show::word(pair.get(0)), show::word(pair.get(1)));
        show::print(&raw.iter().map(line).collect::<String>())?;
    }
    Ok(())
}
