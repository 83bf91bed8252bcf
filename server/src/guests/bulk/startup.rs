//! `startup`: when a guest starts among others, and how long they wait for it. As
//! `pve_parse_startup_order` of pve-common.

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Startup {
    pub(super) order: Option<u64>,
    /// Seconds until the next may start.
    pub(super) up: Option<u64>,
    /// Seconds to shut down in.
    pub(super) down: Option<u64>,
}

impl Startup {
    /// One that cannot be read says nothing.
    pub(super) fn parse(text: &str) -> Self {
        let mut startup = Self::default();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let (name, number) = part.split_once('=').unwrap_or(("order", part));
            let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            let number = if digits { number.parse().ok() } else { None };
            match (name, number) {
                ("order", Some(_)) => startup.order = number,
                ("up", Some(_)) => startup.up = number,
                ("down", Some(_)) => startup.down = number,
                _ => return Self::default(),
            }
        }
        startup
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::nothing("", (None, None, None))]
    #[case::bare("3", (Some(3), None, None))]
    #[case::all("order=1,up=30,down=60", (Some(1), Some(30), Some(60)))]
    #[case::gaps("up=5,,", (None, Some(5), None))]
    #[case::wrong("order=1,up=x", (None, None, None))]
    #[case::unknown("order=1,left=2", (None, None, None))]
    fn reads(#[case] text: &str, #[case] expected: (Option<u64>, Option<u64>, Option<u64>)) {
        let Startup { order, up, down } = Startup::parse(text);
        assert_eq!((order, up, down), expected);
    }
}
