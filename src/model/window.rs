//! Time: instants, calendar units in UTC, and half-open windows. Adapter for `jiff`.
//!
//! `created_at` is the time of GitHub's clock, `received_at` the time of ours. Both are
//! [`Timestamp`]s. Calendar units are whole units since 1970 (a year is its number), so that they
//! sort, subtract and encode without a calendar.

use std::fmt;

use jiff::civil;
use jiff::tz::TimeZone;

use super::names::text_schema;

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// Whole seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Second(pub i64);

/// Whole minutes since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Minute(pub i64);

/// Whole hours since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hour(pub i64);

/// Whole UTC days since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Day(pub i32);

/// A UTC month: twelve times the year, plus the month from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Month(pub i32);

/// A UTC year of the common era.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Year(pub i32);

/// The seconds from `from` to before `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// First second inside.
    pub from: Second,
    /// First second after.
    pub until: Second,
}

const MICROS: i64 = 1_000_000;
/// Characters of `2026-01-31`.
const DATE_CHARS: usize = 10;
/// RFC 3339 has the years 0 to 9999; the calendar's range ends a day earlier.
const EARLIEST: i64 = -62_167_219_200 * MICROS;
const LATEST: i64 = 253_402_207_200 * MICROS;

impl Timestamp {
    /// The instant `micros` microseconds after 1970, clamped to the range of RFC 3339.
    #[must_use]
    pub fn from_micros(micros: i64) -> Self {
        Self(micros.clamp(EARLIEST, LATEST))
    }

    /// The start of a second.
    #[must_use]
    pub fn from_seconds(seconds: i64) -> Self {
        Self::from_micros(seconds.saturating_mul(MICROS))
    }

    /// Microseconds since 1970.
    #[must_use]
    pub fn micros(self) -> i64 {
        self.0
    }

    /// Parses an RFC 3339 instant with any offset, as in GitHub's `created_at`. `None` for other
    /// text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let parsed: jiff::Timestamp = text.parse().ok()?;
        Some(Self::from_micros(parsed.as_microsecond()))
    }

    /// Parses a time without an offset, `2026-01-31T05:30:00.5` or `2026-01-31 05:30`, as UTC.
    /// `None` for other text, also for a time with an offset.
    #[must_use]
    pub fn parse_utc(text: &str) -> Option<Self> {
        let (day, time) = text.split_at_checked(DATE_CHARS)?;
        Day::parse(day)?;
        let time = time.strip_prefix(['T', 't', ' '])?;
        let is_time = time.bytes().all(|byte| byte.is_ascii_digit() || b":.,".contains(&byte));
        if is_time { Self::parse(&format!("{day}T{time}Z")) } else { None }
    }

    /// Formats it for a `Date` header (RFC 9110 §5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
    #[must_use]
    pub fn http_date(self) -> String {
        let instant = jiff::Timestamp::from_microsecond(self.0).unwrap_or_default();
        let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
        printer.timestamp_to_rfc9110_string(&instant).unwrap_or_default()
    }

    /// Parses the date of an HTTP header, as [`Self::http_date`] writes it. `None` for other text.
    #[must_use]
    pub fn parse_http(text: &str) -> Option<Self> {
        // A wrong day of the week does not make the time wrong.
        let parser = jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true);
        let parsed = parser.parse_timestamp(text).ok()?;
        Some(Self::from_micros(parsed.as_microsecond()))
    }

    /// Its second.
    #[must_use]
    pub fn second(self) -> Second {
        Second(self.0.div_euclid(MICROS))
    }

    /// Its minute.
    #[must_use]
    pub fn minute(self) -> Minute {
        Minute(self.second().0.div_euclid(60))
    }

    /// Its hour.
    #[must_use]
    pub fn hour(self) -> Hour {
        Hour(self.second().0.div_euclid(3_600))
    }

    /// Its UTC day.
    #[must_use]
    pub fn day(self) -> Day {
        Day(i32::try_from(self.second().0.div_euclid(86_400)).expect("the range is four digits"))
    }

    /// Its UTC year.
    #[must_use]
    pub fn year(self) -> Year {
        self.day().year()
    }

    /// The instant `by` later.
    #[must_use]
    pub fn plus(self, by: std::time::Duration) -> Self {
        let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.0.saturating_add(micros))
    }

    /// The instant `by` earlier.
    #[must_use]
    pub fn minus(self, by: std::time::Duration) -> Self {
        let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.0.saturating_sub(micros))
    }

    /// The time since `earlier`; zero when this is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> std::time::Duration {
        let micros = self.0.saturating_sub(earlier.0);
        std::time::Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }
}

