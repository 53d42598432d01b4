//! The variable parts of a path, decoded.

use axum::extract::{FromRequestParts, Path};
use http::StatusCode;
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// The variable parts of a path; what is not UTF-8 is refused as every other error is.
pub(crate) struct PathParts<T>(pub(crate) T);

impl<T, S> FromRequestParts<S> for PathParts<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = Path::from_request_parts(parts, state).await;
        read.map(|Path(parts)| Self(parts)).map_err(|_| {
            let detail = "the path is not UTF-8 text: encode each byte of it as %XX";
            Problem::new(StatusCode::BAD_REQUEST, detail)
        })
    }
}
