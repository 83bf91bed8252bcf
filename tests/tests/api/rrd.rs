//! Figures over time, of a daemon that has just begun to take them.

use tests::Reply;

use crate::with_guest;

/// The times of the rows, each a number; what else a row has is a number too.
fn times(reply: &Reply) -> Vec<u64> {
    let rows = reply.data();
    let rows = rows.as_array().unwrap();
    for row in rows {
        assert!(row.as_object().unwrap().values().all(serde_json::Value::is_number), "{row}");
    }
    rows.iter().map(|row| row["time"].as_u64().unwrap()).collect()
}

#[test]
fn has_a_row_for_each_step() {
    let daemon = with_guest().start();
    for path in ["lxc/100", "storage/local", ""] {
        let path = format!("/nodes/pve1/{path}/rrddata").replace("//", "/");
        for (frame, step, count) in [
            ("hour", 60, 60),
            ("day", 60, 1440),
            ("week", 1800, 336),
            ("month", 1800, 1440),
            ("year", 21_600, 1440),
        ] {
            let reply = daemon.request("GET", &path, &[("timeframe", frame), ("cf", "MAX")]);
            let times = times(&reply);
            // The last step may have nothing yet, and is left out then.
            assert!(
                times.len() == count || times.len() == count - 1,
                "{path} {frame}: {}",
                times.len()
            );
            assert!(times.windows(2).all(|pair| pair[1] - pair[0] == step));
            assert_eq!(times[0] % step, 0);
        }
    }
    let decade = daemon.get("/nodes/pve1/rrddata?timeframe=decade");
    assert_eq!(times(&decade).len(), 569);
}

#[test]
fn refuses_what_there_is_nothing_of() {
    let daemon = with_guest().start();
    let get = |path: &str| daemon.get(&format!("/nodes/pve1/{path}")).line();
    assert_eq!(
        get("lxc/999/rrddata?timeframe=hour"),
        "500 RRD error: opening '/var/lib/rrdcached/db/pve-vm-9.0/999': No such file or directory"
    );
    assert_eq!(
        get("storage/none/rrddata?timeframe=hour"),
        "500 RRD error: opening '/var/lib/rrdcached/db/pve-storage-9.0/pve1/none': No such file or directory"
    );
    // A container has no decade.
    assert_eq!(get("lxc/100/rrddata?timeframe=decade"), "400 Parameter verification failed.");
    assert_eq!(
        get("rrd?timeframe=hour&ds=cpu"),
        "501 Method 'GET /nodes/pve1/rrd' not implemented"
    );
}
