//! Who runs a new container.

use oci_verbs::Runtime;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chosen {
    Crun,
    Lxc,
}

/// `probe` says why crun cannot be used. What is returned beside is for whoever asked for nobody.
pub(super) fn choose(
    asked: Runtime,
    probe: impl FnOnce() -> Result<(), String>,
) -> (Chosen, Option<String>) {
    match asked {
        Runtime::Crun => (Chosen::Crun, None),
        Runtime::Lxc => (Chosen::Lxc, None),
        Runtime::Auto => match probe() {
            Ok(()) => (Chosen::Crun, None),
            Err(why) => (Chosen::Lxc, Some(format!("crun cannot be used, so LXC is: {why}"))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case::asked_for(Runtime::Crun, Err("no"), Chosen::Crun, None)]
    #[case::asked_for_the_other(Runtime::Lxc, Ok(()), Chosen::Lxc, None)]
    #[case::usable(Runtime::Auto, Ok(()), Chosen::Crun, None)]
    #[case::unusable(
        Runtime::Auto,
        Err("no such library"),
        Chosen::Lxc,
        Some("crun cannot be used, so LXC is: no such library")
    )]
    fn lxc_stands_in_for_crun_only_unasked(
        #[case] asked: Runtime,
        #[case] probe: Result<(), &str>,
        #[case] expected: Chosen,
        #[case] said: Option<&str>,
    ) {
        let (chosen, reason) = choose(asked, || probe.map_err(str::to_owned));
        assert_eq!((chosen, reason.as_deref()), (expected, said));
    }
}
