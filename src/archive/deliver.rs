//! Moves exported files from one directory to another: from where an appliance may write to where
//! the command was told to put them.

use std::path::Path;

use super::error::ArchiveError;
use super::export::Exported;
use super::partial_file::PartialFile;
use super::sole_writer::{COMMAND_WAIT, SoleWriter};
use super::target::ArchiveTarget;
use super::{lines, sidecar};
use crate::model::hour_file::{HourName, rows_name};
use crate::private;

/// Merges exported files into `to`, as an export into it does: an existing file is kept, and
/// missing events are added. Returns the files with their counts, without hours of which no event
/// is written. Blocks.
pub fn deliver(
    mut exported: Exported,
    from: &Path,
    to: &ArchiveTarget,
) -> Result<Exported, ArchiveError> {
    private::create_open_dir_all(&to.dir).map_err(ArchiveError::file("create", &to.dir))?;
    let _alone = SoleWriter::wait(&to.dir, COMMAND_WAIT)?;
    for hour in &mut exported.hours {
        let name = || ArchiveError::Name { path: hour.file.clone() };
        let HourName(of) = HourName::of(&hour.file).ok_or_else(name)?;
        let source = from.join(rows_name(of));
        let mut file = PartialFile::open(to, of)?;
        file.is_simulated = hour.simulated;
        // The appliance writes only events; an invalid one does not fail the delivery.
        lines::read_events(
            &source,
            |event| {
                if to.takes(event) { file.add(event) } else { Ok(()) }
            },
        )?;
        *hour = file.written(hour.cut);
        let bring = || sidecar::bring(from, to, of, hour);
        let beside = || if hour.events > 0 { bring() } else { Ok(()) };
        file.finish_with(to, || true, beside)?;
    }
    exported.hours.retain(|hour| hour.events > 0);
    Ok(exported)
}
