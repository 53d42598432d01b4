//! Parses one written value by the kind of its key.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::endpoint::endpoint;
use super::impossible;
use super::secret::{HIDDEN, Secret, quotable};
use super::table::{ConfigKey, ValueKind};
use super::typed::{Durability, Network};
use super::units::{self, BareUnit};

/// A parsed value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ConfigValue {
    Switch(bool),
    Whole(u64),
    Share(f64),
    Text(String),
    Path(PathBuf),
    Secret(Secret),
    Secrets(Vec<Secret>),
    Texts(Vec<String>),
    Networks(Vec<Network>),
    Address(IpAddr),
    Listen(Option<SocketAddr>),
    Span(Duration),
    Sync(Durability),
}

/// Parses one text. The error says what is wrong and what is accepted, without the key's name.
pub(super) fn read(key: &ConfigKey, written: &str) -> Result<ConfigValue, String> {
    let text = written.trim();
    let shown = || if key.is_secret() { HIDDEN.to_owned() } else { quotable(text) };
    let value = match key.kind {
        ValueKind::Switch => switch(text).map(ConfigValue::Switch),
        ValueKind::Whole(least, most) => {
            whole(text).filter(|n| (least..=most).contains(n)).map(ConfigValue::Whole)
        }
        ValueKind::Port => {
            whole(text).filter(|n| u16::try_from(*n).is_ok()).map(ConfigValue::Whole)
        }
        ValueKind::Share => {
            let share = text.parse::<f64>().ok();
            share.filter(|share| (0.0..=1.0).contains(share)).map(ConfigValue::Share)
        }
        ValueKind::Text => Some(ConfigValue::Text(text.to_owned())),
        ValueKind::Choice(words) => {
            let is_meant = |word: &&&str| word.eq_ignore_ascii_case(text) || means(word, text);
            words.iter().find(is_meant).map(|word| ConfigValue::Text((*word).to_owned()))
        }
        ValueKind::Filter => filter(text).map(ConfigValue::Text),
        ValueKind::Path => Some(ConfigValue::Path(PathBuf::from(text))),
        ValueKind::Route => route(text).map(ConfigValue::Text),
        ValueKind::Url(schemes) => {
            url(text, schemes, false).map_err(|why| {
                let is_login = key.path.starts_with("pulsar.") && text.contains('@');
                let login = "; logins are pulsar.audience and pulsar.keypath";
                format!("{} is not accepted: {why}{}", shown(), if is_login { login } else { "" })
            })?;
            Some(ConfigValue::Text(text.trim_end_matches('/').to_owned()))
        }
        ValueKind::SecretUrl(schemes) => {
            url(text, schemes, true).map_err(|why| format!("{HIDDEN} is not accepted: {why}"))?;
            Some(ConfigValue::Secret(Secret::new(text)))
        }
        // A password may begin or end with a space; a line end comes from a file.
        ValueKind::Secret => {
            Some(ConfigValue::Secret(Secret::new(written.trim_end_matches(['\n', '\r']))))
        }
        ValueKind::Tokens | ValueKind::Origins | ValueKind::Networks | ValueKind::Names => {
            let values: Vec<&str> = text.split(',').map(str::trim).collect();
            Some(list(key, &values).map_err(|mut wrong| wrong.swap_remove(0).1)?)
        }
        ValueKind::Address => address(text).map(ConfigValue::Address),
        ValueKind::Listen => listen(text),
        ValueKind::Span(bare, least, most) => {
            let span = units::duration(text, bare);
            span.filter(|span| (least..=most).contains(span)).map(ConfigValue::Span)
        }
        ValueKind::Bytes(least, most) => {
            let size = units::bytes(text);
            size.filter(|size| (least..=most).contains(size)).map(ConfigValue::Whole)
        }
        ValueKind::Sync => sync(text).map(ConfigValue::Sync),
        ValueKind::Unused(_) => Some(ConfigValue::Text(String::new())),
    };
    value.ok_or_else(|| format!("{} is not accepted: use {}", shown(), describe(key.kind)))
}

