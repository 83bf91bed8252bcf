use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;

const PASSWD: &str =
    "root:x:0:0:root:/root:/bin/sh\nweb:x:33:44:web:/srv:/bin/false\nbad:x:y:1::/:\n";
const GROUP: &str = "root:x:0:\nwww:x:44:\ntape:x:26:bin,web\nmail:x:8:web\n";

fn parse(config: &Value) -> Result<ImageConfig, ImageConfigError> {
    ImageConfig::parse(json!({ "config": config }).to_string().as_bytes())
}

fn applied(config: &Value, given: &str) -> (String, Said) {
    let config = parse(config).unwrap();
    let ids = config.ids(&Accounts::new(PASSWD, GROUP)).unwrap();
    let mut ct = ContainerConfig::parse(given.as_bytes());
    let said = Unpacked { config, ids, digest: String::new() }.apply(&mut ct).unwrap();
    (ct.to_string(), said)
}

#[test]
fn an_application_becomes_what_pve_makes_of_it() {
    let image = json!({
        "Entrypoint": ["/docker entry.sh"], "Cmd": ["nginx", "-g", "daemon off;"],
        "Env": ["PATH=/usr/bin", "V=1 2"], "WorkingDir": "/srv", "User": "web",
        "StopSignal": "SIGQUIT", "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}},
    });
    let (config, said) = applied(&image, "net0: name=eth0,bridge=vmbr0,ip=dhcp,type=veth\n");
    assert_eq!(
        config,
        "cmode: console\n\
         entrypoint: '/docker entry.sh' nginx -g 'daemon off;'\n\
         net0: name=eth0,bridge=vmbr0,host-managed=1,ip=dhcp,type=veth\n\
         lxc.environment.runtime: PATH=/usr/bin\n\
         lxc.environment.runtime: V=1 2\n\
         lxc.init.uid: 33\n\
         lxc.init.gid: 44\n\
         lxc.init.groups: 26,8\n\
         lxc.init.cwd: /srv\n\
         lxc.signal.halt: SIGQUIT\n"
    );
    assert_eq!(said.lines, ["Auto-Enabling host-managed network for network device net0."]);
    assert_eq!(said.warnings, [""; 0]);
}

#[test]
fn what_was_asked_for_wins() {
    let image = json!({"Cmd": ["/bin/app"], "Env": ["A=image", "B=image"]});
    let given = "cmode: tty\nentrypoint: /bin/mine\nnet0: name=eth0,host-managed=0\n\
        lxc.environment.runtime: B=mine\nlxc.environment.runtime: C=mine\n";
    let (config, said) = applied(&image, given);
    assert_eq!(
        config,
        "cmode: tty\nentrypoint: /bin/mine\nnet0: name=eth0,host-managed=0\n\
         lxc.environment.runtime: A=image\nlxc.environment.runtime: B=mine\n\
         lxc.environment.runtime: C=mine\nlxc.signal.halt: SIGTERM\n"
    );
    assert_eq!(said, Said::default());
}

#[rstest]
#[case::init(json!({"Cmd": ["/sbin/init"]}), "lxc.signal.halt: SIGTERM\n")]
#[case::nothing(json!({}), "lxc.signal.halt: SIGTERM\n")]
#[case::nulls(
    json!({"Cmd": null, "Entrypoint": null, "Env": null, "User": "", "WorkingDir": ""}),
    "lxc.signal.halt: SIGTERM\n"
)]
fn a_system_stays_one(#[case] image: Value, #[case] want: &str) {
    assert_eq!(applied(&image, "").0, want);
}

#[rstest]
#[case::number("33", Some(33), Some(44), Some("26,8"))]
#[case::unknown_number("1000", Some(1000), None, None)]
#[case::in_no_group("root", Some(0), Some(0), Some(""))]
#[case::with_group("web:www", Some(33), Some(44), None)]
#[case::with_number("1000:2000", Some(1000), Some(2000), None)]
#[case::no_such_group("1000:none", Some(1000), None, None)]
#[case::no_number_there("bad", None, None, Some(""))]
#[case::unknown("nobody", None, None, Some(""))]
fn finds_users(
    #[case] user: &str,
    #[case] uid: Option<u32>,
    #[case] gid: Option<u32>,
    #[case] groups: Option<&str>,
) {
    let config = parse(&json!({ "User": user })).unwrap();
    let want = Ids { uid, gid, groups: groups.map(str::to_owned) };
    assert_eq!(config.ids(&Accounts::new(PASSWD, GROUP)).unwrap(), want);
}

#[test]
fn an_unknown_user_is_not_dropped_in_silence() {
    let (config, said) = applied(&json!({"User": "nobody"}), "");
    assert!(!config.contains("lxc.init.uid"), "{config}");
    assert!(said.warnings[0].contains("'nobody' is not in its /etc/passwd"), "{said:?}");
}

#[rstest]
#[case(json!({"User": "a\u{1b}"}), "OCI config value for 'User' contains forbidden control characters!")]
#[case(json!({"Cmd": ["a\u{0}"]}), "OCI config array-value for 'Cmd' contains forbidden control characters!")]
#[case(json!({"Env": ["A=\u{7f}"]}), "OCI config array-value for 'Env' contains forbidden control characters!")]
#[case(json!({"Volumes": {"/\u{1}": {}}}), "OCI config data-volumes path contains forbidden control characters!")]
fn refuses_in_pves_words(#[case] image: Value, #[case] message: &str) {
    assert_eq!(parse(&image).unwrap_err().to_string(), message);
}

#[rstest]
#[case("a:b:c")]
#[case(":b")]
#[case("a:")]
fn refuses_users(#[case] user: &str) {
    let config = parse(&json!({ "User": user })).unwrap();
    assert_eq!(config.ids(&Accounts::default()), Err(ImageConfigError::User));
}

proptest! {
    #[test]
    fn never_panics(user in ".{0,20}", file in "[a-z0-9:,\n]{0,80}", command: Vec<String>) {
        let json = json!({"User": user, "Cmd": command, "Env": command});
        if let Ok(config) = parse(&json)
            && let Ok(ids) = config.ids(&Accounts::new(file.clone(), file))
        {
            let mut ct = ContainerConfig::default();
            drop(Unpacked { config, ids, digest: String::new() }.apply(&mut ct));
        }
    }
}
