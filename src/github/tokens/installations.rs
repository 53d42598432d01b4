//! The pool's tokens of app installations. A renewed token keeps the slot of its installation, and
//! with it the budgets.

use tokio::sync::watch;

use super::MOST_TOKENS;
use super::lease::TokenPool;
use super::pool_state::TokenSlot;
use super::types::TokenSlotId;
use crate::config::Secret;

impl TokenPool {
    /// Announces that [`TokenPool::install`] will be called soon. Until then no request is sent
    /// without a token.
    pub fn expect_installations(&self) {
        self.lock().is_pending = true;
    }

    /// Replaces the tokens of app installations; each is given with GitHub's id of its
    /// installation. A new token ends the quarantine of the earlier one.
    pub fn install(&self, tokens: Vec<(u64, Secret)>) {
        let now = self.clock.instant();
        let mut state = self.lock();
        let was_pending = std::mem::take(&mut state.is_pending);
        let before: Vec<TokenSlotId> = state.slots.iter().map(|slot| slot.id).collect();
        let (mut old, kept) = std::mem::take(&mut state.slots)
            .into_iter()
            .partition::<Vec<_>, _>(|slot| slot.installation.is_some());
        state.slots = kept;
        let mut is_renewed = false;
        for (installation, token) in tokens {
            if state.slots.len() == MOST_TOKENS {
                break;
            }
            let is_of = |slot: &TokenSlot| slot.installation == Some(installation);
            let mut slot = if let Some(at) = old.iter().position(is_of) {
                old.remove(at)
            } else if let Some(at) = state.departed.iter().position(is_of) {
                state.departed.remove(at)
            } else {
                state.open_slot(None, Some(installation), now)
            };
            if slot.token.as_ref() != Some(&token) {
                is_renewed |= slot.is_quarantined(now);
                (slot.quarantined_until, slot.resting_until) = (None, None);
                slot.token = Some(token);
            }
            state.slots.push(slot);
        }
        state.departed.append(&mut old);
        self.settle_list(&mut state, &before, now);
        drop(state);
        // Requests that waited for a token may go now.
        if was_pending || is_renewed {
            self.changes.send_replace(());
        }
    }

    /// Notified when GitHub refuses the token of an installation.
    #[must_use]
    pub fn refusals(&self) -> watch::Receiver<()> {
        self.refusals.subscribe()
    }

    /// The installations whose tokens GitHub refuses.
    #[must_use]
    pub fn refused_installations(&self) -> Vec<u64> {
        let now = self.clock.instant();
        let state = self.lock();
        let refused = state.slots.iter().filter(|slot| slot.is_quarantined(now));
        refused.filter_map(|slot| slot.installation).collect()
    }
}
