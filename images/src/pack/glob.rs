//! Which paths are left out: GNU tar's patterns as vzdump passes them. A star matches slashes too;
//! a pattern with a slash in front is anchored to the root, any other may begin after each slash.

/// The patterns of one archive.
#[derive(Clone, Debug, Default)]
pub struct Excludes(Vec<Pattern>);

#[derive(Clone, Debug)]
struct Pattern {
    glob: Vec<u8>,
    anchored: bool,
}

impl Excludes {
    pub fn new<'p>(patterns: impl IntoIterator<Item = &'p str>) -> Self {
        let pattern = |text: &str| match text.strip_prefix('/') {
            Some(rest) => Pattern { glob: rest.as_bytes().to_vec(), anchored: true },
            None => Pattern { glob: text.as_bytes().to_vec(), anchored: false },
        };
        Self(patterns.into_iter().filter(|text| !text.is_empty()).map(pattern).collect())
    }

    /// `path` is without a slash in front.
    pub(super) fn matches(&self, path: &[u8]) -> bool {
        self.0.iter().any(|pattern| {
            if pattern.anchored {
                return matches(&pattern.glob, path);
            }
            let after_slashes =
                path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at + 1);
            std::iter::once(0).chain(after_slashes).any(|at| matches(&pattern.glob, &path[at..]))
        })
    }
}

/// Of the whole of `text`. Without recursion: a star that fails is tried one byte further, and only
/// the last one, which is enough and takes no more than the product of both lengths.
fn matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut g, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if glob.get(g) == Some(&b'*') {
            star = Some((g + 1, t));
            g += 1;
            continue;
        }
        if g == glob.len() && t == text.len() {
            return true;
        }
        match text.get(t).and_then(|byte| one(&glob[g..], *byte)) {
            Some(taken) => {
                g += taken;
                t += 1;
            }
            None => match star {
                Some((after, from)) if from < text.len() => {
                    star = Some((after, from + 1));
                    (g, t) = (after, from + 1);
                }
                Some(_) | None => return false,
            },
        }
    }
}

/// How much of `glob` matches this byte, if it does.
fn one(glob: &[u8], byte: u8) -> Option<usize> {
    match glob.first()? {
        b'?' => Some(1),
        b'[' => match class(&glob[1..]) {
            Some((members, negated, length)) => {
                let inside = members.iter().any(|(low, high)| (*low..=*high).contains(&byte));
                (inside != negated).then_some(1 + length)
            }
            // Without its end it is a bracket like any other byte.
            None => (byte == b'[').then_some(1),
        },
        b'\\' if glob.len() > 1 => (glob[1] == byte).then_some(2),
        literal => (*literal == byte).then_some(1),
    }
}

type Class = (Vec<(u8, u8)>, bool, usize);

/// What stands between the brackets, whether it is negated, and its length with the closing one.
fn class(glob: &[u8]) -> Option<Class> {
    let negated = matches!(glob.first(), Some(b'!' | b'^'));
    let mut at = usize::from(negated);
    let (first, mut members) = (at, Vec::new());
    loop {
        let low = *glob.get(at)?;
        if low == b']' && at > first {
            return Some((members, negated, at + 1));
        }
        match (glob.get(at + 1), glob.get(at + 2)) {
            (Some(b'-'), Some(high)) if *high != b']' => {
                members.push((low, *high));
                at += 3;
            }
            _ => {
                members.push((low, low));
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::anchored("/tmp/?*", "tmp/a", true)]
    #[case::its_folder_stays("/tmp/?*", "tmp/", false)]
    #[case::anchored_elsewhere("/tmp/?*", "srv/tmp/a", false)]
    #[case::a_star_takes_slashes("/var/run/?*.pid", "var/run/a/b.pid", true)]
    #[case::any_folder("*.log", "var/log/a.log", true)]
    #[case::whole_name("log", "var/catalog", false)]
    #[case::name_below("log", "var/log", true)]
    #[case::class("/[a-c]x", "bx", true)]
    #[case::not_class("/[!a-c]x", "bx", false)]
    #[case::bracket_first("/[]]x", "]x", true)]
    #[case::open_bracket("/[a", "[a", true)]
    #[case::escaped("/a\\*", "a*", true)]
    #[case::escaped_literal("/a\\*", "ab", false)]
    #[case::two_stars("/*a*b", "xxaxxab", true)]
    fn knows(#[case] pattern: &str, #[case] path: &str, #[case] matched: bool) {
        assert_eq!(Excludes::new([pattern]).matches(path.as_bytes()), matched);
    }

    proptest! {
        #[test]
        fn never_panics_or_hangs(glob: Vec<u8>, text: Vec<u8>) {
            matches(&glob, &text);
        }

        #[test]
        fn a_text_without_magic_matches_itself(text in "[a-z/.]{1,20}") {
            prop_assert!(matches(text.as_bytes(), text.as_bytes()));
            let starred = format!("*{text}*");
            prop_assert!(matches(starred.as_bytes(), text.as_bytes()));
        }
    }
}
