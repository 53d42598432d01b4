//! Values of arguments.

use super::output;
use crate::http;
use crate::supervise::Exit;

/// Parses a required text: a name, a time, a cursor, an address. An empty one is usually an unset
/// variable; treating it as a missing option would do something unintended.
pub(super) fn filled(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("empty value; give one, or leave the option out".to_owned());
    }
    Ok(text.to_owned())
}

/// The base of the address that `--url` names.
pub(super) fn base_url(url: &str) -> Result<&str, Exit> {
    let base = url.trim_end_matches('/');
    let checked = http::check_address(base);
    checked.map_err(|error| output::failed(Exit::Usage, format_args!("--url: {error}")))?;
    Ok(base)
}
