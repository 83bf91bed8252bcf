//! `[runtime]` of the settings: where LXC and `pct` are, and the rules that choose a runtime for a container
//! that nobody asked one for.

use std::ops::Range;
use std::path::PathBuf;

use openapi::Vmid;
use pve_integration::oci_config::RuntimeKind;
use regex::Regex;
use serde::Deserialize;
use toml::Spanned;

/// As written in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct RawSettings {
    lxc_start: Option<Spanned<PathBuf>>,
    pct: Option<Spanned<PathBuf>>,
    #[serde(default)]
    rule: Vec<Spanned<RawRule>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    hostname: Option<Spanned<String>>,
    vmid: Option<Spanned<String>>,
    tag: Option<Spanned<String>>,
    image: Option<Spanned<String>>,
    runtime: Spanned<String>,
}

/// What the file says, checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) lxc_start: Option<PathBuf>,
    /// PVE's `pct`: this is a PVE node.
    pub(crate) pct: Option<PathBuf>,
    rules: Vec<Rule>,
}

/// Matches a container that each of its patterns matches.
#[derive(Clone, Debug)]
struct Rule {
    hostname: Option<Regex>,
    vmid: Option<Regex>,
    tag: Option<Regex>,
    image: Option<Regex>,
    runtime: RuntimeKind,
}

/// What a rule is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) vmid: Vmid,
    pub(crate) hostname: &'a str,
    /// As PVE stores them.
    pub(crate) tags: &'a str,
    /// What it was made from, if that is known.
    pub(crate) image: Option<&'a str>,
}

/// What is wrong, and where in the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) at: Range<usize>,
    pub(crate) reason: String,
}

impl Settings {
    pub(crate) fn check(raw: RawSettings) -> Result<Self, Mistake> {
        let lxc_start = absolute("lxc-start", raw.lxc_start)?;
        let pct = absolute("pct", raw.pct)?;
        let rules = raw.rule.into_iter().map(Rule::check).collect::<Result<_, _>>()?;
        Ok(Self { lxc_start, pct, rules })
    }

    /// By the first rule that matches.
    pub(crate) fn choose(&self, subject: &Subject<'_>) -> Option<RuntimeKind> {
        self.rules.iter().find(|rule| rule.matches(subject)).map(|rule| rule.runtime)
    }
}

fn absolute(name: &str, path: Option<Spanned<PathBuf>>) -> Result<Option<PathBuf>, Mistake> {
    match path {
        Some(path) if path.get_ref().is_relative() => {
            let reason = format!("{name} = {:?} is no absolute path", path.get_ref());
            Err(Mistake { at: path.span(), reason })
        }
        path => Ok(path.map(Spanned::into_inner)),
    }
}

impl Rule {
    fn check(raw: Spanned<RawRule>) -> Result<Self, Mistake> {
        let at = raw.span();
        let raw = raw.into_inner();
        let runtime = raw.runtime.get_ref().parse();
        let runtime = runtime.map_err(|err: pve_integration::oci_config::UnknownRuntime| {
            Mistake { at: raw.runtime.span(), reason: err.to_string() }
        })?;
        let [hostname, vmid, tag, image] =
            [raw.hostname, raw.vmid, raw.tag, raw.image].map(|text| text.map(pattern).transpose());
        let rule = Self { hostname: hostname?, vmid: vmid?, tag: tag?, image: image?, runtime };
        if [&rule.hostname, &rule.vmid, &rule.tag, &rule.image].iter().all(|part| part.is_none()) {
            let reason = "a rule needs one of hostname, vmid, tag and image".to_owned();
            return Err(Mistake { at, reason });
        }
        Ok(rule)
    }

