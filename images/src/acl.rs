//! POSIX ACLs: the kernel's bytes in `system.posix_acl_*` and tar's text in `SCHILY.acl.*`, with
//! numbers for names (acl(5), `include/uapi/linux/posix_acl_xattr.h`).

const VERSION: u32 = 2;
const NO_ID: u32 = u32::MAX;
/// More than this no filesystem keeps.
const MOST: usize = 8192;

const TAGS: [(u16, &str); 6] = [
    (0x01, "user"),
    (0x02, "user"),
    (0x04, "group"),
    (0x08, "group"),
    (0x10, "mask"),
    (0x20, "other"),
];
const NAMED_USER: u16 = 0x02;
const NAMED_GROUP: u16 = 0x08;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    tag: u16,
    permissions: u16,
    id: u32,
}

/// Who the ids of named entries are elsewhere.
pub(crate) trait Ids {
    fn uid(&self, id: u32) -> u32;
    fn gid(&self, id: u32) -> u32;
}

/// Tar's text of the kernel's bytes, or `None` where these are none.
pub(crate) fn to_text(bytes: &[u8], ids: &impl Ids) -> Option<String> {
    let (version, rest) = bytes.split_first_chunk()?;
    if u32::from_le_bytes(*version) != VERSION || !rest.len().is_multiple_of(8) {
        return None;
    }
    let mut text = String::new();
    for entry in rest.chunks_exact(8) {
        let half = |at: usize| u16::from_le_bytes([entry[at], entry[at + 1]]);
        let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
        let tag = half(0);
        let (_, word) = TAGS.iter().find(|(known, _)| *known == tag)?;
        let name = match tag {
            NAMED_USER => ids.uid(id).to_string(),
            NAMED_GROUP => ids.gid(id).to_string(),
            _ => String::new(),
        };
        let flag = |bit: u16, c: char| if half(2) & bit != 0 { c } else { '-' };
        text.push_str(&format!("{word}:{name}:{}{}{}\n", flag(4, 'r'), flag(2, 'w'), flag(1, 'x')));
    }
    Some(text)
}

/// The kernel's bytes of tar's text. `None` for what names somebody, whom only the writer knew.
pub(crate) fn from_text(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let mut entries = Vec::new();
    for line in text.split(['\n', ',']) {
        // `getfacl` explains behind a hash what the mask leaves.
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty() {
            entries.push(entry(line)?);
        }
    }
    if entries.is_empty() || entries.len() > MOST {
        return None;
    }
    // The kernel wants them in this order.
    entries.sort_by_key(|entry| (entry.tag, entry.id));
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for Entry { tag, permissions, id } in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    Some(bytes)
}

fn entry(line: &str) -> Option<Entry> {
    let mut parts = line.split(':');
    let (kind, name, permissions) = (parts.next()?, parts.next()?, parts.next()?);
    // star's writers add the number as a fourth part.
    let name = parts.next().filter(|_| !name.is_empty()).unwrap_or(name);
    let named = !name.is_empty();
    let tag = match kind {
        "user" | "u" if named => NAMED_USER,
        "user" | "u" => 0x01,
        "group" | "g" if named => NAMED_GROUP,
        "group" | "g" => 0x04,
        "mask" | "m" => 0x10,
        "other" | "o" => 0x20,
        _ => return None,
    };
    let id = if matches!(tag, NAMED_USER | NAMED_GROUP) { name.parse().ok()? } else { NO_ID };
    let permissions = permissions.chars().try_fold(0, |sum, c| match c {
        'r' => Some(sum | 4),
        'w' => Some(sum | 2),
        'x' => Some(sum | 1),
        '-' => Some(sum),
        _ => None,
    })?;
    Some(Entry { tag, permissions, id })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    struct Shifted;

    impl Ids for Shifted {
        fn uid(&self, id: u32) -> u32 {
            id.wrapping_sub(100_000)
        }

        fn gid(&self, id: u32) -> u32 {
            id.wrapping_sub(100_000)
        }
    }

    struct Same;

    impl Ids for Same {
        fn uid(&self, id: u32) -> u32 {
            id
        }

        fn gid(&self, id: u32) -> u32 {
            id
        }
    }

    const TEXT: &str = "user::rwx\nuser:101000:r--\ngroup::r-x\nmask::r-x\nother::---\n";

    #[test]
    fn names_users_by_the_containers_numbers() {
        let bytes = from_text(TEXT.as_bytes()).unwrap();
        assert_eq!(bytes.len(), 4 + 5 * 8);
        assert_eq!(to_text(&bytes, &Same).unwrap(), TEXT);
        assert_eq!(to_text(&bytes, &Shifted).unwrap(), TEXT.replace("101000", "1000"));
    }

    #[rstest]
    #[case::name(b"user:joe:rwx\n".as_slice())]
    #[case::kind(b"boss::rwx\n".as_slice())]
    #[case::permission(b"user::rwz\n".as_slice())]
    #[case::nothing(b"".as_slice())]
    #[case::no_text(b"user\xff::r--".as_slice())]
    fn refuses(#[case] text: &[u8]) {
        assert_eq!(from_text(text), None);
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>) {
            let _: Option<_> = to_text(&bytes, &Same);
            let _: Option<_> = from_text(&bytes);
        }

        #[test]
        fn reads_back_what_it_wrote(
            ids in proptest::collection::btree_set(0..u32::MAX, 0..5), bits in 0..8_u16
        ) {
            let mut bytes = VERSION.to_le_bytes().to_vec();
            for id in ids {
                for half in [NAMED_USER, bits] {
                    bytes.extend(half.to_le_bytes());
                }
                bytes.extend(id.to_le_bytes());
            }
            let text = to_text(&bytes, &Same).unwrap();
            prop_assert_eq!(from_text(text.as_bytes()).unwrap_or_else(|| VERSION.to_le_bytes().to_vec()), bytes);
        }
    }
}
