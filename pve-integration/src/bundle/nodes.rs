//! Device nodes that are bound into the container's `/dev`.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Warning;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    Character,
    Block,
}

impl NodeKind {
    pub(super) fn letter(self) -> &'static str {
        match self {
            Self::Character => "c",
            Self::Block => "b",
        }
    }
}

/// A node that is there to be bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub source: PathBuf,
    /// In the container.
    pub path: PathBuf,
    pub kind: NodeKind,
    pub major: u32,
    pub minor: u32,
    /// `rw`, or less.
    pub access: &'static str,
}

impl Node {
    /// `/dev/fuse` is everybody's on the host, so it needs no copy with another owner.
    pub fn fuse() -> Self {
        let path = PathBuf::from("/dev/fuse");
        Self {
            source: path.clone(),
            path,
            kind: NodeKind::Character,
            major: 10,
            minor: 229,
            access: "rwm",
        }
    }
}

/// What libcrun puts over whatever is there.
pub(super) const GIVEN: [&str; 6] =
    ["/dev/null", "/dev/zero", "/dev/full", "/dev/tty", "/dev/random", "/dev/urandom"];

pub(super) fn given(nodes: &[Node]) -> impl Iterator<Item = Warning> {
    let given = nodes.iter().filter(|node| GIVEN.iter().any(|path| node.path == Path::new(path)));
    given.map(|node| {
        let key = node.source.file_name().unwrap_or_default().to_string_lossy();
        Warning::new(&key, "every container has this device, with an owner and mode of its own")
    })
}

pub(super) fn mounts(nodes: &[Node]) -> impl Iterator<Item = Value> {
    nodes.iter().map(|node| {
        json!({
            "destination": node.path,
            "type": "bind",
            "source": node.source,
            "options": ["bind", "nosuid", "noexec"],
        })
    })
}
