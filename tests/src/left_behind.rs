//! What is still there that belongs to one root: processes, mounts, loop devices, sockets, cgroups.

use std::path::Path;

/// Pid and command line of each process whose command line names `root`, but for our own.
pub fn processes_of(root: &Path) -> Vec<(i32, String)> {
    let root = root.to_str().unwrap();
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in fs_err::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let Ok(pid) = name.parse() else { continue };
        // A process may go while we look at it.
        let Ok(line) = fs_err::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(root) && name != own {
            found.push((pid, line));
        }
    }
    found
}

/// One line each; empty when the root is as good as never used.
pub fn left_behind(root: &Path) -> Vec<String> {
    let name = root.to_str().unwrap();
    let mut found: Vec<String> =
        processes_of(root).iter().map(|(pid, line)| format!("process {pid}: {line}")).collect();

    let mounts = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
    found.extend(
        mounts.lines().filter(|line| line.contains(name)).map(|line| format!("mount: {line}")),
    );

    let sockets = fs_err::read_to_string("/proc/net/unix").unwrap();
    found.extend(
        sockets
            .lines()
            .filter(|line| line.contains(name) && line.contains("/command"))
            .map(|line| format!("socket: {line}")),
    );

    for entry in fs_err::read_dir("/sys/block").into_iter().flatten().flatten() {
        let file =
            fs_err::read_to_string(entry.path().join("loop/backing_file")).unwrap_or_default();
        if file.contains(name) {
            let device = entry.file_name();
            found.push(format!("loop device {}: {}", device.display(), file.trim()));
        }
    }
    found.extend(cgroups(Path::new("/sys/fs/cgroup")).iter().map(|path| format!("cgroup: {path}")));
    found
}

/// Guests' cgroups of any root: the container tests run one at a time. Both layouts are looked at,
/// `/sys/fs/cgroup/lxcri-…` and one level down for version 1.
fn cgroups(top: &Path) -> Vec<String> {
    let folders = |path: &Path| -> Vec<_> {
        fs_err::read_dir(path)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .collect()
    };
    let ours = |path: &Path| {
        path.file_name().unwrap_or_default().to_str().is_some_and(|name| name.starts_with("lxcri-"))
    };
    let mut parents = folders(top);
    if !top.join("cgroup.controllers").exists() {
        parents = parents.iter().flat_map(|controller| folders(controller)).collect();
    }
    parents
        .iter()
        .filter(|path| ours(path))
        .flat_map(|path| folders(path))
        .map(|path| path.display().to_string())
        .collect()
}

/// How many descriptors a process has open.
pub fn descriptors(pid: u32) -> usize {
    fs_err::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}
