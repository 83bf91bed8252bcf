use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::bundle::tests::with;
use crate::bundle::{Guest, spec, to_value};
use crate::ct_config::ContainerConfig;
use crate::host::HostFacts;
use crate::policy::Policy;

fn parse(text: &str) -> Result<Filter, String> {
    Profile::parse(text, Arch::Amd64).map(|profile| profile.0).map_err(|err| err.to_string())
}

#[rstest]
#[case::denied("chmod errno 1", 0, Action::Errno(1))]
#[case::an_errno_of_none("chmod errno 0", 0, Action::Errno(0))]
#[case::the_kind_s_own_action("chmod", 0, Action::Kill)]
#[case::with_a_comment("chmod  # never", 0, Action::Kill)]
#[case::an_action_and_a_comment("chmod trap # never", 0, Action::Trap)]
#[case::another("fchmod errno 1", 0, Action::Allow)]
#[case::of_an_own_section("[x86]\nchmod errno 1", 0, Action::Errno(1))]
#[case::in_capitals("[X86_64]\nchmod errno 1", 0, Action::Errno(1))]
#[case::of_another_section("[arm64]\nchmod errno 1", 0, Action::Allow)]
#[case::of_another_section_whatever_it_says("[ppc]\nchmod no no", 0, Action::Allow)]
#[case::after_another_section("[arm]\nno\n[all]\nchmod errno 1", 0, Action::Errno(1))]
#[case::masked("chmod errno 1 [1,0x9400,SCMP_CMP_MASKED_EQ,0xff00]", 0x1_94ff, Action::Errno(1))]
#[case::masked_otherwise("chmod errno 1 [1,0x9400,&=,0xff00]", 0x9500, Action::Allow)]
#[case::equal("chmod kill [1,010,==]", 8, Action::Kill)]
#[case::not_equal("chmod kill [ 1, 8, != ]", 8, Action::Allow)]
#[case::below("chmod kill [1,8,<,7]", 7, Action::Kill)]
#[case::not_below("chmod kill [1,8,<]", 8, Action::Allow)]
#[case::at_most("chmod kill [1,8,SCMP_CMP_LE]", 8, Action::Kill)]
#[case::at_least("chmod kill [1,8,>=]", 8, Action::Kill)]
#[case::above("chmod kill [1,8,>]", 9, Action::Kill)]
#[case::not_above("chmod kill [1,8,>]", 8, Action::Allow)]
fn decides(#[case] rules: &str, #[case] argument: u64, #[case] expected: Action) {
    let filter = parse(&format!("2\ndenylist\n{rules}\n")).unwrap();
    assert_eq!(filter.verdict("chmod", 1, argument), expected);
}

#[rstest]
#[case::alone("allowlist", Action::Kill, Action::Allow)]
#[case::old("whitelist errno 38", Action::Errno(38), Action::Allow)]
#[case::trapped("allowlist trap", Action::Trap, Action::Allow)]
#[case::denied("denylist", Action::Allow, Action::Kill)]
#[case::old_denied("blacklist errno 1", Action::Errno(1), Action::Kill)]
fn a_kind_is_a_default(#[case] kind: &str, #[case] others: Action, #[case] named: Action) {
    let filter = parse(&format!("2\n\n{kind}\n[all]\nread\n")).unwrap();
    assert_eq!(filter.default, others);
    assert_eq!(filter.verdict("read", 0, 0), named);
}

#[test]
fn names_that_are_treated_alike_are_one_rule() {
    let text =
        "2\ndenylist\nreject_force_umount # as PVE\n[all]\nopen errno 1\nread errno 1\nopen kill\n";
    let rules = parse(text).unwrap().rules;
    let names: Vec<_> = rules.iter().map(|rule| rule.names.join(" ")).collect();
    assert_eq!(names, ["umount2", "open read", "open"]);
    assert_eq!(rules[0], super::super::no_forced_umount());
}

