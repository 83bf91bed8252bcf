//! What may lie on a storage.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContentType {
    Backup,
    Images,
    Import,
    Iso,
    Rootdir,
    Snippets,
    Vztmpl,
}

impl ContentType {
    pub const ALL: [Self; 7] = [
        Self::Backup,
        Self::Images,
        Self::Import,
        Self::Iso,
        Self::Rootdir,
        Self::Snippets,
        Self::Vztmpl,
    ];

    /// PVE's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Images => "images",
            Self::Import => "import",
            Self::Iso => "iso",
            Self::Rootdir => "rootdir",
            Self::Snippets => "snippets",
            Self::Vztmpl => "vztmpl",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|content| content.as_str() == word)
    }

    /// Below a `dir` storage. Volumes of containers lie beside those of machines.
    pub(super) fn folder(self) -> &'static str {
        match self {
            Self::Backup => "dump",
            Self::Images | Self::Rootdir => "images",
            Self::Import => "import",
            Self::Iso => "template/iso",
            Self::Snippets => "snippets",
            Self::Vztmpl => "template/cache",
        }
    }
}

impl fmt::Display for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
