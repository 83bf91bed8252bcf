//! `lxc.mount.entry`, a line of fstab(5) with options of LXC's own, as a mount of the bundle.

use std::path::{Component, Path};

use serde_json::{Value, json};

use super::{BundleError, Guest, Warning, wrong};

const KEY: &str = "lxc.mount.entry";

/// Those that are to be mounted.
pub(super) fn of(
    guest: &Guest<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Value>, BundleError> {
    let mut mounts = Vec::new();
    for line in guest.config.current().lxc_values(KEY) {
        let entry = Entry::parse(line, guest.rootfs)?;
        if entry.is_bind() && entry.optional && !(guest.exists)(Path::new(&entry.source)) {
            let reason = format!("'{}' is optional and not there", entry.source);
            warnings.push(Warning::new(KEY, reason));
            continue;
        }
        mounts.push(entry.mount());
    }
    Ok(mounts)
}

struct Entry {
    source: String,
    target: String,
    kind: String,
    options: Vec<String>,
    optional: bool,
}

impl Entry {
    fn parse(line: &str, rootfs: &Path) -> Result<Self, BundleError> {
        let bad = |reason: &str| wrong(KEY, format!("'{line}' {reason}"));
        let fields: Vec<String> = line.split_whitespace().map(unescape).collect();
        let ([source, target, kind]
        | [source, target, kind, _]
        | [source, target, kind, _, _]
        | [source, target, kind, _, _, _]) = &fields[..]
        else {
            return Err(bad("is not 'source target type options'"));
        };
        let mut entry = Self {
            source: source.clone(),
            target: inside(target, rootfs).ok_or_else(|| bad("leads out of the container"))?,
            kind: kind.clone(),
            options: Vec::new(),
            optional: false,
        };
        for option in fields.get(3).map_or("", String::as_str).split(',') {
            match option {
                // libcrun makes what is missing, as a file or a folder by what the source is.
                "" | "defaults" | "create=dir" | "create=file" => {}
                "optional" => entry.optional = true,
                "relative" => {
                    return Err(bad(
                        "has a source inside the container, where links lead anywhere",
                    ));
                }
                _ => entry.options.push(option.to_owned()),
            }
        }
        if entry.is_bind() && !entry.source.starts_with('/') {
            return Err(bad("has no absolute source"));
        }
        Ok(entry)
    }

    fn is_bind(&self) -> bool {
        self.options.iter().any(|option| option == "bind" || option == "rbind")
    }

    fn mount(self) -> Value {
        // fstab's word for "no file system of its own".
        let kind = if self.is_bind() { "bind".to_owned() } else { self.kind };
        json!({
            "destination": self.target,
            "type": kind,
            "source": self.source,
            "options": self.options,
        })
    }
}

/// LXC takes a target below the rootfs' own path, or one from its top.
fn inside(target: &str, rootfs: &Path) -> Option<String> {
    let path = Path::new(target);
    let path = path.strip_prefix(rootfs).unwrap_or(path);
    let plain = |part: &Component<'_>| {
        matches!(part, Component::RootDir | Component::CurDir | Component::Normal(_))
    };
    if !path.components().all(|part| plain(&part)) {
        return None;
    }
    let text = path.to_str()?.trim_start_matches('/');
    (!text.is_empty()).then(|| format!("/{text}"))
}

/// fstab(5): a blank is `\040`, a tab `\011`, a backslash `\134`.
fn unescape(field: &str) -> String {
    let mut parts = field.split('\\');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|code| u8::from_str_radix(code, 8).ok());
        match code.filter(u8::is_ascii) {
            Some(byte) => {
                text.push(char::from(byte));
                text.push_str(&part[3..]);
            }
            None => {
                text.push('\\');
                text.push_str(part);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn parse(line: &str) -> Result<Value, String> {
        let entry = Entry::parse(line, Path::new("/var/lib/lxc/100/rootfs"));
        entry.map(Entry::mount).map_err(|err| err.to_string())
    }

    #[rstest]
    #[case::tmpfs("tmpfs run tmpfs rw,size=1m,create=dir 0 0", "/run", "tmpfs", &["rw", "size=1m"])]
    #[case::bind("/srv/a\\040b mnt/x none bind,ro,optional,create=file", "/mnt/x", "bind", &["bind", "ro"])]
    #[case::by_rootfs("/srv /var/lib/lxc/100/rootfs/srv none rbind 0 0", "/srv", "bind", &["rbind"])]
    #[case::no_options("proc proc2 proc", "/proc2", "proc", &[])]
    fn reads(
        #[case] line: &str,
        #[case] target: &str,
        #[case] kind: &str,
        #[case] options: &[&str],
    ) {
        let mount = parse(line).unwrap();

        assert_eq!((&mount["destination"], &mount["type"]), (&target.into(), &kind.into()));
        assert_eq!(mount["options"], json!(options));
    }

    #[rstest]
    #[case::short("tmpfs run", "is not 'source target type options'")]
    #[case::out("tmpfs ../run tmpfs", "leads out of the container")]
    #[case::root("tmpfs / tmpfs", "leads out of the container")]
    #[case::relative("srv mnt none bind,relative", "has a source inside the container")]
    #[case::no_path("srv mnt none bind", "has no absolute source")]
    fn refuses(#[case] line: &str, #[case] reason: &str) {
        assert!(parse(line).unwrap_err().contains(reason));
    }

    #[test]
    fn unescapes_as_fstab_does() {
        assert_eq!(unescape(r"a\040b\134\011c\x"), "a b\\\tc\\x");
    }
}
