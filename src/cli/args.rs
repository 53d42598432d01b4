//! Values of arguments.

/// Parses a required text: a name, a time, a cursor, an address. An empty one is usually an unset
/// variable; treating it as a missing option would do something unintended.
pub(super) fn filled(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("empty value; give one, or leave the option out".to_owned());
    }
    Ok(text.to_owned())
}
