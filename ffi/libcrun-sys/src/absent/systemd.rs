//! libsystemd, refused: libcrun runs here with the cgroupfs driver only, and without libsystemd every
//! process starts 1.4 ms sooner. Whoever asks for the systemd driver gets ENOSYS.
//!
//! Variadic in C, some of them; a callee that reads no arguments need not know how many there are.

use std::ffi::{c_int, c_void};
use std::ptr;

macro_rules! refuse {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name() -> c_int {
            -libc::ENOSYS
        }
    )*};
}

refuse! {
    sd_bus_call
    sd_bus_default_system
    sd_bus_default_user
    sd_bus_match_signal_async
    sd_bus_message_append
    sd_bus_message_append_array
    sd_bus_message_append_basic
    sd_bus_message_append_strv
    sd_bus_message_close_container
    sd_bus_message_new_method_call
    sd_bus_message_open_container
    sd_bus_message_read
    sd_bus_process
    sd_bus_wait
    sd_journal_send_with_location
    sd_notify
    sd_notify_barrier
}

/// Positive, unlike the others: it tells the errno of an error it is given.
#[unsafe(no_mangle)]
extern "C" fn sd_bus_error_get_errno() -> c_int {
    libc::ENOSYS
}

#[unsafe(no_mangle)]
extern "C" fn sd_bus_error_free() {}

#[unsafe(no_mangle)]
extern "C" fn sd_bus_message_unref() -> *mut c_void {
    ptr::null_mut()
}

#[unsafe(no_mangle)]
extern "C" fn sd_bus_unref() -> *mut c_void {
    ptr::null_mut()
}
