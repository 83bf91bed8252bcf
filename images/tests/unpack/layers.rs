//! Layers over layers: what each hides, replaces and leaves, beside a model that knows no order.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use proptest::prelude::*;
use rstest::rstest;
use tar::EntryType;

use crate::build::{Tar, Target, gzip, header, zst};
use crate::image::Archive;

fn tree(target: &Target, layers: Vec<Tar>) -> BTreeMap<String, Node> {
    let layers: Vec<_> = layers.into_iter().map(Tar::end).collect();
    target.image(&Archive::of_layers(&layers)).unwrap();
    walk(target)
}

fn names(layers: Vec<Tar>) -> Vec<String> {
    tree(&Target::new(), layers).into_keys().collect()
}

fn base() -> Tar {
    Tar::default().folder("d/").file("d/f", "1").folder("d/e/").file("d/e/g", "2").file("x", "3")
}

#[rstest]
#[case::file(Tar::default().file("d/.wh.f", ""), &["d", "d/e", "d/e/g", "x"])]
#[case::folder(Tar::default().file(".wh.d", ""), &["x"])]
#[case::what_is_not_there(Tar::default().file("d/.wh.q", "").file("q/.wh.q", ""), &["d", "d/e", "d/e/g", "d/f", "x"])]
#[case::below_a_file(Tar::default().file("x/.wh.q", ""), &["d", "d/e", "d/e/g", "d/f", "x"])]
#[case::content(Tar::default().file("d/.wh..wh..opq", ""), &["d", "x"])]
#[case::all(Tar::default().file(".wh..wh..opq", "").file("n", ""), &["n"])]
#[case::content_but_its_own(
    Tar::default().file("d/n", "").file("d/f", "").file("d/.wh..wh..opq", ""),
    &["d", "d/f", "d/n", "x"]
)]
#[case::not_its_own(Tar::default().file("x", "").file(".wh.x", ""), &["d", "d/e", "d/e/g", "d/f", "x"])]
#[case::a_folder_and_put_anew(Tar::default().folder("d/").file("d/n", "").file(".wh.d", ""), &["d", "d/n", "x"])]
#[case::the_root(Tar::default().file(".wh..", "").file(".wh...", "").file(".wh.", ""), &["d", "d/e", "d/e/g", "d/f", "x"])]
#[case::the_folder_itself(Tar::default().file("d/.wh..", ""), &["x"])]
#[case::aufs(Tar::default().file(".wh..wh.aufs", "").hard_link(".wh.d", ".wh..wh.aufs"), &["x"])]
#[case::file_over_folder(Tar::default().file("d", ""), &["d", "x"])]
#[case::link_over_folder(Tar::default().symlink("d", "x"), &["d", "x"])]
#[case::folder_over_file(Tar::default().folder("x/").file("x/y", ""), &["d", "d/e", "d/e/g", "d/f", "x", "x/y"])]
#[case::link_across_layers(Tar::default().hard_link("d/l", "x"), &["d", "d/e", "d/e/g", "d/f", "d/l", "x"])]
fn hides_and_replaces(#[case] upper: Tar, #[case] want: &[&str]) {
    assert_eq!(names(vec![base(), upper]), want);
}

#[test]
fn a_link_is_hidden_and_not_where_it_leads() {
    let lower = base().symlink("l", "d").symlink("dead", "nowhere");
    let upper = Tar::default().file(".wh.l", "").file(".wh.dead", "").file("dead/.wh.q", "");
    assert_eq!(names(vec![lower, upper]), ["d", "d/e", "d/e/g", "d/f", "x"]);
}

#[rstest]
#[case::out("/")]
#[case::up("../..")]
#[case::inside("d")]
fn nothing_is_hidden_behind_a_link(#[case] to: &str) {
    let lower = base().symlink("l", to);
    let upper = Tar::default()
        .file("l/.wh.f", "")
        .file("l/.wh.outside", "")
        .file("l/.wh..wh..opq", "")
        .folder("l/");
    assert_eq!(names(vec![lower, upper]), ["d", "d/e", "d/e/g", "d/f", "l", "x"]);
}

#[test]
fn what_was_hidden_comes_back_with_a_later_layer() {
    let layers = vec![base(), Tar::default().file(".wh.d", ""), Tar::default().file("d/z", "")];
    assert_eq!(names(layers), ["d", "d/z", "x"]);
}

#[test]
fn a_file_linked_to_a_lower_one_does_not_change_with_it() {
    let target = Target::new();
    let layers = vec![base(), Tar::default().hard_link("y", "x"), Tar::default().file("x", "new")];
    tree(&target, layers);
    assert_eq!((target.read("x"), target.read("y")), ("new".to_owned(), "3".to_owned()));
}

