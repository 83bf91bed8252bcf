use std::path::PathBuf;

use proptest::prelude::*;
use rstest::rstest;
use tempfile::TempDir;

use super::*;

/// A Thursday's midnight, where every step of PVE's begins.
const START: u64 = 604_800 * 2_900;
const HOUR: u64 = 3600;

fn file() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rrd/storage/local");
    (dir, path)
}

/// Minutes of a storage, in which `used` is what `used` says.
fn append(path: &Path, start: u64, minutes: u64, used: impl Fn(u64) -> f64) {
    let archive = Archive::create(path, STORAGE).unwrap();
    for minute in 0..minutes {
        let run =
            Run { start: start + minute * MINUTE, minutes: 1, values: vec![100.0, used(minute)] };
        archive.append(&[run]).unwrap();
    }
}

fn fetch(path: &Path, frame: Timeframe, cf: Consolidation, now: u64) -> Vec<Row> {
    let archive = Archive::open(path, STORAGE).unwrap();
    Archive::fetch(archive.as_ref(), STORAGE, frame, cf, now).unwrap()
}

fn average(path: &Path, frame: Timeframe, now: u64) -> Vec<Row> {
    fetch(path, frame, Consolidation::Average, now)
}

/// Time and `used` of the rows that know it.
fn known(rows: &[Row]) -> Vec<(u64, f64)> {
    let known = rows.iter().filter(|row| !row.values[1].is_nan());
    known.map(|row| (row.time, row.values[1])).collect()
}

#[rstest]
#[case(Timeframe::Hour, 60, 60)]
#[case(Timeframe::Day, 60, 1440)]
#[case(Timeframe::Week, 1800, 336)]
#[case(Timeframe::Month, 1800, 1440)]
#[case(Timeframe::Year, 21_600, 1440)]
#[case(Timeframe::Decade, 604_800, 570)]
fn has_pves_steps(#[case] frame: Timeframe, #[case] step: u64, #[case] count: u64) {
    let (_dir, path) = file();
    let now = START + 7;
    let rows = average(&path, frame, now);

    // Nothing is known, so the last row is left out.
    assert_eq!(rows.len() as u64, count - 1);
    assert_eq!(rows[0].time, START - step * count);
    assert!(rows.windows(2).all(|pair| pair[1].time - pair[0].time == step));
}

#[test]
fn tells_minutes_by_when_they_began() {
    let (_dir, path) = file();
    append(&path, START, 3, |minute| minute as f64);

    let rows = average(&path, Timeframe::Hour, START + 180);
    assert_eq!(rows.len(), 60);
    assert_eq!(known(&rows), [(START, 0.0), (START + 60, 1.0), (START + 120, 2.0)]);
    // The next minute is not over.
    assert_eq!(known(&average(&path, Timeframe::Hour, START + 239)).len(), 3);
}

#[test]
fn makes_coarse_rows_when_their_time_is_over() {
    let (_dir, path) = file();
    append(&path, START, 24 * 60 + 10, |minute| (minute % 30) as f64);
    let now = START + 24 * HOUR + 600;

    let halves = known(&average(&path, Timeframe::Week, now));
    assert_eq!(halves.len(), 48);
    assert!(halves.iter().all(|(_, used)| (used - 14.5).abs() < 1e-9), "{halves:?}");
    assert_eq!(halves[0].0, START);
    let most = known(&fetch(&path, Timeframe::Month, Consolidation::Max, now));
    assert!(most.iter().all(|(_, used)| (used - 29.0).abs() < 1e-9), "{most:?}");
    let quarters = known(&fetch(&path, Timeframe::Year, Consolidation::Max, now));
    assert_eq!(quarters.len(), 4);
    assert!((quarters[0].1 - 29.0).abs() < 1e-9);
    assert_eq!(known(&average(&path, Timeframe::Decade, now)), []);
}

#[test]
fn a_week_is_made_of_its_quarters() {
    let (_dir, path) = file();
    let archive = Archive::create(&path, STORAGE).unwrap();
    for half in 0..(7 * 48) {
        let (start, values) = (START + half * 1800, vec![100.0, half as f64]);
        archive.append(&[Run { start, minutes: 30, values }]).unwrap();
    }
    let weeks = known(&average(&path, Timeframe::Decade, START + 7 * 24 * HOUR));
    assert_eq!(weeks, [(START, 167.5)]);
}

#[test]
fn needs_half_of_the_finer_rows() {
    let (_dir, path) = file();
    append(&path, START, 15, |_| 1.0);
    append(&path, START + 1800, 14, |_| 1.0);
    append(&path, START + 3600, 31, |_| 2.0);

    let halves = known(&average(&path, Timeframe::Week, START + 2 * HOUR));
    assert_eq!(halves, [(START, 1.0), (START + 3600, 2.0)]);
}

#[test]
fn what_was_begun_before_a_pause_is_ended_after_it() {
    let (_dir, path) = file();
    append(&path, START, 20, |_| 3.0);
    append(&path, START + 5 * HOUR, 1, |_| 4.0);

    let halves = known(&average(&path, Timeframe::Week, START + 6 * HOUR));
    assert_eq!(halves, [(START, 3.0)]);
}

#[test]
fn never_grows_beyond_its_rings() {
    let (_dir, path) = file();
    append(&path, START, 1, |_| 1.0);
    let archive = Archive::create(&path, STORAGE).unwrap();
    let full = archive.offset(3, 569 * 604_800) + archive.width(3) as u64;
    assert_eq!(archive.offset(3, 570 * 604_800), archive.offset(3, 0));
    // Three times around the finest ring.
    let values = vec![1.0, 2.0];
    archive.append(&[Run { start: START + 60, minutes: 3 * 1440, values }]).unwrap();

    assert!(fs::metadata(&path).unwrap().len() <= full);
    let now = START + 60 * (3 * 1440 + 1);
    assert_eq!(known(&average(&path, Timeframe::Day, now)).len(), 1440);
}

#[test]
fn half_a_row_is_none() {
    let (_dir, path) = file();
    append(&path, START, 2, |_| 1.0);
    let archive = Archive::create(&path, STORAGE).unwrap();
    let offset = archive.offset(0, START) + 20;
    archive.file.file().write_all_at(&[1, 2, 3], offset).unwrap();

    assert_eq!(known(&average(&path, Timeframe::Hour, START + 120)), [(START + 60, 1.0)]);
}

#[test]
fn a_file_of_something_else_begins_anew() {
    let (_dir, path) = file();
    append(&path, START, 1, |_| 1.0);
    fs::write(&path, "something else that is long enough to have a header").unwrap();
    assert_eq!(known(&average(&path, Timeframe::Hour, START + 60)), []);
    append(&path, START, 1, |_| 1.0);
    assert_eq!(known(&average(&path, Timeframe::Hour, START + 60)).len(), 1);
}

#[test]
fn a_full_disk_costs_rows_and_nothing_else() {
    let archive =
        Archive { file: fs::OpenOptions::new().write(true).open("/dev/full").unwrap(), columns: 2 };
    let run = Run { start: START, minutes: 1, values: vec![1.0, 2.0] };
    assert_eq!(archive.append(&[run]).unwrap_err().kind(), ErrorKind::StorageFull);
}

proptest! {
    #[test]
    fn reads_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let (_dir, path) = file();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        for frame in [Timeframe::Hour, Timeframe::Day] {
            let _rows = average(&path, frame, START);
        }
    }
}
