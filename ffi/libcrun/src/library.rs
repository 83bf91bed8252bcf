//! The calls themselves. Used in a worker only.

use std::ffi::{CStr, CString, c_int};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::ptr;

use libcrun_sys as sys;
use rustix::process::WaitOptions;

use crate::error::{Error, Failure, Kind, Operation};
use crate::features::Features;
use crate::options::Options;
use crate::runtime::Runtime;
use crate::status::Status;
use crate::worker::{self, c_path, c_text};

mod memory;

use memory::{Container, List, Pids, RawStatus};

/// The strings of a call, checked and owned: made by the caller, so that what is wrong with them is
/// told before a worker exists.
pub(crate) struct Context {
    operation: Operation,
    state_root: CString,
    id: CString,
    console_socket: Option<CString>,
    verbosity: c_int,
    no_cgroup: bool,
    preserve_fds: c_int,
    listen_fds: c_int,
    no_pivot: bool,
    no_new_keyring: bool,
    log_file: Option<CString>,
}

impl Context {
    pub(crate) fn new(operation: Operation, runtime: &Runtime, id: &str) -> Result<Self, Error> {
        Ok(Self {
            operation,
            state_root: c_path(operation, &runtime.state_root)?,
            id: c_text(operation, id)?,
            console_socket: None,
            verbosity: runtime.verbosity.level(),
            no_cgroup: runtime.no_cgroup,
            preserve_fds: 0,
            listen_fds: 0,
            no_pivot: false,
            no_new_keyring: false,
            log_file: None,
        })
    }

    pub(crate) fn options(self, options: &Options) -> Self {
        let number = |count: u32| c_int::try_from(count).unwrap_or(c_int::MAX);
        Self {
            preserve_fds: number(options.preserve_fds),
            listen_fds: number(options.listen_fds),
            no_pivot: options.no_pivot,
            no_new_keyring: options.no_new_keyring,
            log_file: options.late_errors_to_stderr.then(|| worker::log_path(options.preserve_fds)),
            ..self
        }
    }

    pub(crate) fn console(self, socket: Option<&Path>) -> Result<Self, Error> {
        let console_socket = socket.map(|path| c_path(self.operation, path)).transpose()?;
        Ok(Self { console_socket, ..self })
    }

    /// libcrun's context over these strings, once the linked version is known to be ours.
    pub(crate) fn open(&self) -> Result<Call<'_>, Failure> {
        let mut call =
            Call { strings: self, raw: memory::context(self.operation, self.log_file.as_deref())? };
        call.raw.state_root = self.state_root.as_ptr();
        call.raw.id = self.id.as_ptr();
        call.raw.console_socket = self.console_socket.as_deref().map_or(ptr::null(), CStr::as_ptr);
        call.raw.detach = true; // or it would stay and wait for every child there is
        // Keeps the log, which closes on exec, open for what goes wrong right there.
        call.raw.preserve_fds = self.preserve_fds.saturating_add(1);
        call.raw.listen_fds = self.listen_fds;
        call.raw.no_pivot = self.no_pivot;
        call.raw.no_new_keyring = self.no_new_keyring;
        call.raw.force_no_cgroup = self.no_cgroup;
        // SAFETY: an integer, for a static of the library that one thread uses.
        unsafe { sys::libcrun_set_verbosity(self.verbosity) };
        let linked = call.features()?.annotations.version;
        if linked != crate::version() {
            let message = format!("libcrun {linked} is linked, {} is needed", crate::version());
            let kind = Some(Kind::Version);
            return Err(Failure {
                operation: self.operation,
                status: 0,
                kind,
                message: Some(message),
            });
        }
        Ok(call)
    }
}

/// An open context. Its strings are borrowed, so they outlive every call made with it.
pub(crate) struct Call<'a> {
    strings: &'a Context,
    raw: sys::libcrun_context_t,
}

