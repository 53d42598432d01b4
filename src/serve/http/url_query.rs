//! The path and the query of a URL: variable parts, and the values of parameters.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Path, Query};
use http::request::Parts;
use http::{HeaderMap, StatusCode, Uri};
use serde::de::DeserializeOwned;

use super::negotiation::{self, JSON};
use super::problem::Problem;
use crate::config;
use crate::model::window::Timestamp;

/// Names and values in their order, form-decoded, except that `++` is decoded as two pluses: two
/// spaces are unlikely, but `C++` is common.
#[derive(Debug)]
pub(crate) struct UrlQuery(pub(crate) Vec<(String, String)>);

impl UrlQuery {
    /// Reads the query of a request. Bytes that are not UTF-8 are replaced by U+FFFD.
    pub(crate) fn of(uri: &Uri) -> Result<Self, Problem> {
        let pluses = uri.query().filter(|query| query.contains("++"));
        let written =
            pluses.and_then(|query| format!("/?{}", query.replace("++", "%2B%2B")).parse().ok());
        Query::try_from_uri(written.as_ref().unwrap_or(uri))
            .map(|Query(pairs)| Self(pairs))
            .map_err(|error| {
                let detail = format!("the URL's query cannot be read: {error}");
                Problem::new(StatusCode::BAD_REQUEST, detail)
            })
    }

    /// The last value of a parameter; an empty one counts as absent.
    pub(crate) fn last(&self, name: &str) -> Option<&str> {
        let mut named = self.0.iter().rev().filter(|(known, _)| known == name);
        named.next().map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// One of the known values; the first where the parameter is absent.
    pub(crate) fn one_of<T: Clone>(&self, name: &str, all: &[(&str, T)]) -> Result<T, Problem> {
        match self.last(name) {
            Some(text) => known(text, all).map_err(|reason| Problem::parameter(name, reason)),
            None => Ok(all[0].1.clone()),
        }
    }

    /// A whole number within a range; `usual` where the parameter is absent.
    pub(crate) fn number<T: FromStr + PartialOrd + Display>(
        &self,
        name: &str,
        usual: T,
        range: RangeInclusive<T>,
    ) -> Result<T, Problem> {
        let Some(text) = self.last(name) else { return Ok(usual) };
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| {
            let (first, last) = range.into_inner();
            let accepted = format!("give a whole number from {first} to {last}");
            Problem::parameter(name, format_args!("`{}`: {accepted}", shown(text)))
        })
    }

    /// A time as [`moment`] reads it.
    pub(crate) fn time(&self, name: &str, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
        let Some(text) = self.last(name) else { return Ok(None) };
        moment(text, now).map(Some).ok_or_else(|| {
            let accepted =
                "give a time (without an offset it is UTC), a day, or how long ago, as 2d";
            Problem::parameter(name, format_args!("`{}`: {accepted}", shown(text)))
        })
    }

    /// Whether the client wants CSV and not JSON, by `format` or else by `Accept`.
    pub(crate) fn wants_csv(&self, headers: &HeaderMap) -> Result<bool, Problem> {
        if self.last("format").is_some() {
            return self.one_of("format", &[("json", false), ("csv", true)]);
        }
        let chosen = negotiation::choose(headers, 0, &[JSON, "text/csv"]);
        let detail = "it comes as application/json or as text/csv";
        chosen.map(|at| at == 1).ok_or_else(|| Problem::new(StatusCode::NOT_ACCEPTABLE, detail))
    }
}

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

/// The value that a text names, or a message that lists the accepted texts.
pub(crate) fn known<T: Clone>(text: &str, all: &[(&str, T)]) -> Result<T, String> {
    let found = all.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| value.clone()).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        format!("`{}` is unknown; give one of {}", shown(text), names.join(", "))
    })
}

/// Reads a time: RFC 3339, a day, or how long before `now`.
pub(crate) fn moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    // The `+` of a UTC offset is decoded as a space.
    let with_plus = || text.rsplit_once(' ').map(|(time, zone)| format!("{time}+{zone}"));
    config::moment(text, now).or_else(|| Timestamp::parse(&with_plus()?))
}

/// The beginning of a text from outside, for a message.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn double_plus_is_kept_and_single_plus_is_a_space() {
        let read = |query: &str| {
            let query = UrlQuery::of(&format!("/stream?{query}").parse().unwrap()).unwrap();
            let pairs = query.0.iter().map(|(name, value)| format!("{name}={value}"));
            pairs.collect::<Vec<_>>()
        };
        assert_eq!(read("languages=C++,Go&poll=1"), ["languages=C++,Go", "poll=1"]);
        assert_eq!(read("languages=C%2B%2B&x"), ["languages=C++", "x="]);
        assert_eq!(read("languages=Objective-C++"), ["languages=Objective-C++"]);
        assert_eq!(read("languages=Jupyter+Notebook"), ["languages=Jupyter Notebook"]);
        assert_eq!(read(""), Vec::<String>::new());
    }
}
