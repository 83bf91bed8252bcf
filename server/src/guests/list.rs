//! What there is and how it does: rows of lists and the status of one guest. A list costs one
//! directory scan with a `stat` for each config, one read of the socket table and a few files for
//! each container that runs.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use openapi::answer::{Cpus, GuestRow, GuestState, GuestStatus, HaState, ResourceRow};
use openapi::{NodeName, Privilege, Vmid};
use pve_integration::ct_config::{Configs, ContainerConfig, Entry};

use super::rows::{List, ListRow, Resource};
use super::{GuestError, Guests, running};
use crate::extract::Caller;
use crate::stats::{self, CpuMeter, Usage};

const PROC: &str = "/proc";
const MIB: u64 = 1 << 20;
/// Shown for a root file system whose size nobody wrote down.
const DEFAULT_DISK: u64 = 4 << 30;

type Present = (Arc<Configs>, BTreeSet<Vmid>);

impl Guests {
    /// Every guest that the caller may audit.
    pub(crate) async fn list(&self, caller: &Caller) -> Result<Vec<ListRow>, GuestError> {
        if let Some(rows) = self.rows_at_hand() {
            return Ok(visible(&rows, caller));
        }
        let rows = self.blocking(Self::all_rows).await?;
        Ok(visible(&rows, caller))
    }

    /// The same as rows of `cluster/resources`.
    pub(crate) async fn resources(&self, caller: &Caller) -> Result<Vec<ResourceRow>, GuestError> {
        let row = |row: ListRow| {
            let row = row.row();
            resource(row, &self.0.node, pool_of(row.vmid, caller))
        };
        Ok(self.list(caller).await?.into_iter().map(row).collect())
    }

    /// The same of `all_rows` or `rows_at_hand`, encoded.
    pub(crate) fn encoded_resources(
        &self,
        rows: &[ListRow],
        caller: &Caller,
    ) -> impl Iterator<Item = Resource> {
        visible(rows, caller).into_iter().map(|row| {
            let pool = pool_of(row.row().vmid, caller);
            row.resource(pool, |row, pool| resource(row, &self.0.node, pool))
        })
    }

    /// Every guest as it is now. Reads files, so not for an async thread.
    pub(crate) fn all_rows(&self) -> Result<Arc<[ListRow]>, GuestError> {
        self.0.rows.after_now(|before| self.rows(before))
    }

    /// The same, where it is known without waiting that the last list still holds: nothing runs, so
    /// there are no figures that move, and no config changed.
    pub(crate) fn rows_at_hand(&self) -> Option<Arc<[ListRow]>> {
        let last = self.0.rows.try_last()?;
        let configs = self.0.configs.unchanged(&self.0.root, &self.0.node)?;
        let same =
            last.shows(&configs) && !lxc_protocol::any_running(&self.0.root.lxc_path()).ok()?;
        same.then_some(last.rows)
    }

    pub(crate) async fn status(&self, vmid: Vmid) -> Result<GuestStatus, GuestError> {
        self.blocking(move |guests| {
            let entry = guests.read(vmid)?;
            let listening = guests.listening()?;
            let row = guests.row(&guests.0.cpu, vmid, &entry.config, listening.contains(&vmid));
            Ok(GuestStatus { row, ha: HaState::default() })
        })
        .await
    }

    /// Every number that is taken, by a container or a virtual machine of any node.
    pub(crate) async fn vmids(&self) -> Result<BTreeSet<Vmid>, GuestError> {
        self.blocking(|guests| Ok(guests.taken()?.into_iter().map(|taken| taken.vmid).collect()))
            .await
    }

