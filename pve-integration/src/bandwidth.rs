//! How fast archives may be read: `bwlimit` of storages and of datacenter.cfg over what was asked
//! for. As `get_bandwidth_limit` of pve-storage's `PVE/Storage.pm`.

/// KiB a second of a property string like `default=500,restore=100`. 0 sets no limit.
pub fn limit_of(text: &str, operation: &str) -> Option<f64> {
    let part = |name: &str| {
        let mut pairs = text.split(',').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| key.trim() == name).and_then(|(_, value)| value.trim().parse().ok())
    };
    part(operation).or_else(|| part("default")).filter(|limit: &f64| *limit >= 0.0)
}

/// The limits that bind whoever asks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// One of each storage that takes part; `None` if it sets none.
    pub storages: Vec<Option<f64>>,
    /// The data centre's, for storages that set none.
    pub datacenter: Option<f64>,
}

impl Limits {
    /// The strictest of those that apply. Storages come before the data centre.
    pub fn applied_to(&self, asked: Option<f64>) -> Option<f64> {
        let own = self.storages.iter().flatten().copied().fold(asked, stricter);
        let silent = self.storages.iter().any(Option::is_none);
        match self.datacenter.filter(|_| silent) {
            Some(limit) => stricter(own, limit),
            None => own,
        }
    }
}

fn stricter(so_far: Option<f64>, limit: f64) -> Option<f64> {
    match so_far {
        Some(so_far) if so_far > 0.0 && so_far <= limit => Some(so_far),
        Some(_) | None => Some(limit),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("restore=100,default=5", Some(100.0))]
    #[case("default=5, migration=7", Some(5.0))]
    #[case("clone=1", None)]
    #[case("restore=0", Some(0.0))]
    #[case("restore=fast,default=-1", None)]
    fn reads_the_operations_own_or_the_default(#[case] text: &str, #[case] limit: Option<f64>) {
        assert_eq!(limit_of(text, "restore"), limit);
    }

    #[rstest]
    #[case::none(None, &[None], None, None)]
    #[case::asked(Some(9.0), &[], Some(1.0), Some(9.0))]
    #[case::storage(None, &[Some(5.0), Some(3.0)], Some(1.0), Some(3.0))]
    #[case::asked_for_more(Some(9.0), &[Some(5.0)], None, Some(5.0))]
    #[case::asked_for_less(Some(2.0), &[Some(5.0)], None, Some(2.0))]
    #[case::asked_for_none(Some(0.0), &[Some(5.0)], None, Some(5.0))]
    #[case::centre(None, &[Some(5.0), None], Some(4.0), Some(4.0))]
    fn the_strictest_applies(
        #[case] asked: Option<f64>,
        #[case] storages: &[Option<f64>],
        #[case] datacenter: Option<f64>,
        #[case] limit: Option<f64>,
    ) {
        let limits = Limits { storages: storages.to_vec(), datacenter };
        assert_eq!(limits.applied_to(asked), limit);
    }

    proptest! {
        #[test]
        fn never_panics(text in ".*") {
            limit_of(&text, "restore");
        }
    }
}
