//! The identity of a store: its id, and the tag of its embedded bus.

use super::batch::{Batch, CounterCache};
use super::database::Database;
use super::error::StoreError;
use super::keys::{Key as _, MetaKey};
use crate::model::position::BusTag;

/// The tag of the embedded bus; chosen at random when the store is created.
pub(super) fn bus_tag(database: &Database) -> Result<BusTag, StoreError> {
    let key = MetaKey("bus_tag".to_owned());
    let drawn = get_or_create(database, &key, || fastrand::u32(1..).to_be_bytes().to_vec())?;
    let bytes = drawn.as_slice().try_into();
    bytes
        .map(|bytes| BusTag(u32::from_be_bytes(bytes)))
        .map_err(|_| StoreError::corrupt("meta", &key.to_bytes()))
}

pub(super) fn store_id_key() -> MetaKey {
    MetaKey("store_id".to_owned())
}

pub(super) fn fresh_id() -> String {
    format!("{:016x}", fastrand::u64(..))
}

pub(super) fn store_id(database: &Database) -> Result<String, StoreError> {
    let key = store_id_key();
    let drawn = get_or_create(database, &key, || fresh_id().into_bytes())?;
    String::from_utf8(drawn).map_err(|_| StoreError::corrupt("meta", &key.to_bytes()))
}

/// The value of a name; made and stored when there is none yet.
pub(super) fn get_or_create(
    database: &Database,
    key: &MetaKey,
    create: impl FnOnce() -> Vec<u8>,
) -> Result<Vec<u8>, StoreError> {
    if let Some(value) = database.get(key)? {
        return Ok(value);
    }
    let value = create();
    let mut counters = CounterCache::default();
    let mut batch = Batch::new(database, &mut counters);
    batch.put(key, &value);
    database.write(batch.finish())?;
    database.sync()?;
    Ok(value)
}
