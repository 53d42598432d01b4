//! GaugeTopics: named values that change at ticks, and who follows them.
//!
//! A sheet shows the latest reading of one thing that is counted over a rolling window. Who
//! follows it is told the whole of it first and then, at each tick, either the whole again or what
//! has changed since it was last told; a reader that was slow gets one change and not several.
//! Each text is written once and shared.
//!
//! Invariant: a snapshot plus all later deltas equals the latest snapshot. A subscriber that comes
//! back with the [`ResumeToken`] of a value that is still known here receives the delta since that
//! value; every other begins with a snapshot.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption};
use xxhash_rust::xxh3::xxh3_64;

use crate::hub::fanout::frame::Frame;
use crate::hub::fanout::notifier::Notifier;
use crate::hub::latest::values::map_text;
use crate::hub::lock::lock;
use crate::model::json;
use crate::model::position::Cursor;
use crate::model::resume_token::ResumeToken;
use crate::model::tally::Tally;
use crate::model::window::Second;

/// The windows over which the rolling counts are shown, with their seconds.
pub const WINDOWS: [(&str, u32); 3] = [("1m", 60), ("1h", 3_600), ("24h", 86_400)];

/// The most changes of one tick that are kept written: one for each tick that some reader was told
/// last.
const CHANGES: usize = 64;
/// The most values that are known of a sheet to whose readers one may come back: at a tick a second
/// those of two minutes, a few kilobytes each.
const KEPT_VALUES: usize = 120;

/// What was counted in a window, as of a place on the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GaugeSnapshot {
    /// Up to which event it is counted, that one included.
    pub cursor: Cursor,
    /// The window's first second.
    pub from: Second,
    /// The window's last second.
    pub to: Second,
    /// The second from which on everything was counted; not after `from` when the window is whole.
    pub counted_from: Second,
    /// Events of the window's time that could not be counted for want of room, since the start.
    pub left_out: u64,
    /// Name -> count.
    pub value: Tally,
}

/// One message for a reader.
#[derive(Debug, Clone)]
pub struct GaugeUpdate {
    /// Its `type`.
    pub kind: &'static str,
    /// Which value it leads to; none of what is not about counts.
    pub token: Option<ResumeToken>,
    /// The whole message; [`Frame::body`] is its text.
    pub frame: Frame,
}

/// All sheets of one kind, by name.
#[derive(Debug, Default)]
pub struct GaugeTopics {
    sheets: Mutex<BTreeMap<Box<str>, Arc<GaugeTopic>>>,
    /// How many values each of them remembers.
    keep: usize,
}

/// One named value.
#[derive(Debug)]
pub struct GaugeTopic {
    name: Box<str>,
    /// What it is, as a JSON object.
    about: ArcSwap<String>,
    shown: ArcSwapOption<Shown>,
    /// The last different values, that of now among them.
    kept: Mutex<VecDeque<Arc<Shown>>>,
    keep: usize,
    readers: Mutex<Readers>,
}

#[derive(Debug, Default)]
struct Readers {
    next: u64,
    notifiers: BTreeMap<u64, Arc<Notifier>>,
    closed: bool,
}

/// A reading with its number; numbers grow by one a tick.
#[derive(Debug)]
struct Shown {
    number: u64,
    reading: GaugeSnapshot,
    hash: OnceLock<u64>,
    snapshot: OnceLock<Frame>,
    tick: OnceLock<Frame>,
    /// What leads here from the reading of that number; `None` when nothing changed.
    changes: Mutex<Vec<(u64, Option<Frame>)>>,
}

/// What a reader is told after the first snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateMode {
    /// The whole value, at each tick.
    Full,
    /// What has changed, at each tick at which something has.
    Deltas,
}

/// One reader of a sheet.
#[derive(Debug)]
pub struct GaugeSubscriber {
    sheet: Arc<GaugeTopic>,
    number: u64,
    telling: UpdateMode,
    told: Option<Arc<Shown>>,
    ended: bool,
}

impl GaugeTopics {
    /// GaugeTopics to whose readers one may come back: they remember some of their last values.
    #[must_use]
    pub fn resumable() -> Self {
        Self { keep: KEPT_VALUES, ..Self::default() }
    }

    /// The sheet of this name, made when it is not there.
    #[must_use]
    pub fn open(&self, name: &str) -> Arc<GaugeTopic> {
        let mut sheets = lock(&self.sheets);
        let new = || Arc::new(GaugeTopic::new(name, self.keep));
        let sheet = sheets.entry(name.into()).or_insert_with(new);
        Arc::clone(sheet)
    }

