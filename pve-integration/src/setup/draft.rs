//! What is to become of the files of a rootfs. The parts of the set-up read through a draft and write
//! into it, so each sees what the one before decided; whoever holds the rootfs does the writing.

use std::io;

use super::section::{Where, with_section};

/// A rootfs to read. Paths are absolute and lead nowhere but into it.
pub trait Look {
    /// `None` if there is no such file. One that is no text is an error.
    fn read(&self, path: &str) -> io::Result<Option<String>>;
    fn is_folder(&self, path: &str) -> bool;
    /// A file that may be run.
    fn is_program(&self, path: &str) -> bool;
    /// Whether there is anything of this name, a link that leads nowhere included.
    fn exists(&self, path: &str) -> bool;
    /// What a symbolic link holds.
    fn read_link(&self, path: &str) -> Option<String>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Without a mode an old file keeps its own, a new one gets 0644.
    Write {
        path: String,
        text: String,
        mode: Option<u32>,
    },
    /// A symbolic link in the place of whatever file was there.
    Link {
        path: String,
        target: String,
    },
    Remove {
        path: String,
    },
    /// With those above it.
    Folder {
        path: String,
    },
}

impl Step {
    pub fn path(&self) -> &str {
        match self {
            Self::Write { path, .. }
            | Self::Link { path, .. }
            | Self::Remove { path }
            | Self::Folder { path } => path,
        }
    }
}

pub(super) struct Draft<'l> {
    look: &'l dyn Look,
    steps: Vec<Step>,
    warnings: Vec<String>,
}

impl<'l> Draft<'l> {
    pub(super) fn new(look: &'l dyn Look) -> Self {
        Self { look, steps: Vec::new(), warnings: Vec::new() }
    }

    /// In order, and what could not be done.
    pub(super) fn finish(self) -> (Vec<Step>, Vec<String>) {
        (self.steps, self.warnings)
    }

    pub(super) fn warn(&mut self, text: impl Into<String>) {
        self.warnings.push(text.into());
    }

    /// The last that was decided for this path.
    fn decided(&self, path: &str) -> Option<&Step> {
        self.steps.iter().rev().find(|step| step.path() == path)
    }

    pub(super) fn read(&self, path: &str) -> io::Result<Option<String>> {
        match self.decided(path) {
            Some(Step::Write { text, .. }) => Ok(Some(text.clone())),
            Some(Step::Remove { .. }) => Ok(None),
            Some(Step::Link { .. } | Step::Folder { .. }) | None => self.look.read(path),
        }
    }

    /// Also of one that is no text.
    pub(super) fn has_file(&self, path: &str) -> bool {
        !matches!(self.read(path), Ok(None))
    }

    pub(super) fn is_folder(&self, path: &str) -> bool {
        matches!(self.decided(path), Some(Step::Folder { .. })) || self.look.is_folder(path)
    }

    pub(super) fn is_program(&self, path: &str) -> bool {
        self.look.is_program(path)
    }

    pub(super) fn read_link(&self, path: &str) -> Option<String> {
        match self.decided(path) {
            Some(Step::Link { target, .. }) => Some(target.clone()),
            Some(Step::Write { .. } | Step::Remove { .. }) => None,
            Some(Step::Folder { .. }) | None => self.look.read_link(path),
        }
    }

    pub(super) fn write(&mut self, path: &str, text: impl Into<String>) {
        self.put(path, text.into(), None);
    }

    pub(super) fn put(&mut self, path: &str, text: String, mode: Option<u32>) {
        // A start that changes nothing writes nothing.
        let same = self.read(path).is_ok_and(|old| old.as_ref() == Some(&text));
        if !same || self.read_link(path).is_some() {
            self.steps.push(Step::Write { path: path.to_owned(), text, mode });
        }
    }

    /// Our part of a file, between two marks.
    pub(super) fn section(&mut self, path: &str, data: &str, place: Where) -> io::Result<()> {
        let old = self.read(path)?;
        if let Some(new) = with_section(old.as_deref(), data, place) {
            self.write(path, new);
        }
        Ok(())
    }

    /// As [`Self::section`], but a file that would hold nothing else goes.
    pub(super) fn section_or_none(
        &mut self,
        path: &str,
        data: &str,
        place: Where,
    ) -> io::Result<()> {
        let old = self.read(path)?;
        let rest = old.as_deref().map(super::section::without_section);
        if data.is_empty() && rest.is_some_and(|rest| rest.trim().is_empty()) {
            self.remove(path);
            return Ok(());
        }
        self.section(path, data, place)
    }

    pub(super) fn remove(&mut self, path: &str) {
        let there = match self.decided(path) {
            Some(Step::Write { .. } | Step::Link { .. }) => true,
            Some(Step::Remove { .. }) => false,
            Some(Step::Folder { .. }) | None => self.look.exists(path),
        };
        if there {
            self.steps.push(Step::Remove { path: path.to_owned() });
        }
    }

    pub(super) fn link(&mut self, target: &str, path: &str) {
        if self.read_link(path).as_deref() != Some(target) {
            self.steps.push(Step::Link { path: path.to_owned(), target: target.to_owned() });
        }
    }

    /// Unless something is there.
    pub(super) fn link_if_missing(&mut self, target: &str, path: &str) {
        if !self.look.exists(path) && self.decided(path).is_none() {
            self.link(target, path);
        }
    }

    pub(super) fn folder(&mut self, path: &str) {
        if !self.is_folder(path) {
            self.steps.push(Step::Folder { path: path.to_owned() });
        }
    }
}
