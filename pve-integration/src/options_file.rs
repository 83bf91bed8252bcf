//! `datacenter.cfg` and a node's `config`: a description as comment lines, then `key: value` lines.
//! Upstream: `PVE/DataCenterConfig.pm` of pve-cluster, `PVE/NodeConfig.pm` of pve-manager.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io;
use std::path::Path;

use openapi::NodeName;
use openapi::property_string;
use openapi::schema::{Method, methods};
use serde_json::Value;
use sha1::{Digest as _, Sha1};

use crate::access::text::{decode, encode};
use crate::atomic;
use crate::cluster_lock::{ClusterLock, LockError};
use crate::layout::Root;

/// Of a MAC address that nobody chose. It is not written out.
pub const MAC_PREFIX: &str = "BC:24:11";
const NEXT_ID: (u64, u64) = (100, 1_000_000);

/// Why nothing was changed, in PVE's words.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    #[error("lower ({0}) <= upper ({1}) boundary rule broken")]
    NextId(u64, u64),
    #[error("detected modified configuration - file changed by other user? Try again.")]
    Modified,
    #[error("detected invalid newline inside property '{0}'")]
    Newline(String),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// One such file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Its comment lines, each with its newline.
    pub description: String,
    pub values: BTreeMap<String, String>,
}

impl Options {
    pub fn parse(text: &str) -> Self {
        let mut options = Self::default();
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix('#') {
                options.description += &decode(comment);
                options.description.push('\n');
            } else if let Some((key, value)) = line.split_once(':') {
                options.values.insert(key.trim().to_owned(), value.trim().to_owned());
            }
        }
        options
    }

    /// What is there, or nothing.
    pub fn read(path: &Path) -> io::Result<Self> {
        match fs_err::read_to_string(path) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(err) => Err(err),
        }
    }

    fn set(&mut self, key: &str, value: String) -> Result<(), OptionsError> {
        if key == "description" {
            self.description = value;
        } else if value.contains('\n') {
            return Err(OptionsError::Newline(key.to_owned()));
        } else {
            self.values.insert(key.to_owned(), value);
        }
        Ok(())
    }

    fn delete(&mut self, key: &str) {
        match key {
            "description" => self.description.clear(),
            _ => {
                self.values.remove(key);
            }
        }
    }

    fn apply(&mut self, change: Change) -> Result<(), OptionsError> {
        for (key, value) in change.set {
            self.set(&key, value)?;
        }
        for key in &change.delete {
            self.delete(key);
        }
        Ok(())
    }

    fn comment(&self) -> String {
        let mut comment = String::new();
        for line in self.description.trim_end_matches('\n').split_terminator('\n') {
            writeln!(comment, "#{}", encode(line)).expect("a string takes all");
        }
        comment
    }
}

/// A node's file; `datacenter.cfg` has a blank line below the comment.
impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.comment())?;
        self.values.iter().try_for_each(|(key, value)| writeln!(f, "{key}: {value}"))
    }
}

/// What is set, then what is taken away.
#[derive(Clone, Debug, Default)]
pub struct Change {
    pub set: BTreeMap<String, String>,
    pub delete: Vec<String>,
}

fn declaration() -> &'static Method {
    methods().get("PUT", "/cluster/options").expect("the method table has it; a test reads it")
}

/// The parts of a property string of `datacenter.cfg`, if `key` has one and `text` is one.
pub fn parts(key: &str, text: &str) -> Option<BTreeMap<String, Value>> {
    let keys = declaration().parameters.get(key)?.format.as_ref()?.keys()?;
    let parts = property_string::parse(keys, text).ok()?;
    Some(parts.into_iter().collect())
}

/// Change what holds for all nodes.
pub fn change_datacenter(root: &Root, change: Change) -> Result<(), OptionsError> {
    let _lock = ClusterLock::take(root, "file-datacenter_cfg")?;
    let path = root.datacenter_cfg();
    let mut options = Options::read(&path)?;
    options.apply(change)?;
    normalize(&mut options.values)?;
    let text =
        format!("{}\n{}", options.comment(), Options { description: String::new(), ..options });
    Ok(atomic::write(&path, 0o640, text.as_bytes())?)
}

