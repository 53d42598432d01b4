//! Files of hours from one directory into another: what an appliance wrote where it may write is
//! brought to where a command was told to put it.

use std::path::Path;

use super::export::Exported;
use super::name::HourName;
use super::partial_file::PartialFile;
use super::{ArchiveError, lines};
use crate::model::event::Event;
use crate::private;

/// Brings exported files into `to`, as an export into it does: a file that is there is kept, and
/// gets what it is missing. Gives back what is there now. Blocks.
pub fn deliver(mut exported: Exported, from: &Path, to: &Path) -> Result<Exported, ArchiveError> {
    std::fs::create_dir_all(to).map_err(ArchiveError::file("create", to))?;
    for hour in &mut exported.hours {
        let name = || ArchiveError::Name { path: hour.file.clone() };
        let HourName(of) = HourName::of(&hour.file).ok_or_else(name)?;
        let file = from.join(super::file_name(of));
        let mut draft = PartialFile::open(to, of)?;
        let opened = private::open_plain(&file).map_err(ArchiveError::file("open", &file))?;
        lines::read_opened(
            opened,
            &file,
            |_| (),
            |_, piece| {
                match piece.ok().and_then(|text| Event::read(text).ok()) {
                    Some(event) => draft.add(&event),
                    // The appliance writes events only; a broken one is not a reason to fail.
                    None => Ok(()),
                }
            },
        )?;
        (hour.events, hour.fresh) = draft.finish()?;
        hour.file = to.join(super::file_name(of));
    }
    Ok(exported)
}