/// Parses the values of a list; empty ones are skipped. The error has every refused value: its
/// index from 0, and the reason, without the key's name.
pub(super) fn list(key: &ConfigKey, values: &[&str]) -> Result<ConfigValue, Vec<(usize, String)>> {
    let filled = |text: &str| match impossible::text(key, text) {
        None => Ok(()),
        Some(why) => Err(format!("{} {why}", quotable(text))),
    };
    match key.kind {
        ValueKind::Tokens => each(values, |text| match impossible::token(text) {
            None => Ok(Secret::new(text)),
            Some(why) => Err(why.to_owned()),
        })
        .map(ConfigValue::Secrets),
        ValueKind::Networks => each(values, |text| filled(text).and_then(|()| network(text)))
            .map(ConfigValue::Networks),
        ValueKind::Names => each(values, |text| filled(text).and_then(|()| impossible::name(text)))
            .map(ConfigValue::Texts),
        _ => each(values, |text| filled(text).and_then(|()| impossible::origin(text)))
            .map(ConfigValue::Texts),
    }
}

/// Parses every value that is not empty, or returns the reason for each refused one.
fn each<T>(
    values: &[&str],
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, Vec<(usize, String)>> {
    let (mut good, mut wrong) = (Vec::new(), Vec::new());
    for (index, text) in values.iter().enumerate().filter(|(_, text)| !text.is_empty()) {
        match read(text) {
            Ok(value) => good.push(value),
            Err(why) => wrong.push((index, why)),
        }
    }
    if wrong.is_empty() { Ok(good) } else { Err(wrong) }
}

/// Description of what a kind accepts, for errors and the reference.
pub(super) fn describe(kind: ValueKind) -> String {
    match kind {
        ValueKind::Switch => "true or false".to_owned(),
        ValueKind::Whole(least, most) => format!("a whole number from {least} to {most}"),
        ValueKind::Port => "a port from 1 to 65535, or 0 for any free one".to_owned(),
        ValueKind::Share => "a number from 0 to 1, as 0.5".to_owned(),
        ValueKind::Text | ValueKind::Unused(_) => "a text".to_owned(),
        ValueKind::Choice(words) => format!("one of {}", words.join(", ")),
        ValueKind::Filter => {
            "error, warn, info or debug, or directives as info,ghpulse::store=debug".into()
        }
        ValueKind::Path => "a path".to_owned(),
        ValueKind::Route => "a path that begins with / and has no spaces, ?, #, : or *".to_owned(),
        ValueKind::Url(schemes) => format!("a URL that begins with {}", describe_schemes(schemes)),
        ValueKind::SecretUrl(schemes) => {
            format!("a URL that begins with {} (secret)", describe_schemes(schemes))
        }
        ValueKind::Secret => "a text (secret)".to_owned(),
        ValueKind::Tokens => "a list of tokens (secret)".to_owned(),
        ValueKind::Origins => "a list of origins, as https://example.org".to_owned(),
        ValueKind::Networks => "a list of IP addresses or networks, as 10.0.0.0/8".to_owned(),
        ValueKind::Names => "a list of names, as ann, spam-* or ann/tool".to_owned(),
        ValueKind::Address => "an IP address".to_owned(),
        ValueKind::Listen => "an address and a port, as 127.0.0.1:8602, or off".to_owned(),
        ValueKind::Span(bare, least, most) => {
            let unit = match bare {
                BareUnit::Refused => "a duration with its unit, as 90s, 5m or 1h30m",
                BareUnit::Milliseconds => "milliseconds, or a duration as 500ms or 5s",
                BareUnit::Seconds => "seconds, or a duration as 30m or 1h",
                BareUnit::Minutes => "minutes, or a duration as 90s or 10m",
            };
            let (least, most) = (units::show_duration(least), units::show_duration(most));
            format!("{unit}, from {least} to {most}")
        }
        ValueKind::Bytes(least, most) => {
            let (least, most) = (units::show_bytes(least), units::show_bytes(most));
            format!("a size, as 512 MiB or 8 GiB, from {least} to {most}")
        }
        ValueKind::Sync => "batch, or a duration as 200ms, from 10ms to 1m".to_owned(),
    }
}

fn describe_schemes(schemes: &[&str]) -> String {
    let all: Vec<String> = schemes.iter().map(|scheme| format!("{scheme}://")).collect();
    all.join(" or ")
}

fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

fn whole(text: &str) -> Option<u64> {
    let plain = text.starts_with(|c: char| c.is_ascii_digit());
    plain.then(|| text.replace('_', "").parse().ok()).flatten()
}

/// Directives in the syntax of the log's filter: `level` or `target=level`, separated by commas.
fn filter(text: &str) -> Option<String> {
    const LEVELS: &[&str] = &["off", "error", "warn", "warning", "info", "debug", "trace"];
    let lower = text.to_ascii_lowercase();
    // The peer's logger has levels above error.
    if matches!(lower.as_str(), "fatal" | "panic" | "dpanic") {
        return Some("error".to_owned());
    }
    let fits = lower.split(',').all(|directive| {
        let directive = directive.trim();
        let (target, level) = directive.rsplit_once('=').unwrap_or(("any", directive));
        let named = target.chars().all(|c| c.is_ascii_alphanumeric() || "_:-".contains(c));
        named && !target.is_empty() && LEVELS.contains(&level.trim())
    });
    // Other loggers say `warning`; the filter knows only `warn`.
    fits.then(|| lower.replace("warning", "warn").replace(' ', ""))
}

/// Whether a word means `true` or `false` for a choice.
fn means(word: &str, text: &str) -> bool {
    switch(text).is_some_and(|on| word == if on { "on" } else { "off" })
}

fn route(text: &str) -> Option<String> {
    let fits = text.starts_with('/')
        && text.chars().all(|c| c.is_ascii_graphic() && !"?#{}*:".contains(c))
        && !text.contains("//");
    let bare = text.trim_end_matches('/');
    fits.then(|| if bare.is_empty() { "/".to_owned() } else { bare.to_owned() })
}

fn url(text: &str, schemes: &[&str], is_secret: bool) -> Result<(), String> {
    if let Some(why) = impossible::url(text, is_secret) {
        return Err(why.to_owned());
    }
    match endpoint(text) {
        Some((scheme, _, _)) if schemes.contains(&scheme.as_str()) => Ok(()),
        _ => Err(format!("use {} and a host", describe_schemes(schemes))),
    }
}

fn network(text: &str) -> Result<Network, String> {
    Network::parse(text).ok_or_else(|| {
        format!("{} is not an address or a network: use 192.0.2.7 or 10.0.0.0/8", quotable(text))
    })
}

fn address(text: &str) -> Option<IpAddr> {
    if text.eq_ignore_ascii_case("localhost") {
        return Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    text.trim_matches(['[', ']']).parse().ok()
}

fn listen(text: &str) -> Option<ConfigValue> {
    if text.eq_ignore_ascii_case("off") {
        return Some(ConfigValue::Listen(None));
    }
    let (host, port) = text.rsplit_once(':')?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.contains(':') && !bracketed {
        return None;
    }
    let found = SocketAddr::new(address(host)?, port.parse().ok()?);
    Some(ConfigValue::Listen(Some(found)))
}

fn sync(text: &str) -> Option<Durability> {
    if text.eq_ignore_ascii_case("batch") {
        return Some(Durability::EveryBatch);
    }
    let bounds = Duration::from_millis(10)..=Duration::from_secs(60);
    units::duration(text, BareUnit::Refused)
        .filter(|every| bounds.contains(every))
        .map(Durability::Every)
}
