//! What is still there that belongs to one root: processes, mounts, loop devices, sockets, network
//! links, cgroups.

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
    let parent = parent_of(root);
    for entry in fs_err::read_dir("/sys/class/net").into_iter().flatten().flatten() {
        let alias = fs_err::read_to_string(entry.path().join("ifalias")).unwrap_or_default();
        if alias.starts_with(&parent) {
            found.push(format!("network link {}", entry.file_name().display()));
        }
    }
    found.extend(cgroups(&parent));
    found
}

/// The cgroup that holds a root's guests: named by the FNV-1a of the root's path.
fn parent_of(root: &Path) -> String {
    let hash =
        root.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    format!("lxcri-{:08x}", hash >> 32)
}

/// Guests' cgroups below `parent`, in both layouts: version 1 has a tree per controller.
fn cgroups(parent: &str) -> Vec<String> {
    let folders = |path: &Path| -> Vec<_> {
        fs_err::read_dir(path)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .collect()
    };
    let top = Path::new("/sys/fs/cgroup");
    let mut trees = folders(top);
    trees.push(top.to_owned());
    trees
        .iter()
        .flat_map(|tree| folders(&tree.join(parent)))
        .map(|path| format!("cgroup: {}", path.display()))
        .collect()
}

/// How many descriptors a process has open.
pub fn descriptors(pid: u32) -> usize {
    fs_err::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}
