//! How many threads pack an archive. One is the monitor's own; more are a program's.

use std::num::NonZero;
use std::path::Path;

use pve_integration::vzdump::{Compress, Options};

const FOLDERS: [&str; 4] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];
/// Debian's name for the program, and for its package.
pub(crate) const LZOP: &str = "lzop";

pub(crate) fn is_installed(program: &str) -> bool {
    FOLDERS.iter().any(|folder| Path::new(folder).join(program).is_file())
}

/// The program, and its threads, as `compressor_info` of pve-manager's `PVE/VZDump.pm` has it; `None`
/// if one thread is enough.
fn wanted(options: &Options, cpus: u64) -> Option<(&'static str, u64)> {
    let half = cpus.div_ceil(2);
    match (options.compress, options.pigz, options.zstd) {
        (Compress::Gzip, 0, _) => None,
        (Compress::Gzip, 1, _) => Some(("pigz", half)),
        (Compress::Gzip, threads, _) => Some(("pigz", threads)),
        (Compress::Zstd, _, 0) => Some(("zstd", half)),
        (Compress::Zstd, _, threads) => Some(("zstd", threads)),
        (Compress::None | Compress::Lzo, ..) => None,
    }
    .filter(|(program, threads)| *program == "pigz" || *threads > 1)
}

/// For the monitor; and what to say if there is no such program here.
pub(super) fn threads(options: &Options) -> (Option<u64>, Option<String>) {
    let cpus = std::thread::available_parallelism().map_or(1, NonZero::get) as u64;
    match wanted(options, cpus) {
        Some((program, threads)) if is_installed(program) => (Some(threads), None),
        Some((program, _)) => {
            let text = format!(
                "one thread compresses: '{program}' does not exist; install the package {program}"
            );
            (None, Some(text))
        }
        None => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Map, json};

    use super::*;

    #[rstest]
    #[case::one(json!({"compress": "zstd", "zstd": 1}), None)]
    #[case::half(json!({"compress": "zstd", "zstd": 0}), Some(("zstd", 3)))]
    #[case::four(json!({"compress": "zstd", "zstd": 4}), Some(("zstd", 4)))]
    #[case::gzip(json!({"compress": "gzip", "zstd": 4}), None)]
    #[case::pigz(json!({"compress": "gzip", "pigz": 1}), Some(("pigz", 3)))]
    #[case::more_pigz(json!({"compress": "gzip", "pigz": 2}), Some(("pigz", 2)))]
    #[case::lzo(json!({"compress": "lzo", "pigz": 2, "zstd": 4}), None)]
    fn are_as_many_as_vzdumps(
        #[case] params: serde_json::Value,
        #[case] expected: Option<(&'static str, u64)>,
    ) {
        let options = Options::new(params.as_object().unwrap(), &Map::new()).unwrap();
        assert_eq!(wanted(&options, 5), expected);
    }
}
