//! Who may do what, as the files say now. Parsed once per change of a file: a request costs a few
//! `stat`s.

use std::sync::{Arc, Mutex, PoisonError};

use pve_integration::access::{Access, KeyError};
use pve_integration::layout::Root;

/// The access files and the last reading of them.
pub struct AccessStore {
    root: Root,
    last: Mutex<Option<Arc<Access>>>,
}

impl AccessStore {
    pub(crate) fn new(root: Root) -> Self {
        Self { root, last: Mutex::new(None) }
    }

    /// One state of the files, for as long as the caller holds it.
    pub fn current(&self) -> Result<Arc<Access>, KeyError> {
        // Whoever panicked left the last whole reading, which is checked below like any other.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(access) = last.as_ref().filter(|access| access.is_current()) {
            return Ok(Arc::clone(access));
        }
        let access = Arc::new(Access::read(&self.root)?);
        for line in &access.config.ignored {
            tracing::warn!("user.cfg: {line}");
        }
        *last = Some(Arc::clone(&access));
        Ok(access)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_a_change_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path()).unwrap();
        let alice = "alice@pve".parse().unwrap();
        pve_integration::access::first_start(&root, &"pve1".parse().unwrap()).unwrap();
        let store = AccessStore::new(root.clone());
        assert!(!store.current().unwrap().config.users.contains_key(&alice));

        fs_err::write(root.user_cfg(), "user:alice@pve:1:0:::::\n").unwrap();

        assert!(store.current().unwrap().config.users.contains_key(&alice));
    }
}
