//! Named cursors, one for each bus.
//!
//! The row of a name such as `applied` holds the cursor of the bus in use. When the bus changes,
//! the cursor of the previous bus moves to a row of its own, `applied.<tag>`, so that a node whose
//! bus changes back continues where it was on that bus.

use std::collections::BTreeMap;

use super::batch::Batch;
use super::database::{Database, Snapshot};
use super::error::StoreError;
use super::keys::CursorKey;
use super::rows::{decode_cursor, encode_cursor};
use crate::model::position::{BusTag, Cursor, Position};

/// Most rows of one name that are read. A store has one for each bus that it ever used.
const BUSES: usize = 1_000;

/// The row of a bus's cursor while another bus is in use.
fn row_of(name: &str, tag: BusTag) -> CursorKey {
    CursorKey(format!("{name}.{:08x}", tag.0))
}

/// Reads the cursor of a name on a bus, with `get` reading rows.
fn read_on(
    get: impl Fn(&CursorKey) -> Result<Option<Vec<u8>>, StoreError>,
    name: &str,
    tag: BusTag,
) -> Result<Option<Cursor>, StoreError> {
    for key in [CursorKey(name.to_owned()), row_of(name, tag)] {
        let cursor = get(&key)?.map(|value| decode_cursor(&key.0, &value)).transpose()?;
        if let Some(cursor) = cursor.filter(|cursor| cursor.tag == tag) {
            return Ok(Some(cursor));
        }
    }
    Ok(None)
}

impl Database {
    /// The cursor of that name which was stored last, of whichever bus.
    pub fn cursor(&self, name: &str) -> Result<Option<Cursor>, StoreError> {
        let value = self.get(&CursorKey(name.to_owned()))?;
        value.map(|value| decode_cursor(name, &value)).transpose()
    }

    /// The cursor of that name on that bus; `None` when there is none.
    pub fn cursor_on(&self, name: &str, tag: BusTag) -> Result<Option<Cursor>, StoreError> {
        read_on(|key| self.get(key), name, tag)
    }

    /// The positions of that name on all buses.
    pub(super) fn cursors(&self, name: &str) -> Result<BTreeMap<BusTag, Position>, StoreError> {
        let mut found = BTreeMap::new();
        let mut read = 0;
        let start = CursorKey(name.to_owned());
        self.scan(&start, |CursorKey(row), value| {
            let Some(rest) = row.strip_prefix(name) else { return Ok(false) };
            read += 1;
            if rest.is_empty() || rest.starts_with('.') {
                let cursor = decode_cursor(&row, value)?;
                let known = found.entry(cursor.tag).or_insert(cursor.position);
                *known = cursor.position.max(*known);
            }
            Ok(read < BUSES)
        })?;
        Ok(found)
    }
}

impl Snapshot<'_> {
    /// The cursor of that name on that bus; `None` when there is none.
    pub(super) fn cursor_on(&self, name: &str, tag: BusTag) -> Result<Option<Cursor>, StoreError> {
        read_on(|key| self.get(key), name, tag)
    }
}

impl Batch<'_> {
    /// Stores the cursor of that name. A cursor of another bus moves to a row of its own.
    pub fn put_cursor(&mut self, name: &str, cursor: Cursor) -> Result<(), StoreError> {
        if let Some(left) = self.cursor(name)?.filter(|known| known.tag != cursor.tag) {
            self.put(&row_of(name, left.tag), &encode_cursor(left));
        }
        self.put(&CursorKey(name.to_owned()), &encode_cursor(cursor));
        Ok(())
    }

    /// Stores the cursor of that name for a bus that is not in use.
    pub(super) fn put_cursor_aside(&mut self, name: &str, cursor: Cursor) {
        self.put(&row_of(name, cursor.tag), &encode_cursor(cursor));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::new_store;

    #[tokio::test]
    async fn each_bus_has_its_own_cursor() {
        let (_dir, store) = new_store();
        let at = |tag, n| Cursor { tag: BusTag(tag), position: Position::counted(n) };
        for cursor in [at(1, 60), at(2, 5), at(1, 61), at(1, 62), at(3, 1), at(2, 6)] {
            store.commit(move |batch| batch.put_cursor("applied", cursor)).await.unwrap();
        }
        let reader = store.reader();
        for (tag, last) in
            [(1, Some(at(1, 62))), (2, Some(at(2, 6))), (3, Some(at(3, 1))), (4, None)]
        {
            assert_eq!(reader.cursor_on("applied", BusTag(tag)).unwrap(), last);
        }
        assert_eq!(reader.cursor("applied").unwrap(), Some(at(2, 6)));
        // The row in use counts, not the older one aside.
        let all = reader.cursors("applied").unwrap();
        let wanted = [at(1, 62), at(2, 6), at(3, 1)].map(|c| (c.tag, c.position));
        assert_eq!(all, BTreeMap::from(wanted));
        assert_eq!(reader.cursors("appl").unwrap(), BTreeMap::new());
    }
}
