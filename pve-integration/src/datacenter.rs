//! `datacenter.cfg` as far as it is about guests: their tags, the addresses of their interfaces,
//! how fast they are made. Upstream: `PVE/DataCenterConfig.pm` of pve-cluster, `PVE/GuestHelpers.pm` of
//! pve-guest-common.

use std::collections::BTreeSet;

use crate::access::split_list;

/// Who else than an administrator may set which tags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum UserAllow {
    #[default]
    Free,
    Existing,
    List,
    None,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Datacenter {
    case_sensitive: bool,
    /// As they are given, not sorted.
    keeps_order: bool,
    allow: UserAllow,
    allowed: BTreeSet<String>,
    registered: BTreeSet<String>,
    mac_prefix: Option<String>,
    bwlimit: Option<String>,
}

impl Datacenter {
    pub fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            let part = |name: &str| {
                let mut pairs = value.split(',').filter_map(|pair| pair.split_once('='));
                pairs.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
            };
            let list = |list: &str| list.split(';').map(str::to_owned).collect();
            match key.trim() {
                "tag-style" => {
                    found.case_sensitive =
                        matches!(part("case-sensitive"), Some("1" | "on" | "yes" | "true"));
                    found.keeps_order = part("ordering") == Some("config");
                }
                "user-tag-access" => {
                    found.allow = match part("user-allow") {
                        Some("existing") => UserAllow::Existing,
                        Some("list") => UserAllow::List,
                        Some("none") => UserAllow::None,
                        Some(_) | None => UserAllow::Free,
                    };
                    found.allowed = part("user-allow-list").map(list).unwrap_or_default();
                }
                "registered-tags" => found.registered = list(value),
                "mac_prefix" if !value.is_empty() => found.mac_prefix = Some(value.to_owned()),
                "bwlimit" => found.bwlimit = Some(value.to_owned()),
                _ => {}
            }
        }
        found
    }

    /// Beginning of hardware addresses that nobody chose, where it is not PVE's own.
    pub fn mac_prefix(&self) -> Option<&str> {
        self.mac_prefix.as_deref()
    }

    /// How fast what may be done, a property string.
    pub fn bwlimit(&self) -> Option<&str> {
        self.bwlimit.as_deref()
    }

    /// Tags as they are stored: each once.
    pub fn tags(&self, tags: &str) -> String {
        let folded = |tag: &str| tag.to_lowercase();
        let mut tags: Vec<String> = split_list(tags)
            .map(|tag| if self.case_sensitive { tag.to_owned() } else { folded(tag) })
            .collect();
        if !self.keeps_order {
            tags.sort();
        }
        let mut seen = BTreeSet::new();
        tags.retain(|tag| seen.insert(tag.clone()));
        tags.join(";")
    }

    /// Whether the tags of other guests count.
    pub fn asks_for_existing(&self) -> bool {
        self.allow == UserAllow::Existing
    }

    /// The first tag that somebody without `Sys.Modify` must not add or remove. `existing` are
    /// those of the guests that this one may see.
    pub fn forbidden_tag(
        &self,
        old: &str,
        new: &str,
        existing: &BTreeSet<String>,
    ) -> Option<String> {
        let set = |tags: &str| split_list(tags).map(str::to_owned).collect::<BTreeSet<_>>();
        let (old, new) = (set(old), set(new));
        let listed = |tag: &String| match self.allow {
            UserAllow::Free => true,
            UserAllow::Existing => self.allowed.contains(tag) || existing.contains(tag),
            UserAllow::List => self.allowed.contains(tag),
            UserAllow::None => false,
        };
        let mut changed = old.symmetric_difference(&new);
        changed.find(|tag| !listed(tag) || self.registered.contains(*tag)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::usual("", "b;A,a c", "a;b;c")]
    #[case::case("tag-style: case-sensitive=1\n", "b;a;A;a", "A;a;b")]
    #[case::order("tag-style: ordering=config,shape=full\n", "b;A;a;B", "b;a")]
    #[case::none("", " ;", "")]
    fn stores_each_tag_once(#[case] text: &str, #[case] tags: &str, #[case] stored: &str) {
        assert_eq!(Datacenter::parse(text).tags(tags), stored);
    }

    #[rstest]
    #[case::free("", None)]
    #[case::registered("registered-tags: new;x\n", Some("new"))]
    #[case::registered_and_gone("registered-tags: gone\n", Some("gone"))]
    #[case::kept("registered-tags: kept\n", None)]
    #[case::none("user-tag-access: user-allow=none,user-allow-list=gone;new\n", Some("gone"))]
    #[case::list("user-tag-access: user-allow=list,user-allow-list=gone;new\n", None)]
    #[case::existing("user-tag-access: user-allow=existing\n", Some("gone"))]
    #[case::both("user-tag-access: user-allow=existing,user-allow-list=gone\n", None)]
    fn says_who_may_change_a_tag(#[case] text: &str, #[case] forbidden: Option<&str>) {
        let existing = ["new".to_owned()].into();
        let found = Datacenter::parse(text).forbidden_tag("gone;kept", "kept;new", &existing);
        assert_eq!(found.as_deref(), forbidden);
    }

    proptest! {
        #[test]
        fn storing_tags_twice_changes_nothing(text in ".{0,40}", tags in "[a-cA-C; ,]{0,20}") {
            let rules = Datacenter::parse(&format!("tag-style: {text}"));
            let once = rules.tags(&tags);
            prop_assert_eq!(rules.tags(&once), once);
        }
    }
}