#[test]
fn a_folder_has_the_last_layer_s_attributes_and_only_those() {
    let target = Target::new();
    let lower = Tar::default().pax(&[("SCHILY.xattr.user.old", b"1")]).folder("d/").file("d/f", "");
    let mut changed = header(EntryType::Directory, "d/", "", 0);
    changed.set_mode(0o2750);
    changed.set_mtime(1_234_567);
    changed.set_cksum();
    let upper = Tar::default().pax(&[("SCHILY.xattr.user.new", b"2")]).data(&changed, b"");
    // The third layer changes what is in it, and says nothing of the folder.
    tree(&target, vec![lower, upper, Tar::default().file("d/.wh.f", "").file("d/g", "")]);

    let metadata = fs_err::metadata(target.path("d")).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (0o2750, 1_234_567));
    let value = |name| rustix::fs::getxattr(target.path("d"), name, &mut [0_u8; 8][..]);
    match value("user.new") {
        Ok(size) => assert_eq!(size, 1),
        Err(rustix::io::Errno::OPNOTSUPP) => return, // nor has this filesystem any
        Err(err) => panic!("{err}"),
    }
    assert_eq!(value("user.old"), Err(rustix::io::Errno::NODATA));
}

#[test]
fn takes_each_compression_and_layers_without_an_end() {
    let target = Target::new();
    let plain = |name: &str| Tar::default().file(name, name).end();
    let short = plain("short")[..1024].to_vec();
    let layers = [
        (gzip(&plain("gz")), plain("gz")),
        (zst(&plain("zst")), plain("zst")),
        (plain("tar"), plain("tar")),
        (short.clone(), short),
        (gzip(&[0; 1024]), vec![0; 1024]),
        (Vec::new(), Vec::new()),
    ];
    let summary = target.image(&Archive::of_packed(&layers)).unwrap();
    assert_eq!(walk(&target).into_keys().collect::<Vec<_>>(), ["gz", "short", "tar", "zst"]);
    assert_eq!(summary.entries, 4);
}

#[test]
fn hides_a_tree_of_any_depth_and_width() {
    let target = Target::new();
    let mut lower = Tar::default();
    let mut path = String::new();
    for _ in 0..150 {
        path.push_str("abcdefghij/");
        lower = lower.pax(&[("path", path.as_bytes())]).folder("x/");
    }
    for at in 0..3000 {
        lower = lower.file(&format!("wide/{at}"), "");
    }
    let upper = Tar::default().file(".wh.abcdefghij", "").file(".wh.wide", "").file("n", "");
    assert_eq!(tree(&target, vec![lower, upper]).into_keys().collect::<Vec<_>>(), ["n"]);
}

#[test]
fn a_thousand_layers() {
    let layers: Vec<_> = (0..1000_u32)
        .map(|at| {
            let tar = Tar::default().file("same", &at.to_string()).file(&at.to_string(), "");
            if at == 0 { tar } else { tar.file(&format!(".wh.{}", at - 1), "") }
        })
        .collect();
    let target = Target::new();
    let tree = tree(&target, layers);
    assert_eq!(tree.into_keys().collect::<Vec<_>>(), ["999", "same"]);
    assert_eq!(target.read("same"), "999");
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Folder { mode: u32, mtime: i64 },
    File { mode: u32, content: String },
    Link { to: String },
}

fn walk(target: &Target) -> BTreeMap<String, Node> {
    let mut found = BTreeMap::new();
    walk_folder(&target.path(""), "", &mut found);
    found
}

fn walk_folder(root: &Path, folder: &str, found: &mut BTreeMap<String, Node>) {
    for entry in fs_err::read_dir(root.join(folder)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        let full = root.join(&path);
        let metadata = fs_err::symlink_metadata(&full).unwrap();
        let mode = metadata.permissions().mode() & 0o7777;
        let node = if metadata.is_dir() {
            walk_folder(root, &path, found);
            Node::Folder { mode, mtime: metadata.mtime() }
        } else if metadata.is_symlink() {
            Node::Link { to: fs_err::read_link(&full).unwrap().to_str().unwrap().to_owned() }
        } else {
            Node::File { mode, content: fs_err::read_to_string(&full).unwrap() }
        };
        found.insert(path, node);
    }
}

#[derive(Clone, Debug, Default)]
struct Layer {
    nodes: BTreeMap<String, Node>,
    /// Paths, and whether only their content is hidden.
    whiteouts: Vec<(String, bool)>,
    /// Where among the entries each whiteout stands.
    places: Vec<prop::sample::Index>,
}

fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

