//! Node ids in GitHub's format: a prefix followed by the numbers, in `MessagePack` and base64url.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The node id of an object with this prefix; `numbers` are its repository's id, if it has one,
/// and its own.
pub(super) fn node_id(prefix: &str, numbers: &[u64]) -> String {
    let len = u8::try_from(numbers.len() + 1).expect("two or three numbers");
    let mut bytes = vec![0x90 | len, 0];
    for &number in numbers {
        pack(&mut bytes, number);
    }
    format!("{prefix}_{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// Appends an integer in its shortest `MessagePack` encoding.
fn pack(bytes: &mut Vec<u8>, number: u64) {
    let wide = number.to_be_bytes();
    let (tag, len) = match number {
        0..0x80 => (None, 1),
        0x80..0x100 => (Some(0xcc), 1),
        0x100..0x1_0000 => (Some(0xcd), 2),
        0x1_0000..0x1_0000_0000 => (Some(0xce), 4),
        _ => (Some(0xcf), 8),
    };
    bytes.extend(tag);
    bytes.extend(&wide[8 - len..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_ids_are_as_github_makes_them() {
        // From GitHub's documentation and its responses.
        let known: [(&str, &[u64], &str); 7] = [
            ("R", &[1], "R_kgAB"),
            ("U", &[161], "U_kgDMoQ"),
            ("R", &[1_233_409_373], "R_kgDOSYRVXQ"),
            ("RE", &[1_132_028_291, 283_262_188], "RE_kwDOQ3lhg84Q4jzs"),
            ("LA", &[120_519_269, 4_439_792_681], "LA_kwDOBy76Zc8AAAABCKHcKQ"),
            ("PR", &[1, 10], "PR_kwABCg"),
            ("PR", &[851_268_184, 2_175_477_439], "PR_kwDOMr1SWM6Bqya_"),
        ];
        for (prefix, numbers, id) in known {
            assert_eq!(node_id(prefix, numbers), id);
        }
        // Every encoded width.
        let bytes = |number| {
            let id = node_id("R", &[number]);
            URL_SAFE_NO_PAD.decode(&id[2..]).unwrap()
        };
        assert_eq!(bytes(5), [0x92, 0, 5]);
        assert_eq!(bytes(200), [0x92, 0, 0xcc, 200]);
        assert_eq!(bytes(0x1234), [0x92, 0, 0xcd, 0x12, 0x34]);
        assert_eq!(bytes(0x1_0000_0000), [0x92, 0, 0xcf, 0, 0, 0, 1, 0, 0, 0, 0]);
    }
}
