//! The AppArmor profile of a container's processes: one of `packaging/apparmor`, one made of its parts for
//! this container, or one that a raw line names. LXC writes a profile of its own instead; what the host's
//! policy refuses is the same for both.

mod own;

use super::{BundleError, Guest, Warning, keys};
use crate::ct_config::Features;
use crate::host::{AppArmor, HostFacts, Mode};
use crate::policy::Feature;

pub use own::Profile;
pub(super) use own::is_one;

const PROFILE: &str = "lxc.apparmor.profile";
const SHIPPED: &str = "/etc/apparmor.d/proxmox-lxcri";
const NESTING: &str = "lxc.apparmor.allow_nesting";
const APPLICATION: &str = "lxcri-application";
const SYSTEM: &str = "lxcri-system";
/// Lets everything be mounted.
const NESTS: &str = "lxcri-nesting";

/// What a config wants, whether the host has it or not.
enum Wanted<'a> {
    /// One that belongs to the product; LXC makes its own.
    Ours(&'static str),
    Named(&'a str),
    Unconfined,
}

/// What libcrun is to set.
#[derive(Debug, Default)]
pub(super) struct Confinement {
    /// `None` leaves the container where its monitor is: unconfined.
    pub(super) name: Option<String>,
    /// Where the name is that of a profile which is still to be loaded.
    pub(super) own: Option<Profile>,
}

pub(super) fn of(
    guest: &Guest<'_>,
    facts: &HostFacts,
    features: &Features,
    reach: &keys::Reach,
    warnings: &mut Vec<Warning>,
) -> Result<Confinement, BundleError> {
    let wanted = wanted(guest, features)?;
    let profile = if reach.raw {
        by_lxc(&wanted, facts).map(str::to_owned)
    } else {
        if matches!(wanted, Wanted::Named(_) | Wanted::Unconfined) && raw_nesting(guest).is_some() {
            let reason = format!("is about the profile 'generated', and {PROFILE} names another");
            warnings.push(Warning::new(NESTING, reason));
        }
        loaded(&wanted, facts, warnings)?
    };
    let tolerant = profile.as_deref().filter(|name| tolerates(name, facts));
    if let Some(name) = tolerant {
        let reason = format!("the profile '{name}' is in complain mode and forbids nothing");
        warnings.push(Warning::new("apparmor", reason));
    }
    if (profile.is_none() || tolerant.is_some()) && guest.policy.refuse.unconfined {
        let what = "a container without an AppArmor profile".to_owned();
        return Err(BundleError::Policy { key: PROFILE.to_owned(), what });
    }
    if reach.raw {
        return Ok(Confinement::default());
    }
    let mode = if tolerant.is_some() { Mode::Tolerates } else { Mode::Forbids };
    let own = own(guest, features, &wanted, mode, warnings).filter(|_| profile.is_some());
    let name = own.as_ref().map(|own| own.name.clone()).or(profile);
    Ok(Confinement { name, own })
}

/// Of a container that may mount more than the profile which it would have lets it.
fn own(
    guest: &Guest<'_>,
    features: &Features,
    wanted: &Wanted<'_>,
    mode: Mode,
    warnings: &mut Vec<Warning>,
) -> Option<Profile> {
    if features.mount.is_empty() {
        return None;
    }
    let mut said = |reason: String| warnings.push(Warning::new("features", reason));
    let base = match *wanted {
        Wanted::Ours(NESTS) | Wanted::Unconfined => return None,
        Wanted::Ours(base) => base,
        Wanted::Named(name) => {
            said(format!("mount is left out: the profile '{name}' says what may be mounted"));
            return None;
        }
    };
    let (never, kinds): (Vec<_>, Vec<_>) =
        features.mount.iter().partition(|kind| own::is_never_mounted(kind));
    for kind in never {
        said(format!(
            "mount: '{kind}' shows the host's own, and only `nesting` lets it be mounted"
        ));
    }
    (!kinds.is_empty()).then(|| own::profile(&guest.profile, base, mode, &kinds))
}

fn tolerates(name: &str, facts: &HostFacts) -> bool {
    let Some(AppArmor::Profiles(profiles)) = &facts.apparmor else { return false };
    profiles.get(name) == Some(&Mode::Tolerates)
}

fn wanted<'a>(guest: &Guest<'a>, features: &Features) -> Result<Wanted<'a>, BundleError> {
    let config = guest.config.current();
    let raw_nesting = raw_nesting(guest) == Some("1");
    if raw_nesting && guest.policy.refuse.features.contains(&Feature::Nesting) {
        return Err(BundleError::Policy { key: NESTING.to_owned(), what: "nesting".to_owned() });
    }
    Ok(match config.lxc_values(PROFILE).last() {
        // "unchanged" is LXC's word for the profile of whoever starts it.
        Some("unconfined" | "unchanged") => Wanted::Unconfined,
        Some(name) if name != "generated" => Wanted::Named(name),
        Some(_) | None if features.nesting || raw_nesting => Wanted::Ours(NESTS),
        Some(_) | None if config.is_application() => Wanted::Ours(APPLICATION),
        Some(_) | None => Wanted::Ours(SYSTEM),
    })
}

fn raw_nesting<'a>(guest: &Guest<'a>) -> Option<&'a str> {
    guest.config.current().lxc_values(NESTING).last()
}

/// `lxc-start` makes and loads what it needs, and fails by itself where it cannot.
fn by_lxc<'a>(wanted: &Wanted<'a>, facts: &HostFacts) -> Option<&'a str> {
    facts.apparmor.as_ref()?;
    match wanted {
        Wanted::Ours(_) => Some("generated"),
        Wanted::Named(name) => Some(name),
        Wanted::Unconfined => None,
    }
}

/// Of a profile that is not loaded libcrun hears when all else is done, so it is asked for here.
fn loaded(
    wanted: &Wanted<'_>,
    facts: &HostFacts,
    warnings: &mut Vec<Warning>,
) -> Result<Option<String>, BundleError> {
    let (Wanted::Ours(name) | Wanted::Named(name)) = *wanted else { return Ok(None) };
    let named = matches!(wanted, Wanted::Named(_));
    let why_not = match &facts.apparmor {
        None if named => "this host has no AppArmor".to_owned(),
        None => return Ok(None),
        Some(AppArmor::Profiles(profiles)) if profiles.contains_key(name) => {
            return Ok(Some(name.to_owned()));
        }
        Some(AppArmor::Profiles(_)) if named => {
            let reason = format!("the profile '{name}' is not loaded");
            return Err(BundleError::Host { key: PROFILE.to_owned(), reason });
        }
        Some(AppArmor::Profiles(_)) => {
            format!("the profile '{name}' is not loaded (apparmor_parser -r {SHIPPED} does that)")
        }
        Some(AppArmor::NoSecurityfs) if named => return Ok(Some(name.to_owned())),
        Some(AppArmor::NoSecurityfs) => {
            format!("'{name}' may not be loaded: securityfs is not mounted")
        }
    };
    let key = if named { PROFILE } else { "apparmor" };
    warnings.push(Warning::new(key, format!("{why_not}; the container is not confined")));
    Ok(None)
}
