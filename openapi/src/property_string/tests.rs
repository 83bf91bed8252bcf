use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::schema::config_key;

fn keys(config: &str) -> &'static Properties {
    config_key(config).unwrap().format.as_ref().unwrap().keys().unwrap()
}

#[rstest]
#[case::typed("net0", "name=eth0,firewall=yes,mtu=1500",
    json!({"name": "eth0", "firewall": 1, "mtu": 1500}))]
#[case::default_key("rootfs", "local:100/vm-100-disk-0.raw,size=4G",
    json!({"volume": "local:100/vm-100-disk-0.raw", "size": "4G"}))]
#[case::default_key_anywhere("mp0", "mp=/srv,backup=OFF,local:1",
    json!({"mp": "/srv", "backup": 0, "volume": "local:1"}))]
#[case::blank_parts("features", " ,nesting=1,,", json!({"nesting": 1}))]
#[case::later_equals_sign("rootfs", "volume=local:a=b", json!({"volume": "local:a=b"}))]
#[case::unusual_number("net0", "name=e,mtu=+1500", json!({"name": "e", "mtu": "+1500"}))]
fn reads(#[case] config: &str, #[case] text: &str, #[case] values: Value) {
    let read = parse(keys(config), text).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), values);
}

#[rstest]
#[case::no_default_key(
    "net0",
    "eth0",
    "value without key, but schema does not define a default key"
)]
#[case::twice("net0", "name=a,name=b", "duplicate key in comma-separated list property: name")]
#[case::two_bare("rootfs", "a:b,c:d", "duplicate key in comma-separated list property: volume")]
#[case::bare_and_named(
    "rootfs",
    "volume=a:b,c:d",
    "duplicate key in comma-separated list property: volume"
)]
#[case::no_key("net0", "name=eth0,=x", "missing key in comma-separated list property")]
#[case::no_value("net0", "name=", "missing key in comma-separated list property")]
#[case::newline_inside("net0", "name=a\nb", "missing key in comma-separated list property")]
#[case::required(
    "net0",
    "bridge=vmbr0",
    "format error\nname: property is missing and it is not optional"
)]
#[case::all_at_once(
    "net0",
    "mtu=1,foo=1",
    "format error\nfoo: property is not defined in schema and the schema does not allow additional properties\nmtu: value must have a minimum value of 64\nname: property is missing and it is not optional"
)]
fn refuses(#[case] config: &str, #[case] text: &str, #[case] message: &str) {
    assert_eq!(parse(keys(config), text).unwrap_err().to_string(), message);
}

#[rstest]
#[case("net0", "type=veth,bridge=vmbr0,name=eth0", "name=eth0,bridge=vmbr0,type=veth")]
#[case("rootfs", "size=4096M,local:x", "local:x,size=4G")]
#[case("mp0", "backup=1,mp=/a,local:x", "local:x,mp=/a,backup=1")]
#[case("features", "nesting=yes,keyctl=0", "keyctl=0,nesting=1")]
fn prints_in_the_order_of_pve(#[case] config: &str, #[case] text: &str, #[case] printed: &str) {
    let schema = keys(config);
    assert_eq!(print(schema, &parse(schema, text).unwrap()).unwrap(), printed);
}

#[test]
fn prints_no_value_with_a_comma() {
    let values = [("volume".to_owned(), json!("local:a,b"))].into_iter().collect();
    let error = print(keys("rootfs"), &values).unwrap_err();
    assert_eq!(error, PropertyStringError::Comma("volume".to_owned()));
}

#[rstest]
#[case("8", Some(8))]
#[case("8K", Some(8 << 10))]
#[case("1.5GiB", Some(3 << 29))]
#[case("0.0005K", Some(0))]
#[case("", None)]
#[case("G", None)]
#[case("1.G", None)]
#[case("1KB", None)]
#[case("-1", None)]
#[case("99999999999T", None)]
fn reads_sizes(#[case] text: &str, #[case] bytes: Option<u64>) {
    assert_eq!(parse_size(text), bytes);
}

#[rstest]
#[case(0, "0T")]
#[case(1023, "1023")]
#[case(1024, "1K")]
#[case(3 << 29, "1536M")]
#[case(5 << 40, "5T")]
fn prints_sizes(#[case] bytes: u64, #[case] text: &str) {
    assert_eq!(format_size(bytes), text);
}

/// Twice the text may take some more than twice the time, never four times and more.
#[test]
fn a_long_text_takes_linear_time() {
    let time = |parts: usize| {
        let text: String = (0..parts).map(|n| format!("k{n}=v,")).collect();
        let start = std::time::Instant::now();
        assert!(parse(keys("net0"), &text).is_err());
        start.elapsed()
    };
    time(1000);
    let (one, eight) = (time(5_000), time(40_000));
    assert!(eight < one * 40 + std::time::Duration::from_millis(50), "{one:?}, {eight:?}");
}

proptest! {
    #[test]
    fn never_panics(text in "[a-z0-9=,:/. \n\\PC]{0,60}") {
        for config in ["net0", "rootfs", "mp0", "features", "dev0"] {
            let message = parse(keys(config), &text).err().map(|err| err.to_string());
            prop_assert!(message.is_none_or(|message| !message.is_empty()));
        }
    }

    #[test]
    fn what_is_printed_reads_the_same(
        name in "[a-z]{1,8}", mtu in 64..9000, tag in proptest::option::of(1..4094), down: bool
    ) {
        let schema = keys("net0");
        let tag = tag.map_or(String::new(), |tag| format!(",tag={tag}"));
        let text = format!("link_down={down},name={name}{tag},mtu={mtu}");
        let values = parse(schema, &text).unwrap();
        let again = parse(schema, &print(schema, &values).unwrap()).unwrap();
        prop_assert_eq!(&values, &again);
    }
}
