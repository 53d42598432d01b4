//! Counts by slot, and their bytes: gaps between slots and counts as LEB128 numbers.

use crate::model::varint;

/// Slots are smaller than this.
const SLOTS: u16 = 1 << 10;

/// Counts by slot, ascending; none is 0.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SlotCounts(Vec<(u16, u64)>);

impl SlotCounts {
    /// Adds to a slot, up to the largest number. Slots of 1024 and more are ignored.
    pub fn add(&mut self, slot: u16, n: u64) {
        if n == 0 || slot >= SLOTS {
            return;
        }
        match self.0.binary_search_by_key(&slot, |(known, _)| *known) {
            Ok(at) => self.0[at].1 = self.0[at].1.saturating_add(n),
            Err(at) => self.0.insert(at, (slot, n)),
        }
    }

    /// Keeps the slots for which `keep` returns true.
    pub fn retain(&mut self, mut keep: impl FnMut(u16) -> bool) {
        self.0.retain(|(slot, _)| keep(*slot));
    }

    /// The slots and their counts, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u64)> {
        self.0.iter().copied()
    }

    /// Whether all counts are zero.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends the row's bytes. For each slot: twice the gap to the one before, plus 1 when the
    /// count is more than 1, and then the count less 2.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut next = 0;
        for (slot, n) in &self.0 {
            varint::push(out, u64::from(slot - next) << 1 | u64::from(*n > 1));
            if *n > 1 {
                varint::push(out, n - 2);
            }
            next = slot + 1;
        }
    }

    /// Reads a row's bytes; `None` for other bytes.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut all = Vec::new();
        Self::visit(bytes, |slot, n| all.push((slot, n)))?;
        Some(Self(all))
    }

    /// Passes the slots and counts of a row's bytes to `take`, ascending; `None` for other bytes.
    pub fn visit(bytes: &[u8], mut take: impl FnMut(u16, u64)) -> Option<()> {
        let (mut rest, mut next) = (bytes, 0_u64);
        while !rest.is_empty() {
            let head = varint::take(&mut rest)?;
            let slot = next.checked_add(head >> 1)?;
            let n = if head & 1 == 1 { varint::take(&mut rest)?.checked_add(2)? } else { 1 };
            take(u16::try_from(slot).ok().filter(|slot| *slot < SLOTS)?, n);
            next = slot + 1;
        }
        Some(())
    }
}
