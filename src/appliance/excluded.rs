//! The file of names that are left out (`privacy.excludeFile`), beside those of the configuration.
//!
//! Its last good text is kept in the store. It stays in force while the file is missing or has an
//! invalid line, also over a restart: a mistake in the file must not bring back people who asked
//! to be left out.

use crate::config::{HashEmails, PrivacyConfig};
use crate::model::privacy::parse_excluded;
use crate::reload;
use crate::store::keys::MetaKey;
use crate::store::{Store, StoreError};

/// The key of the last good text in the store.
const LAST_GOOD: &str = "privacy.exclude_file";

/// Leaves out the names of the configuration and of the file. Returns the text of the file that is
/// in force, or its last good text. Blocks.
///
/// # Errors
/// When the store cannot be read.
pub fn leave_out(store: &Store, privacy: &PrivacyConfig) -> Result<Vec<u8>, StoreError> {
    let path = &privacy.exclude_file;
    let read = reload::read(path).and_then(|text| Ok((parse_excluded(&text)?, text)));
    let (excluded, text) = match read {
        Ok(good) => good,
        Err(why) => {
            let kept = last_good(store)?;
            if path.exists() || !kept.is_empty() {
                let file = path.display();
                tracing::error!(%file, why, "the names that it had last stay left out");
            }
            // It was good when it was kept.
            (parse_excluded(&kept).unwrap_or_default(), kept)
        }
    };
    set(store, privacy, excluded);
    Ok(text)
}

/// Logs whom the file leaves out, whose text `in_force` is in force.
pub(super) fn report(privacy: &PrivacyConfig, in_force: &[u8]) {
    let file = privacy.exclude_file.display();
    // It was good when it was read or kept.
    let names = parse_excluded(in_force).unwrap_or_default().len();
    if names > 0 || privacy.exclude_file.exists() {
        tracing::info!(%file, names, "names of privacy.excludeFile are left out");
    } else {
        tracing::info!(%file, "privacy.excludeFile does not exist, so it leaves nobody out");
    }
}

/// The text that was last good; empty if there was none.
pub(super) fn last_good(store: &Store) -> Result<Vec<u8>, StoreError> {
    Ok(store.reader().get(&MetaKey(LAST_GOOD.to_owned()))?.unwrap_or_default())
}

/// Leaves out what a text names.
pub(super) fn renew(store: &Store, privacy: &PrivacyConfig, text: &[u8]) -> Result<(), String> {
    let names = parse_excluded(text)?;
    tracing::info!(names = names.len(), "names of privacy.excludeFile are left out");
    set(store, privacy, names);
    Ok(())
}

/// Keeps a good text for the next start. Called on a blocking thread.
pub(super) fn keep(store: &Store, text: &[u8]) -> Result<(), StoreError> {
    store.keep(MetaKey(LAST_GOOD.to_owned()), Some(text.to_vec()))
}

fn set(store: &Store, privacy: &PrivacyConfig, named: Vec<String>) {
    let everywhere = privacy.hash_emails == HashEmails::Everywhere;
    let all: Vec<String> = privacy.exclude.iter().cloned().chain(named).collect();
    store.privacy().set(&all, everywhere);
}
