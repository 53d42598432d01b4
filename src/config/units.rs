//! Parses and formats durations and sizes.
//!
//! `90s`, `5m`, `1h30m`, `1.5h`, `50ms`, `2d`; `8 GiB`, `512MiB`, `10 MB`, `4096`. Formatted values
//! parse to the same value.

use std::time::Duration;

use crate::model::window::{Day, Timestamp};

/// Units of time with their microseconds, longest first.
const TIMES: &[(&str, u64)] = &[
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
    ("µs", 1),
];

/// Units of size with their bytes. A bare letter means the binary unit, as in most tools.
const SIZES: &[(&str, u64)] = &[
    ("tib", 1 << 40),
    ("gib", 1 << 30),
    ("mib", 1 << 20),
    ("kib", 1 << 10),
    ("tb", 1_000_000_000_000),
    ("gb", 1_000_000_000),
    ("mb", 1_000_000),
    ("kb", 1_000),
    ("t", 1 << 40),
    ("g", 1 << 30),
    ("m", 1 << 20),
    ("k", 1 << 10),
    ("b", 1),
    ("", 1),
];

/// The unit of a number without one, as the peer's keys define it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BareUnit {
    /// Refused; only zero needs no unit.
    Refused,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// Minutes.
    Minutes,
}

impl BareUnit {
    fn micros(self) -> Option<u64> {
        match self {
            Self::Refused => None,
            Self::Milliseconds => Some(1_000),
            Self::Seconds => Some(1_000_000),
            Self::Minutes => Some(60_000_000),
        }
    }
}

/// Parses a duration; `None` when invalid or out of range.
#[must_use]
pub fn duration(text: &str, bare: BareUnit) -> Option<Duration> {
    let text = text.trim();
    if let Ok(number) = text.parse::<u64>() {
        let unit = if number == 0 { 1 } else { bare.micros()? };
        return number.checked_mul(unit).map(Duration::from_micros);
    }
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let (_, micros) = TIMES.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(scaled(number, *micros)?)?;
        rest = tail.trim_start();
    }
    (!text.is_empty()).then(|| Duration::from_micros(total))
}

/// Parses a time: a timestamp (UTC without an offset), the beginning of a day in UTC, or how long
/// before `now`. `None` unless the whole text is one of these.
#[must_use]
pub fn moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    let text = text.trim();
    // The library accepts a time zone in brackets and ignores it.
    let time = Timestamp::parse(text).filter(|_| !text.contains('['));
    time.or_else(|| Timestamp::parse_utc(text))
        .or_else(|| Day::parse(text).map(Day::start))
        .or_else(|| duration(text, BareUnit::Refused).map(|ago| now.minus(ago)))
}

/// Parses a size in bytes; `None` when invalid or out of range.
#[must_use]
pub(super) fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits =
        text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let (_, size) = SIZES.iter().find(|(name, _)| *name == unit)?;
    scaled(&number.replace('_', ""), *size)
}

/// A decimal number times a unit, truncated to a whole number.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    // Further digits are below a microsecond or a byte in every unit.
    if !(1..=9).contains(&fraction.len()) {
        return None;
    }
    let below = u128::from(fraction.parse::<u64>().ok()?) * u128::from(unit);
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let below = u64::try_from(below / scale).ok()?;
    whole.parse::<u64>().ok()?.checked_mul(unit)?.checked_add(below)
}

/// Formats a duration so that it parses: `1h30m`, `250ms`, `0s`.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let mut micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (name, size) in TIMES.iter().skip(1).take(5) {
        let count = micros / size;
        if count > 0 {
            text.push_str(&count.to_string());
            text.push_str(name);
            micros %= size;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Formats a size so that it parses, in the largest binary unit that divides it.
#[must_use]
pub fn show_bytes(bytes: u64) -> String {
    for (name, size) in [("TiB", 1u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)]
    {
        if bytes >= size && bytes.is_multiple_of(size) {
            return format!("{} {name}", bytes / size);
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        let read = |text| duration(text, BareUnit::Refused).map(|found| found.as_millis());
        assert_eq!(read("90s"), Some(90_000));
        assert_eq!(read("5m"), Some(300_000));
        assert_eq!(read("1h30m"), Some(5_400_000));
        assert_eq!(read("1h 30m"), Some(5_400_000));
        assert_eq!(read("1.5h"), Some(5_400_000));
        assert_eq!(read("50ms"), Some(50));
        assert_eq!(read("2d"), Some(172_800_000));
        assert_eq!(read("0"), Some(0));
        for wrong in ["", "5", "s", "1x", "-1s", "1.s", "1..5s", "5m3", "99999999999999999999s"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_moment_is_read_wholly_or_not_at_all() {
        let now = Timestamp::from_seconds(1_800_000_000);
        let read = |text| moment(text, now).map(|moment| moment.to_string());
        for text in [
            "2026-11-29T11:48:21Z",
            "2026-11-29T12:48:21+01:00",
            "2026-11-29T11:48:21",
            "2026-11-29 11:48:21.0",
        ] {
            assert_eq!(read(text).as_deref(), Some("2026-11-29T11:48:21Z"), "{text}");
        }
        assert_eq!(read("2026-11-29").as_deref(), Some("2026-11-29T00:00:00Z"));
        assert_eq!(read("1h30m"), Some(now.minus(Duration::from_secs(5_400)).to_string()));
        for text in [
            "2026-11-29T11:48:21 or so",
            "2026-11-29T11:48:21[Europe/Berlin]",
            "2026-11-29T11:48:21Z[Europe/Berlin]",
            "2026-11-29x",
            "29.11.2026",
            "1764416901",
            "soon",
            "",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_bare_number_has_the_unit_of_its_key() {
        let seconds = |bare| duration("30", bare).map(|found| found.as_secs_f64());
        assert_eq!(seconds(BareUnit::Milliseconds), Some(0.03));
        assert_eq!(seconds(BareUnit::Seconds), Some(30.0));
        assert_eq!(seconds(BareUnit::Minutes), Some(1800.0));
        assert_eq!(seconds(BareUnit::Refused), None);
        assert_eq!(duration(&u64::MAX.to_string(), BareUnit::Minutes), None);
    }

    #[test]
    fn sizes_read_as_people_write_them() {
        assert_eq!(bytes("8 GiB"), Some(8 << 30));
        assert_eq!(bytes("512MiB"), Some(512 << 20));
        assert_eq!(bytes("10 MB"), Some(10_000_000));
        assert_eq!(bytes("1.5 KiB"), Some(1536));
        assert_eq!(bytes("8g"), Some(8 << 30));
        assert_eq!(bytes("4096"), Some(4096));
        assert_eq!(bytes("65_536"), Some(65_536));
        for wrong in ["", "GiB", "-1", "1 XB", "1.2.3 KB", "99999999999 TiB"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn shown_values_are_read_back(micros in 0u64..1 << 50, size in any::<u64>()) {
            let time = Duration::from_micros(micros);
            prop_assert_eq!(duration(&show_duration(time), BareUnit::Refused), Some(time));
            prop_assert_eq!(bytes(&show_bytes(size)), Some(size));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".*") {
            let _ = (duration(&text, BareUnit::Minutes), bytes(&text));
        }
    }
}
