//! Pictures of the pages, embedded so that the manual needs no other file: each becomes a `data:`
//! URL (RFC 2397). They are taken by the test `browser::manual` from a server that follows the
//! simulated GitHub.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Path in the repository, type, and content.
type EmbeddedPicture = (&'static str, &'static str, &'static [u8]);

const WEBP: &str = "image/webp";
const SVG: &str = "image/svg+xml";

const PICTURES: [EmbeddedPicture; 4] = [
    ("src/manual/pictures/list.webp", WEBP, include_bytes!("pictures/list.webp")),
    ("src/manual/pictures/audit.webp", WEBP, include_bytes!("pictures/audit.webp")),
    ("src/manual/pictures/stars.svg", SVG, include_bytes!("pictures/stars.svg")),
    ("src/manual/pictures/archive.webp", WEBP, include_bytes!("pictures/archive.webp")),
];

/// The URL of an SVG.
pub(super) fn embedded_icon(text: &str) -> String {
    format!("data:{SVG};base64,{}", STANDARD.encode(text))
}

/// The URL of an embedded picture by its path in the repository; `None` for any other file.
pub(super) fn url(file: &str) -> Option<String> {
    let (_, kind, content) = PICTURES.iter().find(|(path, ..)| *path == file)?;
    Some(format!("data:{kind};base64,{}", STANDARD.encode(content)))
}