    /// Takes a sheet away; who follows it is told so.
    pub fn close(&self, name: &str) {
        if let Some(sheet) = lock(&self.sheets).remove(name) {
            lock(&sheet.readers).closed = true;
            sheet.notify();
        }
    }

    /// The sheet of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<GaugeTopic>> {
        lock(&self.sheets).get(name).map(Arc::clone)
    }

    /// All names, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<Box<str>> {
        lock(&self.sheets).keys().cloned().collect()
    }
}

impl GaugeTopic {
    fn new(name: &str, keep: usize) -> Self {
        Self {
            name: name.into(),
            about: ArcSwap::from_pointee("{}".to_owned()),
            shown: ArcSwapOption::empty(),
            kept: Mutex::default(),
            keep,
            readers: Mutex::default(),
        }
    }

    /// Says what this is: a JSON object, for the list of all sheets.
    pub fn describe(&self, about: String) {
        self.about.store(Arc::new(about));
    }

    /// What this is, as a JSON object.
    #[must_use]
    pub fn about(&self) -> Arc<String> {
        self.about.load_full()
    }

    /// Its name as members of a JSON object: `"name":"languages","window":"1h"`.
    #[must_use]
    pub fn labels(&self) -> String {
        let mut text = r#""name":"#.to_owned();
        let (name, window) = self.name.split_once('/').unwrap_or((&self.name, ""));
        json::push_text(&mut text, name);
        if !window.is_empty() {
            text.push_str(r#","window":"#);
            json::push_text(&mut text, window);
        }
        text
    }

    /// Shows a new reading and tells everyone who follows it. From one place.
    pub fn publish(&self, reading: GaugeSnapshot) {
        let number = self.shown.load().as_ref().map_or(1, |shown| shown.number + 1);
        let shown = Arc::new(Shown {
            number,
            reading,
            hash: OnceLock::new(),
            snapshot: OnceLock::new(),
            tick: OnceLock::new(),
            changes: Mutex::default(),
        });
        if self.keep > 0 {
            self.keep(&shown);
        }
        if let Some(old) = self.shown.swap(Some(shown)) {
            // The value may be remembered; who is told of a change from now on is told a later one.
            lock(&old.changes).clear();
        }
        self.notify();
    }

    /// The value now; `None` before the first tick.
    #[must_use]
    pub fn snapshot(&self) -> Option<GaugeUpdate> {
        self.shown.load_full().map(|shown| self.snapshot_of(&shown))
    }

    /// What it shows now; `None` before the first tick.
    #[must_use]
    pub fn latest(&self) -> Option<GaugeSnapshot> {
        self.shown.load_full().map(|shown| shown.reading.clone())
    }

    /// Follows it: the snapshot, then what was asked for. The notifier rings at each tick.
    #[must_use]
    pub fn subscribe(
        self: &Arc<Self>,
        telling: UpdateMode,
        notifier: &Arc<Notifier>,
    ) -> GaugeSubscriber {
        let mut readers = lock(&self.readers);
        let number = readers.next;
        readers.next += 1;
        readers.notifiers.insert(number, Arc::clone(notifier));
        drop(readers);
        GaugeSubscriber { sheet: Arc::clone(self), number, telling, told: None, ended: false }
    }

    /// Remembers a value; of equal ones in a row only the first.
    fn keep(&self, shown: &Arc<Shown>) {
        let mut kept = lock(&self.kept);
        if kept.back().is_some_and(|last| last.reading.value == shown.reading.value) {
            return;
        }
        if kept.len() >= self.keep {
            kept.pop_front();
        }
        kept.push_back(Arc::clone(shown));
    }

    fn token_of(&self, shown: &Shown) -> ResumeToken {
        let value = (self.keep > 0).then(|| shown.hash());
        ResumeToken { cursor: shown.reading.cursor, value }
    }

    fn notify(&self) {
        lock(&self.readers).notifiers.values().for_each(|notifier| notifier.notify());
    }

    fn is_closed(&self) -> bool {
        lock(&self.readers).closed
    }

    fn snapshot_of(&self, shown: &Shown) -> GaugeUpdate {
        let frame = shown.snapshot.get_or_init(|| self.whole("snapshot", shown)).clone();
        GaugeUpdate { kind: "snapshot", token: Some(self.token_of(shown)), frame }
    }

    fn tick_of(&self, shown: &Shown) -> GaugeUpdate {
        let frame = shown.tick.get_or_init(|| self.whole("tick", shown)).clone();
        GaugeUpdate { kind: "tick", token: Some(self.token_of(shown)), frame }
    }

    fn whole(&self, kind: &str, shown: &Shown) -> Frame {
        let (head, reading) = (self.head(kind, shown), &shown.reading);
        let left_out = match reading.left_out {
            0 => String::new(),
            n => format!(r#","left_out":{n}"#),
        };
        Frame::text(&[&head, &left_out, r#","value":"#, &map_text(&reading.value), "}"])
    }

    fn change(&self, from: &Shown, to: &Shown) -> Option<GaugeUpdate> {
        let mut changes = lock(&to.changes);
        let known = changes.iter().find(|(number, _)| *number == from.number);
        let frame = if let Some((_, frame)) = known {
            frame.clone()
        } else {
            let frame = self.written_change(from, to);
            if changes.len() < CHANGES {
                changes.push((from.number, frame.clone()));
            }
            frame
        };
        drop(changes);
        frame.map(|frame| GaugeUpdate { kind: "delta", token: Some(self.token_of(to)), frame })
    }

    fn written_change(&self, from: &Shown, to: &Shown) -> Option<Frame> {
        let (from, now) = (&from.reading.value, &to.reading.value);
        let (deletions, mut changes) = Tally::difference(from, now);
        for (name, n) in deletions.iter() {
            changes.add(Arc::clone(name), -n);
        }
        if changes.is_empty() {
            return None;
        }
        let head = self.head("delta", to);
        Some(Frame::text(&[&head, r#","changes":"#, &map_text(&changes), "}"]))
    }

    /// The members that all messages have.
    fn head(&self, kind: &str, shown: &Shown) -> String {
        let (cursor, labels, reading) = (self.token_of(shown), self.labels(), &shown.reading);
        let mut text = format!(r#"{{"type":"{kind}","cursor":"{cursor}",{labels}"#);
        let (from, to) = (reading.from.start(), reading.to.start());
        let counted_from = reading.counted_from.start();
        let whole = reading.counted_from <= reading.from;
        write!(
            text,
            r#","from":"{from}","to":"{to}","counted_from":"{counted_from}","complete":{whole}"#
        )
        .expect("a string takes all");
        text
    }
}

impl Shown {
    /// Of the value and nothing else.
    fn hash(&self) -> u64 {
        *self.hash.get_or_init(|| xxh3_64(map_text(&self.reading.value).as_bytes()))
    }
}

impl GaugeSubscriber {
    /// Goes on from the value that this reader has, if it is still known here; else it begins
    /// with the snapshot.
    pub fn resume(&mut self, token: ResumeToken) {
        let Some(value) = token.value else { return };
        // A hash may have to be made: nobody waits for that.
        let kept: Vec<Arc<Shown>> = lock(&self.sheet.kept).iter().rev().cloned().collect();
        self.told = kept.into_iter().find(|shown| shown.hash() == value);
    }

    /// What this reader was not told yet; the newest of it.
    #[must_use]
    pub fn take(&mut self) -> Option<GaugeUpdate> {
        if self.ended {
            return None;
        }
        if self.sheet.is_closed() {
            self.ended = true;
            return Some(self.bye("it is not counted any more", None));
        }
        let now = self.sheet.shown.load_full()?;
        let note = match &self.told {
            None => Some(self.sheet.snapshot_of(&now)),
            Some(told) if told.number == now.number => return None,
            Some(_) if self.telling == UpdateMode::Full => Some(self.sheet.tick_of(&now)),
            Some(told) => self.sheet.change(told, &now),
        };
        self.told = Some(now);
        note
    }

    /// Says where this reader is.
    #[must_use]
    pub fn heartbeat(&self) -> GaugeUpdate {
        self.place("heartbeat", "")
    }

    /// Says goodbye; with the milliseconds after which to come back, where that makes sense.
    #[must_use]
    pub fn bye(&self, reason: &str, retry_after: Option<u64>) -> GaugeUpdate {
        let mut why = r#","reason":"#.to_owned();
        json::push_text(&mut why, reason);
        if let Some(after) = retry_after {
            why.extend([r#","retry_after":"#, &after.to_string()]);
        }
        self.place("bye", &why)
    }

    /// Before the snapshot there is no place.
    fn place(&self, kind: &'static str, members: &str) -> GaugeUpdate {
        let token = self.told.as_ref().map(|told| self.sheet.token_of(told));
        let place = token.map(|token| format!(r#","cursor":"{token}""#)).unwrap_or_default();
        let text = format!(r#"{{"type":"{kind}"{members}{place}}}"#);
        GaugeUpdate { kind, token, frame: Frame::text(&[&text]) }
    }

    /// Whether nothing more will come.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended
    }
}

impl Drop for GaugeSubscriber {
    fn drop(&mut self) {
        lock(&self.sheet.readers).notifiers.remove(&self.number);
    }
}

#[cfg(test)]
mod tests;