    /// HA's word for what has this number: `ct`, `vm`, or nothing.
    pub(crate) async fn resource_kind(
        &self,
        vmid: Vmid,
    ) -> Result<Option<&'static str>, GuestError> {
        let taken = self.blocking(|guests| guests.taken()).await?;
        let guest = taken.into_iter().find(|taken| taken.vmid == vmid);
        Ok(guest.map(|taken| if taken.kind == "CT" { "ct" } else { "vm" }))
    }

    /// Whether somebody supervises it, which is what PVE calls running.
    pub(super) fn is_running(&self, vmid: Vmid) -> Result<bool, GuestError> {
        Ok(self.listening()?.contains(&vmid))
    }

    /// Those whose supervisor listens.
    pub(super) fn listening(&self) -> Result<BTreeSet<Vmid>, GuestError> {
        let mut listening = running::vmids(&self.0.root).map_err(GuestError::Listing)?;
        listening.retain(|vmid| !self.0.supervised.is_cleaning(*vmid));
        Ok(listening)
    }

    /// Every guest, with the load since the call before this one.
    pub(crate) fn samples(&self) -> Result<Vec<GuestRow>, GuestError> {
        let cpu = &self.0.sampled_cpu;
        let (configs, listening) = self.present(cpu)?;
        let row = |(vmid, entry): (&Vmid, &Arc<Entry>)| {
            self.row(cpu, *vmid, &entry.config, listening.contains(vmid))
        };
        Ok(configs.iter().map(row).collect())
    }

    /// Rows of containers that stood still and whose config is the same are taken over.
    fn rows(&self, before: &[ListRow]) -> Result<List, GuestError> {
        let cpu = &self.0.cpu;
        let (configs, listening) = self.present(cpu)?;
        let mut before = before.iter().peekable();
        let row = |(vmid, entry): (&Vmid, &Arc<Entry>)| {
            let vmid = *vmid;
            while before.next_if(|row| row.row().vmid < vmid).is_some() {}
            let listening = listening.contains(&vmid);
            let same = before.next_if(|row| row.row().vmid == vmid);
            if let Some(same) = same.filter(|row| !listening && row.still_shows(entry)) {
                return Ok(same.clone());
            }
            let row = self.row(cpu, vmid, &entry.config, listening);
            ListRow::new(Arc::clone(entry), row).map_err(|err| GuestError::die(err.to_string()))
        };
        let rows = configs.iter().map(row).collect::<Result<_, _>>()?;
        Ok(List { rows, still: listening.is_empty().then_some(configs) })
    }

    /// The configs, and those of them that run. Forgets what ran and is gone.
    fn present(&self, cpu: &CpuMeter) -> Result<Present, GuestError> {
        let configs = self.0.configs.list(&self.0.root, &self.0.node)?;
        let listening = self.listening()?;
        self.0.running.retain(|vmid| listening.contains(&vmid));
        cpu.retain(|vmid| listening.contains(&vmid));
        Ok((configs, listening))
    }

    fn row(
        &self,
        cpu: &CpuMeter,
        vmid: Vmid,
        config: &ContainerConfig,
        listening: bool,
    ) -> GuestRow {
        let mut row = stopped(vmid, config, self.0.host_cpus);
        if !listening {
            return row;
        }
        row.status = GuestState::Running;
        let Some(running) = self.0.running.of(&self.0.root, vmid) else { return row };
        let mut usage = stats::read(Path::new(PROC), &running.cgroup, running.pid);
        let cpus = match &row.cpus {
            Cpus::Whole(count) => f64::from(*count),
            Cpus::Limit(limit) => limit.parse().unwrap_or(1.0),
        };
        let used = running.cgroup.cpu_us();
        usage.cpu = cpu.load(vmid, running.pid, used, cpus, self.0.host_cpus);
        row.pid = Some(running.pid);
        fill(&mut row, usage);
        row
    }
}

fn visible(rows: &[ListRow], caller: &Caller) -> Vec<ListRow> {
    let below = caller.below("/vms", &[Privilege::VmAudit]);
    rows.iter().filter(|row| below.may_guest(row.row().vmid)).cloned().collect()
}

fn pool_of(vmid: Vmid, caller: &Caller) -> Option<&str> {
    let mut pools = caller.access().config.pools.iter();
    pools.find(|(_, pool)| pool.vms.contains(&u64::from(vmid.get()))).map(|(name, _)| name.as_str())
}

/// All that a config says.
fn stopped(vmid: Vmid, config: &ContainerConfig, host_cpus: u32) -> GuestRow {
    let name = config.hostname().filter(|name| !name.is_empty());
    let name: String =
        name.map_or_else(|| format!("CT{vmid}"), |name| name.split_whitespace().collect());
    let mut row = GuestRow::new(vmid, name, cpus(config, host_cpus));
    row.maxmem = match config.memory() {
        0 => 512 * MIB, // Perl's `||`
        memory => memory.saturating_mul(MIB),
    };
    row.maxswap = config.swap().saturating_mul(MIB);
    row.maxdisk = config
        .rootfs()
        .ok()
        .and_then(|rootfs| rootfs.size)
        .filter(|size| *size > 0)
        .unwrap_or(DEFAULT_DISK);
    row.tags = config.get("tags").map(str::to_owned);
    row.lock = config.lock().filter(|lock| !lock.is_empty()).map(str::to_owned);
    row.template = config.template().then_some(1);
    row
}

