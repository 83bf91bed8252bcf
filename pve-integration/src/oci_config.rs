//! `etc/pve/nodes/N/oci/VMID.conf`: what PVE's config has no key for, as `key: value` lines. Lines
//! that nobody here knows stay as they are.

use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;

use fs_err as fs;

use crate::atomic;

/// What can run a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RuntimeKind {
    Crun,
    Lxc,
}

impl RuntimeKind {
    pub const ALL: [Self; 2] = [Self::Crun, Self::Lxc];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Crun => "crun",
            Self::Lxc => "lxc",
        }
    }
}

impl fmt::Display for RuntimeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no runtime '{0}'; there are crun and lxc")]
pub struct UnknownRuntime(String);

impl FromStr for RuntimeKind {
    type Err = UnknownRuntime;

    fn from_str(text: &str) -> Result<Self, UnknownRuntime> {
        let known = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        known.ok_or_else(|| UnknownRuntime(text.to_owned()))
    }
}

/// Who chose a container's runtime. What was asked for by name is not replaced by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChosenBy {
    Request,
    Rule,
    Auto,
}

impl ChosenBy {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Rule => "rule",
            Self::Auto => "auto",
        }
    }
}

const RUNTIME: &str = "runtime";
const CHOSEN_BY: &str = "runtime-by";
const IMAGE: &str = "image";
const DIGEST: &str = "image-digest";

/// The file's lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OciConfig(Vec<String>);

impl OciConfig {
    pub fn parse(text: &str) -> Self {
        Self(text.lines().map(str::to_owned).collect())
    }

    /// `None` where there is no such file.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        match fs::read(path) {
            Ok(bytes) => Ok(Some(Self::parse(&String::from_utf8_lossy(&bytes)))),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(err) => Err(err),
        }
    }

    pub fn write(&self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        atomic::write(path, 0o640, self.to_string().as_bytes())
    }

    /// The last line of a key counts.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().rev().find_map(|line| value(line, key))
    }

    /// Every line of a key that may stand more than once.
    pub fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(move |line| value(line, key))
    }

    pub(crate) fn without(&self, key: &str) -> Self {
        Self(self.0.iter().filter(|line| value(line, key).is_none()).cloned().collect())
    }

    /// One more line of a key that may stand more than once.
    pub fn add(&mut self, key: &str, text: &str) {
        // A path may hold anything; a line of its own is not for it to begin.
        self.0.push(format!("{key}: {}", text.replace(['\n', '\r'], " ")));
    }

    fn set(&mut self, key: &str, text: &str) {
        self.0.retain(|line| value(line, key).is_none());
        self.add(key, text);
    }

    /// `None` where nothing was chosen yet.
    pub fn runtime(&self) -> Result<Option<RuntimeKind>, UnknownRuntime> {
        self.get(RUNTIME).map(str::parse).transpose()
    }

    /// A file that does not say was written before anybody could ask for a runtime.
    pub fn chosen_by(&self) -> ChosenBy {
        let all = [ChosenBy::Request, ChosenBy::Rule];
        let text = self.get(CHOSEN_BY);
        all.into_iter().find(|by| text == Some(by.as_str())).unwrap_or(ChosenBy::Auto)
    }

    pub fn choose(&mut self, runtime: RuntimeKind, by: ChosenBy) {
        self.set(RUNTIME, runtime.as_str());
        self.set(CHOSEN_BY, by.as_str());
    }

    /// What the container was made from.
    pub fn image(&self) -> Option<&str> {
        self.get(IMAGE)
    }

    /// `digest` is that of an OCI image; a plain archive has none.
    pub fn set_image(&mut self, image: &str, digest: Option<&str>) {
        self.forget_image();
        self.set(IMAGE, image);
        if let Some(digest) = digest {
            self.set(DIGEST, digest);
        }
    }

    /// It is made of something else now, of which no image is known.
    pub fn forget_image(&mut self) {
        self.0.retain(|line| [IMAGE, DIGEST].iter().all(|key| value(line, key).is_none()));
    }
}

impl fmt::Display for OciConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

fn value<'l>(line: &'l str, key: &str) -> Option<&'l str> {
    Some(line.strip_prefix(key)?.strip_prefix(':')?.trim())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keeps_what_it_does_not_know() {
        let mut config = OciConfig::parse("#mine\nruntime: crun\nhealth: none\n");
        assert_eq!(config.runtime(), Ok(Some(RuntimeKind::Crun)));
        assert_eq!(config.chosen_by(), ChosenBy::Auto);

        config.choose(RuntimeKind::Lxc, ChosenBy::Request);
        config.set_image("local:vztmpl/x.tar", Some("sha256:0"));
        config.set_image("local:vztmpl/x.tar", None);

        let text =
            "#mine\nhealth: none\nruntime: lxc\nruntime-by: request\nimage: local:vztmpl/x.tar\n";
        assert_eq!(config.to_string(), text);
        assert_eq!(config.chosen_by(), ChosenBy::Request);
        assert_eq!(config.image(), Some("local:vztmpl/x.tar"));
    }

    #[test]
    fn names_a_runtime_that_there_is_not() {
        let err = OciConfig::parse("runtime: runc\n").runtime().unwrap_err();
        assert_eq!(err.to_string(), "there is no runtime 'runc'; there are crun and lxc");
        assert_eq!(OciConfig::default().runtime(), Ok(None));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(text in "([ -~]{0,30}\n){0,6}") {
            let config = OciConfig::parse(&text);
            prop_assert_eq!(OciConfig::parse(&config.to_string()), config.clone());
            drop(config.runtime());
        }
    }
}
