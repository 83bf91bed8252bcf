//! What libcrun allocates, owned and copied out.

use std::ffi::{CStr, CString, OsStr, c_char, c_int};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr::{self, NonNull};

use libcrun_sys as sys;

use super::check;
use crate::error::{Failure, Operation};
use crate::features::{Annotations, Cgroup, Features, LinuxFeatures, MemoryPolicy, Seccomp};
use crate::status::{State, Status};

/// An empty context whose messages go to the C library's stderr, and to this log if there is one.
pub(super) fn context(
    operation: Operation,
    log: Option<&CStr>,
) -> Result<sys::libcrun_context_t, Failure> {
    // SAFETY: integers, booleans, pointers and an optional function: all zero is a value of each.
    let mut context: sys::libcrun_context_t = unsafe { MaybeUninit::zeroed().assume_init() };
    context.fifo_exec_wait_fd = -1;
    let (handler, arg) = (&raw mut context.output_handler, &raw mut context.output_handler_arg);
    check(operation, |err| {
        let log = log.map_or(ptr::null(), CStr::as_ptr);
        // SAFETY: three places that live on; null as id and log mean stderr, else the log ends in NUL
        // and is not kept.
        unsafe { sys::libcrun_init_logging(handler, arg, ptr::null(), log, err) }
    })?;
    Ok(context)
}

/// Copies and frees an error, which is null after success and after some failures.
pub(super) fn take_error(operation: Operation, mut err: sys::libcrun_error_t) -> Failure {
    let mut failure = Failure { operation, status: 0, kind: None, message: None };
    // SAFETY: null, or the only pointer to an error that the call made.
    if let Some(raw) = unsafe { err.as_ref() } {
        failure.status = raw.status;
        failure.message = text(raw.msg);
        // SAFETY: as above; it is not used again.
        unsafe { sys::libcrun_error_release(&raw mut err) };
    }
    failure
}

/// A parsed config.json.
pub(super) struct Container(NonNull<sys::libcrun_container_t>);

impl Container {
    pub(super) fn load(path: &CStr) -> Result<Self, Failure> {
        let mut container = ptr::null_mut();
        check(Operation::Create, |err| {
            // SAFETY: `path` ends in NUL and is not kept, `err` is a place for one pointer.
            container = unsafe { sys::libcrun_container_load_from_file(path.as_ptr(), err) };
            if container.is_null() { -1 } else { 0 }
        })?;
        Ok(Self(NonNull::new(container).expect("null was a failure")))
    }

    pub(super) fn as_ptr(&mut self) -> *mut sys::libcrun_container_t {
        self.0.as_ptr()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // SAFETY: ours alone, and freed once.
        unsafe { sys::libcrun_container_free(self.0.as_ptr()) };
    }
}

/// A status file's content.
pub(super) struct RawStatus<'a> {
    raw: sys::libcrun_container_status_t,
    operation: Operation,
    state_root: &'a CStr,
}

impl<'a> RawStatus<'a> {
    pub(super) fn read(
        operation: Operation,
        state_root: &'a CStr,
        id: &CStr,
    ) -> Result<Self, Failure> {
        // SAFETY: integers and pointers only, for which zero is a value.
        let raw = unsafe { MaybeUninit::zeroed().assume_init() };
        let mut status = Self { raw, operation, state_root };
        let place = &raw mut status.raw;
        check(operation, |err| {
            // SAFETY: a zeroed status to fill; both strings end in NUL and are not kept.
            unsafe {
                sys::libcrun_read_container_status(place, state_root.as_ptr(), id.as_ptr(), err)
            }
        })?;
        Ok(status)
    }

    pub(super) fn pid(&self) -> c_int {
        self.raw.pid
    }

    /// Adds what the process and its cgroup say now.
    pub(super) fn inspect(mut self, id: &CStr) -> Result<Status, Failure> {
        let (mut state, mut running) = (ptr::null(), 0);
        let (raw, root) = (&raw mut self.raw, self.state_root.as_ptr());
        check(self.operation, |err| {
            // SAFETY: a status as libcrun filled it, strings that end in NUL, places for the answers.
            unsafe {
                sys::libcrun_get_container_state_string(
                    id.as_ptr(),
                    raw,
                    root,
                    &raw mut state,
                    &raw mut running,
                    err,
                )
            }
        })?;
        let path =
            |raw: *const c_char| PathBuf::from(OsStr::from_bytes(&bytes(raw).unwrap_or_default()));
        Ok(Status {
            id: id.to_string_lossy().into_owned(),
            state: match text(state).as_deref() {
                Some("created") => State::Created,
                Some("running") => State::Running,
                Some("paused") => State::Paused,
                _ => State::Stopped,
            },
            pid: (running != 0).then_some(self.raw.pid),
            start_time: self.raw.process_start_time,
            bundle: path(self.raw.bundle),
            rootfs: path(self.raw.rootfs),
            cgroup: text(self.raw.cgroup_path).filter(|cgroup| !cgroup.is_empty()),
            created: text(self.raw.created).unwrap_or_default(),
            owner: text(self.raw.owner),
        })
    }
}

