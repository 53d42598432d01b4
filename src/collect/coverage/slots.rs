//! What came lately beside what used to come, by type.
//!
//! Ten seconds are a slot. The last minute is compared with up to half an hour before it; slots in
//! which something was wrong are left out of that, so that what is missing for long does not
//! become what is usual.

use std::collections::VecDeque;

use crate::collect::overlap::KINDS;
use crate::model::window::Timestamp;

/// Seconds of a slot.
const SLOT: i64 = 10;
const SLOT_MICROS: f64 = 1e7;
/// Slots of the last minute; the newest of them is still open, so they cover 50 to 60 seconds.
const RECENT: usize = 6;
const WHOLE: f64 = 6.0;
/// Slots before it that are kept.
const MOST: usize = 180;
/// Slots before it without which nothing is usual yet.
const LEAST: usize = 6;
/// Events that are to be expected before none of them means anything: that a type has none by
/// chance happens once in three million minutes.
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
pub(super) struct Slots {
    recent: VecDeque<Slot>,
    before: VecDeque<Slot>,
    /// The first answer, and the latest time that was told.
    began: Option<Timestamp>,
    now: Timestamp,
}

/// One type now and before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Compared {
    pub(super) kind: usize,
    /// Events of the last minute.
    pub(super) now: f64,
    /// Events that would have been usual, in as many answered slots.
    pub(super) usual: f64,
}

impl Slots {
    /// Moves on to this time; `odd`: something is wrong now.
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

    /// An answer came, with these new events by type; after [`Self::roll`].
    pub(super) fn add(&mut self, counts: &KindCounts) {
        self.began.get_or_insert(self.now);
        if let Some(slot) = self.recent.back_mut() {
            slot.answers += 1;
            for (sum, count) in slot.counts.iter_mut().zip(counts) {
                *sum = sum.saturating_add(*count);
            }
        }
    }

    /// Answers of the last minute.
    pub(super) fn answers(&self) -> u32 {
        self.recent.iter().map(|slot| slot.answers).sum()
    }

    /// Events that the recent slots hold.
    fn events(&self) -> f64 {
        self.recent.iter().flat_map(|slot| slot.counts).map(f64::from).sum()
    }

    /// Slots that have passed since the recent ones began, the open one as the part of it that has
    /// passed; counted from the first answer.
    fn passed(&self) -> f64 {
        let oldest = self.recent.front().map_or(0, |slot| slot.start.saturating_mul(SLOT));
        let (Some(began), from) = (self.began, Timestamp::from_seconds(oldest)) else { return 0.0 };
        let micros = self.now.since(from.max(began)).as_secs_f64() * 1e6;
        micros / SLOT_MICROS
    }

    /// Events a minute, of the last minute; `None` while less than a slot has passed.
    pub(super) fn a_minute(&self) -> Option<f64> {
        let passed = self.passed();
        (passed >= 1.0).then(|| self.events() / passed * WHOLE)
    }

    /// Whether what is usual is known.
    pub(super) fn is_known(&self) -> bool {
        self.before.len() >= LEAST
    }

    /// Each type now and before; those without any are left out.
    pub(super) fn compared(&self) -> Vec<Compared> {
        let answered = |slots: &VecDeque<Slot>| {
            let slots = slots.iter().filter(|slot| slot.answers > 0).count();
            f64::from(u32::try_from(slots).unwrap_or(u32::MAX))
        };
        // Of the open slot only the part that has passed; without any answer it is a whole minute
        // that is missing.
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

    /// Types of which there is none in the last minute, though there should be.
    pub(super) fn missing(&self) -> Vec<usize> {
        if !self.is_known() {
            return Vec::new();
        }
        let compared = self.compared().into_iter();
        compared.filter(|c| c.now == 0.0 && c.usual >= EXPECTED).map(|c| c.kind).collect()
    }

    /// Since when slots have had less than this part of their usual events: the beginning of the
    /// oldest such slot that only such slots follow. `None` when the newest slot has more.
    pub(super) fn slow_since(&self, part: f64) -> Option<Timestamp> {
        let events = |slot: &Slot| slot.counts.iter().map(|count| f64::from(*count)).sum::<f64>();
        let slots = f64::from(u32::try_from(self.before.len()).unwrap_or(u32::MAX));
        let usual = self.before.iter().map(events).sum::<f64>() / slots.max(1.0);
        let slow = self.recent.iter().rev().take_while(|slot| events(slot) < part * usual).last();
        slow.map(|slot| Timestamp::from_seconds(slot.start.saturating_mul(SLOT)))
    }

    /// Events now as a part of what is usual; `None` while that is not known, or few.
    pub(super) fn activity(&self) -> Option<f64> {
        let usual: f64 = self.compared().iter().map(|compared| compared.usual).sum();
        (self.is_known() && usual >= 3.0 * EXPECTED).then(|| self.events() / usual)
    }
}
