//! The file of an hour in columns; the adapter for the `parquet` crate.
//!
//! Rows are buffered up to [`GROUP_BYTES`] or [`GROUP_ROWS`], and then written as a row group: that
//! bounds the memory of a file of any size. To add events to a file, its row groups are copied as
//! they are, and one is appended.

mod fields;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::column::writer::{ColumnCloseResult, ColumnWriter};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::record::Field;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{ColumnPath, TypePtr};

use self::fields::{ColumnValues, EventColumns, TEXTS_THAT_DIFFER};
use crate::archive::lines::BUFFER;
use crate::archive::recorded::key_of_parts;
use crate::model::event::{Event, EventId};
use crate::private;

/// Bytes of events in a row group; the last event may exceed it.
const GROUP_BYTES: usize = 64 << 20;
/// Rows of a row group: a multiple of the 2,048 that `DuckDB` processes at once.
const GROUP_ROWS: usize = 61_440;

/// The schema of a file, in Parquet's own notation.
fn schema() -> Result<TypePtr, ParquetError> {
    parse_message_type(fields::SCHEMA).map(Arc::new)
}

fn properties() -> Result<WriterProperties, ParquetError> {
    let builder = WriterProperties::builder()
        .set_created_by(concat!("ghpulse ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?));
    // A dictionary of texts that differ in every row is overhead, and so is their range.
    Ok(TEXTS_THAT_DIFFER
        .iter()
        .fold(builder, |builder, name| {
            let column = ColumnPath::from(*name);
            builder
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_statistics_enabled(column, EnabledStatistics::None)
        })
        .build())
}

/// A file being written. Rows are in the order in which they are added.
pub(in crate::archive) struct ColumnFile {
    writer: SerializedFileWriter<BufWriter<File>>,
    columns: EventColumns,
}

impl ColumnFile {
    /// Begins a file with the row groups of an existing one, if there is one.
    pub(in crate::archive) fn create(file: File, existing: Option<File>) -> io::Result<Self> {
        let out = BufWriter::with_capacity(BUFFER, file);
        let begun = || -> Result<_, ParquetError> {
            let mut writer = SerializedFileWriter::new(out, schema()?, Arc::new(properties()?))?;
            if let Some(existing) = existing {
                append_groups(&mut writer, &existing)?;
            }
            Ok(writer)
        };
        Ok(Self { writer: begun().map_err(of_parquet)?, columns: EventColumns::default() })
    }

    /// Adds an event.
    pub(in crate::archive) fn add(&mut self, event: &Event<'_>) -> io::Result<()> {
        self.columns.add(event);
        if self.columns.bytes() >= GROUP_BYTES || self.columns.rows() >= GROUP_ROWS {
            self.end_group()?;
        }
        Ok(())
    }

    fn end_group(&mut self) -> io::Result<()> {
        let columns = std::mem::take(&mut self.columns);
        if columns.rows() == 0 {
            return Ok(());
        }
        let written = || -> Result<(), ParquetError> {
            let mut group = self.writer.next_row_group()?;
            for (values, present) in columns.into_columns() {
                let mismatch = || ParquetError::General("a column is missing".to_owned());
                let mut column = group.next_column()?.ok_or_else(mismatch)?;
                let present = Some(present.as_slice());
                match (column.untyped(), &values) {
                    (ColumnWriter::BoolColumnWriter(column), ColumnValues::Flags(flags)) => {
                        column.write_batch(flags, present, None)?
                    }
                    (ColumnWriter::Int64ColumnWriter(column), ColumnValues::Numbers(numbers)) => {
                        column.write_batch(numbers, present, None)?
                    }
                    (ColumnWriter::ByteArrayColumnWriter(column), ColumnValues::Texts(texts)) => {
                        column.write_batch(texts, present, None)?
                    }
                    _ => return Err(mismatch()),
                };
                column.close()?;
            }
            group.close().map(|_| ())
        };
        written().map_err(of_parquet)
    }

    /// Writes what is left and the footer. Returns the file, which is not yet synced.
    pub(in crate::archive) fn finish(mut self) -> io::Result<File> {
        self.end_group()?;
        // Writes the footer.
        let out = self.writer.into_inner().map_err(of_parquet)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// Copies the row groups of a file without decoding them.
fn append_groups(
    writer: &mut SerializedFileWriter<BufWriter<File>>,
    existing: &File,
) -> Result<(), ParquetError> {
    let metadata = ParquetMetaDataReader::new()
        .with_page_index_policy(PageIndexPolicy::Optional)
        .parse_and_finish(existing)?;
    check_schema(&metadata)?;
    let pages = metadata.page_index();
    for (at, group) in metadata.row_groups().iter().enumerate() {
        let mut copy = writer.next_row_group()?;
        for (column_at, column) in group.columns().iter().enumerate() {
            let index = pages.and_then(|pages| pages.column_index(at, column_at)).cloned();
            let offsets = pages.and_then(|pages| pages.offset_index(at, column_at)).cloned();
            let closed = ColumnCloseResult {
                bytes_written: u64::try_from(column.compressed_size()).unwrap_or_default(),
                rows_written: u64::try_from(group.num_rows()).unwrap_or_default(),
                metadata: column.clone(),
                bloom_filter: None,
                column_index: index,
                offset_index: offsets,
            };
            copy.append_column(existing, closed)?;
        }
        copy.close()?;
    }
    Ok(())
}

fn check_schema(metadata: &ParquetMetaData) -> Result<(), ParquetError> {
    if *metadata.file_metadata().schema() == *schema()? {
        return Ok(());
    }
    let reason = "its columns are not those that this version writes: move it away, and export \
                  the hour again";
    Err(ParquetError::General(reason.to_owned()))
}

/// Number of rows of a file.
pub(in crate::archive) fn rows(path: &Path) -> io::Result<u64> {
    let file = private::open_plain(path)?;
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&file).map_err(of_parquet)?;
    Ok(u64::try_from(metadata.file_metadata().num_rows()).unwrap_or_default())
}

/// Adds the keys of a file's events to `seen`.
pub(in crate::archive) fn read_keys<S: std::hash::BuildHasher>(
    path: &Path,
    seen: &mut HashSet<u128, S>,
) -> io::Result<()> {
    let file = private::open_plain(path)?;
    let read = || -> Result<(), ParquetError> {
        let reader = SerializedFileReader::new(file)?;
        check_schema(reader.metadata())?;
        let wanted = parse_message_type(fields::KEY_SCHEMA)?;
        for row in reader.get_row_iter(Some(wanted))? {
            let (mut id, mut kind) = (String::new(), String::new());
            for (name, field) in row?.into_columns() {
                match (name.as_str(), field) {
                    ("id", Field::Str(text)) => id = text,
                    ("type", Field::Str(text)) => kind = text,
                    _ => {}
                }
            }
            seen.insert(key_of_parts(&EventId::of(id.into()), &kind));
        }
        Ok(())
    };
    read().map_err(of_parquet)
}

fn of_parquet(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(source) => io::Error::other(source),
        },
        ParquetError::General(reason) => io::Error::other(reason),
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests;