impl Drop for RawStatus<'_> {
    fn drop(&mut self) {
        // SAFETY: zeroed or filled by libcrun, and freed once.
        unsafe { sys::libcrun_free_container_status(&raw mut self.raw) };
    }
}

/// An array of process ids, ended by 0, or null.
pub(super) struct Pids(*mut libc::pid_t);

impl Pids {
    pub(super) fn none() -> Self {
        Self(ptr::null_mut())
    }

    pub(super) fn place(&mut self) -> *mut *mut libc::pid_t {
        &raw mut self.0
    }

    pub(super) fn to_vec(&self) -> Vec<c_int> {
        let mut pids = Vec::new();
        if self.0.is_null() {
            return pids;
        }
        loop {
            // SAFETY: every element before this one was not 0, so the array goes on.
            let next = unsafe { self.0.add(pids.len()) };
            // SAFETY: as above.
            match unsafe { *next } {
                0 => return pids,
                pid => pids.push(pid),
            }
        }
    }
}

impl Drop for Pids {
    fn drop(&mut self) {
        // SAFETY: from the C library's allocator, or null.
        unsafe { libc::free(self.0.cast()) };
    }
}

/// A linked list of names, or null.
pub(super) struct List(*mut sys::libcrun_container_list_t);

impl List {
    pub(super) fn none() -> Self {
        Self(ptr::null_mut())
    }

    pub(super) fn place(&mut self) -> *mut *mut sys::libcrun_container_list_t {
        &raw mut self.0
    }

    pub(super) fn names(&self) -> Vec<CString> {
        let mut names = Vec::new();
        let mut next = self.0;
        // SAFETY: null at the end, else a live node of the list we own.
        while let Some(node) = unsafe { next.as_ref() } {
            names.extend(bytes(node.name).and_then(|name| CString::new(name).ok()));
            next = node.next;
        }
        names
    }
}

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: a whole list or null, and freed once.
        unsafe { sys::libcrun_free_containers_list(self.0) };
    }
}

pub(super) fn features(info: &sys::features_info_s) -> Features {
    let (linux, annotations) = (&info.linux, &info.annotations);
    Features {
        oci_version_min: text(info.oci_version_min).unwrap_or_default(),
        oci_version_max: text(info.oci_version_max).unwrap_or_default(),
        hooks: texts(info.hooks),
        mount_options: texts(info.mount_options),
        linux: LinuxFeatures {
            namespaces: texts(linux.namespaces),
            capabilities: texts(linux.capabilities),
            // The library is built with the systemd driver, but linked without libsystemd.
            cgroup: Cgroup { v1: linux.cgroup.v1, v2: linux.cgroup.v2, systemd: false },
            seccomp: Seccomp {
                enabled: linux.seccomp.enabled,
                actions: texts(linux.seccomp.actions),
                operators: texts(linux.seccomp.operators),
                archs: texts(linux.seccomp.archs),
            },
            apparmor: linux.apparmor,
            selinux: linux.selinux,
            idmapped_mounts: linux.idmap,
            intel_rdt: linux.intel_rdt,
            net_devices: linux.net_devices,
            memory_policy: MemoryPolicy {
                modes: texts(linux.memory_policy.mode),
                flags: texts(linux.memory_policy.flags),
            },
        },
        unsafe_annotations: texts(info.potentially_unsafe_annotations),
        annotations: Annotations {
            version: text(annotations.version).unwrap_or_default(),
            commit: text(annotations.commit).unwrap_or_default(),
            libseccomp: text(annotations.libseccomp_version).unwrap_or_default(),
        },
    }
}

fn bytes(raw: *const c_char) -> Option<Vec<u8>> {
    let raw = NonNull::new(raw.cast_mut())?;
    // SAFETY: libcrun's strings end in NUL and do not change while their structure lives.
    Some(unsafe { CStr::from_ptr(raw.as_ptr()) }.to_bytes().to_vec())
}

fn text(raw: *const c_char) -> Option<String> {
    bytes(raw).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// An array of strings, ended by null, or null.
fn texts(raw: *mut *mut c_char) -> Vec<String> {
    let mut all = Vec::new();
    if raw.is_null() {
        return all;
    }
    loop {
        // SAFETY: every element before this one was not null, so the array goes on.
        let next = unsafe { raw.add(all.len()) };
        // SAFETY: as above.
        let element = unsafe { *next };
        match text(element) {
            Some(text) => all.push(text),
            None => return all,
        }
    }
}
