//! RSA signatures with SHA-256 (RFC 8017 §8.2): the `RS256` of JSON Web Tokens.

use std::fmt;

use ring::rand::SystemRandom;
use ring::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;

/// A private RSA key of at least 2,048 bits. Never printed.
pub struct SigningKey(RsaKeyPair);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

impl SigningKey {
    /// Parses a PEM file, PKCS #1 (`BEGIN RSA PRIVATE KEY`) or PKCS #8 (`BEGIN PRIVATE KEY`).
    ///
    /// # Errors
    /// What is wrong with the content, which is not quoted.
    pub fn parse(pem: &[u8]) -> Result<Self, String> {
        let key = PrivateKeyDer::from_pem_slice(pem)
            .map_err(|_| "contains no private key in PEM form".to_owned())?;
        let pair = match &key {
            PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
            PrivateKeyDer::Pkcs8(key) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()),
            _ => return Err("contains a key that is not an RSA key".to_owned()),
        };
        let refused = |why| format!("contains no usable RSA key of 2,048 bits or more ({why})");
        pair.map(Self).map_err(refused)
    }

    /// The signature of a message.
    ///
    /// # Panics
    /// When the system has no random numbers, which Linux never reports once it has started.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.0.public().modulus_len()];
        self.0
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .expect("the buffer has the key's length, and the system's random numbers are there");
        signature
    }

    /// The public key, for [`is_signed`].
    #[must_use]
    pub fn public(&self) -> Vec<u8> {
        self.0.public_key().as_ref().to_vec()
    }
}

/// Whether a signature of a message was made with the private key of this public one.
#[must_use]
pub fn is_signed(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public);
    key.verify(message, signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = include_bytes!("test-key.pem");

    #[test]
    fn signature_holds_for_its_key_and_message_only() {
        let key = SigningKey::parse(KEY).unwrap();
        let signature = key.sign(b"message");
        assert!(is_signed(&key.public(), b"message", &signature));
        assert!(!is_signed(&key.public(), b"massage", &signature));
        assert!(!is_signed(b"no key", b"message", &signature));
        let other = SigningKey::parse(include_bytes!("other-key.pem")).unwrap();
        assert!(!is_signed(&other.public(), b"message", &signature));
        assert_eq!(format!("{key:?}"), "SigningKey");
    }

    #[test]
    fn unusable_keys_are_refused_without_a_quotation() {
        let elliptic = include_bytes!("../serve/tests/tls/key.pem");
        for (pem, words) in [
            (&b"telltale"[..], "no private key in PEM form"),
            (b"", "no private key in PEM form"),
            (elliptic, "no usable RSA key"),
        ] {
            let why = SigningKey::parse(pem).unwrap_err();
            assert!(why.contains(words) && !why.contains("telltale"), "{why}");
        }
    }
}
