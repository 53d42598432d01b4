//! The pages of the manual, and the names that links use.

/// One page of the manual.
#[derive(Debug, Clone, Copy)]
pub struct ManualPage {
    /// Its name in URLs, `config` for `/docs/config`; empty for the first page.
    pub name: &'static str,
    /// The text of links to it.
    pub title: &'static str,
    /// Its file in the repository, with `/` between folders.
    pub file: &'static str,
    pub(super) text: &'static str,
}

/// The kind of link targets in a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Pages of a server: `/docs` and `/docs/NAME`. Links are relative, so that any prefix works.
    Served,
    /// Files of one folder: `index.html` and `NAME.html`.
    Files,
}

/// The name of the page that contains all others, for the browser's search.
pub const WHOLE: &str = "all";
/// The name of the style sheet.
pub const STYLE_NAME: &str = "style.css";
/// The name of the script.
pub const SCRIPT_NAME: &str = "address.js";

macro_rules! pages {
    ($($name:literal $title:literal $file:literal;)*) => {
        /// All pages, in reading order.
        pub const PAGES: &[ManualPage] = &[$(ManualPage {
            name: $name,
            title: $title,
            file: $file,
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $file)),
        }),*];
    };
}

pages! {
    "" "Start" "README.md";
    "config" "Configure and deploy" "config/README.md";
    "scripts" "Scripts" "scripts/README.md";
    "data" "State, backup, archives" "data/README.md";
    "api" "API" "src/serve/README.md";
    "coverage" "Coverage" "src/collect/README.md";
    "architecture" "Architecture" "src/README.md";
    "threats" "Threats" "src/THREATS.md";
    "tests" "Tests" "tests/README.md";
    "measurements" "Measurements" "tests/load/README.md";
    "security" "Security" ".github/SECURITY.md";
    "changes" "Changes" "CHANGELOG.md";
}
