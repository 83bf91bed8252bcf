//! What every handler can reach: one value, cheap to clone, that owns the services.

use std::sync::Arc;

use openapi::NodeName;
use pve_integration::layout::Root;
use pve_integration::stamp::Reading;
use pve_integration::storage::{StorageConfig, StorageError};

use crate::access_store::AccessStore;
use crate::api::cluster::HostRows;
use crate::bind_mounts::BindMounts;
use crate::console::Consoles;
use crate::guests::Guests;
use crate::host_status::HostStatus;
use crate::metrics::Metrics;
use crate::programs::Programs;
use crate::pveproxy::PveProxy;
use crate::runtime::Settings;
use crate::tasks::Tasks;
use crate::tls;

/// The daemon's services.
#[derive(Clone)]
pub struct App(Arc<Services>);

struct Services {
    root: Root,
    node: NodeName,
    access: Arc<AccessStore>,
    consoles: Consoles,
    tasks: Tasks,
    guests: Guests,
    host: HostStatus,
    metrics: Metrics,
    pveproxy: Option<PveProxy>,
    storages: Reading<StorageConfig>,
    host_rows: HostRows,
    fingerprint: Reading<Option<String>>,
    bind_mounts: BindMounts,
}

impl App {
    pub fn new(root: Root, node: NodeName, programs: Programs) -> Self {
        Self::beside(None, root, node, programs, Settings::default(), BindMounts::default())
    }

    /// As `new`, on a node where pveproxy answers what is not answered here.
    pub(crate) fn beside(
        pveproxy: Option<PveProxy>,
        root: Root,
        node: NodeName,
        programs: Programs,
        choice: Settings,
        bind_mounts: BindMounts,
    ) -> Self {
        let tasks = Tasks::new(&root, node.clone());
        let access = Arc::new(AccessStore::new(root.clone()));
        let guests = Guests::new(root.clone(), node.clone(), tasks.clone(), programs, choice);
        Self(Arc::new(Services {
            consoles: Consoles::new(root.clone(), Arc::clone(&access), tasks.clone()),
            access,
            metrics: Metrics::new(root.clone(), node.clone(), guests.clone()),
            guests,
            host: HostStatus::new(root.clone()),
            pveproxy,
            storages: Reading::new(root.storage_cfg()),
            host_rows: HostRows::default(),
            fingerprint: Reading::new(root.tls_cert(&node)),
            bind_mounts,
            tasks,
            root,
            node,
        }))
    }

    pub fn root(&self) -> &Root {
        &self.0.root
    }

    pub fn node(&self) -> &NodeName {
        &self.0.node
    }

    pub fn access(&self) -> &AccessStore {
        &self.0.access
    }

    pub(crate) fn consoles(&self) -> &Consoles {
        &self.0.consoles
    }

    pub fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    pub fn guests(&self) -> &Guests {
        &self.0.guests
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// `None` where there is no PVE but ours.
    pub(crate) fn pveproxy(&self) -> Option<&PveProxy> {
        self.0.pveproxy.as_ref()
    }

    /// What others than root@pam may mount of this host.
    pub(crate) fn bind_mounts(&self) -> &BindMounts {
        &self.0.bind_mounts
    }

    pub(crate) fn host_rows(&self) -> &HostRows {
        &self.0.host_rows
    }

    pub(crate) fn host(&self) -> &HostStatus {
        &self.0.host
    }

    /// `storage.cfg` as it is now.
    pub(crate) fn storages(&self) -> Result<Arc<StorageConfig>, StorageError> {
        let path = self.0.root.storage_cfg();
        let config = self
            .0
            .storages
            .get(|bytes| StorageConfig::parse(&String::from_utf8_lossy(bytes.unwrap_or_default())));
        config.map_err(StorageError::io("read", path))
    }

    /// Of the certificate that is on disk where PVE's lies; one that was given on the command line
    /// is not.
    pub(crate) fn fingerprint(&self) -> Option<String> {
        let fingerprint = self.0.fingerprint.get(|pem| tls::fingerprint(pem?).ok());
        fingerprint.ok().and_then(|fingerprint| fingerprint.as_ref().clone())
    }
}
