//! Topic names, and the bus tag that is derived from one.

use xxhash_rust::xxh3::xxh3_64;

use super::error::PulsarError;
use crate::model::position::BusTag;

/// The full name of a topic: `persistent://tenant/namespace/name`.
pub(super) fn whole_name(topic: &str) -> Result<String, PulsarError> {
    let refuse = |why| PulsarError::Topic { topic: topic.to_owned(), why };
    let name = match topic.split_once("://") {
        Some(("persistent", name)) => name,
        Some(("non-persistent", _)) => {
            return Err(refuse(
                "a topic that is not persistent loses messages that are not read at once",
            ));
        }
        Some(_) => return Err(refuse("it begins with an unknown scheme")),
        None => topic,
    };
    if name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(refuse("it contains white space"));
    }
    let words: Vec<&str> = name.split('/').collect();
    match words.as_slice() {
        words if words.iter().any(|word| word.is_empty()) => Err(refuse("a part of it is empty")),
        [name] if !topic.contains("://") => Ok(format!("persistent://public/default/{name}")),
        [_, _, _] => Ok(format!("persistent://{name}")),
        _ => Err(refuse("it has neither one part nor three")),
    }
}

/// The tag of a topic: the same on each node, whatever address it uses.
///
/// # Errors
/// When the name is invalid.
pub fn tag_of(topic: &str) -> Result<BusTag, PulsarError> {
    let hash = xxh3_64(whole_name(topic)?.as_bytes()).to_be_bytes();
    Ok(BusTag(u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_name_means_the_default_namespace() {
        let whole = "persistent://public/default/events";
        for name in ["events", "public/default/events", whole] {
            assert_eq!(whole_name(name).unwrap(), whole);
            assert_eq!(tag_of(name).unwrap(), BusTag(0x4204_1e72));
        }
        assert_ne!(tag_of("a/b/events").unwrap(), tag_of("events").unwrap());
    }

    #[test]
    fn invalid_name_is_refused_with_the_reason() {
        for (name, word) in [
            ("non-persistent://public/default/x", "not persistent"),
            ("kafka://x", "unknown scheme"),
            ("", "empty"),
            ("a//b", "empty"),
            ("a/b", "neither one part nor three"),
            ("persistent://x", "neither"),
            ("two words", "white space"),
        ] {
            let error = whole_name(name).unwrap_err();
            assert!(error.to_string().contains(word), "{name}: {error}");
            assert!(!error.is_transient());
        }
    }
}
