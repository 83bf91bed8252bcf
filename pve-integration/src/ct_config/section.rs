//! One section of a config: what PVE's parser makes of its lines, and how PVE's writer prints it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::lxc_keys::{self, Verdict};
use super::text::{decode_text, encode_text};

/// The main section, the pending one or a snapshot. `env` and `description` are keys like any
/// other here, as in PVE, though the file spells them as `lxc.environment.runtime:` and comments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    keys: BTreeMap<String, String>,
    lxc: Vec<(String, String)>,
    /// Lines PVE cannot parse. It drops them when it writes; losing what somebody typed is worse.
    kept: Vec<Vec<u8>>,
    /// The bytes this was read from, header included, for as long as nothing is changed.
    raw: Option<Vec<u8>>,
}

impl Section {
    /// The value as it stands in the file.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.keys.get(key).map(String::as_str)
    }

    /// Every key but the raw `lxc.*` ones, sorted as PVE writes them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.keys.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        let value = value.into();
        if self.get(key) != Some(value.as_str()) {
            self.keys.insert(key.to_owned(), value);
            self.raw = None;
        }
    }

    pub fn remove(&mut self, key: &str) -> Option<String> {
        let old = self.keys.remove(key)?;
        self.raw = None;
        Some(old)
    }

    /// The raw `lxc.*` lines in the file's order, without `lxc.environment.runtime`.
    pub fn lxc(&self) -> &[(String, String)] {
        &self.lxc
    }

    /// The values of one raw key, in order.
    pub fn lxc_values(&self, key: &str) -> impl Iterator<Item = &str> {
        self.lxc.iter().filter(move |(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    /// Lines that are no key of PVE's, or one that it does not take. They stay in the file.
    pub fn unread(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.kept.iter().map(|line| String::from_utf8_lossy(line))
    }

    pub fn set_lxc(&mut self, lxc: Vec<(String, String)>) {
        if self.lxc != lxc {
            self.lxc = lxc;
            self.raw = None;
        }
    }

    /// Nothing that would be written; a description of blank lines is not.
    pub fn is_empty(&self) -> bool {
        let mut keys = self.iter().filter(|(key, value)| {
            *key != "description" || !value.bytes().all(|byte| byte == b'\n')
        });
        keys.next().is_none() && self.lxc.is_empty() && self.kept.is_empty()
    }

    pub(super) fn is_modified(&self) -> bool {
        self.raw.is_none()
    }

    /// The same content as a section that was never in a file.
    pub(super) fn fresh(&self) -> Self {
        Self { raw: None, ..self.clone() }
    }

    /// PVE's refusal of a value that would become a second line.
    pub(super) fn key_with_newline(&self) -> Option<&str> {
        let in_keys = self.keys.iter().filter(|(key, _)| *key != "description");
        let in_lxc = self.lxc.iter().map(|(key, value)| (key, value));
        let mut all = in_keys.chain(in_lxc);
        all.find(|(_, value)| value.contains('\n')).map(|(key, _)| key.as_str())
    }

    /// `header` is `None` for the main section.
    pub(super) fn print(&self, header: Option<&str>, out: &mut Vec<u8>) {
        if let Some(raw) = &self.raw {
            out.extend_from_slice(raw);
            return;
        }
        if let Some(name) = header {
            out.extend_from_slice(format!("\n[{name}]\n").as_bytes());
        }
        let mut line = |text: String| {
            out.extend_from_slice(text.as_bytes());
            out.push(b'\n');
        };
        let description = self.get("description").unwrap_or_default();
        for text in description.trim_end_matches('\n').split_terminator('\n') {
            line(format!("#{}", encode_text(text)));
        }
        for (key, value) in self.iter().filter(|(key, _)| !matches!(*key, "description" | "env")) {
            line(format!("{key}: {value}"));
        }
        for variable in self.get("env").unwrap_or_default().split('\0').filter(|v| !v.is_empty()) {
            line(format!("lxc.environment.runtime: {variable}"));
        }
        for (key, value) in &self.lxc {
            line(format!("{key}: {value}"));
        }
        for kept in &self.kept {
            out.extend_from_slice(kept);
            out.push(b'\n');
        }
    }
}

/// A section in the making.
pub(super) struct Reader {
    section: Section,
    description: String,
    pending: bool,
    raw: Vec<u8>,
}

impl Reader {
    pub(super) fn new(pending: bool) -> Self {
        let (section, description, raw) = (Section::default(), String::new(), Vec::new());
        Self { section, description, pending, raw }
    }

    /// Bytes that belong to the section but say nothing: its header, blank lines.
    pub(super) fn skip(&mut self, bytes: &[u8]) {
        self.raw.extend_from_slice(bytes);
    }

    pub(super) fn finish(mut self) -> Section {
        if !self.description.is_empty() {
            self.section.keys.insert("description".to_owned(), self.description);
        }
        self.section.raw = Some(self.raw);
        self.section
    }

    /// `full` is `line` with its line end. The order of the attempts is that of PVE's parser.
    pub(super) fn line(&mut self, full: &[u8], line: &[u8], warnings: &mut Vec<String>) {
        self.raw.extend_from_slice(full);
        let text = String::from_utf8_lossy(line);
        let keys = &mut self.section.keys;
        if let Some(comment) = text.strip_prefix('#') {
            self.description.push_str(&decode_text(comment));
            self.description.push('\n');
            return;
        }
        if let Some((key, value)) = raw_lxc(&text) {
            if key == "lxc.environment.runtime" {
                let env = keys.entry("env".to_owned());
                env.and_modify(|env| *env = format!("{env}\0{value}")).or_insert(value.to_owned());
                return;
            }
            match lxc_keys::verdict(key) {
                Verdict::Accepted => {}
                Verdict::Deprecated(warning) => warnings.push(warning),
                Verdict::Refused(reason) => {
                    warnings.push(format!("{key}: {reason}"));
                    return self.section.kept.push(line.to_vec());
                }
                Verdict::Unknown => return self.unparsable(line, &text, warnings),
            }
            self.section.lxc.push((key.to_owned(), value.to_owned()));
        } else if let Some(value) = after_key(&text, "description") {
            self.description.push_str(&decode_text(value));
        } else if let Some(state) = snapstate(&text) {
            keys.insert("snapstate".to_owned(), state.to_owned());
        } else if let Some(value) = after_key(&text, "delete") {
            if self.pending {
                keys.insert("delete".to_owned(), value.to_owned());
            } else {
                warnings.push("property 'delete' is only allowed in [pve:pending]".to_owned());
                self.section.kept.push(line.to_vec());
            }
        } else if let Some((key, value)) = plain(&text) {
            keys.insert(key.to_owned(), value.to_owned());
        } else {
            self.unparsable(line, &text, warnings);
        }
    }

    fn unparsable(&mut self, line: &[u8], text: &str, warnings: &mut Vec<String>) {
        warnings.push(format!("unable to parse config: {text}"));
        self.section.kept.push(line.to_vec());
    }
}

/// `^(lxc\.[a-z0-9_\-\.]+)(:|\s*=)\s*(.*?)\s*$`
fn raw_lxc(line: &str) -> Option<(&str, &str)> {
    let in_key = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '_' | '-' | '.');
    let end = line.find(|c| !in_key(c))?;
    let (key, rest) = line.split_at(end);
    let value = rest.strip_prefix(':').or_else(|| rest.trim_start().strip_prefix('='))?;
    (key.starts_with("lxc.") && key.len() > 4).then_some((key, value.trim()))
}

/// `^key:\s*(.*\S)\s*$`
fn after_key<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let value = line.strip_prefix(key)?.strip_prefix(':')?.trim();
    (!value.is_empty()).then_some(value)
}

/// `snapstate:\s*(prepare|delete)\s*$`, anywhere in the line: upstream's pattern has no `^`.
fn snapstate(line: &str) -> Option<&str> {
    let (_, state) = line.rsplit_once("snapstate:")?;
    let state = state.trim();
    matches!(state, "prepare" | "delete").then_some(state)
}

/// `^([a-z][a-z_]*\d*):\s*(.+?)\s*$`
fn plain(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(':')?;
    let letters = key.trim_end_matches(|c: char| c.is_ascii_digit());
    let is_key = letters.starts_with(|c: char| c.is_ascii_lowercase())
        && letters.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    // PVE's pattern makes a value of the last blank where there is nothing else.
    let last = value.char_indices().last()?.0;
    let value = if value.trim().is_empty() { &value[last..] } else { value.trim() };
    is_key.then_some((key, value))
}
