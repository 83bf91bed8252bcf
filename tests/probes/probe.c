/* Attempts to get out of a container, or to change what is not its own. Run as root inside; each in a
 * process of its own, which ends with the errno of what was tried. Prints "NAME RESULT" each, where
 * "ok" is what an attacker hopes for. The claims are in tests/tests/containers/probes.rs. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <linux/reboot.h>
#include <linux/sched.h>
#include <net/if.h>
#include <linux/if_packet.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/quota.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

/* A file of the container's own: what "/" must never be other than. */
#define MARK "/i-am-the-container"

int main(void);
static pid_t host_pid;
static const char *host_name(const char *name) { const char *v = getenv(name); return v ? v : ""; }

static int rc(long result) { return result < 0 ? errno : 0; }

static int put(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd < 0 ? errno : rc(write(fd, text, strlen(text)));
}

static int get(const char *path) {
    char byte;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return errno;
    ssize_t n = read(fd, &byte, 1);
    return n < 0 ? errno : n == 0 ? ENODATA : 0;
}

static int node(mode_t mode, unsigned major, unsigned minor) {
    unlink("/tmp/node");
    if (mknod("/tmp/node", mode | 0600, makedev(major, minor)) < 0) return errno;
    return get("/tmp/node");
}

static int fresh(const char *kind, const char *options) {
    mkdir("/tmp/fresh", 0700);
    return rc(mount(kind, "/tmp/fresh", kind, 0, options));
}

static int sysfs_file(const char *file) {
    int err = fresh("sysfs", NULL);
    char path[256];
    snprintf(path, sizeof path, "/tmp/fresh/%s", file);
    return err ? err : put(path, "/tmp/x");
}

