//! Hours in columns: files of Apache Parquet, for `DuckDB`, pandas, Spark and the like.
//!
//! The fields that most questions are about are typed columns. `payload` is the payload as JSON
//! text, and `other` holds every member of the event that no column has, so no field is lost.
//! Without the feature `parquet` every attempt to write such a file fails by name.

#[cfg(not(feature = "parquet"))]
mod absent;
#[cfg(feature = "parquet")]
mod parquet_file;

#[cfg(not(feature = "parquet"))]
pub(super) use self::absent::{AbsentColumnFile as ColumnFile, read_keys, rows};
#[cfg(feature = "parquet")]
pub(super) use self::parquet_file::{ColumnFile, read_keys, rows};