/// Formats it as RFC 3339 in UTC, with a fraction only when it has one.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instant = jiff::Timestamp::from_microsecond(self.0).map_err(|_| fmt::Error)?;
        write!(f, "{instant}")
    }
}

/// Serializes it as its text.
impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("invalid time: {text}")))
    }
}

text_schema!(Timestamp, "date-time");

impl Second {
    /// Its first instant.
    #[must_use]
    pub fn start(self) -> Timestamp {
        Timestamp::from_seconds(self.0)
    }
}

impl Hour {
    /// Its first instant.
    #[must_use]
    pub fn start(self) -> Timestamp {
        Timestamp::from_seconds(self.0.saturating_mul(3_600))
    }

    /// Its UTC day.
    #[must_use]
    pub fn day(self) -> Day {
        self.start().day()
    }
}

impl Day {
    /// Its first instant.
    #[must_use]
    pub fn start(self) -> Timestamp {
        Timestamp::from_seconds(i64::from(self.0) * 86_400)
    }

    /// Its year.
    #[must_use]
    pub fn year(self) -> Year {
        Year(i32::from(self.date().year()))
    }

    /// Parses `2026-01-31`; `None` for other text, also for a longer text that begins with a date.
    /// The last day of the calendar, 9999-12-31, is read as the one before it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // The library also accepts longer texts and other formats.
        let is_date = text.len() == DATE_CHARS
            && text.bytes().enumerate().all(|(at, byte)| match at {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            });
        if !is_date {
            return None;
        }
        let date: civil::Date = text.parse().ok()?;
        Some(Self::from_date(date))
    }

    /// Its month, and its number in it, from 1.
    #[must_use]
    pub fn in_month(self) -> (Month, u8) {
        let date = self.date();
        let month = Month(i32::from(date.year()) * 12 + i32::from(date.month()) - 1);
        (month, date.day().unsigned_abs())
    }

    fn from_date(date: civil::Date) -> Self {
        let midnight = date.to_zoned(TimeZone::UTC);
        // Only the calendar's last day begins behind the library's range.
        let start = midnight.map_or(Timestamp(LATEST), |zoned| {
            Timestamp::from_seconds(zoned.timestamp().as_second())
        });
        start.day()
    }

    fn date(self) -> civil::Date {
        let start = jiff::Timestamp::from_second(i64::from(self.0) * 86_400).unwrap_or_default();
        start.to_zoned(TimeZone::UTC).date()
    }
}

/// `2026-01-31`.
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.date())
    }
}

/// Serializes it as its text.
impl serde::Serialize for Day {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Month {
    /// Its first day.
    #[must_use]
    pub fn first_day(self) -> Day {
        let year = i16::try_from(self.0.div_euclid(12)).unwrap_or(1970).clamp(0, 9999);
        let month = i8::try_from(self.0.rem_euclid(12)).unwrap_or(0) + 1;
        Day::from_date(civil::Date::constant(year, month, 1))
    }

    /// The days of this month.
    #[must_use]
    pub fn days(self) -> std::ops::Range<i32> {
        self.first_day().0..Self(self.0.saturating_add(1)).first_day().0
    }
}

/// `2026-01`.
impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.0.div_euclid(12), self.0.rem_euclid(12) + 1)
    }
}

impl Year {
    /// Its first day.
    #[must_use]
    pub fn first_day(self) -> Day {
        let year = i16::try_from(self.0).unwrap_or(1970).clamp(0, 9999);
        Day::from_date(civil::Date::constant(year, 1, 1))
    }

    /// The days of this year.
    #[must_use]
    pub fn days(self) -> std::ops::Range<i32> {
        self.first_day().0..Self(self.0 + 1).first_day().0
    }
}

impl fmt::Display for Year {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Window {
    /// The window of `seconds` seconds whose last second is `last`.
    #[must_use]
    pub fn ending_with(last: Second, seconds: u32) -> Self {
        Self { from: Second(last.0 + 1 - i64::from(seconds)), until: Second(last.0 + 1) }
    }

    /// Whether the second is inside.
    #[must_use]
    pub fn contains(self, second: Second) -> bool {
        self.from <= second && second < self.until
    }

