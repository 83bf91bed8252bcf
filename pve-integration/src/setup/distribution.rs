//! Which distribution a rootfs holds, in which version: what the set-up goes by, whatever the config
//! calls it. The version comes from the file where that distribution has always had it.

use std::io;

use super::draft::Look;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Alpine,
    Arch,
    CentOs,
    Debian,
    Devuan,
    Fedora,
    Gentoo,
    NixOs,
    Suse,
    Ubuntu,
}

/// Ordered, and comparable with `(13, 0)`.
pub(super) type Version = (u32, u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Distribution {
    pub(super) kind: Kind,
    /// Of Devuan, Debian's.
    pub(super) version: Version,
}

/// Why a distribution is left alone.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unknown {
    #[error("unable to detect OS distribution")]
    Kind,
    #[error("unable to read version info of {0}")]
    NoVersion(&'static str),
    #[error("unsupported {0} version '{1}'")]
    Version(&'static str, String),
    #[error("cannot be detected")]
    Io(#[from] io::Error),
}

/// `ID=` of os-release, the kind, and PVE's name for it.
const IDS: &[(&str, Kind, &str)] = &[
    ("almalinux", Kind::CentOs, "centos"),
    ("alpine", Kind::Alpine, "alpine"),
    ("arch", Kind::Arch, "archlinux"),
    ("archarm", Kind::Arch, "archlinux"),
    ("archlinux", Kind::Arch, "archlinux"),
    ("centos", Kind::CentOs, "centos"),
    ("debian", Kind::Debian, "debian"),
    ("devuan", Kind::Devuan, "devuan"),
    ("fedora", Kind::Fedora, "fedora"),
    ("gentoo", Kind::Gentoo, "gentoo"),
    ("nixos", Kind::NixOs, "nixos"),
    ("opensuse", Kind::Suse, "opensuse"),
    ("opensuse-leap", Kind::Suse, "opensuse"),
    ("opensuse-slowroll", Kind::Suse, "opensuse"),
    ("opensuse-tumbleweed", Kind::Suse, "opensuse"),
    ("rhel", Kind::CentOs, "centos"),
    ("rocky", Kind::CentOs, "centos"),
    ("sles", Kind::Suse, "opensuse"),
    ("ubuntu", Kind::Ubuntu, "ubuntu"),
];

/// Files that tell by being there, for a rootfs without a known os-release.
const TRACES: &[(&str, Kind)] = &[
    ("/etc/debian_version", Kind::Debian),
    ("/etc/devuan_version", Kind::Devuan),
    ("/etc/SuSE-brand", Kind::Suse),
    ("/etc/SuSE-release", Kind::Suse),
    ("/etc/fedora-release", Kind::Fedora),
    ("/etc/centos-release", Kind::CentOs),
    ("/etc/redhat-release", Kind::CentOs),
    ("/etc/arch-release", Kind::Arch),
    ("/etc/alpine-release", Kind::Alpine),
    ("/etc/gentoo-release", Kind::Gentoo),
];

/// PVE's name for a distribution that calls itself `id`.
pub fn ostype_of(id: &str) -> Option<&'static str> {
    IDS.iter().find(|(known, ..)| *known == id).map(|(.., ostype)| *ostype)
}

impl Kind {
    pub(super) fn ostype(self) -> &'static str {
        IDS.iter().find(|(_, kind, _)| *kind == self).map_or("unmanaged", |(.., ostype)| *ostype)
    }
}

/// `None` of a rootfs that says nothing of itself.
pub(super) fn detect(look: &dyn Look) -> Result<Option<Distribution>, Unknown> {
    let mut release = None;
    for path in ["/etc/os-release", "/usr/lib/os-release"] {
        release = release.or(look.read(path)?);
    }
    let kind = kind(look, release.as_deref())?;
    let Some(kind) = kind else { return Ok(None) };
    let version = version(look, kind, release.as_deref().unwrap_or_default())?;
    Ok(Some(Distribution { kind, version }))
}

fn kind(look: &dyn Look, release: Option<&str>) -> Result<Option<Kind>, Unknown> {
    let id = release.and_then(|text| value(text, "ID"));
    if let Some((_, kind, _)) = IDS.iter().find(|(known, ..)| Some(*known) == id.as_deref()) {
        return Ok(Some(*kind));
    }
    let lsb = look.read("/etc/lsb-release")?.unwrap_or_default();
    if value(&lsb, "DISTRIB_ID").is_some_and(|id| id.eq_ignore_ascii_case("ubuntu")) {
        return Ok(Some(Kind::Ubuntu));
    }
    for (path, kind) in TRACES {
        if look.read(path)?.is_some() {
            return Ok(Some(*kind));
        }
    }
    if look.is_folder("/nix/store") {
        return Ok(Some(Kind::NixOs));
    }
    if release.is_some() { Err(Unknown::Kind) } else { Ok(None) }
}

/// Of a shell-like assignment, without its quotes.
fn value(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let value = line.trim().strip_prefix(name)?.strip_prefix('=')?.trim();
        let bare = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let bare =
            bare.or_else(|| value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')));
        Some(bare.unwrap_or(value).to_owned())
    })
}

