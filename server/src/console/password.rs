//! The password that noVNC gives to `vncterm`.

use aws_lc_rs::rand;

use super::ConsoleError;

/// Eight characters from `!` to the backtick, as PVE draws them: 64, so no bit is wasted.
pub(super) fn password() -> Result<String, ConsoleError> {
    let mut random = [0; 8];
    rand::fill(&mut random).map_err(|_| ConsoleError::Random)?;
    Ok(random.iter().map(|byte| char::from(b'!' + (byte & 63))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_eight_printable_characters_and_never_the_same() {
        let drawn = password().unwrap();

        assert!(drawn.len() == 8 && drawn.bytes().all(|byte| (b'!'..=b'`').contains(&byte)));
        assert_ne!(drawn, password().unwrap());
    }
}
