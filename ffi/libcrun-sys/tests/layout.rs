//! Compares the declarations with the library that is linked. Debian's archive has no debug
//! information, so the library itself is asked: it writes and reads every field that we use, and what
//! it leaves on disk or in memory shows where it thinks the field is.
#![expect(unsafe_code, reason = "calls the C functions")]

use std::ffi::{CStr, CString, c_char, c_int};
use std::mem::MaybeUninit;
use std::path::Path;
use std::ptr;

use libcrun_sys as sys;
use serde_json::Value;

fn zeroed<T>() -> T {
    // SAFETY: used for libcrun's structures only: integers, booleans, pointers, an optional function.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

fn text(raw: *const c_char) -> String {
    assert!(!raw.is_null());
    // SAFETY: not null, and libcrun's strings end in NUL.
    unsafe { CStr::from_ptr(raw) }.to_str().expect("ASCII").to_owned()
}

fn features() -> &'static sys::features_info_s {
    let (mut context, mut info, mut err) = (zeroed(), ptr::null_mut(), ptr::null_mut());
    // SAFETY: a context without handlers, and places for one pointer each.
    let done = unsafe {
        sys::libcrun_container_get_features(&raw mut context, &raw mut info, &raw mut err)
    };
    assert_eq!(done, 0);
    // SAFETY: on success it points to a structure that nothing frees.
    unsafe { info.as_ref() }.expect("libcrun allocated it")
}

#[test]
fn the_linked_library_is_the_declared_version() {
    assert_eq!(text(features().annotations.version), sys::VERSION.to_str().unwrap());
}

#[test]
fn features_are_where_we_declare_them() {
    let info = features();
    // SAFETY: libcrun allocated it with the C library's allocator.
    let allocated = unsafe { libc::malloc_usable_size(ptr::from_ref(info).cast_mut().cast()) };
    // The allocator rounds up to 16 bytes and lends 8 of the next block.
    assert!((0..24).contains(&(allocated - size_of_val(info))), "{allocated}");
    assert_eq!(
        (text(info.oci_version_min), text(info.oci_version_max)),
        ("1.0.0".into(), "1.1.0+dev".into())
    );
    let first = |list: *mut *mut c_char| {
        assert!(!list.is_null());
        // SAFETY: not null, so an array of at least its end.
        text(unsafe { *list })
    };
    assert_eq!(first(info.hooks), "prestart");
    assert_eq!(first(info.linux.namespaces), "cgroup");
    assert!(first(info.linux.capabilities).starts_with("CAP_"));
    assert!(first(info.linux.seccomp.actions).starts_with("SCMP_ACT_"));
    assert!(first(info.linux.seccomp.operators).starts_with("SCMP_CMP_"));
    assert!(first(info.linux.seccomp.archs).starts_with("SCMP_ARCH_"));
    assert!(first(info.linux.memory_policy.mode).starts_with("MPOL_"));
    assert!(first(info.potentially_unsafe_annotations).contains('.'));
    assert!(info.linux.cgroup.v1 && info.linux.cgroup.v2 && info.linux.seccomp.enabled);
    assert!(info.linux.apparmor && info.linux.selinux && info.linux.idmap);
    assert!(text(info.annotations.libseccomp_version).starts_with("2."));
    assert!(!info.annotations.wasm);
}