impl Layer {
    fn new(
        nodes: Vec<(String, Node)>,
        whiteouts: Vec<(String, bool)>,
        places: Vec<prop::sample::Index>,
    ) -> Self {
        let mut layer = Self { whiteouts, places, ..Self::default() };
        for (path, node) in nodes {
            let blocked = ancestors(&path)
                .any(|folder| layer.nodes.get(folder).is_some_and(|n| !is_folder(n)));
            let holds = layer.nodes.keys().any(|other| other.starts_with(&format!("{path}/")));
            if blocked || (holds && !is_folder(&node)) {
                continue;
            }
            // As tools do that make layers: each folder on the way is named.
            for folder in ancestors(&path) {
                let plain = Node::Folder { mode: 0o755, mtime: 1_600_000_000 };
                layer.nodes.entry(folder.to_owned()).or_insert(plain);
            }
            layer.nodes.insert(path, node);
        }
        layer
    }

    fn tar(&self) -> Vec<u8> {
        let mut entries: Vec<Tar> =
            self.nodes.iter().map(|(path, node)| node_entry(path, node)).collect();
        for ((path, content), place) in self.whiteouts.iter().zip(&self.places) {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            let name = match content {
                true => format!("{path}/.wh..wh..opq"),
                false if folder.is_empty() => format!(".wh.{name}"),
                false => format!("{folder}/.wh.{name}"),
            };
            entries.insert(place.index(entries.len() + 1), Tar::default().file(&name, ""));
        }
        Tar(entries.into_iter().flat_map(|entry| entry.0).collect()).end()
    }

    /// A path is this layer's if it has it; else the lower one's, if nothing hides it and every
    /// folder on the way is still one.
    fn over(&self, lower: &BTreeMap<String, Node>) -> BTreeMap<String, Node> {
        let hidden = |path: &str| {
            self.whiteouts.iter().any(|(hidden, content)| {
                path.starts_with(&format!("{hidden}/")) || (!content && path == hidden)
            })
        };
        let replaced = |path: &str| {
            ancestors(path).any(|folder| self.nodes.get(folder).is_some_and(|n| !is_folder(n)))
        };
        let kept = lower.iter().filter(|(path, _)| !hidden(path) && !replaced(path));
        let mut all: BTreeMap<_, _> =
            kept.map(|(path, node)| (path.clone(), node.clone())).collect();
        all.extend(self.nodes.clone());
        all
    }
}

fn is_folder(node: &Node) -> bool {
    matches!(node, Node::Folder { .. })
}

fn node_entry(path: &str, node: &Node) -> Tar {
    let mut header = match node {
        Node::Folder { .. } => header(EntryType::Directory, path, "", 0),
        Node::File { content, .. } => header(EntryType::Regular, path, "", content.len() as u64),
        Node::Link { to } => header(EntryType::Symlink, path, to, 0),
    };
    let mut bytes = b"".as_slice();
    match node {
        Node::Folder { mode, mtime } => {
            header.set_mode(*mode);
            header.set_mtime(mtime.unsigned_abs());
        }
        Node::File { mode, content } => {
            header.set_mode(*mode);
            bytes = content.as_bytes();
        }
        Node::Link { .. } => {}
    }
    header.set_cksum();
    Tar::default().data(&header, bytes)
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4)
        .prop_map(|parts| parts.join("/"))
}

fn node() -> impl Strategy<Value = Node> {
    let mode = || prop::sample::select(vec![0o755_u32, 0o700, 0o644, 0o1777]);
    prop_oneof![
        (mode(), 1_600_000_000..1_700_000_000_i64)
            .prop_map(|(mode, mtime)| Node::Folder { mode, mtime }),
        (mode(), "[a-z]{0,3}").prop_map(|(mode, content)| Node::File { mode, content }),
        prop::sample::select(vec!["a", "b", "../a", "/", "nowhere"])
            .prop_map(|to| Node::Link { to: to.to_owned() }),
    ]
}

fn layer() -> impl Strategy<Value = Layer> {
    let nodes = prop::collection::vec((path(), node()), 0..8);
    let whiteouts = prop::collection::vec((path(), any::<bool>()), 0..4);
    let places = prop::collection::vec(any::<prop::sample::Index>(), 4);
    (nodes, whiteouts, places)
        .prop_map(|(nodes, whiteouts, places)| Layer::new(nodes, whiteouts, places))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn is_what_the_model_says(layers in prop::collection::vec(layer(), 1..5)) {
        let target = Target::new();
        let tars: Vec<_> = layers.iter().map(Layer::tar).collect();
        target.image(&Archive::of_layers(&tars)).unwrap();
        let want = layers.iter().fold(BTreeMap::new(), |lower, layer| layer.over(&lower));
        prop_assert_eq!(walk(&target), want);
    }
}