static int core_pattern(void) { return put("/proc/sys/kernel/core_pattern", "|/tmp/x"); }
static int modprobe_path(void) { return put("/proc/sys/kernel/modprobe", "/tmp/x"); }
static int sysrq_trigger(void) { return put("/proc/sysrq-trigger", "h"); }
static int sysrq_mask(void) { return put("/proc/sys/kernel/sysrq", "1"); }
static int drop_caches(void) { return put("/proc/sys/vm/drop_caches", "1"); }
static int panic_sysctl(void) { return put("/proc/sys/kernel/panic", "7"); }
static int ns_last_pid(void) { return put("/proc/sys/kernel/ns_last_pid", "77"); }
static int uevent_helper(void) { return put("/sys/kernel/uevent_helper", "/tmp/x"); }
static int power_state(void) { return put("/sys/power/state", "freeze"); }
static int kernel_parameter(void) { return put("/sys/module/loop/parameters/max_loop", "1"); }
static int binfmt_register(void) {
    int err = fresh("binfmt_misc", NULL);
    return err ? err : put("/tmp/fresh/register", ":x:M::x::/tmp/x:");
}
static int fresh_sysfs(void) { return sysfs_file("kernel/uevent_helper"); }
static int remounted_sysctl(void) {
    if (mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL) < 0) return errno;
    return core_pattern();
}
static int uncovered_sysctl(void) {
    if (umount("/proc/sys") < 0) return errno;
    return core_pattern();
}
static int fresh_proc(void) {
    int err = fresh("proc", NULL);
    return err ? err : put("/tmp/fresh/sys/kernel/core_pattern", "|/tmp/x");
}
static int release_agent(void) {
    int err = fresh("cgroup", "none,name=probe");
    return err ? err : put("/tmp/fresh/release_agent", "/tmp/x");
}
static int cgroup_devices(void) {
    int err = fresh("cgroup", "devices");
    return err ? err : put("/tmp/fresh/devices.allow", "a");
}
static int own_limit(void) { return put("/sys/fs/cgroup/memory.max", "max"); }
static int own_pids_limit(void) { return put("/sys/fs/cgroup/pids.max", "max"); }
static int cgroup_above(void) {
    int err = fresh("cgroup2", NULL);
    if (err) return err;
    return put("/tmp/fresh/../fresh/lxc/cgroup.procs", "0");
}
static int device_filter_off(void) {
    union bpf_attr attr = {0};
    int cgroup = open("/sys/fs/cgroup", O_RDONLY | O_DIRECTORY);
    attr.target_fd = cgroup;
    attr.attach_type = BPF_CGROUP_DEVICE;
    return rc(syscall(SYS_bpf, BPF_PROG_DETACH, &attr, sizeof attr));
}
static int block_device(void) { return node(S_IFBLK, 8, 0); }
static int loop_device(void) { return node(S_IFBLK, 7, 0); }
static int dev_mem(void) { return node(S_IFCHR, 1, 1); }
static int dev_kmsg(void) { return node(S_IFCHR, 1, 11); }
static int dev_fuse_other(void) { return node(S_IFCHR, 10, 237); }
static int dev_mem_there(void) { return get("/dev/mem"); }
static int loop_control(void) { return rc(open("/dev/loop-control", O_RDWR)); }
static int kcore(void) { return get("/proc/kcore"); }
static int kmsg(void) { return get("/proc/kmsg"); }
static int ext4_of_a_disk(void) {
    mkdir("/tmp/disk", 0700);
    if (mknod("/tmp/disk-node", S_IFBLK | 0600, makedev(7, 0)) < 0 && errno != EEXIST) {
        return rc(mount("/dev/loop0", "/tmp/disk", "ext4", 0, NULL));
    }
    return rc(mount("/tmp/disk-node", "/tmp/disk", "ext4", 0, NULL));
}
static int new_mount_api(void) { return rc(syscall(SYS_fsopen, "ext4", 0)); }
static int hostfs(void) { return fresh("hostfs", NULL); }
static int init_module(void) { return rc(syscall(SYS_init_module, "", 0, "")); }
static int finit_module(void) { return rc(syscall(SYS_finit_module, open("/bin/busybox", O_RDONLY), "", 0)); }
static int delete_module(void) { return rc(syscall(SYS_delete_module, "loop", O_NONBLOCK)); }
static int kexec(void) { return rc(syscall(SYS_kexec_load, 0, 0, NULL, 0)); }
static int kexec_file(void) { return rc(syscall(SYS_kexec_file_load, -1, -1, 0, NULL, 0)); }
static int keyring(void) { return rc(syscall(SYS_keyctl, 0 /* GET_KEYRING_ID */, -3, 0)); }
static int by_handle(void) {
    struct { struct file_handle handle; unsigned char bytes[8]; } h = {{8, 1}, {2}};
    return rc(syscall(SYS_open_by_handle_at, open("/", O_RDONLY), &h, O_RDONLY));
}
static int trace_out(void) { return rc(ptrace(PTRACE_SEIZE, host_pid, 0, 0)); }
static int kill_out(void) { return rc(kill(host_pid, SIGUSR1)); }
static int pidfd_out(void) { return rc(syscall(SYS_pidfd_open, host_pid, 0)); }
static int memory_out(void) {
    char here[8];
    struct iovec mine = {here, sizeof here}, theirs = {(void *)main, sizeof here};
    return rc(process_vm_readv(host_pid, &mine, 1, &theirs, 1, 0));
}
static int move_pages_out(void) { return rc(syscall(SYS_move_pages, host_pid, 0, NULL, NULL, NULL, 0)); }
static int namespace_out(void) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/mnt", host_pid);
    int fd = open(path, O_RDONLY);
    return fd < 0 ? errno : rc(setns(fd, 0));
}
static int own_user_namespace(void) {
    int fd = open("/proc/1/ns/user", O_RDONLY);
    return fd < 0 ? errno : rc(setns(fd, 0));
}
static int new_user_namespace(void) { return rc(unshare(CLONE_NEWUSER)); }
static int new_network(void) { return rc(unshare(CLONE_NEWNET)); }
static int cloned_user_namespace(void) {
    long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) _exit(0);
    return rc(pid);
}
static int clone3_user_namespace(void) {
    struct clone_args args = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
    long pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid == 0) _exit(0);
    return rc(pid);
}
static int bpf_program(void) {
    struct bpf_insn code[] = {{.code = 0xb7}, {.code = 0x95}};
    union bpf_attr attr = {.prog_type = BPF_PROG_TYPE_KPROBE, .insn_cnt = 2};
    attr.insns = (unsigned long)code;
    attr.license = (unsigned long)"GPL";
    return rc(syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof attr));
}
static int bpf_iterate(void) {
    union bpf_attr attr = {0};
    return rc(syscall(SYS_bpf, BPF_PROG_GET_NEXT_ID, &attr, sizeof attr));
}
static int perf(void) {
    struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE, .size = sizeof attr};
    return rc(syscall(SYS_perf_event_open, &attr, -1, 0, -1, 0));
}
static int user_faults(void) { return rc(syscall(SYS_userfaultfd, 0)); }
static int io_ring(void) {
    char params[120] = {0};
    return rc(syscall(SYS_io_uring_setup, 1, params));
}
static int all_fanotify(void) { return rc(syscall(SYS_fanotify_init, 0x4 /* CONTENT */, O_RDONLY)); }
static int io_ports(void) { return rc(syscall(SYS_ioperm, 0x70, 1, 1)); }
static int io_level(void) { return rc(syscall(SYS_iopl, 3)); }
static int set_time(void) { struct timeval t = {1, 0}; return rc(settimeofday(&t, NULL)); }
static int set_clock(void) { struct timespec t = {1, 0}; return rc(clock_settime(CLOCK_REALTIME, &t)); }
static int adjust_clock(void) { struct timex t = {.modes = ADJ_OFFSET, .offset = 1000}; return rc(adjtimex(&t)); }
static int reboot_key(void) {
    return rc(syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_CAD_ON, NULL));
}
static int swap_on(void) { return rc(swapon("/bin/busybox", 0)); }
static int swap_off(void) { return rc(swapoff("/swapfile")); }
static int kernel_log(void) { char text[64]; return rc(klogctl(3, text, sizeof text)); }
static int clear_log(void) { return rc(klogctl(5, NULL, 0)); }
static int odd_personality(void) { return rc(personality(ADDR_NO_RANDOMIZE)); }
static int push_key(void) {
    int fd = open("/dev/tty", O_RDWR);
    return fd < 0 ? errno : rc(ioctl(fd, TIOCSTI, "x"));
}
static int push_stdin(void) { return rc(ioctl(0, TIOCSTI, "x")); }
static int af_alg(void) { return rc(socket(38, SOCK_SEQPACKET, 0)); }
static int af_alg_high_bits(void) { return rc(syscall(SYS_socket, (1UL << 32) | 38, SOCK_SEQPACKET, 0)); }
static int af_vsock(void) { return rc(socket(40, SOCK_STREAM, 0)); }
static int host_interface(void) {
    int fd = socket(AF_PACKET, SOCK_RAW, 0);
    if (fd < 0) return errno;
    unsigned index = if_nametoindex(host_name("HOST_INTERFACE"));
    return index == 0 ? errno : 0;
}
static int command_socket(void) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    const char *name = host_name("HOST_SOCKET");
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    memcpy(to.sun_path + 1, name, strlen(name));
    return rc(connect(fd, (void *)&to, offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name)));
}
static int btrfs_subvolume(void) {
    char args[4096] = {0};
    return rc(ioctl(open("/tmp", O_RDONLY), 0x5000940e, args));
}
/* The two that follow end well for an attacker if the mark is out of sight. */
static int still_inside(const char *path) { return access(path, F_OK) < 0 ? 0 : EXDEV; }
static int double_chroot(void) {
    mkdir("/tmp/jail", 0700);
    if (chroot("/tmp/jail") < 0) return errno;
    for (int i = 0; i < 32; i++) if (chdir("..") < 0) return errno;
    if (chroot(".") < 0) return errno;
    return still_inside(MARK);
}
static int root_of_init(void) {
    int seen = access("/proc/1/root" MARK, F_OK) < 0 ? errno : 0;
    if (seen) return seen;
    return still_inside("/proc/1/root/../../.." MARK);
}
static int pivot(void) {
    if (chdir("/") < 0) return errno;
    if (syscall(SYS_pivot_root, ".", ".") < 0) return errno;
    if (umount2(".", MNT_DETACH) < 0) return errno;
    return still_inside(MARK);
}
static int runtime_binary(void) {
    DIR *all = opendir("/proc");
    struct dirent *entry;
    int err = ENOENT;
    while ((entry = readdir(all))) {
        char path[300], exe[300];
        snprintf(path, sizeof path, "/proc/%s/exe", entry->d_name);
        ssize_t n = readlink(path, exe, sizeof exe - 1);
        if (n < 0) continue;
        exe[n] = 0;
        if (strstr(exe, "probe") || strstr(exe, "init") || strstr(exe, "busybox")) continue;
        int fd = open(path, O_WRONLY);
        if (fd >= 0) return 0;
        err = errno;
    }
    return err;
}
static int quota(void) { struct dqblk q; return rc(syscall(SYS_quotactl, QCMD(Q_GETQUOTA, USRQUOTA), "/dev/loop0", 0, &q)); }
static int accounting(void) { close(open("/tmp/acct", O_CREAT | O_WRONLY, 0600)); return rc(acct("/tmp/acct")); }
static int dcookie(void) { char path[64]; return rc(syscall(SYS_lookup_dcookie, 0, path, sizeof path)); }
static int oom_below(void) { return put("/proc/self/oom_score_adj", "-1000"); }
static int host_domain(void) { return rc(setdomainname("probe", 5)); }
static int more_files(void) {
    struct rlimit l = {1U << 30, 1U << 30};
    return rc(setrlimit(RLIMIT_NOFILE, &l));
}
static int higher_limit(void) {
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) < 0) return errno;
    l.rlim_max += 1;
    return rc(setrlimit(RLIMIT_NOFILE, &l));
}
static int priority(void) { return rc(setpriority(PRIO_PROCESS, 0, -20)); }
static int real_time(void) { struct sched_param p = {50}; return rc(sched_setscheduler(0, SCHED_FIFO, &p)); }
static int poison(void) {
    void *page = aligned_alloc(4096, 4096);
    memset(page, 1, 4096);
    return rc(syscall(SYS_madvise, page, 4096, 100 /* HWPOISON */));
}
static int foreign_owner(void) { close(open("/tmp/owned", O_CREAT | O_WRONLY, 0600)); return rc(chown("/tmp/owned", 70000, 70000)); }
static int trusted_attribute(void) { return rc(setxattr("/tmp", "trusted.probe", "x", 1, 0)); }
static int hang_up(void) { return rc(vhangup()); }
/* Nothing but input and outputs may have come along from outside. */
static int open_files(void) {
    DIR *all = opendir("/proc/1/fd");
    struct dirent *entry;
    while (all && (entry = readdir(all))) {
        char path[300], to[300];
        int fd = atoi(entry->d_name);
        if (entry->d_name[0] == '.' || fd <= 2 || (getpid() == 1 && fd == dirfd(all))) continue;
        snprintf(path, sizeof path, "/proc/1/fd/%s", entry->d_name);
        ssize_t n = readlink(path, to, sizeof to - 1);
        if (n > 0) { to[n] = 0; fprintf(stderr, "leaked %s\n", to); return 0; }
    }
    return all ? EBADF : errno;
}
static int mount_seen_outside(void) { return fresh("tmpfs", "size=4k,mode=711"); }