impl Call<'_> {
    /// Gives the process id of the container's init.
    pub(crate) fn create(&mut self, bundle: &Path, config: &CStr) -> Result<c_int, Failure> {
        let failed =
            |what: &str, err: std::io::Error| Failure::worker(Operation::Create, what, &err);
        // libcrun records the working folder as the bundle and resolves a relative root.path there.
        rustix::process::chdir(bundle)
            .map_err(|err| failed(&format!("enter the bundle {}", bundle.display()), err.into()))?;
        let mut container = Container::load(config)?;
        let container = container.as_ptr();
        reaping(Operation::Create, || {
            check(Operation::Create, |err| {
                // SAFETY: context and container are live, not aliased; 0 asks for no fork of its own.
                unsafe { sys::libcrun_container_create(&raw mut self.raw, container, 0, err) }
            })
        })?;
        RawStatus::read(Operation::Create, self.state_root(), self.id()).map(|status| status.pid())
    }

    pub(crate) fn start(&mut self) -> Result<(), Failure> {
        self.with_id(Operation::Start, |context, id, err| {
            // SAFETY: `with_id` lends what this function asks for.
            unsafe { sys::libcrun_container_start(context, id, err) }
        })
    }

    pub(crate) fn status(&self) -> Result<Status, Failure> {
        RawStatus::read(Operation::State, self.state_root(), self.id())?.inspect(self.id())
    }

    pub(crate) fn kill(&mut self, signal: c_int) -> Result<(), Failure> {
        let signal = CString::new(signal.to_string()).expect("digits contain no NUL");
        self.with_id(Operation::Kill, |context, id, err| {
            // SAFETY: as lent by `with_id`; `signal` ends in NUL and is not kept.
            unsafe { sys::libcrun_container_kill(context, id, signal.as_ptr(), err) }
        })
    }

    pub(crate) fn kill_all(&mut self, signal: c_int) -> Result<(), Failure> {
        let signal = CString::new(signal.to_string()).expect("digits contain no NUL");
        self.with_id(Operation::Kill, |context, id, err| {
            // SAFETY: as lent by `with_id`; `signal` ends in NUL and is not kept.
            unsafe { sys::libcrun_container_killall(context, id, signal.as_ptr(), err) }
        })
    }

    pub(crate) fn delete(&mut self, force: bool) -> Result<(), Failure> {
        self.with_id(Operation::Delete, |context, id, err| {
            // SAFETY: as lent by `with_id`; without a definition libcrun loads its own copy.
            unsafe { sys::libcrun_container_delete(context, ptr::null_mut(), id, force, err) }
        })
    }

    /// Gives the process id, which libcrun tells in no other way than a pid file.
    pub(crate) fn exec(&mut self, process: &CStr) -> Result<c_int, Failure> {
        let failed = |what: &str, err: std::io::Error| Failure::worker(Operation::Exec, what, &err);
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let file = rustix::fs::memfd_create("lxcri-pid", flags)
            .map_err(|err| failed("memfd_create", err.into()))?;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let path = CString::new(path).expect("the path has no NUL");
        self.raw.pid_file = path.as_ptr();
        let result = reaping(Operation::Exec, || {
            self.with_id(Operation::Exec, |context, id, err| {
                // SAFETY: as lent by `with_id`; `process` ends in NUL and is not kept.
                unsafe {
                    sys::libcrun_container_exec_process_file(context, id, process.as_ptr(), err)
                }
            })
        });
        self.raw.pid_file = ptr::null();
        result?;

        let mut digits = [0; 16];
        let length = File::from(file)
            .read_at(&mut digits, 0)
            .map_err(|err| failed("read the pid file", err))?;
        let pid = std::str::from_utf8(&digits[..length])
            .ok()
            .and_then(|digits| digits.trim().parse().ok());
        pid.ok_or_else(|| failed("read the pid file", std::io::ErrorKind::InvalidData.into()))
    }

    pub(crate) fn pause(&mut self) -> Result<(), Failure> {
        self.with_id(Operation::Pause, |context, id, err| {
            // SAFETY: `with_id` lends what this function asks for.
            unsafe { sys::libcrun_container_pause(context, id, err) }
        })
    }

    pub(crate) fn resume(&mut self) -> Result<(), Failure> {
        self.with_id(Operation::Resume, |context, id, err| {
            // SAFETY: `with_id` lends what this function asks for.
            unsafe { sys::libcrun_container_unpause(context, id, err) }
        })
    }

    pub(crate) fn update(&mut self, resources: &CStr) -> Result<(), Failure> {
        let length = resources.count_bytes();
        self.with_id(Operation::Update, |context, id, err| {
            // SAFETY: as lent by `with_id`; `resources` has that length and a NUL after it.
            unsafe { sys::libcrun_container_update(context, id, resources.as_ptr(), length, err) }
        })
    }

    pub(crate) fn pids(&mut self) -> Result<Vec<c_int>, Failure> {
        let mut pids = Pids::none();
        self.with_id(Operation::Pids, |context, id, err| {
            // SAFETY: as lent by `with_id`; `pids` is a place for one pointer, null now, and owns what
            // is put there.
            unsafe { sys::libcrun_container_read_pids(context, id, true, pids.place(), err) }
        })?;
        Ok(pids.to_vec())
    }

    pub(crate) fn list(&self) -> Result<Vec<Status>, Failure> {
        let mut list = List::none();
        check(Operation::List, |err| {
            // SAFETY: `list` is a place for one pointer, null now, and owns what is put there.
            unsafe {
                sys::libcrun_get_containers_list(
                    list.place(),
                    self.strings.state_root.as_ptr(),
                    err,
                )
            }
        })?;
        // One that is deleted meanwhile has no status any more.
        let status =
            |id: CString| RawStatus::read(Operation::List, self.state_root(), &id)?.inspect(&id);
        Ok(list.names().into_iter().filter_map(|id| status(id).ok()).collect())
    }

    pub(crate) fn features(&mut self) -> Result<Features, Failure> {
        let mut info = ptr::null_mut();
        check(Operation::Features, |err| {
            // SAFETY: the context is live, `info` a place for one pointer.
            unsafe { sys::libcrun_container_get_features(&raw mut self.raw, &raw mut info, err) }
        })?;
        // SAFETY: on success it points to a structure of its own, which nothing frees or changes.
        let info = unsafe { info.as_ref() };
        Ok(info.map(memory::features).unwrap_or_default())
    }

    fn state_root(&self) -> &CStr {
        &self.strings.state_root
    }

    fn id(&self) -> &CStr {
        &self.strings.id
    }

    /// For the functions of the form (context, id, ..., err): the context is live, not aliased, and its
    /// strings outlive the call; the id ends in NUL; `err` is a place for one pointer.
    fn with_id(
        &mut self,
        operation: Operation,
        call: impl FnOnce(
            *mut sys::libcrun_context_t,
            *const std::ffi::c_char,
            *mut sys::libcrun_error_t,
        ) -> c_int,
    ) -> Result<(), Failure> {
        let id = self.strings.id.as_ptr();
        check(operation, |err| call(&raw mut self.raw, id, err))
    }
}

/// A negative return is a failure; its number says nothing that the error does not say better.
fn check(
    operation: Operation,
    call: impl FnOnce(*mut sys::libcrun_error_t) -> c_int,
) -> Result<(), Failure> {
    let mut err = ptr::null_mut();
    let result = call(&raw mut err);
    let failure = memory::take_error(operation, err);
    if result < 0 { Err(failure) } else { Ok(()) }
}

/// Have no process of a failed call outlive it. libcrun leaves the one of a failed `exec` unreaped, and
/// while it is, the container's init cannot end. After success they pass on to the caller.
fn reaping(
    operation: Operation,
    call: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    crate::become_subreaper()
        .map_err(|err| Failure::worker(operation, "become a subreaper", &err))?;
    call().inspect_err(|_| while let Ok(Some(_)) = rustix::process::wait(WaitOptions::empty()) {})
}
