//! Values of valid form that can never work: what is wrong with them, and what to write instead.
//! Never quotes a text that may be a secret.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::endpoint::endpoint;
use super::secret::{HIDDEN, quotable};
use super::table::{ConfigKey, ValueKind};

/// The longest id of an app, bytes.
const APP_ID_BYTES: usize = 100;
/// The longest token, bytes.
const TOKEN_BYTES: usize = 500;

/// Errors of a text of any kind: an unexpanded variable, or quotes that are part of the text.
/// Queries, and kinds that accept only a few words or numbers, are left to their own parsers.
pub(super) fn text(key: &ConfigKey, text: &str) -> Option<String> {
    let is_query = key.default.contains('\n') || key.path.starts_with("tidb.sql.");
    let is_free = matches!(
        key.kind,
        ValueKind::Text
            | ValueKind::Path
            | ValueKind::Route
            | ValueKind::Url(_)
            | ValueKind::Secret
            | ValueKind::SecretUrl(_)
            | ValueKind::Origins
            | ValueKind::Networks
            | ValueKind::Names
    );
    if is_query || !is_free {
        return None;
    }
    let text = text.trim();
    // A password may contain anything; only one that consists of a variable is surely an error.
    let unfilled =
        if key.kind == ValueKind::Secret { is_braced_whole(text) } else { is_unfilled(text) };
    if unfilled {
        let variable = key.variable();
        return Some(format!(
            "contains an unexpanded variable, and ghpulse does not expand variables: write the \
             value itself, or set {variable} in the environment"
        ));
    }
    let quoted = key.kind != ValueKind::Secret && is_quoted(text);
    quoted.then(|| {
        "is enclosed in quotes that are part of the value: remove them (a shell and YAML strip \
         quotes, an env file or a systemd unit may not)"
            .to_owned()
    })
}

/// A name or glob of GitHub's people or repositories, or why it can be none.
pub(super) fn name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.[]*/".contains(c);
    if !text.chars().all(fits) || text.matches('/').count() > 1 {
        let shown = quotable(text);
        return Err(format!(
            "{shown} is not a name that GitHub accepts: use ann, spam-*, ann/tool or */tool"
        ));
    }
    if text.chars().all(|c| "*/".contains(c)) {
        return Err(format!("{} would leave out everything", quotable(text)));
    }
    Ok(text.to_owned())
}

/// Why a text cannot be the id of a GitHub App: a number, or a client id such as `Iv23li…`.
pub(super) fn app_id(text: &str) -> Option<&'static str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let is_id = !text.is_empty() && text.len() <= APP_ID_BYTES && text.chars().all(is_plain);
    (!is_id).then_some(
        "is not an app's id: write the number or the client id from the app's settings at GitHub",
    )
}

/// Why a text cannot be a GitHub token, which consists of letters, digits, `_`, `-` and `.`; `/` is
/// accepted too, for the simulated GitHub.
pub(super) fn token(text: &str) -> Option<&'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let name = |c: char| c.is_ascii_uppercase() || c == '_';
    if is_unfilled(text) {
        return Some("is an unexpanded variable: write the token itself");
    }
    if text.contains(['"', '\'', '`']) {
        return Some("is enclosed in quotes, which would be sent with it: remove them");
    }
    if text.contains(['=', ':']) {
        return Some("is NAME=VALUE: write only the token");
    }
    if text.contains([',', ';']) {
        return Some("contains several tokens: write one token per line");
    }
    if text.contains(char::is_whitespace) {
        return Some("is not a token: it contains a space; write only the token on its line");
    }
    if text.starts_with(['/', '~']) || text.starts_with("./") {
        return Some("is a path, not a token: name a file of tokens in github.tokensFile");
    }
    if text.len() > TOKEN_BYTES || !text.chars().all(plain) {
        return Some("is not a token: a token is up to 500 letters, digits, `_`, `-`, `.` and `/`");
    }
    let is_name = text.contains('_') && text.chars().all(name);
    is_name.then_some("is the name of a variable, not a token: write the token itself")
}

