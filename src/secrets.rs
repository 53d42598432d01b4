//! Words that nobody else can guess, from the system's cryptographic generator, and signatures.

mod signature;

pub use self::signature::{SigningKey, is_signed};

use ring::rand::{SecureRandom as _, SystemRandom};

/// Random bytes of a word: 128 bits.
const BYTES: usize = 16;

/// A new word of 32 hexadecimal digits: a nonce, a secret of this process.
///
/// # Panics
/// When the system has no random numbers, which Linux never reports once it has started.
#[must_use]
pub fn word() -> String {
    let mut bytes = [0_u8; BYTES];
    SystemRandom::new().fill(&mut bytes).expect("the system's random numbers are there");
    format!("{:032x}", u128::from_be_bytes(bytes))
}

/// Compares in a time that does not tell where the first difference is.
#[must_use]
pub fn are_equal(a: &[u8], b: &[u8]) -> bool {
    let differences = a.iter().zip(b).fold(0, |found, (a, b)| found | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differences) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_words_are_equal() {
        let words: std::collections::HashSet<String> = (0..1_000).map(|_| word()).collect();
        assert_eq!(words.len(), 1_000);
        assert!(words.iter().all(|word| word.len() == 32));
    }

    #[test]
    fn secrets_are_equal_only_as_a_whole() {
        assert!(are_equal(b"abc", b"abc"));
        assert!(!are_equal(b"abc", b"abd") && !are_equal(b"ab", b"abc") && !are_equal(b"", b"a"));
    }
}