    fn matches(&self, subject: &Subject<'_>) -> bool {
        let vmid = subject.vmid.to_string();
        let fits = |pattern: &Option<Regex>, text: &str| {
            pattern.as_ref().is_none_or(|pattern| pattern.is_match(text))
        };
        let any_tag = |pattern: &Regex| {
            let tags = subject.tags.split([';', ',', ' ']).filter(|tag| !tag.is_empty());
            tags.into_iter().any(|tag| pattern.is_match(tag))
        };
        fits(&self.hostname, subject.hostname)
            && fits(&self.vmid, &vmid)
            && self.tag.as_ref().is_none_or(any_tag)
            && self
                .image
                .as_ref()
                .is_none_or(|pattern| subject.image.is_some_and(|image| pattern.is_match(image)))
    }
}

/// `^...$` is a regular expression, anything else a glob: `*` for any text, `?` for one character.
fn pattern(text: Spanned<String>) -> Result<Regex, Mistake> {
    let at = text.span();
    let text = text.into_inner();
    let expression = if !text.starts_with('^') {
        let glob = regex::escape(&text).replace(r"\*", ".*").replace(r"\?", ".");
        format!("^{glob}$")
    } else if text.ends_with('$') {
        text.clone()
    } else {
        let reason = format!("'{text}': a regular expression begins with ^ and ends with $");
        return Err(Mistake { at, reason });
    };
    Regex::new(&expression).map_err(|err| {
        let why = err.to_string();
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        Mistake { at, reason: format!("'{text}' is no regular expression: {why}") }
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn settings(text: &str) -> Result<Settings, Mistake> {
        Settings::check(toml::from_str(text).unwrap())
    }

    fn chosen(text: &str) -> Option<RuntimeKind> {
        let subject = Subject {
            vmid: "117".parse().unwrap(),
            hostname: "crun-web",
            tags: "prod;oci-app",
            image: Some("docker.io/library/nginx:1.27"),
        };
        settings(&format!("[[rule]]\nruntime = \"lxc\"\n{text}\n")).unwrap().choose(&subject)
    }

    #[rstest]
    #[case::glob("hostname = \"crun-*\"")]
    #[case::one_character("vmid = \"11?\"")]
    #[case::one_tag_of_several("tag = \"oci-*\"")]
    #[case::expression("image = \"^docker\\\\.io/.*nginx:[0-9.]+$\"")]
    #[case::all_of_them("hostname = \"*web\"\nvmid = \"117\"")]
    fn matches(#[case] text: &str) {
        assert_eq!(chosen(text), Some(RuntimeKind::Lxc));
    }

    #[rstest]
    #[case::whole("hostname = \"crun\"")]
    #[case::not_an_expression("hostname = \"crun.web\"")]
    #[case::one_of_two("hostname = \"crun-*\"\nvmid = \"118\"")]
    #[case::all_tags_at_once("tag = \"prod*app\"")]
    fn does_not_match(#[case] text: &str) {
        assert_eq!(chosen(text), None);
    }

    #[test]
    fn the_first_rule_counts() {
        let rule = |vmid: &str, runtime: &str| {
            format!("[[rule]]\nvmid = \"{vmid}\"\nruntime = \"{runtime}\"\n")
        };
        let text = [rule("2*", "lxc"), rule("1*", "crun"), rule("117", "lxc")].concat();
        let subject = Subject { vmid: "117".parse().unwrap(), hostname: "", tags: "", image: None };

        assert_eq!(settings(&text).unwrap().choose(&subject), Some(RuntimeKind::Crun));
    }

    #[rstest]
    #[case::runtime("vmid = \"1\"\nruntime = \"runc\"", "there is no runtime 'runc'")]
    #[case::half("vmid = \"^1\"\nruntime = \"lxc\"", "'^1': a regular expression begins with ^")]
    #[case::odd(
        "vmid = \"^(1$\"\nruntime = \"lxc\"",
        "'^(1$' is no regular expression: unclosed group"
    )]
    #[case::nothing("runtime = \"lxc\"", "a rule needs one of")]
    fn names_a_mistake_and_its_place(#[case] rule: &str, #[case] reason: &str) {
        let text = format!("[[rule]]\n{rule}\n");

        let mistake = settings(&text).unwrap_err();

        assert!(mistake.reason.starts_with(reason), "{}", mistake.reason);
        assert!(mistake.at.end <= text.len());
    }
}
