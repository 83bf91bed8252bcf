//! Checksums that a client says a file must have.

use std::io::{self, Read};

use md5::Md5;
use sha1::Sha1;
use sha2::digest::Digest;
use sha2::{Sha224, Sha256, Sha384, Sha512};

/// What a file must hash to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checksum {
    pub(crate) algorithm: String,
    /// Hex, in any case.
    pub(crate) expected: String,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ChecksumError {
    #[error("checksum mismatch: got '{got}' != expect '{expected}'")]
    Mismatch { got: String, expected: String },
    #[error("unknown checksum algorithm '{0}'")]
    Algorithm(String),
    #[error("unable to read the file: {0}")]
    Read(#[from] io::Error),
}

impl Checksum {
    /// PVE's parameters ask for each other, so both are there or none.
    pub(crate) fn of(algorithm: Option<String>, expected: Option<String>) -> Option<Self> {
        Some(Self { algorithm: algorithm?, expected: expected? })
    }

    /// Reads all of `file`.
    pub(crate) fn verify(&self, file: impl Read) -> Result<(), ChecksumError> {
        let got = match self.algorithm.as_str() {
            "md5" => hash::<Md5>(file),
            "sha1" => hash::<Sha1>(file),
            "sha224" => hash::<Sha224>(file),
            "sha256" => hash::<Sha256>(file),
            "sha384" => hash::<Sha384>(file),
            "sha512" => hash::<Sha512>(file),
            other => return Err(ChecksumError::Algorithm(other.to_owned())),
        }?;
        if got.eq_ignore_ascii_case(&self.expected) {
            return Ok(());
        }
        Err(ChecksumError::Mismatch { got, expected: self.expected.clone() })
    }
}

fn hash<D: Digest>(mut file: impl Read) -> io::Result<String> {
    let mut digest = D::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hex::encode(digest.finalize())),
            Ok(count) => digest.update(&buffer[..count]),
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// Of `abc`, from the algorithms' own documents.
    #[rstest]
    #[case("md5", "900150983cd24fb0d6963f7d28e17f72")]
    #[case("sha1", "A9993E364706816ABA3E25717850C26C9CD0D89D")]
    #[case("sha224", "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7")]
    #[case("sha256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")]
    fn knows(#[case] algorithm: &str, #[case] expected: &str) {
        let checksum = Checksum::of(Some(algorithm.to_owned()), Some(expected.to_owned())).unwrap();

        assert!(checksum.verify(&b"abc"[..]).is_ok());
        let err = checksum.verify(&b"abd"[..]).unwrap_err().to_string();
        assert!(err.starts_with("checksum mismatch: got '"), "{err}");
    }
}