/// As `write_datacenter_config` says things: today's words, property strings printed anew, lists of
/// tags sorted, defaults left out.
fn normalize(values: &mut BTreeMap<String, String>) -> Result<(), OptionsError> {
    if let Some(unsecure) = values.remove("migration_unsecure") {
        let kind = if unsecure == "1" { "insecure" } else { "secure" };
        values.entry("migration".to_owned()).or_insert_with(|| kind.to_owned());
    }
    if values.get("console").is_some_and(|console| console == "applet") {
        values.insert("console".to_owned(), "html5".to_owned());
    }
    if values.get("mac_prefix").is_some_and(|prefix| prefix.eq_ignore_ascii_case(MAC_PREFIX)) {
        values.remove("mac_prefix");
    }
    if values.get("crs").is_some_and(String::is_empty) {
        values.remove("crs");
    }
    if let Some(range) = values.get("next-id").and_then(|text| parts("next-id", text)) {
        let end = |name: &str, default| range.get(name).and_then(Value::as_u64).unwrap_or(default);
        let (lower, upper) = (end("lower", NEXT_ID.0), end("upper", NEXT_ID.1));
        if lower > upper {
            return Err(OptionsError::NextId(lower, upper));
        }
    }
    Ok(())
}

/// Change what holds for one node.
pub fn change_node(
    root: &Root,
    node: &NodeName,
    change: Change,
    digest: Option<&str>,
) -> Result<(), OptionsError> {
    let _lock = ClusterLock::take(root, &format!("file-nodes-{node}-config"))?;
    let path = root.node_dir(node).join("config");
    let text = match fs_err::read_to_string(&path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => String::new(),
        found => found?,
    };
    if digest.is_some_and(|digest| digest != hex::encode(Sha1::digest(&text))) {
        return Err(OptionsError::Modified);
    }
    let mut options = Options::parse(&text);
    options.apply(change)?;
    Ok(atomic::write(&path, 0o640, options.to_string().as_bytes())?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn world() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path()).unwrap();
        fs_err::create_dir_all(root.etc_pve().join("nodes/pve1")).unwrap();
        (dir, root)
    }

    fn change(set: &[(&str, &str)], delete: &[&str]) -> Change {
        let set = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Change { set: set.collect(), delete: delete.iter().map(ToString::to_string).collect() }
    }

    #[test]
    fn writes_comment_blank_line_and_sorted_keys() {
        let (_dir, root) = world();
        let set = [
            ("keyboard", "de"),
            ("description", "a\nb: c"),
            ("mac_prefix", "bc:24:11"),
            ("console", "applet"),
        ];
        change_datacenter(&root, change(&set, &["keyboard"])).unwrap();
        let text = fs_err::read_to_string(root.datacenter_cfg()).unwrap();
        assert_eq!(text, "#a\n#b%3A c\n\nconsole: html5\n");
    }

    #[test]
    fn a_range_upside_down_changes_nothing() {
        let (_dir, root) = world();
        change_datacenter(&root, change(&[("next-id", "upper=500")], &[])).unwrap();
        let err = change_datacenter(&root, change(&[("next-id", "lower=300,upper=200")], &[]));
        assert_eq!(err.unwrap_err().to_string(), "lower (300) <= upper (200) boundary rule broken");
        let text = fs_err::read_to_string(root.datacenter_cfg()).unwrap();
        assert_eq!(text, "\nnext-id: upper=500\n");
    }

    #[test]
    fn a_nodes_file_knows_its_digest_and_takes_no_second_line() {
        let (_dir, root) = world();
        let node: NodeName = "pve1".parse().unwrap();
        change_node(&root, &node, change(&[("wakeonlan", "00:11:22:33:44:55")], &[]), None)
            .unwrap();
        let stale = change_node(&root, &node, Change::default(), Some("0"));
        assert!(matches!(stale, Err(OptionsError::Modified)));
        let broken = change_node(&root, &node, change(&[("acme", "a\nb")], &[]), None);
        assert!(matches!(broken, Err(OptionsError::Newline(_))));
        let path = root.node_dir(&node).join("config");
        assert_eq!(fs_err::read_to_string(path).unwrap(), "wakeonlan: 00:11:22:33:44:55\n");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(text in "(#[ -~é]{0,8}\n|[a-z-]{1,4}: [ -~]{0,8}\n|\n){0,6}") {
            let options = Options::parse(&text);
            prop_assert_eq!(Options::parse(&options.to_string()), options);
        }
    }
}
