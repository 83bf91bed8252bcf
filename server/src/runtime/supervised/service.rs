//! A start by way of systemd: the monitor is a service, and ready when its container runs.

use std::process::ExitStatus;
use std::time::Duration;

use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::super::RuntimeError;
use super::super::monitor::How;
use super::super::report::Report;
use super::super::units::{Unit, Units, systemctl, words};
use super::{START_TIMEOUT, Supervised};
use crate::tasks::TaskLog;

/// systemd may still hold a unit for active whose process is just ending, and starts nothing then.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);

impl Supervised {
    /// As `start`, for a container whose turn it is.
    pub(super) async fn start_unit(
        &self,
        units: &Units,
        unit: Unit,
        how: &How,
        log: &TaskLog,
        cancel: &CancellationToken,
    ) -> Result<(), RuntimeError> {
        let vmid = unit.vmid();
        self.prepare(units, unit, how).await?;
        for _ in 0..ATTEMPTS {
            self.start_service(units, unit, how.debug, log, cancel).await?;
            // A short life may be over by now; it leaves a record.
            if self.is_supervised(vmid) || self.0.root.exit_record(vmid).exists() {
                said(units, unit).tell(log, true);
                self.adopt(vmid);
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(RuntimeError::Failed(format!("{} is active, but runs nothing", unit.name())))
    }

    async fn prepare(&self, units: &Units, unit: Unit, how: &How) -> Result<(), RuntimeError> {
        let (units, how, record) =
            (units.clone(), how.clone(), self.0.root.exit_record(unit.vmid()));
        let prepared = tokio::task::spawn_blocking(move || {
            match fs_err::remove_file(&record) {
                Err(err) if err.kind() != std::io::ErrorKind::NotFound => return Err(err),
                Ok(()) | Err(_) => {}
            }
            units.prepare(unit, &how)
        });
        let prepared = prepared.await.unwrap_or_else(|err| Err(std::io::Error::other(err)));
        prepared.map_err(|err| RuntimeError::io(unit.name(), err))
    }

    async fn start_service(
        &self,
        units: &Units,
        unit: Unit,
        debug: bool,
        log: &TaskLog,
        cancel: &CancellationToken,
    ) -> Result<(), RuntimeError> {
        let name = unit.name();
        let mut command = Command::from(systemctl(&["start", &name]));
        command.kill_on_drop(true);
        let outcome = tokio::select! {
            output = command.output() => Ok(output),
            () = tokio::time::sleep(START_TIMEOUT) => Err(RuntimeError::StartTimeout(START_TIMEOUT)),
            () = cancel.cancelled() => Err(RuntimeError::Cancelled),
        };
        match outcome {
            Ok(output) => {
                let output = output.map_err(|err| RuntimeError::io("systemctl start", err))?;
                if output.status.success() {
                    return Ok(());
                }
                let report = said(units, unit);
                report.tell(log, debug);
                // Not by `sweep`, which would wait for our own turn.
                if self.has_leftovers(unit.vmid()) && !self.is_supervised(unit.vmid()) {
                    self.cleanup(unit.vmid()).await?;
                }
                Err(RuntimeError::Failed(cause(&report, output.status, &words(&output))))
            }
            Err(err) => {
                said(units, unit).tell(log, true);
                self.stop_service(&name).await;
                if let Err(err) = self.cleanup(unit.vmid()).await {
                    tracing::error!(error = %err, "cannot clean up after {name}: {err}");
                }
                Err(err)
            }
        }
    }

    /// What must not go on.
    async fn stop_service(&self, name: &str) {
        let stopped = Command::from(systemctl(&["kill", "--signal=KILL", name])).output().await;
        match stopped {
            Ok(output) if output.status.success() => {}
            Ok(output) => tracing::error!("cannot kill {name}: {}", words(&output)),
            Err(err) => tracing::error!(error = %err, "cannot kill {name}: {err}"),
        }
    }
}

fn said(units: &Units, unit: Unit) -> Report {
    Report::parse(&fs_err::read(units.stderr(unit)).unwrap_or_default())
}

/// The monitor knows best; one that could not even begin has said nothing, and systemd has.
fn cause(report: &Report, status: ExitStatus, systemctl: &str) -> String {
    if report.lines.is_empty() { systemctl.to_owned() } else { report.cause(status) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn the_monitors_last_words_are_the_cause() {
        let status = ExitStatus::from_raw(256);
        let report = Report::parse(b"WARN: net0: not yet\ncannot mount\n");

        assert_eq!(cause(&report, status, "Job failed."), "cannot mount");
        assert_eq!(cause(&Report::default(), status, "Job failed."), "Job failed.");
    }
}
