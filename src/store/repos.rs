//! Remembers the languages of repositories, and when each was learned.
//!
//! Sources are GitHub's responses, events of the old format, forks, and TiDB. A row is written only
//! when it is new, changed, or a day old, so that a busy repository costs one write a day.

use std::time::Duration;

use super::batch::Batch;
use super::error::StoreError;
use super::keys::{Key as _, NAME_BYTES, RepoKey};
use super::open::Store;
use super::reader::Reader;
use crate::clock::witness::TOLERANCE;
use crate::model::window::Timestamp;

/// How long a language counts as current. Afterwards it is queried again with the next query.
pub const FRESH_FOR: Duration = Duration::from_secs(24 * 3_600);
/// A repository that was not mentioned for this long is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(180 * 24 * 3_600);
/// The age of a language of another source whose own time is not known, or would be forgotten at
/// once: outdated, and kept for as long again.
const ASSUMED_AGE: Duration = Duration::from_secs(90 * 24 * 3_600);
/// Rows that one sweep checks.
const SWEPT: usize = 5_000;
const VERSION: u8 = 1;

/// What is known of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoRow {
    /// When the language was last learned.
    pub as_of: Timestamp,
    /// The language; `None` when the repository has none.
    pub language: Option<String>,
}

impl RepoRow {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.as_of.micros().to_be_bytes());
        out.extend_from_slice(self.language.as_deref().unwrap_or_default().as_bytes());
        out
    }

    /// Reads its bytes.
    pub fn decode(key: &RepoKey, value: &[u8]) -> Result<Self, StoreError> {
        let read = || {
            let (as_of, language) = value.strip_prefix(&[VERSION])?.split_first_chunk::<8>()?;
            let language = std::str::from_utf8(language).ok()?;
            let as_of = Timestamp::from_micros(i64::from_be_bytes(*as_of));
            let language = (!language.is_empty()).then(|| language.to_owned());
            Some(Self { as_of, language })
        };
        read().ok_or_else(|| StoreError::corrupt("repos", &key.to_bytes()))
    }

    /// Whether it need not be queried again.
    #[must_use]
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        !self.is_ahead(now) && now.since(self.as_of) < FRESH_FOR
    }

    /// Whether it was learned in the future: the clock was wrong then, and the time is not known.
    fn is_ahead(&self, now: Timestamp) -> bool {
        self.as_of > now.plus(TOLERANCE)
    }
}

/// Remembers a repository's language, where `None` means that it has none. Names that are too long
/// are ignored.
pub fn remember(
    batch: &mut Batch<'_>,
    key: RepoKey,
    language: Option<&str>,
    now: Timestamp,
) -> Result<(), StoreError> {
    if language.is_some_and(|name| name.is_empty() || name.len() > NAME_BYTES) {
        return Ok(());
    }
    let known = batch.get_as(&key, RepoRow::decode)?;
    if known.is_some_and(|row| row.language.as_deref() == language && row.is_fresh(now)) {
        return Ok(());
    }
    let row = RepoRow { as_of: now, language: language.map(str::to_owned) };
    batch.put(&key, &row.encode());
    Ok(())
}

/// Remembers a language from another source, which knew it at `as_of`. Without that time, and from
/// a time so long ago that rows of it are forgotten, the language is used only when none is known,
/// and counts as outdated. A language that was learned later stays. Returns whether the row has
/// changed.
pub fn remember_foreign(
    batch: &mut Batch<'_>,
    key: RepoKey,
    language: &str,
    as_of: Option<Timestamp>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    if language.is_empty() || language.len() > NAME_BYTES {
        return Ok(false);
    }
    let known = batch.get_as(&key, RepoRow::decode)?;
    let as_of = match (as_of.filter(|as_of| now.since(*as_of) <= FORGOTTEN_AFTER), &known) {
        (None, Some(_)) => return Ok(false),
        (None, None) => now.minus(ASSUMED_AGE),
        (Some(as_of), _) => as_of.min(now),
    };
    let is_ahead = known.as_ref().map_or(Ok(false), |row| batch.is_ahead(row.as_of))?;
    let is_news = known.is_none_or(|row| {
        let same = row.language.as_deref() == Some(language);
        (as_of > row.as_of || is_ahead) && !(same && row.is_fresh(now))
    });
    if is_news {
        batch.put(&key, &RepoRow { as_of, language: Some(language.to_owned()) }.encode());
    }
    Ok(is_news)
}