#define P(name) {#name, name}
static const struct { const char *name; int (*try)(void); } PROBES[] = {
    P(open_files), P(core_pattern), P(modprobe_path), P(sysrq_trigger), P(sysrq_mask), P(drop_caches),
    P(panic_sysctl), P(ns_last_pid), P(uevent_helper), P(power_state), P(kernel_parameter),
    P(binfmt_register), P(fresh_sysfs), P(fresh_proc), P(release_agent), P(cgroup_devices), P(own_limit),
    P(own_pids_limit), P(cgroup_above), P(device_filter_off), P(block_device), P(loop_device), P(dev_mem),
    P(dev_kmsg), P(dev_fuse_other), P(dev_mem_there), P(loop_control), P(kcore), P(kmsg),
    P(ext4_of_a_disk), P(new_mount_api), P(hostfs), P(init_module), P(finit_module), P(delete_module),
    P(kexec), P(kexec_file), P(keyring), P(by_handle), P(trace_out), P(kill_out), P(pidfd_out),
    P(memory_out), P(move_pages_out), P(namespace_out), P(own_user_namespace), P(new_user_namespace),
    P(new_network), P(cloned_user_namespace), P(clone3_user_namespace), P(bpf_program), P(bpf_iterate),
    P(perf), P(user_faults), P(io_ring), P(all_fanotify), P(io_ports), P(io_level), P(set_time),
    P(set_clock), P(adjust_clock), P(reboot_key), P(swap_on), P(swap_off), P(kernel_log), P(clear_log),
    P(odd_personality), P(push_key), P(push_stdin), P(af_alg), P(af_alg_high_bits), P(af_vsock),
    P(host_interface), P(command_socket), P(btrfs_subvolume), P(double_chroot), P(root_of_init), P(pivot),
    P(runtime_binary), P(quota), P(accounting), P(dcookie), P(oom_below), P(host_domain), P(more_files),
    P(higher_limit), P(priority), P(real_time), P(poison), P(foreign_owner), P(trusted_attribute),
    P(hang_up), P(remounted_sysctl), P(uncovered_sysctl), P(mount_seen_outside),
};

int main(void) {
    host_pid = atoi(host_name("HOST_PID"));
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < sizeof PROBES / sizeof *PROBES; i++) {
        int status;
        pid_t child = fork();
        if (child == 0) {
            alarm(5);
            _exit(PROBES[i].try());
        }
        if (child < 0 || waitpid(child, &status, 0) < 0) return 1;
        const char *result = "ok";
        if (WIFSIGNALED(status)) result = strsignal(WTERMSIG(status));
        else if (WEXITSTATUS(status)) result = strerrorname_np(WEXITSTATUS(status));
        printf("probe %s %s\n", PROBES[i].name, result);
    }
    printf("probed %zu\n", sizeof PROBES / sizeof *PROBES);
    return 0;
}