#[rstest]
#[case::empty("", "line 1: a profile begins with its version, which is 2")]
#[case::later("3\nallowlist\n", "line 1: a profile begins with its version, which is 2")]
#[case::numbers(
    "1\nallowlist\n5\n",
    "line 1: version 1 is a list of numbers, which is not supported: version 2 has names"
)]
#[case::no_kind("2\n", "line 1: '' is neither 'allowlist' nor 'denylist'")]
#[case::odd_kind("2\ngreylist\n", "line 2: 'greylist' is neither 'allowlist' nor 'denylist'")]
#[case::debug("2\nallowlist debug\n", "line 2: 'debug' is no action: allow, errno, kill, trap")]
#[case::odd_section(
    "2\ndenylist\n\n# x\n[vax]\n",
    "line 5: '[vax]' is no architecture that LXC knows"
)]
#[case::mixed_section("2\ndenylist\n[All]\n", "line 3: '[All]' is no architecture that LXC knows")]
#[case::odd_name(
    "2\ndenylist\nread,write\n",
    "line 3: 'read,write' is not the name of a system call"
)]
#[case::tab("2\ndenylist\nread\tkill\n", "line 3: 'read\\tkill' is not the name of a system call")]
#[case::indented("2\ndenylist\n read\n", "line 3: '' is not the name of a system call")]
#[case::odd_action(
    "2\ndenylist\nread forbid\n",
    "line 3: 'forbid' is no action: allow, errno, kill, trap"
)]
#[case::no_action(
    "2\ndenylist\nread [0,1,==]\n",
    "line 3: '[0,1,==]' is no action: allow, errno, kill, trap"
)]
#[case::notify(
    "2\ndenylist\nread notify\n",
    "line 3: the action 'notify' is not supported: nobody would answer"
)]
#[case::trace(
    "2\ndenylist trace\n",
    "line 2: the action 'trace' is not supported: nobody would answer"
)]
#[case::no_errno("2\ndenylist\nread errno\n", "line 3: '' is not an errno, which is 0 to 4095")]
#[case::large_errno(
    "2\ndenylist\nread errno 4096\n",
    "line 3: '4096' is not an errno, which is 0 to 4095"
)]
#[case::of_the_default(
    "2\ndenylist\nread allow\n",
    "line 3: this is what every other call gets, so LXC and libseccomp refuse the rule"
)]
#[case::of_a_default_that_was_said(
    "2\ndenylist errno 13\nreject_force_umount\n",
    "line 3: this is what every other call gets, so LXC and libseccomp refuse the rule"
)]
#[case::open_bracket(
    "2\ndenylist\nread kill [0,1,==\n",
    "line 3: '[0,1,==' is not '[index,value,operator]' or '[index,value,operator,mask]'"
)]
#[case::twice("2\ndenylist\nread kill [0,1,>],[0,5,<]\n", "line 3: argument 0 stands twice")]
#[case::more("2\ndenylist\nread kill now\n", "line 3: nothing can follow: 'now'")]
#[case::commented_condition(
    "2\ndenylist\nread kill # [0,1,==]\n",
    "line 3: nothing can follow: '# [0,1,==]'"
)]
#[case::umount("2\ndenylist\nreject_force_umount kill\n", "line 3: nothing can follow: 'kill'")]
fn refuses(#[case] text: &str, #[case] message: &str) {
    assert_eq!(parse(text).unwrap_err(), message);
}

#[rstest]
#[case::index("[6,1,==]")]
#[case::negative("[0,-1,==]")]
#[case::signed("[0,+1,==]")]
#[case::no_digits("[0,0x,==]")]
#[case::octal("[0,08,==]")]
#[case::too_large("[0,18446744073709551616,==]")]
#[case::operator("[0,1,=]")]
#[case::no_operator("[0,1]")]
#[case::no_mask("[0,1,&=]")]
#[case::odd_mask("[0,1,==,x]")]
#[case::five("[0,1,==,1,1]")]
fn refuses_a_condition(#[case] condition: &str) {
    let err = parse(&format!("2\ndenylist\nread kill {condition}\n")).unwrap_err();
    assert!(err.starts_with(&format!("line 3: '{condition}' is not '[index,")), "{err}");
}

#[test]
fn has_an_end() {
    let text = |rules: usize| format!("2\nallowlist\n{}", "read\n".repeat(rules));
    assert!(parse(&text(4096)).is_ok());
    assert_eq!(
        parse(&text(4097)).unwrap_err(),
        "line 4099: the kernel takes no more than 4096 rules"
    );
    let long = parse(&format!("2\n{}", "x".repeat(1 << 20))).unwrap_err();
    assert!(long.len() < 200, "{}", long.len());
}

