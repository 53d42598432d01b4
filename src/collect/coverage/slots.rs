//! Compares recent event counts with the usual ones, by type.
//!
//! A slot is ten seconds long. The last minute is compared with up to half an hour before it.
//! Slots with a problem are left out of that baseline, so that a lasting loss does not become the
//! usual value.

use std::collections::VecDeque;

use crate::collect::overlap::KINDS;
use crate::model::window::Timestamp;

/// Length of a slot in seconds.
const SLOT: i64 = 10;
const SLOT_MICROS: f64 = 1e7;
/// Number of slots in the last minute; the newest one is still open, so they cover 50 to 60
/// seconds.
const RECENT: usize = 6;
const WHOLE: f64 = 6.0;
/// Maximum number of earlier slots.
const MOST: usize = 180;
/// Minimum number of earlier slots for a baseline.
const LEAST: usize = 6;
/// Minimum number of expected events before their absence means anything: a type is absent by
/// chance once in three million minutes.
const EXPECTED: f64 = 15.0;

type KindCounts = [u32; KINDS.len()];

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    start: i64,
    answers: u32,
    counts: KindCounts,
    odd: bool,
}

#[derive(Debug, Default)]
pub(super) struct RecentCounts {
    recent: VecDeque<Slot>,
    before: VecDeque<Slot>,
    /// The time of the first response, and the latest time seen.
    began: Option<Timestamp>,
    now: Timestamp,
}

/// The counts of one type: recent and usual.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Compared {
    pub(super) kind: usize,
    /// Events of the last minute.
    pub(super) now: f64,
    /// The usual number of events in as many slots with responses.
    pub(super) usual: f64,
}

impl RecentCounts {
    /// Advances to this time; `odd` means that there is a problem now.
    pub(super) fn roll(&mut self, now: Timestamp, odd: bool) {
        self.now = now;
        let start = now.micros().div_euclid(1_000_000).div_euclid(SLOT);
        match self.recent.back_mut() {
            Some(last) if last.start >= start => last.odd |= odd,
            _ => self.recent.push_back(Slot { start, odd, ..Slot::default() }),
        }
        let oldest = start - i64::try_from(RECENT).expect("six") + 1;
        while self.recent.front().is_some_and(|slot| slot.start < oldest) {
            let slot = self.recent.pop_front().expect("there is one");
            if slot.answers > 0 && !slot.odd {
                self.before.push_back(slot);
            }
        }
        while self.before.len() > MOST {
            self.before.pop_front();
        }
    }

    /// Records a response with these new events by type; call [`Self::roll`] first.
    pub(super) fn add(&mut self, counts: &KindCounts) {
        self.began.get_or_insert(self.now);
        if let Some(slot) = self.recent.back_mut() {
            slot.answers += 1;
            for (sum, count) in slot.counts.iter_mut().zip(counts) {
                *sum = sum.saturating_add(*count);
            }
        }
    }

    /// Responses of the last minute.
    pub(super) fn answers(&self) -> u32 {
        self.recent.iter().map(|slot| slot.answers).sum()
    }

    /// Number of events in the recent slots.
    fn events(&self) -> f64 {
        self.recent.iter().flat_map(|slot| slot.counts).map(f64::from).sum()
    }

    /// Number of slots since the first recent one began, counted from the first response; the open
    /// slot counts by the fraction that has passed.
    fn passed(&self) -> f64 {
        let oldest = self.recent.front().map_or(0, |slot| slot.start.saturating_mul(SLOT));
        let (Some(began), from) = (self.began, Timestamp::from_seconds(oldest)) else { return 0.0 };
        let micros = self.now.since(from.max(began)).as_secs_f64() * 1e6;
        micros / SLOT_MICROS
    }

    /// Events per minute over the last minute; `None` before one slot has passed.
    pub(super) fn a_minute(&self) -> Option<f64> {
        let passed = self.passed();
        (passed >= 1.0).then(|| self.events() / passed * WHOLE)
    }

    /// Whether there is a baseline.
    pub(super) fn is_known(&self) -> bool {
        self.before.len() >= LEAST
    }

    /// The recent and usual counts of each type; types without any are left out.
    pub(super) fn compared(&self) -> Vec<Compared> {
        let answered = |slots: &VecDeque<Slot>| {
            let slots = slots.iter().filter(|slot| slot.answers > 0).count();
            f64::from(u32::try_from(slots).unwrap_or(u32::MAX))
        };
        // Only the part of the open slot that has passed counts; without any response a whole
        // minute is missing.
        let open = self.recent.back().filter(|slot| slot.answers > 0).map_or(0.0, |slot| {
            let from = Timestamp::from_seconds(slot.start.saturating_mul(SLOT));
            1.0 - (self.now.since(from).as_secs_f64() * 1e6 / SLOT_MICROS).min(1.0)
        });
        let answered_now = answered(&self.recent) - open;
        let minute = Some(answered_now).filter(|slots| *slots > 0.0).unwrap_or(WHOLE);
        let part = minute / answered(&self.before).max(1.0);
        let sum = |slots: &VecDeque<Slot>, kind: usize| -> f64 {
            slots.iter().map(|slot| f64::from(slot.counts[kind])).sum()
        };
        (0..KINDS.len())
            .map(|kind| Compared {
                kind,
                now: sum(&self.recent, kind),
                usual: sum(&self.before, kind) * part,
            })
            .filter(|compared| compared.now > 0.0 || compared.usual > 0.0)
            .collect()
    }

    /// Types absent from the last minute although they should be present.
    pub(super) fn missing(&self) -> Vec<usize> {
        if !self.is_known() {
            return Vec::new();
        }
        let compared = self.compared().into_iter();
        compared.filter(|c| c.now == 0.0 && c.usual >= EXPECTED).map(|c| c.kind).collect()
    }

    /// Since when slots have had less than this fraction of their usual events: the start of the
    /// oldest slot from which on all slots did. `None` when the newest slot has more.
    pub(super) fn slow_since(&self, part: f64) -> Option<Timestamp> {
        let events = |slot: &Slot| slot.counts.iter().map(|count| f64::from(*count)).sum::<f64>();
        let slots = f64::from(u32::try_from(self.before.len()).unwrap_or(u32::MAX));
        let usual = self.before.iter().map(events).sum::<f64>() / slots.max(1.0);
        let slow = self.recent.iter().rev().take_while(|slot| events(slot) < part * usual).last();
        slow.map(|slot| Timestamp::from_seconds(slot.start.saturating_mul(SLOT)))
    }

    /// Recent events as a fraction of the usual ones; `None` while that is unknown or few are
    /// expected.
    pub(super) fn activity(&self) -> Option<f64> {
        let usual: f64 = self.compared().iter().map(|compared| compared.usual).sum();
        (self.is_known() && usual >= 3.0 * EXPECTED).then(|| self.events() / usual)
    }
}
