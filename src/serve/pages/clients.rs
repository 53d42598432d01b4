//! `/client.js` and `/client.py`: clients of the streams, one file each, without dependencies.
//! `/client.d.ts` has the types of the first.
//!
//! Both read NDJSON over HTTP, resume by cursor and save it in a checkpoint.

use super::static_file::StaticFile;

pub(crate) const JAVASCRIPT: StaticFile =
    StaticFile::new("text/javascript; charset=utf-8", include_str!("ui/client.js"));
pub(crate) const TYPES: StaticFile =
    StaticFile::new("text/plain; charset=utf-8", include_str!("ui/client.d.ts"));
pub(crate) const PYTHON: StaticFile =
    StaticFile::new("text/x-python; charset=utf-8", include_str!("ui/client.py"));
