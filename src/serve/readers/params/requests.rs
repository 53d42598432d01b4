//! The parameters of the WebSockets as a client writes them: for the documents about the API.
//!
//! The parser accepts more than these: keys in any letter case, and whole numbers such as `1e3`.

use schemars::JsonSchema;
use serde::Serialize;

use crate::hub::VALUE_BYTES;

/// Most languages that a connection may select by name. GitHub knows about 800; a client that needs
/// that many can receive all.
pub(super) const LANGUAGES: usize = 200;

/// Which events, one in how many, and in which form; later parameters replace these.
#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SamplingRequest {
    /// One event in N.
    #[schemars(range(min = 1))]
    pub(crate) sampling_rate: u64,
    /// Only events of this type.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = VALUE_BYTES))]
    pub(crate) event_type: Option<String>,
    /// Only events of the repository of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = VALUE_BYTES))]
    pub(crate) repo_name: Option<String>,
    /// Only events of the actor of this login.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = VALUE_BYTES))]
    pub(crate) user_name: Option<String>,
    /// Only these values: paths that begin with `event` or `payload`. Empty: the whole event.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) filter: Vec<String>,
    /// The form of a filtered event: a map without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) return_type: Option<ReturnType>,
}

/// The form of a filtered event.
#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum ReturnType {
    /// Values by path.
    Map,
    /// Values in the order of the paths.
    List,
}

/// Which languages, and how many of them.
#[derive(Default, Serialize, JsonSchema)]
pub(crate) struct LatestRequest {
    /// Only these languages; empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = LANGUAGES), inner(length(max = VALUE_BYTES)))]
    pub(crate) language: Vec<String>,
    /// The most languages, those with the largest counts; 0: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top: Option<u64>,
}

/// Which languages.
#[derive(Default, Serialize, JsonSchema)]
pub(crate) struct WatchRequest {
    /// Only these languages; empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = LANGUAGES), inner(length(max = VALUE_BYTES)))]
    pub(crate) language: Vec<String>,
}

/// Another window of the rolling counts; its snapshot follows.
#[derive(Default, Serialize, JsonSchema)]
pub(crate) struct WindowRequest {
    /// Another window: `1m`, `1h` or `24h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) window: Option<String>,
}
