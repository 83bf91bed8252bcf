//! The functions that `libcrun` calls. A negative return is a failure; the error may still be null.

use std::ffi::{c_char, c_int, c_uint, c_void};

use libc::{FILE, pid_t};

use crate::types::*;

unsafe extern "C" {
    pub fn libcrun_container_load_from_file(
        path: *const c_char,
        err: *mut libcrun_error_t,
    ) -> *mut libcrun_container_t;
    pub fn libcrun_container_load_from_memory(
        json: *const c_char,
        err: *mut libcrun_error_t,
    ) -> *mut libcrun_container_t;
    pub fn libcrun_container_free(container: *mut libcrun_container_t);
    pub fn libcrun_container_create(
        context: *mut libcrun_context_t,
        container: *mut libcrun_container_t,
        options: c_uint,
        err: *mut libcrun_error_t,
    ) -> c_int;
    pub fn libcrun_container_start(
        context: *mut libcrun_context_t,
        id: *const c_char,
        err: *mut libcrun_error_t,
    ) -> c_int;
    pub fn libcrun_container_kill(
        context: *mut libcrun_context_t,
        id: *const c_char,
        signal: *const c_char,
        err: *mut libcrun_error_t,
    ) -> c_int;
    /// Every process of the cgroup, not only the first one.
    pub fn libcrun_container_killall(
        context: *mut libcrun_context_t,
        id: *const c_char,
        signal: *const c_char,
        err: *mut libcrun_error_t,
    ) -> c_int;
    pub fn libcrun_container_delete(
        context: *mut libcrun_context_t,
        def: *mut runtime_spec_schema_config_schema,
        id: *const c_char,
        force: bool,
        err: *mut libcrun_error_t,
    ) -> c_int;
    pub fn libcrun_container_exec_process_file(
        context: *mut libcrun_context_t,
        id: *const c_char,
        path: *const c_char,
        err: *mut libcrun_error_t,
    ) -> c_int;
    pub fn libcrun_container_pause(
        context: *mut libcrun_context_t,
        id: *const c_char,
        err: *mut libcrun_error_t,
    ) -> c_int;
    pub fn libcrun_container_unpause(
        context: *mut libcrun_context_t,
        id: *const c_char,
        err: *mut libcrun_error_t,
    ) -> c_int;
    pub fn libcrun_container_update(
        context: *mut libcrun_context_t,
        id: *const c_char,
        content: *const c_char,
        len: usize,
        err: *mut libcrun_error_t,
    ) -> c_int;
    /// `*pids` becomes null or an array for `free`, ended by 0.
    pub fn libcrun_container_read_pids(
        context: *mut libcrun_context_t,
        id: *const c_char,
        recurse: bool,
        pids: *mut *mut pid_t,
        err: *mut libcrun_error_t,
    ) -> c_int;
    /// There is no function that frees the answer.
    pub fn libcrun_container_get_features(
        context: *mut libcrun_context_t,
        info: *mut *mut features_info_s,
        err: *mut libcrun_error_t,
    ) -> c_int;

    pub fn libcrun_read_container_status(
        status: *mut libcrun_container_status_t,
        state_root: *const c_char,
        id: *const c_char,
        err: *mut libcrun_error_t,
    ) -> c_int;
    pub fn libcrun_write_container_status(
        state_root: *const c_char,
        id: *const c_char,
        status: *mut libcrun_container_status_t,
        err: *mut libcrun_error_t,
    ) -> c_int;
    pub fn libcrun_free_container_status(status: *mut libcrun_container_status_t);
    /// `*state` becomes one of "created", "running", "paused", "stopped", in static storage.
    pub fn libcrun_get_container_state_string(
        id: *const c_char,
        status: *mut libcrun_container_status_t,
        state_root: *const c_char,
        state: *mut *const c_char,
        running: *mut c_int,
        err: *mut libcrun_error_t,
    ) -> c_int;
    pub fn libcrun_get_containers_list(
        list: *mut *mut libcrun_container_list_t,
        state_root: *const c_char,
        err: *mut libcrun_error_t,
    ) -> c_int;
    pub fn libcrun_free_containers_list(list: *mut libcrun_container_list_t);

    /// Process-wide: 0 errors, 1 also warnings, 2 everything.
    pub fn libcrun_set_verbosity(verbosity: c_int);
    pub fn libcrun_error_release(err: *mut libcrun_error_t) -> c_int;
    /// With a null `log`, sets the process-wide sink and `*handler` to libcrun's writer to [`stderr`].
    pub fn libcrun_init_logging(
        handler: *mut Option<OutputHandler>,
        arg: *mut *mut c_void,
        id: *const c_char,
        log: *const c_char,
        err: *mut libcrun_error_t,
    ) -> c_int;

    /// The C library's stream, to which libcrun also writes directly. glibc lets programs replace it.
    pub static mut stderr: *mut FILE;
}
