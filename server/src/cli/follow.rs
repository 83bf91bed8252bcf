//! Staying with a task until it ends: its log as it is written, and on a terminal how far it is.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use openapi::Upid;
use serde_json::{Value, json};

use super::client::{Client, ClientError, Format, Parameter, task};
use super::show;

/// Between two looks; short tasks are over at the second.
const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_millis(500);
const TICK: Duration = Duration::from_millis(120);
const PAGE: usize = 500;
const BAR: &str = "{spinner} {elapsed} {wide_bar} {percent}%";
const SPINNER: &str = "{spinner} {elapsed} {wide_msg}";

/// Until it ends. A task that failed is an error in its own words.
pub(crate) async fn follow(
    client: &Client,
    upid: &Upid,
    format: Format,
) -> Result<(), ClientError> {
    tokio::select! {
        ended = Follower::new(client, upid, format).run() => ended,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            Err(ClientError::Left(upid.to_string()))
        }
    }
}

struct Follower<'a> {
    client: &'a Client,
    upid: &'a Upid,
    format: Format,
    bar: ProgressBar,
    seen: usize,
}

impl<'a> Follower<'a> {
    fn new(client: &'a Client, upid: &'a Upid, format: Format) -> Self {
        let bar = if io::stderr().is_terminal() {
            let bar = ProgressBar::new(100);
            bar.enable_steady_tick(TICK);
            bar.with_style(style(SPINNER)).with_message(upid.kind().to_owned())
        } else {
            ProgressBar::hidden()
        };
        Self { client, upid, format, bar, seen: 0 }
    }

    async fn run(mut self) -> Result<(), ClientError> {
        let mut pause = FIRST;
        let status = loop {
            // Before the log: what is written until the end is in it then.
            let status = self.client.get(&task(self.upid, "/status"), &[]).await?;
            self.show_new().await?;
            if status["status"] == "stopped" {
                break status;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST);
        };
        self.bar.finish_and_clear();
        let exit = show::word(status.get("exitstatus"));
        if self.format == Format::Json {
            show::print_json(&json!({"upid": self.upid.to_string(), "exitstatus": exit}))?;
        }
        // WARNINGS: how many, which the log told.
        if exit == "OK" || exit.starts_with("WARNINGS: ") {
            Ok(())
        } else {
            Err(ClientError::Task(exit))
        }
    }

    async fn show_new(&mut self) -> Result<(), ClientError> {
        loop {
            let lines = self.client.get(&task(self.upid, "/log"), &page(self.seen)).await?;
            let lines: Vec<_> =
                show::rows(&lines).iter().map(|line| show::word(line.get("t"))).collect();
            for line in &lines {
                // The log of an empty page says so in a line.
                if line != "no content" {
                    self.show(line)?;
                }
            }
            self.seen += lines.iter().filter(|line| *line != "no content").count();
            if lines.len() < PAGE {
                return Ok(());
            }
        }
    }

    fn show(&self, line: &str) -> io::Result<()> {
        if let Some(percent) = percent(line) {
            self.bar.set_style(style(BAR));
            self.bar.set_position(percent);
        } else {
            self.bar.set_style(style(SPINNER));
            self.bar.set_message(line.to_owned());
        }
        // Told as the error.
        if line.starts_with("TASK ERROR: ") {
            return Ok(());
        }
        self.bar.suspend(|| match self.format {
            Format::Text => show::print(&format!("{line}\n")),
            // Standard output is for the answer.
            Format::Json => writeln!(io::stderr(), "{line}"),
        })
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn page(start: usize) -> [Parameter; 2] {
    [("start".to_owned(), start.to_string()), ("limit".to_owned(), PAGE.to_string())]
}

/// How far a line says that something is: `12 of 48 MiB (25%)`, `(25.00%)`.
fn percent(line: &str) -> Option<u64> {
    let (before, _) = line.split_once('%')?;
    let number = before.rsplit(|c: char| !c.is_ascii_digit() && c != '.').next()?;
    let whole: u64 = number.split('.').next()?.parse().ok()?;
    (whole <= 100).then_some(whole)
}

/// The task that an answer names: everything that takes time answers so.
pub(crate) fn upid(answer: &Value) -> Result<Upid, ClientError> {
    let text = answer.as_str().unwrap_or_default();
    text.parse().map_err(|_| ClientError::Foreign("the daemon".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("got 12 of 48 MiB (25%)", Some(25))]
    #[case("transferred 1.0 GiB of 2.0 GiB (50.75%)", Some(50))]
    #[case("100%", Some(100))]
    #[case("unpacking", None)]
    #[case("%", None)]
    #[case("500% more", None)]
    fn reads_how_far_it_is(#[case] line: &str, #[case] expected: Option<u64>) {
        assert_eq!(percent(line), expected);
    }

    #[test]
    fn the_bars_can_be_drawn() {
        for template in [BAR, SPINNER] {
            ProgressStyle::with_template(template).unwrap();
        }
    }
}
