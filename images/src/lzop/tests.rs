use proptest::prelude::*;
use rstest::rstest;

use super::*;

/// `content` as lzop 1.04 packed it: quickly, as well as it can, with CRCs, and twice in a row.
const QUICK: &[u8] = include_bytes!("fixtures/quick.lzo");
const BEST: &[u8] = include_bytes!("fixtures/best.lzo");
const CRC: &[u8] = include_bytes!("fixtures/crc.lzo");

/// A block that packs well and one that does not pack, so that it is stored.
fn content() -> Vec<u8> {
    let mut content = Vec::new();
    for number in 0_u32.. {
        content.extend(format!("entry {} of {number}\n", number % 7).bytes());
        if content.len() > 4000 {
            break;
        }
    }
    content.resize(256 << 10, 0);
    let mut state = 1_u32;
    content.extend((0..600).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    }));
    content
}

fn unpack(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    Lzop::new(bytes)?.read_to_end(&mut unpacked)?;
    Ok(unpacked)
}

#[rstest]
#[case(QUICK)]
#[case(BEST)]
#[case(CRC)]
fn reads_what_lzop_wrote(#[case] packed: &[u8]) {
    assert!(unpack(packed).unwrap() == content());
    assert!(unpack(&[packed, BEST].concat()).unwrap() == [content(), content()].concat());
}

#[test]
fn a_cut_file_is_not_whole() {
    for cut in 0..BEST.len() {
        assert!(unpack(&BEST[..cut]).is_err(), "cut at {cut}");
    }
    let err = unpack(&[BEST, b"more"].concat()).unwrap_err();
    assert_eq!(err.to_string(), "lzop: what follows is no file of lzop");
}

proptest! {
    #[test]
    fn a_changed_byte_is_seen_or_changes_nothing(at in 0..BEST.len(), to: u8) {
        let mut changed = BEST.to_vec();
        changed[at] = to;
        if let Ok(unpacked) = unpack(&changed) {
            prop_assert!(unpacked == content());
        }
    }

    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        drop(unpack(&[&MAGIC[..], &bytes].concat()));
    }
}
