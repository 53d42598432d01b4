//! Computes node ids of pull requests from the ids that events contain.
//!
//! GitHub documents them as opaque. They are `PR_` followed by the base64url encoding, without
//! padding, of the `MessagePack` array `[0, base repository, pull request]`. Before using them,
//! callers verify that GitHub's own node ids are equal. Implemented here because one kind of array
//! of integers does not justify a `MessagePack` dependency.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The header of an array of three elements.
const LIST_OF_THREE: u8 = 0x93;

/// The node id of a pull request, from GitHub's ids of its base repository and of the pull
/// request.
#[must_use]
pub fn of_pull(base_repo_id: u64, pull_id: u64) -> String {
    let mut packed = vec![LIST_OF_THREE];
    for number in [0, base_repo_id, pull_id] {
        pack(&mut packed, number);
    }
    format!("PR_{}", URL_SAFE_NO_PAD.encode(packed))
}

/// Appends an integer in its shortest encoding.
fn pack(out: &mut Vec<u8>, number: u64) {
    if let Ok(number) = u8::try_from(number) {
        if number >= 0x80 {
            out.push(0xcc);
        }
        out.push(number);
    } else if let Ok(number) = u16::try_from(number) {
        out.push(0xcd);
        out.extend_from_slice(&number.to_be_bytes());
    } else if let Ok(number) = u32::try_from(number) {
        out.push(0xce);
        out.extend_from_slice(&number.to_be_bytes());
    } else {
        out.push(0xcf);
        out.extend_from_slice(&number.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Base repository, pull request and node id, from GitHub responses that contain all three;
    /// the first is the example of its documentation.
    const KNOWN: [(u64, u64, &str); 5] = [
        (1, 10, "PR_kwABCg"),
        (63_260_554, 1_012_225_049, "PR_kwDOA8VHis48VVQZ"),
        (63_260_554, 1_023_297_178, "PR_kwDOA8VHis48_kaa"),
        (851_268_184, 2_175_477_439, "PR_kwDOMr1SWM6Bqya_"),
        (1_138_065_373, 4_192_087_193, "PR_kwDOQ9V_3c753iyZ"),
    ];
    /// The same from responses that contain the repository (`rails/rails`, `cli/cli`) and the node
    /// id: two bytes for the one id, eight for the other's pull request.
    const KNOWN_IN_PART: [(u64, u64, &str); 2] = [
        (8_514, 988_273_751, "PR_kwDNIULOOufcVw"),
        (212_613_049, 4_334_082_864, "PR_kwDODKw3uc8AAAABAlTbMA"),
    ];

    #[test]
    fn they_are_githubs_own() {
        for (repo, pull, id) in KNOWN.into_iter().chain(KNOWN_IN_PART) {
            assert_eq!(of_pull(repo, pull), id, "{pull} of {repo}");
        }
        // Other objects of a repository have the same form: a label whose id is above 2^32.
        let label = of_pull(120_519_269, 4_439_792_681).replace("PR_", "LA_");
        assert_eq!(label, "LA_kwDOBy76Zc8AAAABCKHcKQ");
    }

    #[test]
    fn every_width_of_number_is_the_shortest() {
        let bytes = |id: u64| {
            let text = of_pull(5, id);
            URL_SAFE_NO_PAD.decode(text.strip_prefix("PR_").unwrap()).unwrap()[3..].to_vec()
        };
        assert_eq!(bytes(0x7f), [0x7f]);
        assert_eq!(bytes(0x80), [0xcc, 0x80]);
        assert_eq!(bytes(0x100), [0xcd, 1, 0]);
        assert_eq!(bytes(0x1_0000), [0xce, 0, 1, 0, 0]);
        assert_eq!(bytes(u64::from(u32::MAX)), [0xce, 0xff, 0xff, 0xff, 0xff]);
        // Ids of pull requests exceeded 2^32 in August 2026.
        assert_eq!(bytes(0x1_0000_0000), [0xcf, 0, 0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(bytes(u64::MAX), [0xcf, 255, 255, 255, 255, 255, 255, 255, 255]);
    }
}