    /// The window of the same length just before.
    #[must_use]
    pub fn previous(self) -> Self {
        Self { from: Second(self.from.0 - self.len()), until: self.from }
    }

    /// The number of seconds; zero when it ends before it begins.
    #[must_use]
    pub fn len(self) -> i64 {
        (self.until.0 - self.from.0).max(0)
    }

    /// Whether it has no second.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_before_1970_are_in_negative_units() {
        let last = Timestamp::from_seconds(-1);
        assert_eq!((last.minute(), last.hour(), last.day()), (Minute(-1), Hour(-1), Day(-1)));
    }

    #[test]
    fn times_of_github_round_trip() {
        let text = "2026-02-24T21:33:46Z";
        let instant = Timestamp::parse(text).unwrap();
        assert_eq!(instant.to_string(), text);
        assert_eq!(instant.day().to_string(), "2026-02-24");
        assert_eq!(instant.year(), Year(2026));
    }

    #[test]
    fn other_text_is_not_a_time() {
        for text in ["", "yesterday", "2026-02-30T00:00:00Z", "99999-01-01T00:00:00Z"] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
        assert_eq!(Timestamp::from_micros(i64::MAX).year(), Year(9999));
        assert_eq!(Timestamp::from_micros(i64::MIN).year(), Year(0));
    }

    #[test]
    fn only_a_date_is_a_day() {
        for (text, day) in [
            ("2024-02-29", "2024-02-29"),
            ("0000-01-01", "0000-01-01"),
            ("9999-12-30", "9999-12-30"),
            ("9999-12-31", "9999-12-30"),
        ] {
            assert_eq!(Day::parse(text).unwrap().to_string(), day);
        }
        for text in [
            "2026-11-29T11:48:21",
            "2026-11-29 11",
            "2026-11-29 ",
            "2026-11-29Z",
            "2026-11-29x",
            "2026-11-29[UTC]",
            "20261129",
            "2026-1-29",
            "+002026-11-29",
            "2026-11-31",
            "",
        ] {
            assert_eq!(Day::parse(text), None, "{text}");
        }
    }

    #[test]
    fn http_date_is_that_of_rfc_9110() {
        let at = Timestamp::from_seconds(784_111_777);
        assert_eq!(at.http_date(), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn time_without_an_offset_is_utc() {
        for (text, read) in [
            ("2026-11-29T11:48:21", "2026-11-29T11:48:21Z"),
            ("2026-11-29T11:48:21.725792", "2026-11-29T11:48:21.725792Z"),
            ("2026-11-29 11:48:21", "2026-11-29T11:48:21Z"),
            ("2026-11-29T11:48", "2026-11-29T11:48:00Z"),
            ("2026-11-29T11", "2026-11-29T11:00:00Z"),
        ] {
            assert_eq!(Timestamp::parse_utc(text).unwrap().to_string(), read, "{text}");
        }
        for text in [
            "2026-11-29",
            "2026-11-29T",
            "2026-11-29T25:00",
            "2026-11-29T11:48:21+01:00",
            "2026-11-29T11:48:21+99:00",
            "2026-11-29T11:48:21Z",
            "2026-11-29T11:48:21[Europe/Berlin]",
            "2026-11-29T11:48:21 ",
            "2026-11-29  11:48:21",
            "2026-11-29_11:48:21",
            "é026-11-29T11:48:21",
        ] {
            assert_eq!(Timestamp::parse_utc(text), None, "{text}");
        }
    }

    #[test]
    fn offsets_are_converted_to_utc() {
        let instant = Timestamp::parse("2026-01-01T00:30:00+01:00").unwrap();
        assert_eq!(instant.day().to_string(), "2025-12-31");
        assert_eq!(instant.year(), Year(2025));
    }

    #[test]
    fn year_has_its_days() {
        assert_eq!(Year(2024).days().len(), 366);
        assert_eq!(Year(2026).days().len(), 365);
        assert_eq!(Year(2026).first_day().to_string(), "2026-01-01");
    }

    #[test]
    fn last_second_is_inside_the_window() {
        let window = Window::ending_with(Second(100), 10);
        assert!(window.contains(Second(91)) && window.contains(Second(100)));
        assert!(!window.contains(Second(90)) && !window.contains(Second(101)));
        assert_eq!(window.previous().until, window.from);
        assert_eq!(window.previous().len(), 10);
    }
}