/// Removes rows older than [`FORGOTTEN_AFTER`] among the next [`SWEPT`] rows from `from` on, and
/// dates those of the future now. Returns where the next sweep begins, which is the start again
/// after the last row. `now` must come from a trusted clock.
pub(super) async fn sweep(
    store: &Store,
    from: RepoKey,
    now: Timestamp,
) -> Result<RepoKey, StoreError> {
    let find = move |reader: Reader<'_>| {
        let (mut found, mut seen, mut last) = (Vec::new(), 0, None);
        reader.scan(&from, |key: RepoKey, value| {
            let row = RepoRow::decode(&key, value)?;
            if row.is_ahead(now) || now.since(row.as_of) > FORGOTTEN_AFTER {
                found.push(key);
            }
            (seen, last) = (seen + 1, Some(key));
            Ok(seen < SWEPT)
        })?;
        let next = last.filter(|_| seen == SWEPT).map_or(0, |key| key.0.saturating_add(1));
        Ok((found, RepoKey(next)))
    };
    let (found, next) = store.read(find).await?;
    if !found.is_empty() {
        let mend = move |batch: &mut Batch<'_>| {
            for key in found {
                // It may have been learned meanwhile.
                let Some(row) = batch.get_as(&key, RepoRow::decode)? else { continue };
                if row.is_ahead(now) {
                    batch.put(&key, &RepoRow { as_of: now, ..row }.encode());
                } else if now.since(row.as_of) > FORGOTTEN_AFTER {
                    batch.delete(&key);
                }
            }
            Ok(())
        };
        store.commit(mend).await?;
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::last_pass::last_pass_key;
    use crate::store::new_store;

    #[tokio::test]
    async fn old_languages_are_forgotten_part_by_part() {
        let (_dir, store) = new_store();
        let now = Timestamp::from_seconds(1_790_000_000);
        let count = SWEPT as u64 + 10;
        let put = move |batch: &mut Batch<'_>| {
            for id in 1..=count {
                let as_of = if id % 2 == 0 { now } else { now.minus(2 * FORGOTTEN_AFTER) };
                remember(batch, RepoKey(id), Some("C"), as_of)?;
            }
            Ok(())
        };
        store.commit(put).await.unwrap();
        let rows = || {
            let mut found = Vec::new();
            let take = |key: RepoKey, _: &[u8]| {
                found.push(key.0);
                Ok(true)
            };
            store.reader().scan(&RepoKey(0), take).unwrap();
            found
        };
        let next = sweep(&store, RepoKey(0), now).await.unwrap();
        assert_eq!(next, RepoKey(SWEPT as u64 + 1));
        assert_eq!(rows().len(), SWEPT / 2 + 10);
        assert_eq!(sweep(&store, next, now).await.unwrap(), RepoKey(0), "from the start again");
        assert!(rows().iter().all(|id| id % 2 == 0));
    }

    #[tokio::test]
    async fn language_that_was_learned_in_the_future_is_learned_again() {
        let (_dir, store) = new_store();
        let now = Timestamp::from_seconds(1_790_000_000);
        let (ahead, key) = (now.plus(70 * FORGOTTEN_AFTER), RepoKey(7));
        let row = || RepoRow::decode(&key, &store.reader().get(&key).unwrap().unwrap()).unwrap();
        let learn = |language: &'static str, at| {
            store.commit(move |batch| remember(batch, key, Some(language), at))
        };
        learn("C", ahead).await.unwrap();
        assert!(!row().is_fresh(now) && row().is_fresh(ahead));
        learn("C", now).await.unwrap();
        assert_eq!(row().as_of, now, "also where nothing else changes");
        learn("C", ahead).await.unwrap();
        let pass = |batch: &mut Batch<'_>| {
            batch.put(&last_pass_key(), &1_790_000_000_000_000_i64.to_be_bytes());
            Ok(())
        };
        store.commit(pass).await.unwrap();
        let foreign = move |batch: &mut Batch<'_>| {
            remember_foreign(batch, key, "Zig", Some(now.minus(FRESH_FOR)), now)
        };
        assert!(store.commit(foreign).await.unwrap());
        assert_eq!(row(), RepoRow { as_of: now.minus(FRESH_FOR), language: Some("Zig".into()) });
        learn("C", ahead).await.unwrap();
        sweep(&store, RepoKey(0), now).await.unwrap();
        assert_eq!(row(), RepoRow { as_of: now, language: Some("C".into()) });
    }

    #[test]
    fn rows_come_back_from_their_bytes_and_other_bytes_are_damage() {
        let as_of = Timestamp::from_micros(0x0102);
        let row = RepoRow { as_of, language: Some("C".to_owned()) };
        assert_eq!(row.encode(), [1, 0, 0, 0, 0, 0, 0, 1, 2, b'C']);
        assert_eq!(RepoRow::decode(&RepoKey(1), &row.encode()).unwrap(), row);
        let none = RepoRow { as_of, language: None };
        assert_eq!(RepoRow::decode(&RepoKey(1), &none.encode()).unwrap(), none);
        for bytes in [&b""[..], b"\x01abc", b"\x02aaaaaaaaaaaa", b"\x01aaaaaaaa\xff"] {
            assert!(RepoRow::decode(&RepoKey(1), bytes).is_err());
        }
    }

    #[tokio::test]
    async fn newer_languages_of_other_nodes_replace_ours() {
        let (_dir, store) = new_store();
        let now = Timestamp::from_seconds(1_790_000_000);
        let hours = |n: u64| now.minus(Duration::from_secs(n * 3_600));
        let row = async |id: u64, language: &'static str, as_of: Option<Timestamp>| {
            let put = move |batch: &mut Batch<'_>| {
                remember_foreign(batch, RepoKey(id), language, as_of, now)
            };
            let written = store.commit(put).await.unwrap();
            let value = store.reader().get(&RepoKey(id)).unwrap();
            let row = value.map(|value| RepoRow::decode(&RepoKey(id), &value).unwrap());
            (written, row.map(|row| (row.language.unwrap(), row.as_of)))
        };
        let is = |language: &str, as_of| Some((language.to_owned(), as_of));
        assert_eq!(row(1, "C", Some(hours(50))).await, (true, is("C", hours(50))));
        assert_eq!(row(1, "Ada", Some(hours(60))).await, (false, is("C", hours(50))));
        assert_eq!(row(1, "Ada", None).await, (false, is("C", hours(50))));
        assert_eq!(row(1, "Zig", Some(hours(2))).await, (true, is("Zig", hours(2))));
        assert_eq!(row(1, "Zig", Some(hours(1))).await, (false, is("Zig", hours(2))), "a busy one");
        // A time that has not come is now; one that is not known is long ago.
        let ahead = now.plus(FRESH_FOR);
        assert_eq!(row(2, "C", Some(ahead)).await, (true, is("C", now)));
        let (written, unknown) = row(3, "C", None).await;
        let row_is_fresh = RepoRow { as_of: unknown.unwrap().1, language: None }.is_fresh(now);
        assert!(written && !row_is_fresh);
        assert_eq!(row(4, "", None).await, (false, None));
    }

    #[tokio::test]
    async fn old_languages_of_other_sources_fill_gaps_and_stay() {
        let (_dir, store) = new_store();
        let now = Timestamp::from_seconds(1_790_000_000);
        let learn = |language: &'static str, as_of| {
            store.commit(move |batch| {
                remember_foreign(batch, RepoKey(7), language, Some(as_of), now)
            })
        };
        let old = now.minus(3 * FORGOTTEN_AFTER);
        assert!(learn("C", old).await.unwrap());
        sweep(&store, RepoKey(0), now).await.unwrap();
        let row = || {
            let value = store.reader().get(&RepoKey(7)).unwrap();
            value.map(|value| RepoRow::decode(&RepoKey(7), &value).unwrap())
        };
        let kept = row().expect("a language that was just learned is kept");
        assert_eq!((kept.language.as_deref(), kept.is_fresh(now)), (Some("C"), false));
        assert!(!learn("Ada", old).await.unwrap(), "what is known stays");
        assert!(learn("Zig", now.minus(40 * FRESH_FOR)).await.unwrap(), "a later one is news");
        sweep(&store, RepoKey(0), now.plus(FORGOTTEN_AFTER)).await.unwrap();
        assert_eq!(row(), None);
    }

    #[tokio::test]
    async fn language_is_written_when_new_changed_or_old() {
        let (_dir, store) = new_store();
        let row = async |language: Option<&'static str>, at: i64| {
            let put = move |batch: &mut Batch<'_>| {
                remember(batch, RepoKey(7), language, Timestamp::from_seconds(at))
            };
            store.commit(put).await.unwrap();
            let value = store.reader().get(&RepoKey(7)).unwrap();
            let row = value.map(|value| RepoRow::decode(&RepoKey(7), &value).unwrap());
            row.map(|row| (row.language, row.as_of.second().0))
        };
        assert_eq!(row(Some(""), 0).await, None);
        assert_eq!(row(Some("C"), 10).await, Some((Some("C".to_owned()), 10)));
        assert_eq!(row(Some("C"), 20).await, Some((Some("C".to_owned()), 10)));
        assert_eq!(row(None, 30).await, Some((None, 30)));
        assert_eq!(row(None, 30 + 86_400).await, Some((None, 30 + 86_400)));
    }
}
