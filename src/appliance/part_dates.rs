//! Since when each part of the appliance has been in its state.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::model::part::{Part, PartState};
use crate::model::window::Timestamp;

/// The state of each part at the last look, since when, and the time of that look.
pub(super) struct PartDates {
    known: HashMap<Cow<'static, str>, (PartState, Timestamp)>,
    looked_at: Timestamp,
}

impl PartDates {
    /// Before the first look.
    pub(super) fn new(now: Timestamp) -> Self {
        Self { known: HashMap::new(), looked_at: now }
    }

    /// Sets `since` of each part; `parts` must be all parts. The time that a part itself reports
    /// refers to its own states, which may be more or fewer than those shown.
    pub(super) fn date(&mut self, mut parts: Vec<Part>, now: Timestamp) -> Vec<Part> {
        for part in &mut parts {
            match self.known.get(&part.name) {
                // The clock may have been set back since the last look.
                Some((state, since)) if *state == part.state => part.since = (*since).min(now),
                Some(_) if !(self.looked_at..=now).contains(&part.since) => part.since = now,
                _ => {}
            }
            // The last error may stay in /status; a part that is well has none.
            if matches!(part.state, PartState::Ok | PartState::Off) {
                part.error = None;
            }
        }
        // A part that is not there at a look begins anew when it is.
        let known = parts.iter().map(|part| (part.name.clone(), (part.state, part.since)));
        (self.known, self.looked_at) = (known.collect(), now);
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_is_dated_when_it_begins() {
        use PartState::{Degraded, Off, Ok};

        let at = Timestamp::from_seconds;
        let part = |name: &'static str, state, since| Part {
            name: name.into(),
            state,
            since: at(since),
            error: Some("words".to_owned()),
            note: None,
        };
        let mut dates = PartDates::new(at(100));
        let mut since = |parts: Vec<Part>, now| -> Vec<i64> {
            dates.date(parts, at(now)).iter().map(|part| part.since.second().0).collect()
        };
        assert_eq!(since(vec![part("source", Degraded, 90)], 101), [90]);
        // It reports the time of another state, or its own.
        assert_eq!(since(vec![part("source", Off, 90)], 103), [103]);
        assert_eq!(since(vec![part("source", Off, 104)], 105), [103]);
        assert_eq!(since(vec![part("source", Ok, 106)], 107), [106]);
        // A part that is there at times.
        let both = |files| vec![part("source", Ok, 106), part("files", Degraded, files)];
        assert_eq!(since(both(108), 109), [106, 108]);
        assert_eq!(since(both(110), 111), [106, 108]);
        assert_eq!(since(vec![part("source", Ok, 106)], 112), [106]);
        assert_eq!(since(both(113), 114), [106, 113]);
        // The clock was set back.
        assert_eq!(since(vec![part("source", Ok, 106)], 60), [60]);
        assert_eq!(since(vec![part("source", Ok, 106)], 61), [60]);
        assert_eq!(since(vec![part("source", Off, 106)], 50), [50]);
        let shown = dates.date(vec![part("bus", Ok, 1), part("tidb", Degraded, 1)], at(60));
        assert!(shown[0].error.is_none() && shown[1].error.is_some());
    }
}
