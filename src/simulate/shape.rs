//! The forms of payloads, before and since October 2025.

/// The form of the payloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shape {
    /// The form before October 2025: whole pull requests, a merge is `closed` with `merged` true.
    #[default]
    Old,
    /// The form since then: a pull request has five keys, a merge is the action `merged`.
    Today,
}

/// The shape's name on the command line.
impl std::str::FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "old" => Ok(Self::Old),
            "today" => Ok(Self::Today),
            _ => Err(format!("'{text}' is no shape of events; there are old and today")),
        }
    }
}
