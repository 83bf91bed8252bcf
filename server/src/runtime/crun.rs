//! libcrun, linked into the monitor.

use async_trait::async_trait;
use openapi::Vmid;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::monitor::How;
use super::{Runtime, RuntimeError, Supervised};
use crate::tasks::TaskLog;

pub(super) struct Crun(Supervised);

impl Crun {
    pub(super) fn new(supervised: Supervised) -> Self {
        Self(supervised)
    }
}

#[async_trait]
impl Runtime for Crun {
    async fn start(
        &self,
        vmid: Vmid,
        debug: bool,
        log: &TaskLog,
        cancel: &CancellationToken,
    ) -> Result<(), RuntimeError> {
        self.0.start(vmid, &How { lxc_start: None, debug }, log, cancel).await
    }

    async fn probe(&self) -> Result<Value, RuntimeError> {
        self.0.monitors().crun.probe().await
    }
}
