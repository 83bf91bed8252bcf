//! Names by which a layer hides what lower layers have ("Whiteouts" of the image specification).

use crate::place::CleanPath;

const PREFIX: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// AUFS's own files, which found their way into images.
const OTHER: &[u8] = b".wh..wh.";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Whiteout {
    /// All that lower layers have in this folder.
    Content(CleanPath),
    /// This, whatever it is.
    Path(CleanPath),
    Nothing,
}

impl Whiteout {
    pub(crate) fn of(path: &CleanPath) -> Option<Self> {
        let (folder, name) = path.split();
        let hidden = name.strip_prefix(PREFIX)?;
        Some(match hidden {
            _ if name == OPAQUE => Self::Content(CleanPath::of(b"", folder)),
            _ if name.starts_with(OTHER) => Self::Nothing,
            // A name for the folder itself; the root stays, and so does what is above.
            b"." if !folder.is_empty() => Self::Path(CleanPath::of(b"", folder)),
            b"" | b"." | b".." => Self::Nothing,
            hidden => Self::Path(CleanPath::of(folder, hidden)),
        })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn path(text: &str) -> CleanPath {
        CleanPath::new(text.as_bytes(), 4095).unwrap()
    }

    #[rstest]
    #[case("a/.wh.b", Some(Whiteout::Path(path("a/b"))))]
    #[case(".wh.b", Some(Whiteout::Path(path("b"))))]
    #[case("a/b/.wh..wh..opq", Some(Whiteout::Content(path("a/b"))))]
    #[case(".wh..wh..opq", Some(Whiteout::Content(path("/"))))]
    #[case("a/.wh..wh.plnk", Some(Whiteout::Nothing))]
    #[case("a/.wh..bashrc", Some(Whiteout::Path(path("a/.bashrc"))))]
    #[case("a/.wh...", Some(Whiteout::Nothing))]
    #[case("a/.wh..", Some(Whiteout::Path(path("a"))))]
    #[case(".wh..", Some(Whiteout::Nothing))]
    #[case("a/.wh.", Some(Whiteout::Nothing))]
    #[case("a/.whb", None)]
    #[case("a/.wh.b/c", None)]
    fn reads_names(#[case] text: &str, #[case] want: Option<Whiteout>) {
        assert_eq!(Whiteout::of(&path(text)), want);
    }
}
