//! Whether a text is public keys as `authorized_keys` has them. PVE asks `ssh-keygen -l` of each line.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// PVE's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("SSH public key validation error")]
pub struct InvalidSshKeys;

const KINDS: &[&str] = &[
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "sk-ssh-ed25519@openssh.com",
    "ssh-ed25519",
    "ssh-rsa",
];
const CERTIFICATE: &str = "-cert-v01@openssh.com";

/// Each line that is not blank is a key, with or without options before it.
pub fn validate_ssh_keys(text: &str) -> Result<(), InvalidSshKeys> {
    let lines = text.split('\n').filter(|line| !line.trim().is_empty());
    for line in lines {
        let line = line.trim_start();
        if !is_key(line) && !is_key(without_options(line)) {
            return Err(InvalidSshKeys);
        }
    }
    Ok(())
}

/// `kind blob [comment]`, where the blob begins with the kind.
fn is_key(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let (Some(kind), Some(blob)) = (words.next(), words.next()) else { return false };
    let plain = kind.strip_suffix(CERTIFICATE).or_else(|| {
        // `sk-ssh-ed25519-cert-v01@openssh.com` has its domain once.
        kind.split_once(CERTIFICATE).map(|(plain, _)| plain)
    });
    let known = |kind: &str| {
        KINDS.iter().any(|known| *known == kind || known.strip_suffix("@openssh.com") == Some(kind))
    };
    if !KINDS.contains(&kind) && !plain.is_some_and(known) {
        return false;
    }
    let Ok(blob) = STANDARD.decode(blob) else { return false };
    let Some((length, rest)) = blob.split_first_chunk() else { return false };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    rest.len() > length && rest[..length] == *kind.as_bytes()
}

/// What follows the first blank that is in no quotes.
fn without_options(line: &str) -> &str {
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match c {
            '"' if !escaped => quoted = !quoted,
            ' ' | '\t' if !quoted => return line[at..].trim_start(),
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    ""
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const ED25519: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHz6NFjVUZSaqwMUsTsGSgeHW0NdSmGjWbNQcwpBEZgR me@box";

    #[rstest]
    #[case::one(ED25519.to_owned())]
    #[case::none(" \n\n".to_owned())]
    #[case::two(format!("{ED25519}\n\n  {ED25519}\r\n"))]
    #[case::options(format!("command=\"echo \\\"a b\\\"\",no-pty {ED25519}"))]
    fn takes_keys(#[case] text: String) {
        assert_eq!(validate_ssh_keys(&text), Ok(()));
    }

    #[rstest]
    #[case::words("no key".to_owned())]
    #[case::kind(ED25519.replacen("ssh-ed25519", "ssh-rsa", 1))]
    #[case::cut(ED25519[..20].to_owned())]
    #[case::no_base64("ssh-ed25519 !!!!".to_owned())]
    #[case::second(format!("{ED25519}\nfoo"))]
    fn refuses(#[case] text: String) {
        assert_eq!(validate_ssh_keys(&text), Err(InvalidSshKeys));
    }

    proptest! {
        #[test]
        fn never_panics(text: String) {
            validate_ssh_keys(&text).ok();
            validate_ssh_keys(&format!("ssh-rsa {text}")).ok();
        }
    }
}