/// Why a URL cannot be right as written, without quoting it. A URL that is not secret may not
/// contain a login.
pub(super) fn url(text: &str, is_secret: bool) -> Option<&'static str> {
    if !text.chars().all(|c| c.is_ascii_graphic()) {
        return Some(
            "it contains a character that is not allowed in URLs (a space or a non-ASCII one): \
             write its UTF-8 bytes as %XX, a space as %20",
        );
    }
    if text.contains('#') {
        return Some(
            "it contains a `#`, which starts a fragment that is never sent: write %23 for a `#` in \
             a user name or a password",
        );
    }
    let is_escape = |rest: &str| {
        rest.as_bytes().get(1..3).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
    };
    if text.match_indices('%').any(|(at, _)| !is_escape(&text[at..])) {
        return Some(
            "it contains a `%` that does not begin an escape: write %25 for a `%` in a user name \
             or a password",
        );
    }
    let (_, behind) = text.split_once("://")?;
    let end = behind.find(['/', '?']).unwrap_or(behind.len());
    let (authority, rest) = behind.split_at(end);
    match authority.matches('@').count() {
        _ if rest.contains('@') => Some(
            "an `@` follows the host: escape the password (in it, write %2F for a `/`, %3F for a \
             `?`, %40 for an `@`)",
        ),
        0 => None,
        1 if is_secret => None,
        1 => Some("it contains a login, and this key is not secret: remove USER:PASSWORD@"),
        _ => {
            Some("it contains more than one `@`: escape the password (in it, write %40 for an `@`)")
        }
    }
}

/// Checks a host name without scheme, port and path.
pub(super) fn host(text: &str) -> Option<String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let is_name = !text.contains(['/', ':', '@', '?', '#'])
        && !text.contains(char::is_whitespace)
        && !text.is_empty();
    if is_name || bare.parse::<Ipv6Addr>().is_ok() {
        return None;
    }
    Some(format!(
        "{} is not a host: write only a name or an address, without a scheme, a login or a port",
        quotable(text)
    ))
}

/// Parses the origin of a web page. A form that browsers never send is refused with the form that
/// they send.
pub(super) fn origin(text: &str) -> Result<String, String> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    let shown = quotable(text);
    let form = || format!("{shown} is not an origin: use scheme and host, as https://example.org");
    let bare = text.trim_end_matches('/').to_ascii_lowercase();
    let (scheme, authority) = bare.split_once("://").ok_or_else(form)?;
    let usual = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return Err(form()),
    };
    if !authority.is_ascii() {
        return Err(format!(
            "{shown} can never match: browsers send such a name in its ASCII form (xn--…)"
        ));
    }
    if authority.contains('*') {
        return Err(format!(
            "{shown} can never match: `*` means every page only when it is the whole value; \
             inside an origin it matches nothing; write each host"
        ));
    }
    if authority.contains(['/', '?', '#', '@']) {
        return Err(form());
    }
    let (_, host, port) = endpoint(&bare).ok_or_else(form)?;
    let name = canonical(&host).ok_or_else(form)?;
    let port = if port == usual { String::new() } else { format!(":{port}") };
    let sent = format!("{scheme}://{name}{port}");
    if sent == bare {
        return Ok(bare);
    }
    Err(format!("{shown} can never match: browsers send {sent} (without the usual port)"))
}

/// A host as browsers spell it; `None` for an invalid address.
fn canonical(host: &str) -> Option<String> {
    if host.contains(':') {
        return host.parse::<Ipv6Addr>().ok().map(|address| format!("[{address}]"));
    }
    // Browsers parse a name whose last label is a number as an IPv4 address.
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or(host);
    let is_number = last.chars().all(|c| c.is_ascii_digit()) || last.starts_with("0x");
    if is_number {
        return host.parse::<Ipv4Addr>().ok().map(|address| address.to_string());
    }
    Some(host.to_owned())
}

/// Why a client can never send this bearer token.
pub(super) fn bearer(text: &str) -> Option<String> {
    let is_sent = text.chars().all(|c| c.is_ascii_graphic());
    (!is_sent).then(|| {
        format!(
            "{HIDDEN} can never match: a bearer token is ASCII without spaces (RFC 6750 §2.1); \
             make one with `openssl rand -hex 32`"
        )
    })
}

/// `${NAME}`, `{{ name }}`, `$NAME` or `%NAME%` where a value should be.
fn is_unfilled(text: &str) -> bool {
    let name = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let braced = text.match_indices("${").any(|(at, _)| text[at..].contains('}'));
    let framed = text.match_indices("{{").any(|(at, _)| text[at..].contains("}}"));
    let dollar = text.strip_prefix('$').is_some_and(name);
    let percent = text.strip_prefix('%').and_then(|text| text.strip_suffix('%'));
    braced || framed || dollar || percent.is_some_and(name)
}

