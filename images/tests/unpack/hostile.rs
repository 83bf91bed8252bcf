//! Archives that try to get out, to confuse or to crash. `Target::unpack` itself checks that
//! nothing beside the root changed.

use proptest::prelude::*;
use rstest::rstest;
use tar::EntryType;

use crate::build::{Tar, Target, chain, gzip, header, xz, zst};

#[rstest]
#[case::up(Tar::default().file("../escaped", "x"))]
#[case::up_inside(Tar::default().file("a/../../escaped", "x"))]
#[case::folder_up(Tar::default().folder("../d/"))]
#[case::link_up(Tar::default().symlink("../l", "x"))]
#[case::hard_link_to_outside(Tar::default().hard_link("l", "../outside"))]
#[case::hard_link_through_a_link(Tar::default().symlink("s", "..").hard_link("l", "s/outside"))]
#[case::hard_link_to_an_absolute_path(Tar::default().hard_link("l", "/etc/hostname"))]
#[case::file_over_the_root(Tar::default().file("./", "x").entry(EntryType::Symlink, ".", "/"))]
#[case::link_over_the_root(Tar::default().symlink("./", "/etc"))]
#[case::file_over_a_full_folder(Tar::default().file("d/f", "x").file("d", "x"))]
#[case::parent_is_a_file(Tar::default().file("f", "x").file("f/g", "x"))]
#[case::parent_leads_nowhere(Tar::default().symlink("d", "nowhere").file("d/f", "x"))]
#[case::parent_leads_to_itself(Tar::default().symlink("d", "d").file("d/f", "x"))]
#[case::empty_link(Tar::default().symlink("l", ""))]
#[case::unknown_kind(Tar::default().entry(EntryType::new(b'Q'), "q", ""))]
#[case::nul_in_a_path(Tar::default().pax(&[("path", b"a\0b")]).file("x", ""))]
#[case::sparse_map_of_nonsense(Tar::default().entry(EntryType::GNUSparse, "s", "").file("f", ""))]
fn refuses(#[case] tar: Tar) {
    // The sparse case needs a map that lies; an empty one is a valid empty file.
    let mut bytes = tar.end();
    if bytes[156] == b'S' {
        bytes[386..398].copy_from_slice(b"77777777777\0");
        bytes[398..410].copy_from_slice(b"77777777777\0");
        let sum: u32 = (0..512)
            .map(|at| if (148..156).contains(&at) { 32 } else { u32::from(bytes[at]) })
            .sum();
        bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    let err = Target::new().unpack(&bytes).unwrap_err();
    let text = chain(&err);
    assert!(text.contains('\''), "names no entry: {text}");
    assert!(!text.contains('\n'));
}

#[test]
fn an_image_in_layers_is_no_root_filesystem() {
    let layout =
        Tar::default().folder("blobs/").file("index.json", "{}").file("./oci-layout", "{}");
    let err = Target::new().unpack(&layout.end()).unwrap_err();
    assert!(matches!(err, images::UnpackError::Layers), "{err}");
}

#[rstest]
#[case::absolute("/", "target/outside")]
#[case::relative("..", "outside")]
#[case::deep("../../../../../../../..", "outside")]
fn writes_through_a_link_stay_inside(#[case] to: &str, #[case] file: &str) {
    let target = Target::new();
    target
        .unpack(&Tar::default().symlink("l", to).file(&format!("l/{file}"), "pwned").end())
        .unwrap();
    assert_eq!(target.read(file), "pwned");
}

#[test]
fn a_link_is_replaced_and_not_written_through() {
    let target = Target::new();
    target.unpack(&Tar::default().symlink("l", "../outside").file("l", "new").end()).unwrap();
    assert_eq!(target.read("l"), "new");
    assert!(!fs_err::symlink_metadata(target.path("l")).unwrap().is_symlink());
}

#[test]
fn a_remembered_folder_that_became_a_link_is_not_used() {
    let target = Target::new();
    let archive = Tar::default()
        .folder("d/")
        .file("d/f", "1")
        .file("d/f", "2")
        .folder("e/")
        .symlink("e", "d")
        .file("e/g", "3")
        .end();
    target.unpack(&archive).unwrap();
    assert_eq!(target.read("d/g"), "3");
}

#[rstest]
#[case::empty(b"".to_vec(), "not an archive")]
#[case::text(b"hello, world".repeat(100), "not an archive")]
#[case::gzip_of_text(gzip(&b"hello, world".repeat(100)), "not an archive")]
#[case::bzip2(b"BZh91AY&SY".to_vec(), "bzip2")]
#[case::zip(b"PK\x03\x04".to_vec(), "zip")]
#[case::no_entries(vec![0; 10240], "holds no entries")]
#[case::no_entries_gz(gzip(&vec![0; 10240]), "holds no entries")]
#[case::second_header_broken([Tar::default().file("a", "x").0, vec![7; 1024]].concat(), "damaged, after entry 'a'")]
fn says_what_it_is_not(#[case] archive: Vec<u8>, #[case] want: &str) {
    let err = Target::new().unpack(&archive).unwrap_err();
    assert!(chain(&err).contains(want), "{err}");
}

#[rstest]
fn names_where_a_short_archive_ends(
    #[values("", "gz", "xz", "zst")] compression: &str,
    #[values(0, 1, 2)] cut: usize,
) {
    let noise: String =
        (0..40_000_u32).map(|n| format!("{:x}", n.wrapping_mul(2_654_435_761))).collect();
    let tar = Tar::default().file("first", "x").file("second", &noise).end();
    let archive = match compression {
        "gz" => gzip(&tar),
        "xz" => xz(&tar),
        "zst" => zst(&tar),
        _ => tar[..tar.len() - 1024].to_vec(), // no end marker
    };
    let keep = [archive.len() / 2, archive.len() - 1, archive.len() - 600][cut];
    let err = Target::new().unpack(&archive[..keep]).unwrap_err();
    let text = chain(&err);
    assert!(text.contains("ends too early"), "{text}");
    assert!(text.contains("second"), "{text}");
}

#[test]
fn a_flipped_bit_in_the_data_is_found_by_the_stream_s_checksum() {
    let noise: Vec<u8> =
        (0..4096_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    let tar = Tar::default().data(&header(EntryType::Regular, "f", "", 4096), &noise).end();
    for mut archive in [gzip(&tar), xz(&tar), zst(&tar)] {
        let middle = archive.len() / 2;
        archive[middle] ^= 1;
        Target::new().unpack(&archive).unwrap_err();
    }
}

#[test]
fn the_owner_of_every_entry_must_be_mapped_or_named() {
    // Outside a user namespace every owner is mapped but the one that means "leave it".
    let mut file = header(EntryType::Regular, "f", "", 0);
    file.set_uid(1 << 40);
    file.set_cksum();
    let err = Target::new().unpack(&Tar::default().data(&file, b"").end()).unwrap_err();
    assert_eq!(err.to_string(), "the archive is damaged, in entry 'f': its owner is not a number");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Valid headers with one block overwritten get past the first check; any outcome is fine but a
    /// panic or a file outside.
    #[test]
    fn survives_nonsense(at in 0_usize..3000, bytes in proptest::collection::vec(any::<u8>(), 1..600), fix: bool) {
        let mut tar = Tar::default()
            .folder("a/")
            .pax(&[("mtime", b"1.5"), ("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"10")])
            .file("a/b", "1\n0\n3\nabc")
            .symlink("a/c", "b")
            .end();
        let at = at.min(tar.len() - bytes.len());
        tar[at..at + bytes.len()].copy_from_slice(&bytes);
        if fix {
            let start = at / 512 * 512;
            let sum: u32 = (start..start + 512)
                .map(|i| if (148..156).contains(&(i - start)) { 32 } else { u32::from(tar[i]) })
                .sum();
            tar[start + 148..start + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        match Target::new().unpack(&tar) {
            Ok(summary) => prop_assert!(summary.entries > 0),
            Err(err) => prop_assert!(!chain(&err).is_empty()),
        }
    }
}