fn version(look: &dyn Look, kind: Kind, release: &str) -> Result<Version, Unknown> {
    let first_line = |path: &str| -> io::Result<Option<String>> {
        let text = look.read(path)?;
        Ok(text.and_then(|text| text.lines().next().map(|line| line.trim().to_owned())))
    };
    let must = |text: Option<String>, name| text.ok_or(Unknown::NoVersion(name));
    match kind {
        Kind::Arch | Kind::NixOs => Ok((0, 0)),
        // The one that may be without.
        Kind::Alpine => {
            Ok(first_line("/etc/alpine-release")?.and_then(|text| leading(&text)).unwrap_or((0, 0)))
        }
        Kind::Gentoo => must(first_line("/etc/gentoo-release")?, "Gentoo").map(|_| (0, 0)),
        Kind::Debian => {
            let text = must(first_line("/etc/debian_version")?, "Debian")?;
            let found = debian(&text).or_else(|| leading(&text).map(|(major, _)| (major, 0)));
            supported("Debian", &text, found, |version| version >= (4, 0))
        }
        Kind::Devuan => {
            let text = must(first_line("/etc/devuan_version")?, "Devuan")?;
            supported("Devuan", &text, devuan(&text.to_lowercase()), |_| true)
        }
        Kind::Ubuntu => {
            let lsb = look.read("/etc/lsb-release")?.unwrap_or_default();
            let text = must(value(&lsb, "DISTRIB_RELEASE"), "Ubuntu")?;
            supported("Ubuntu", &text, leading(&text), |version| version >= (12, 4))
        }
        Kind::CentOs => {
            let text = must(first_line("/etc/redhat-release")?, "CentOS")?;
            let found = text.split_once("release").and_then(|(_, rest)| leading(rest.trim()));
            supported("CentOS", &text, found, |(major, _)| (5..11).contains(&major))
        }
        Kind::Fedora => {
            let text = must(value(release, "VERSION_ID"), "Fedora")?;
            supported("Fedora", &text, leading(&text), |version| version >= (22, 0))
        }
        Kind::Suse => {
            let text = must(value(release, "VERSION_ID"), "openSUSE")?;
            supported("openSUSE", &text, leading(&text), |(major, minor)| {
                // Leap, SLES; before them 13.2; Tumbleweed is a date.
                matches!(major, 12 | 15 | 16 | 42..) || (major == 13 && minor <= 2)
            })
        }
    }
}

fn supported(
    name: &'static str,
    text: &str,
    found: Option<Version>,
    is: impl Fn(Version) -> bool,
) -> Result<Version, Unknown> {
    found.filter(|found| is(*found)).ok_or_else(|| Unknown::Version(name, text.to_owned()))
}

/// `13.1` of `13.1.2 (x)`, `13.0` of `13`.
fn leading(text: &str) -> Option<Version> {
    let mut parts = text.split(|c: char| !c.is_ascii_digit());
    let major = parts.next()?.parse().ok()?;
    let has_minor = text.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with('.');
    let minor = parts.next().filter(|_| has_minor).and_then(|minor| minor.parse().ok());
    Some((major, minor.unwrap_or(0)))
}

/// What testing calls itself.
fn debian(text: &str) -> Option<Version> {
    let name = text.strip_suffix("/sid").unwrap_or(text);
    let major = match name {
        "stretch" => 9,
        "buster" => 10,
        "bullseye" => 11,
        "bookworm" | "kali-rolling" => 12,
        "trixie" => 13,
        "forky" => 14,
        "duke" => 15,
        _ => return None,
    };
    Some((major, 0))
}

fn devuan(text: &str) -> Option<Version> {
    let major = match text.strip_suffix("/ceres").unwrap_or(text) {
        "jessie" => 8,
        "ascii" => 9,
        "beowulf" => 10,
        "chimaera" => 11,
        "daedalus" => 12,
        "excalibur" => 13,
        _ => return None,
    };
    Some((major, 0))
}
