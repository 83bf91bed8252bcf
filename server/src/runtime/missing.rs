//! What keeps a runtime from being used on this host.

use std::fmt;

use serde::Serialize;

/// One thing, why it is as good as missing, and the Debian package that brings it, if one does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Missing {
    pub(super) what: String,
    pub(super) why: String,
    pub(super) package: Option<&'static str>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)?;
        self.package.map_or(Ok(()), |package| write!(f, "; install the package {package}"))
    }
}