fn cpus(config: &ContainerConfig, host_cpus: u32) -> Cpus {
    match (config.cores().filter(|cores| *cores > 0), config.cpulimit()) {
        (Some(cores), _) => Cpus::Whole(cores),
        (None, Some(_)) => Cpus::Limit(config.get("cpulimit").unwrap_or_default().to_owned()),
        (None, None) => Cpus::Whole(host_cpus),
    }
}

fn fill(row: &mut GuestRow, usage: Usage) {
    row.cpu = usage.cpu;
    row.mem = usage.mem;
    row.swap = usage.swap;
    row.disk = usage.disk;
    row.maxdisk = usage.maxdisk;
    row.diskread = usage.diskread;
    row.diskwrite = usage.diskwrite;
    row.netin = usage.netin;
    row.netout = usage.netout;
    row.uptime = usage.uptime_s;
    if let Some(pressure) = usage.pressure {
        row.pressurecpusome = Some(pressure.cpu_some);
        row.pressurecpufull = Some(pressure.cpu_full);
        row.pressureiosome = Some(pressure.io_some);
        row.pressureiofull = Some(pressure.io_full);
        row.pressurememorysome = Some(pressure.memory_some);
        row.pressurememoryfull = Some(pressure.memory_full);
    }
}

fn resource(row: &GuestRow, node: &NodeName, pool: Option<&str>) -> ResourceRow {
    let status = match row.status {
        GuestState::Running => "running",
        GuestState::Stopped => "stopped",
    };
    let maxcpu = match &row.cpus {
        Cpus::Whole(count) => Some(f64::from(*count)),
        Cpus::Limit(limit) => limit.parse().ok(),
    };
    ResourceRow {
        id: format!("lxc/{}", row.vmid),
        kind: row.kind.clone(),
        node: Some(node.to_string()),
        status: Some(status.to_owned()),
        vmid: Some(row.vmid),
        name: Some(row.name.clone()),
        template: Some(row.template.unwrap_or_default()),
        cpu: Some(row.cpu),
        maxcpu,
        mem: Some(row.mem),
        maxmem: Some(row.maxmem),
        memhost: Some(row.mem),
        disk: Some(row.disk),
        maxdisk: Some(row.maxdisk),
        diskread: Some(row.diskread),
        diskwrite: Some(row.diskwrite),
        netin: Some(row.netin),
        netout: Some(row.netout),
        uptime: Some(row.uptime),
        pool: pool.map(str::to_owned),
        tags: row.tags.clone(),
        lock: row.lock.clone(),
        ..ResourceRow::default()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn row(config: &str) -> Value {
        json!(stopped("103".parse().unwrap(), &ContainerConfig::parse(config.as_bytes()), 4))
    }

    #[test]
    fn an_empty_config_has_pves_defaults() {
        let row = row("");

        assert_eq!((&row["name"], &row["status"]), (&json!("CT103"), &json!("stopped")));
        assert_eq!((&row["maxmem"], &row["maxswap"]), (&json!(536_870_912), &json!(0)));
        assert_eq!((&row["maxdisk"], &row["disk"]), (&json!(4_294_967_296_u64), &json!(0)));
        assert_eq!((&row["cpu"], &row["uptime"]), (&json!(0), &json!(0)));
        assert!(
            row.get("lock").is_none() && row.get("template").is_none() && row.get("pid").is_none()
        );
    }

    #[test]
    fn a_directory_without_a_limit_shows_the_default() {
        assert_eq!(
            row("rootfs: local:103/x.subvol,size=0T\n")["maxdisk"],
            json!(4_294_967_296_u64)
        );
    }

    #[rstest]
    #[case::cores("cores: 2\ncpulimit: 1.5\n", json!(2))]
    #[case::limit("cpulimit: 1.5\n", json!("1.5"))]
    #[case::no_limit("cpulimit: 0\n", json!(4))]
    #[case::host("", json!(4))]
    fn cpus_come_from_where_pve_takes_them(#[case] config: &str, #[case] cpus: Value) {
        assert_eq!(row(config)["cpus"], cpus);
    }

    #[test]
    fn takes_over_what_the_config_says() {
        let row = row(
            "hostname: web\nlock: backup\nrootfs: local:103/x.raw,size=8G\nswap: 1\ntags: a;b\ntemplate: 1\n",
        );

        assert_eq!(
            (&row["name"], &row["lock"], &row["tags"]),
            (&json!("web"), &json!("backup"), &json!("a;b"))
        );
        assert_eq!(
            (&row["maxdisk"], &row["maxswap"]),
            (&json!(8_589_934_592_u64), &json!(1_048_576))
        );
        assert_eq!(row["template"], json!(1));
    }
}
