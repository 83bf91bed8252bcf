//! Who works on a container waits for who does so already.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use openapi::Vmid;
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

/// One at a time for each container; a turn may take as long as it likes.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<Vmid, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// Ours until it is dropped.
    pub(crate) async fn take(&self, vmid: Vmid) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock().expect("nothing panics while it holds the lock");
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(vmid).or_default())
        };
        turn.lock_owned().await
    }

    /// `None` for one who would rather not wait any more.
    pub(crate) async fn take_or(
        &self,
        vmid: Vmid,
        cancel: &CancellationToken,
    ) -> Option<OwnedMutexGuard<()>> {
        tokio::select! {
            biased;
            turn = self.take(vmid) => Some(turn),
            () = cancel.cancelled() => None,
        }
    }
}