/// Whether a text is `${…}` or `{{…}}` and nothing else.
fn is_braced_whole(text: &str) -> bool {
    let inside = |open: &str, close: &str| {
        let inside = text.strip_prefix(open).and_then(|text| text.strip_suffix(close));
        inside.is_some_and(|inside| !inside.contains(['{', '}']))
    };
    inside("${", "}") || inside("{{", "}}")
}

fn is_quoted(text: &str) -> bool {
    let within = |quote: char| text.starts_with(quote) && text.ends_with(quote);
    text.len() >= 2 && (within('"') || within('\''))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_that_browsers_never_send_is_refused() {
        for (written, words) in [
            ("https://*.example.net", "inside an origin it matches nothing"),
            ("https://*", "inside an origin it matches nothing"),
            ("https://live.example.net:443", "browsers send https://live.example.net "),
            ("http://live.example.net:80/", "browsers send http://live.example.net "),
            ("https://live.example.net:0443", "browsers send https://live.example.net "),
            ("https://live.example.net:08443", "browsers send https://live.example.net:8443 "),
            ("https://[2001:DB8:0:0::1]", "browsers send https://[2001:db8::1] "),
            ("https://127.1", "not an origin"),
            ("https://me@example.net", "not an origin"),
            ("https://example.net?x", "not an origin"),
            ("https://example.net/page", "not an origin"),
            ("https://bücher.example", "xn--"),
            ("wss://example.net", "not an origin"),
            ("null", "not an origin"),
            ("https://", "not an origin"),
        ] {
            let refused = origin(written).unwrap_err();
            assert!(refused.contains(words), "{written}: {refused}");
        }
        for good in ["*", "https://a.org", "http://localhost:3000", "https://[::1]:8443"] {
            assert_eq!(origin(good).as_deref(), Ok(good));
        }
        assert_eq!(origin("HTTPS://A.org/").as_deref(), Ok("https://a.org"));
    }

    #[test]
    fn texts_that_cannot_be_tokens_are_refused() {
        for wrong in [
            "${GITHUB_TOKEN}",
            "$GITHUB_TOKEN",
            "%GITHUB_TOKEN%",
            "{{ .Values.token }}",
            "\"ghp_a\"",
            "'ghp_a'",
            "GITHUB_TOKEN=ghp_a",
            "token: ghp_a",
            "ghp_a,ghp_b",
            "ghp_a # mine",
            "/run/secrets/token",
            "GITHUB_TOKEN",
            "ghp_ä",
        ] {
            assert!(token(wrong).is_some(), "{wrong}");
        }
        for good in ["ghp_a1B2", "github_pat_11A_b", "t1", "ghs_eyJ.eyJ.x-_", "0123abcd", "X"] {
            assert_eq!(token(good), None, "{good}");
        }
    }

    #[test]
    fn unescaped_logins_are_refused_and_never_repeated() {
        for (written, cure) in [
            ("amqp://odd:p@telltale/w:rd#%@127.0.0.1:5672/", "%23"),
            ("amqp://me:telltale#x@h/", "%23"),
            ("amqp://me:p@telltale@h/", "%40"),
            ("amqp://me:telltale/x@h:5672/", "%2F"),
            ("amqp://me:telltale?x@h:5672/", "%3F"),
            ("amqp://me:telltale%@h/", "%25"),
            ("amqp://me:telltale%zz@h/", "%25"),
            ("amqp://me:tell tale@h/", "%20"),
            ("amqp://me:telltäle@h/", "%XX"),
        ] {
            let refused = url(written, true).unwrap_or_else(|| panic!("{written} was taken"));
            assert!(refused.contains(cure), "{written}: {refused}");
            assert!(!refused.contains("telltale") && !refused.contains("tell tale"), "{refused}");
        }
        for good in ["amqp://me:p%40ss%2F@h:5672/%2f", "https://hooks.example/a?b=c%20d", "x"] {
            assert_eq!(url(good, true), None, "{good}");
        }
        assert!(url("https://me:telltale@h/api", false).unwrap().contains("login"));
    }

    #[test]
    fn host_with_port_scheme_or_user_is_refused() {
        for wrong in ["db:4000", "mysql://db", "me@db", "a b", "db/x"] {
            assert!(host(wrong).is_some(), "{wrong}");
        }
        for good in ["db", "db.example.org", "10.0.0.1", "::1", "[2001:db8::1]"] {
            assert_eq!(host(good), None, "{good}");
        }
    }
}
