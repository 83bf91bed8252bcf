use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn limits(text: &str) -> OwnLimits {
    OwnLimits::read(&OciConfig::parse(text)).unwrap()
}

fn told(settings: &[Setting]) -> Vec<String> {
    settings.iter().map(|setting| format!("{} {}", setting.file, setting.value)).collect()
}

const ALL: &str = "pids: 40\nio-weight: 50\nio-max: 8:16 wiops=7\nio-max: 8:0 rbps=1 wbps=2\n\
    hugepages: 1G=1024\nhugepages: 2M=64\n";

#[test]
fn a_start_sets_what_the_file_says() {
    let limits = limits(ALL);
    let all: Vec<_> = LimitKey::ALL.iter().flat_map(|key| limits.settings(*key)).collect();
    assert_eq!(
        told(&all),
        [
            "pids.max 40",
            "io.weight 50",
            "io.max 8:0 rbps=1 wbps=2",
            "io.max 8:16 wiops=7",
            "hugetlb.2MB.max 67108864",
            "hugetlb.1GB.max 1073741824",
        ]
    );
}

#[rstest]
#[case("pids: 1\npids: 7\n", "pids: 7\n")]
#[case("io-max: 8:0 rbps=1 wiops=2\nio-max: 8:0 rbps=max\n", "io-max: 8:0 wiops=2\n")]
#[case("io-max: 8:0 rbps=max\nio-max: 8:16 wiops=max\n", "")]
#[case("io-max: wiops=2,device=008:0\n", "io-max: 8:0 wiops=2\n")]
#[case("hugepages: 2M=64\nhugepages: 2M=2\n", "hugepages: 2M=2\n")]
fn a_later_line_counts(#[case] text: &str, #[case] same_as: &str) {
    assert_eq!(limits(text), limits(same_as));
}

/// A limit that is gone from the file would otherwise hold until the next start.
#[test]
fn a_running_container_loses_what_is_not_there_any_more() {
    let (before, none) = (limits(ALL), OwnLimits::default());
    let told = |after: &OwnLimits| -> Vec<String> {
        let change = |key: &LimitKey| self::told(&after.change(*key, &before, |_| true));
        LimitKey::ALL.iter().flat_map(change).collect()
    };
    assert_eq!(
        told(&none),
        [
            "pids.max max",
            "io.weight 100",
            "io.max 8:0 rbps=max wbps=max riops=max wiops=max",
            "io.max 8:16 rbps=max wbps=max riops=max wiops=max",
            "hugetlb.2MB.max max",
            "hugetlb.1GB.max max",
        ]
    );
    assert_eq!(
        told(&limits("pids: 9\nio-max: 8:0 riops=5\nhugepages: 2M=1\n"))[2..],
        [
            "io.max 8:16 rbps=max wbps=max riops=max wiops=max",
            "io.max 8:0 rbps=max wbps=max riops=5 wiops=max",
            "hugetlb.2MB.max 1048576",
            "hugetlb.1GB.max max",
        ]
    );
    assert_eq!(none.change(LimitKey::IoMax, &before, |_| false), []);
}

#[rstest]
#[case("pids", "0", "'0' is not a number of processes from 1 to 4194304")]
#[case("pids", "4194305", "'4194305' is not a number of processes from 1 to 4194304")]
#[case("pids", "+5", "'+5' is not a number of processes from 1 to 4194304")]
#[case("pids", "max", "'max' is not a number of processes from 1 to 4194304")]
#[case("io-weight", "0", "'0' is not from 1 to 10000")]
#[case("io-weight", "10001", "'10001' is not from 1 to 10000")]
#[case("io-max", "8:0", "'8:0' is not MAJOR:MINOR")]
#[case("io-max", "rbps=1", "'rbps=1' is not MAJOR:MINOR")]
#[case("io-max", "8:0 8:1 rbps=1", "'8:0 8:1 rbps=1' is not MAJOR:MINOR")]
#[case("io-max", "8:0 rbps=0", "'8:0 rbps=0' is not MAJOR:MINOR")]
#[case("io-max", "4096:0 rbps=1", "'4096:0 rbps=1' is not MAJOR:MINOR")]
#[case("io-max", "8:0 speed=1", "'8:0 speed=1' is not MAJOR:MINOR")]
#[case("hugepages", "2M", "'2M' is not a page size and MiB")]
#[case("hugepages", "0M=1", "'0M=1' is not a page size and MiB")]
#[case("hugepages", "2T=1", "'2T=1' is not a page size and MiB")]
#[case("hugepages", "é=1", "'é=1' is not a page size and MiB")]
fn refuses_what_is_no_limit(#[case] key: &str, #[case] value: &str, #[case] why: &str) {
    let key = LimitKey::named(key).unwrap();
    let mut limits = OwnLimits::default();
    let err = limits.add(key, value).unwrap_err();
    assert_eq!(err.key, key);
    assert!(err.to_string().starts_with(why), "{err}");
    assert_eq!(limits, OwnLimits::default());
}

fn any_line() -> impl Strategy<Value = String> {
    prop_oneof![
        "(pids|io-weight): [0-9]{1,5}",
        "io-max: [0-9]{1,2}:[0-9]{1,2}( (rbps|wbps|riops|wiops)=(max|[1-9][0-9]{0,18})){1,4}",
        "hugepages: [1-9][0-9]{0,2}[KMG]=[0-9]{1,20}",
        "(pids|io-weight|io-max|hugepages|x): [ -~é]{0,20}",
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(lines in proptest::collection::vec(any_line(), 0..8)) {
        let mut oci = OciConfig::parse(&lines.join("\n"));
        let mut limits = OwnLimits::default();
        for key in LimitKey::ALL {
            oci.all(key.as_str()).for_each(|value| drop(limits.add(key, value)));
        }
        for key in LimitKey::ALL {
            limits.write(key, &mut oci);
        }
        prop_assert_eq!(OwnLimits::read(&oci), Ok(limits));
        let others = |line: &&String| line.starts_with("x:");
        let before: Vec<_> = lines.iter().filter(others).map(|line| line.as_str()).collect();
        let text = oci.to_string();
        let after: Vec<_> = text.lines().filter(|line| line.starts_with("x:")).collect();
        prop_assert_eq!(after, before);
    }
}