#[test]
fn stands_in_the_place_of_all_rules_but_the_policy_s() {
    let profile = Profile::parse("2\ndenylist\nchmod errno 1\nmkdir kill\n", Arch::Amd64).unwrap();
    let policy = Policy::parse("deny-syscalls = [\"mkdir\", \"acct\"]", "p".as_ref()).unwrap();
    let syscalls = |lines: &str, policy: &Policy| {
        let config = ContainerConfig::parse(with(lines).as_bytes());
        let guest = Guest { seccomp: Some(&profile), policy, ..Guest::for_tests(&config) };
        let bundle = spec(&guest, &HostFacts::for_tests()).unwrap();
        assert!(bundle.warnings.is_empty(), "{:?}", bundle.warnings);
        to_value(&bundle.spec)["linux"]["seccomp"]["syscalls"].clone()
    };
    let chmod =
        serde_json::json!({ "names": ["chmod"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 });
    let named = "unprivileged: 1\nlxc.seccomp.profile: /x";
    for lines in [named.to_owned(), format!("{named}\nentrypoint: /bin/true")] {
        assert_eq!(
            syscalls(&lines, &Policy::default()),
            serde_json::json!([chmod, { "names": ["mkdir"], "action": "SCMP_ACT_KILL" }])
        );
        assert_eq!(
            syscalls(&lines, &policy),
            serde_json::json!([
                chmod,
                { "names": ["mkdir", "acct"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 },
            ])
        );
    }
    assert!(!syscalls("unprivileged: 1", &policy).to_string().contains("chmod"), "of no line");
}

#[test]
fn one_that_nobody_read_is_no_filter() {
    let config = ContainerConfig::parse(with("lxc.seccomp.profile: /x").as_bytes());
    let err = spec(&Guest::for_tests(&config), &HostFacts::for_tests()).unwrap_err();
    assert_eq!(
        err.to_string(),
        "unable to parse value of 'lxc.seccomp.profile' - the file was not read"
    );
}

fn actions() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(Action::Allow),
        Just(Action::Kill),
        Just(Action::Trap),
        (0..=MAX_ERRNO).prop_map(Action::Errno),
    ]
}

fn tests() -> impl Strategy<Value = Vec<Test>> {
    let operator = proptest::option::of(proptest::sample::select(vec![
        Operator::NotEqual,
        Operator::Less,
        Operator::LessOrEqual,
        Operator::Equal,
        Operator::GreaterOrEqual,
        Operator::Greater,
    ]));
    let field = proptest::option::of((operator, any::<u64>(), any::<u64>()));
    proptest::collection::vec(field, 6).prop_map(|fields| {
        let test = |(index, field): (u32, Option<(Option<Operator>, u64, u64)>)| {
            field.map(|(operator, value, mask)| match operator {
                Some(operator) => Test::Whole { index, operator, value },
                None => Test::Bits(Bits { index, mask, bits: value }),
            })
        };
        (0..).zip(fields).filter_map(test).collect()
    })
}

fn text(action: Action) -> String {
    match action {
        Action::Allow => "allow".to_owned(),
        Action::Kill => "kill".to_owned(),
        Action::Trap => "trap".to_owned(),
        Action::Errno(errno) => format!("errno {errno}"),
        Action::Ask => unreachable!("no profile has it"),
    }
}

fn condition_text(test: &Test) -> String {
    let (index, operator, value) = match *test {
        Test::Bits(Bits { index, mask, bits }) => {
            return format!("[{index},{bits:#x},SCMP_CMP_MASKED_EQ,{mask:#o}]").replace("0o", "0");
        }
        Test::Whole { index, operator, value } => (index, operator, value),
    };
    let sign = match operator {
        Operator::NotEqual => "!=",
        Operator::Less => "<",
        Operator::LessOrEqual => "<=",
        Operator::Equal => "==",
        Operator::GreaterOrEqual => ">=",
        Operator::Greater => ">",
    };
    format!("[{index},{value},{sign}]")
}

proptest! {
    #[test]
    fn reads_what_was_written(
        default in actions(),
        lines in proptest::collection::vec(("[a-z_][a-z0-9_]{0,9}", actions(), tests()), 0..8),
    ) {
        let lines: Vec<_> = lines.into_iter().filter(|(_, action, _)| *action != default).collect();
        let mut file = format!("2\ndenylist {}\n[all]\n", text(default));
        for (name, action, tests) in &lines {
            let conditions: Vec<_> = tests.iter().map(condition_text).collect();
            file += &format!("{name} {} {}\n", text(*action), conditions.join(","));
        }

        let filter = parse(&file).unwrap();

        prop_assert_eq!(filter.default, default);
        let read: Vec<_> = filter
            .rules
            .iter()
            .flat_map(|rule| rule.names.iter().map(|name| (name.clone(), rule.action, rule.when.clone())))
            .collect();
        prop_assert_eq!(read, lines);
    }

    #[test]
    fn never_panics(text in "(2\n)?(denylist|allowlist)?[ -~\n\t\u{e9}]{0,200}") {
        let _result = parse(&text);
    }
}
