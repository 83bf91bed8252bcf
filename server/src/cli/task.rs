//! `task`: what was done and is being done.

use clap::{Subcommand, ValueEnum};
use openapi::{Upid, Vmid};
use serde_json::Value;

use super::client::{Client, ClientError, Format, Parameter, Target, task};
use super::follow::follow;
use super::show;

/// Tasks of the node.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Show the tasks, newest first.
    List {
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Those of one container.
        #[arg(long)]
        vmid: Option<Vmid>,
        /// Those that failed.
        #[arg(long)]
        errors: bool,
        #[arg(long, value_enum, default_value_t)]
        source: Source,
    },
    /// Show a task's log.
    Log { upid: Upid },
    /// Wait for a task, and fail if it fails.
    Wait { upid: Upid },
    /// Tell a task to stop.
    Stop { upid: Upid },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// Those that run.
    Active,
    /// Those that ended.
    Archive,
    #[default]
    All,
}

pub async fn run(target: &Target, command: &Task) -> Result<(), ClientError> {
    let client = Client::new(target)?;
    match command {
        Task::List { limit, vmid, errors, source } => {
            let source = source.to_possible_value().map(|value| value.get_name().to_owned());
            let mut query: Vec<Parameter> = vec![("limit".to_owned(), limit.to_string())];
            query.extend(source.map(|source| ("source".to_owned(), source)));
            query.extend(vmid.map(|vmid| ("vmid".to_owned(), vmid.to_string())));
            query.extend(errors.then(|| ("errors".to_owned(), "1".to_owned())));
            list(&client.get(&target.tasks(), &query).await?, target.format())?;
        }
        Task::Log { upid } => log(&client, upid, target.format()).await?,
        Task::Wait { upid } => follow(&client, upid, target.format()).await?,
        Task::Stop { upid } => drop(client.delete(&task(upid, ""), &[]).await?),
    }
    Ok(())
}

fn list(tasks: &Value, format: Format) -> Result<(), ClientError> {
    if format == Format::Json {
        return Ok(show::print_json(tasks)?);
    }
    let row = |task: &Value| {
        let time = |key| task.get(key).and_then(Value::as_i64).map(time).unwrap_or_default();
        let word = |key| show::word(task.get(key));
        let status = Some(word("status")).filter(|status| !status.is_empty());
        let status = status.unwrap_or_else(|| "RUNNING".to_owned());
        vec![time("starttime"), time("endtime"), word("user"), status, word("upid")]
    };
    let rows: Vec<_> = show::rows(tasks).iter().map(row).collect();
    Ok(show::print(&show::table(&["Start", "End", "User", "Status", "UPID"], &rows))?)
}

/// By this machine's clock and zone-free, as logs have it.
fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_default()
}

async fn log(client: &Client, upid: &Upid, format: Format) -> Result<(), ClientError> {
    let query = |name: &str, value: &str| [(name.to_owned(), value.to_owned())];
    match format {
        Format::Text => {
            let text = client.text(&task(upid, "/log"), &query("download", "1")).await?;
            show::print(&text)?;
        }
        Format::Json => {
            show::print_json(&client.get(&task(upid, "/log"), &query("limit", "0")).await?)?;
        }
    }
    Ok(())
}