#[test]
fn a_status_is_written_and_read_as_declared() {
    let root = tempfile::tempdir().unwrap();
    fs_err::create_dir(root.path().join("a")).unwrap();
    let c = |text: &str| CString::new(text).unwrap().into_raw();
    let mut status = sys::libcrun_container_status_t {
        pid: c_int::try_from(std::process::id()).unwrap(), // libcrun looks up its start time
        process_start_time: 0,
        bundle: c("/b"),
        rootfs: c("/r"),
        cgroup_path: c("/c"),
        scope: c("s"),
        systemd_cgroup: 1,
        created: c("now"),
        detached: 1,
        external_descriptors: c("[\"x\"]"),
        owner: c("me"),
    };
    let (state_root, id) = (c_path(root.path()), c"a");
    call(|err| {
        // SAFETY: strings that end in NUL, a complete status.
        unsafe {
            sys::libcrun_write_container_status(
                state_root.as_ptr(),
                id.as_ptr(),
                &raw mut status,
                err,
            )
        }
    });

    let file: Value =
        serde_json::from_slice(&fs_err::read(root.path().join("a/status")).unwrap()).unwrap();
    let expected = serde_json::json!({
        "pid": status.pid, "process-start-time": status.process_start_time, "bundle": "/b", "rootfs": "/r",
        "cgroup-path": "/c", "scope": "s", "systemd-cgroup": true, "created": "now", "detached": true,
        "external_descriptors": "[\"x\"]", "owner": "me",
    });
    assert_eq!(file, expected);

    let mut read: sys::libcrun_container_status_t = zeroed();
    call(|err| {
        // SAFETY: a zeroed status to fill, strings that end in NUL.
        unsafe {
            sys::libcrun_read_container_status(&raw mut read, state_root.as_ptr(), id.as_ptr(), err)
        }
    });
    assert_eq!((read.pid, read.process_start_time), (status.pid, status.process_start_time));
    assert_ne!(read.process_start_time, 0);
    assert_eq!((read.systemd_cgroup, read.detached), (1, 1));
    let texts = [
        read.bundle,
        read.rootfs,
        read.cgroup_path,
        read.scope,
        read.created,
        read.external_descriptors,
    ];
    assert_eq!(texts.map(|raw| text(raw)), ["/b", "/r", "/c", "s", "now", "[\"x\"]"]);
    assert_eq!(text(read.owner), "me");

    let mut list = ptr::null_mut();
    call(|err| {
        // SAFETY: a place for one pointer, a string that ends in NUL.
        unsafe { sys::libcrun_get_containers_list(&raw mut list, state_root.as_ptr(), err) }
    });
    // SAFETY: the call succeeded, so null or the first node.
    let node = unsafe { list.as_ref() }.unwrap();
    assert_eq!((text(node.name), node.next), ("a".into(), ptr::null_mut()));
}

/// `create` marks the context as detached and stops at an error; nothing before that point changes this
/// process.
#[test]
fn a_context_is_used_as_declared() {
    let root = tempfile::tempdir().unwrap();
    let (state_root, id) = (c_path(root.path()), c"a");
    let config = c"{\"ociVersion\":\"1.0.0\",\"linux\":{},\"mounts\":[],\"root\":{\"path\":\"/\"},\"process\":{\"terminal\":true,\"cwd\":\"/\",\"args\":[\"x\"]}}";
    let mut context: sys::libcrun_context_t = zeroed();
    context.state_root = state_root.as_ptr();
    context.id = id.as_ptr();
    context.fifo_exec_wait_fd = -1;
    context.systemd_cgroup = true;
    context.no_pivot = true;
    let mut container = ptr::null_mut();
    call(|err| {
        // SAFETY: a string that ends in NUL, a place for one pointer.
        container = unsafe { sys::libcrun_container_load_from_memory(config.as_ptr(), err) };
        if container.is_null() { -1 } else { 0 }
    });
    let mut err = ptr::null_mut();
    // SAFETY: context and container are live and not aliased.
    let done =
        unsafe { sys::libcrun_container_create(&raw mut context, container, 0, &raw mut err) };
    assert!(done < 0);
    // SAFETY: null or an error of ours.
    let error = unsafe { err.as_ref() }.unwrap();
    assert_eq!(text(error.msg), "use --console-socket with create when a terminal is used");
    assert_eq!(error.status, 0);
    assert!(context.detach);
    assert!(
        context.systemd_cgroup
            && context.no_pivot
            && !context.no_new_keyring
            && !context.force_no_cgroup
    );
    assert_eq!(context.fifo_exec_wait_fd, -1);
    assert!(
        context.output_handler.is_none()
            && context.argv.is_null()
            && context.handler_manager.is_null()
    );

    // With a console socket it gets as far as the state folder, which an id that is taken stops.
    let unused = c"/nonexistent";
    context.console_socket = unused.as_ptr();
    fs_err::create_dir(root.path().join("a")).unwrap();
    fs_err::write(root.path().join("a/status"), "").unwrap();
    let mut err = ptr::null_mut();
    // SAFETY: as above.
    let done =
        unsafe { sys::libcrun_container_create(&raw mut context, container, 0, &raw mut err) };
    assert!(done < 0);
    // SAFETY: null or an error of ours.
    assert_eq!(text(unsafe { err.as_ref() }.unwrap().msg), "container `a` already exists");
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_encoded_bytes()).expect("paths have no NUL")
}

fn call(call: impl FnOnce(*mut sys::libcrun_error_t) -> c_int) {
    let mut err = ptr::null_mut();
    let done = call(&raw mut err);
    // SAFETY: null after success, else an error of ours.
    let error = unsafe { err.as_ref() };
    assert!(done >= 0, "{:?}", error.map(|error| text(error.msg)));
}
