//! One container through the API, and the tasks that change it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::daemon::{Daemon, NODE};
use crate::eventually;
use crate::http::Reply;

/// A task that has ended.
#[derive(Clone, Debug)]
pub struct Task {
    pub upid: String,
    pub exitstatus: String,
    pub log: String,
}

impl Task {
    /// The task's log, if it ended well.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.exitstatus, "OK", "{}", self.log);
        self.log
    }

    /// What it ended with, if not well: one line.
    #[track_caller]
    pub fn failed(self) -> String {
        assert!(
            self.exitstatus != "OK" && !self.exitstatus.starts_with("WARNINGS"),
            "it ended well: {}",
            self.log
        );
        assert!(!self.exitstatus.contains('\n'));
        self.exitstatus
    }
}

impl Daemon {
    /// Wait for the task that an answer names.
    #[track_caller]
    pub fn task(&self, reply: &Reply) -> Task {
        let upid = reply.data().as_str().expect("a UPID").to_owned();
        self.task_of(&upid)
    }

    #[track_caller]
    pub fn task_of(&self, upid: &str) -> Task {
        let path = format!("/nodes/{NODE}/tasks/{upid}");
        let exitstatus = eventually(120, &format!("the end of {upid}"), || {
            let status = self.get(&format!("{path}/status")).data();
            (status["status"] == "stopped").then(|| {
                status["exitstatus"].as_str().expect("a stopped task has an exit status").to_owned()
            })
        });
        let lines = self.get(&format!("{path}/log?limit=0")).data();
        let lines: Vec<_> =
            lines.as_array().unwrap().iter().map(|line| line["t"].as_str().unwrap()).collect();
        Task { upid: upid.to_owned(), exitstatus, log: lines.join("\n") }
    }

    pub fn guest(&self, vmid: u32) -> Guest<'_> {
        Guest { daemon: self, vmid }
    }

    /// Create one from the template `name`, with these parameters beside vmid and template.
    #[track_caller]
    pub fn create(&self, vmid: u32, template: &str, parameters: &[(&str, &str)]) -> Guest<'_> {
        self.try_create(vmid, template, parameters).ok();
        self.guest(vmid)
    }

    #[track_caller]
    pub fn try_create(&self, vmid: u32, template: &str, parameters: &[(&str, &str)]) -> Task {
        self.task(&self.post_create(vmid, template, parameters))
    }

    pub fn post_create(&self, vmid: u32, template: &str, parameters: &[(&str, &str)]) -> Reply {
        let vmid = vmid.to_string();
        let template = format!("local:vztmpl/{template}");
        let mut all = vec![("vmid", vmid.as_str()), ("ostemplate", template.as_str())];
        all.extend(parameters);
        self.post(&format!("/nodes/{NODE}/lxc"), &all)
    }
}

#[derive(Clone, Copy)]
pub struct Guest<'d> {
    daemon: &'d Daemon,
    pub vmid: u32,
}

impl Guest<'_> {
    fn path(&self, rest: &str) -> String {
        format!("/nodes/{NODE}/lxc/{}{rest}", self.vmid)
    }

    /// Its root file system, of one that was made with `rootfs=local:0`.
    pub fn subvol(&self) -> PathBuf {
        let name = format!("var/lib/vz/images/{0}/subvol-{0}-disk-0.subvol", self.vmid);
        self.daemon.root().join(name)
    }

    /// The cgroup that its first process is in.
    #[track_caller]
    pub fn cgroup(&self) -> PathBuf {
        let own = fs_err::read_to_string(format!("/proc/{}/cgroup", self.oci()["pid"])).unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
        Path::new("/sys/fs/cgroup").join(own)
    }

    /// POST status/`verb`.
    pub fn post(&self, verb: &str, parameters: &[(&str, &str)]) -> Reply {
        self.daemon.post(&self.path(&format!("/status/{verb}")), parameters)
    }

    #[track_caller]
    pub fn task(&self, verb: &str, parameters: &[(&str, &str)]) -> Task {
        self.daemon.task(&self.post(verb, parameters))
    }

    #[track_caller]
    pub fn start(&self) -> String {
        self.task("start", &[]).ok()
    }

    #[track_caller]
    pub fn stop(&self) -> String {
        self.task("stop", &[]).ok()
    }

    pub fn delete(&self) -> Reply {
        self.daemon.delete(&self.path(""))
    }

    #[track_caller]
    pub fn destroy(&self) {
        self.daemon.task(&self.delete()).ok();
        assert!(!self.daemon.config_path(self.vmid).exists());
    }

    pub fn current(&self) -> Value {
        self.daemon.get(&self.path("/status/current")).data()
    }

    pub fn status(&self) -> String {
        self.current()["status"].as_str().unwrap().to_owned()
    }

    pub fn config(&self) -> Value {
        self.daemon.get(&self.path("/config")).data()
    }

    pub fn put_config(&self, parameters: &[(&str, &str)]) -> Reply {
        self.daemon.put(&self.path("/config"), parameters)
    }

    /// What PVE's API has no words for.
    pub fn oci(&self) -> Value {
        self.daemon.get(&format!("/nodes/{NODE}/oci/containers/{}", self.vmid)).data()
    }

    /// What the container wrote, its latest lines.
    pub fn output(&self) -> String {
        let lines =
            self.daemon.get(&format!("/nodes/{NODE}/oci/containers/{}/logs", self.vmid)).data();
        let lines: Vec<_> =
            lines.as_array().unwrap().iter().map(|line| line["t"].as_str().unwrap()).collect();
        lines.join("\n")
    }

    #[track_caller]
    pub fn wait_for_output(&self, text: &str) -> String {
        eventually(30, &format!("{text:?} in the output of CT {}", self.vmid), || {
            Some(self.output()).filter(|output| output.contains(text))
        })
    }

    /// Wait until it has ended by itself; its exit record.
    #[track_caller]
    pub fn wait(&self) -> Value {
        eventually(60, &format!("the end of CT {}", self.vmid), || {
            let oci = self.oci();
            (self.status() == "stopped" && !oci["exit"].is_null()).then(|| oci["exit"].clone())
        })
    }

    /// Add lines to its config as an administrator would with an editor: some no token may send.
    pub fn add_lines(&self, lines: &str) {
        let path = self.daemon.config_path(self.vmid);
        let text = fs_err::read_to_string(&path).unwrap();
        fs_err::write(&path, format!("{text}{lines}")).unwrap();
    }

    /// The same with the file of what PVE's config has no key for.
    pub fn add_oci_lines(&self, lines: &str) {
        let file = format!("etc/pve/nodes/{NODE}/oci/{}.conf", self.vmid);
        let path = self.daemon.root().join(file);
        let text = fs_err::read_to_string(&path).unwrap_or_default();
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, format!("{text}{lines}")).unwrap();
    }

    /// Start it, and wait until it has ended with 0; what it wrote.
    #[track_caller]
    pub fn ends_well(&self) -> String {
        self.start();
        let exit = self.wait();
        let output = self.output();
        assert_eq!(exit["exit_code"], 0, "{exit}: {output}");
        output
    }
}
