//! What a request asks for beside its path: its query, and what it likes by `Accept`.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use http::{HeaderMap, Uri, header};

/// Names and values of a URL's query, as a form writes them; but two `+` are two pluses, because
/// nobody writes two spaces and many write `C++`.
pub(super) fn pairs(uri: &Uri) -> Result<Vec<(String, String)>, QueryRejection> {
    let pluses = uri.query().filter(|query| query.contains("++"));
    let written =
        pluses.and_then(|query| format!("/?{}", query.replace("++", "%2B%2B")).parse().ok());
    let Query(pairs) = Query::try_from_uri(written.as_ref().unwrap_or(uri))?;
    Ok(pairs)
}

/// How much a request likes a media type, in thousandths; 0 when it does not name it.
pub(super) fn weight(headers: &HeaderMap, kind: &str) -> u16 {
    let values = headers.get_all(header::ACCEPT);
    let values = values.iter().filter_map(|value| value.to_str().ok());
    let named = values.flat_map(|value| value.split(',')).filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        parts.next().filter(|named| named.eq_ignore_ascii_case(kind))?;
        let quality = parts.find_map(|part| {
            part.get(..2).filter(|name| name.eq_ignore_ascii_case("q=")).map(|_| &part[2..])
        });
        Some(quality.map_or(1000, thousandths))
    });
    named.max().unwrap_or(0)
}

/// A quality as RFC 9110 writes it, `0.5`; what is none counts as 0.
fn thousandths(quality: &str) -> u16 {
    let (whole, part) = quality.split_once('.').unwrap_or((quality, ""));
    let is_digits = part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
    match whole {
        "1" if is_digits => 1000,
        "0" if is_digits => format!("{part:0<3}").parse().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn pluses_of_a_name_stay_and_one_is_a_space() {
        let read = |query: &str| {
            let pairs = pairs(&format!("/stream?{query}").parse().unwrap()).unwrap();
            pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
        };
        assert_eq!(read("languages=C++,Go&poll=1"), ["languages=C++,Go", "poll=1"]);
        assert_eq!(read("languages=C%2B%2B&x"), ["languages=C++", "x="]);
        assert_eq!(read("languages=Objective-C++"), ["languages=Objective-C++"]);
        assert_eq!(read("languages=Jupyter+Notebook"), ["languages=Jupyter Notebook"]);
        assert_eq!(read(""), Vec::<String>::new());
    }

    #[test]
    fn a_media_type_has_the_weight_that_is_written() {
        for (accept, weighed) in [
            ("text/event-stream", 1000),
            ("TEXT/Event-Stream; Q=0.5, */*", 500),
            ("a/b;q=1.000,text/event-stream;charset=utf-8;q=0.25", 250),
            ("text/event-stream;q=0", 0),
            ("text/event-stream;q=0.", 0),
            ("text/event-stream;q=much", 0),
            ("text/event-streams, */*", 0),
            ("", 0),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(weight(&headers, "text/event-stream"), weighed, "{accept}");
        }
    }
}
