//! Work that blocks, done beside the async workers in a fair order.
//!
//! A few pieces of work run at once. A piece runs for about a [`SLICE`] and goes back into its line
//! when it is not finished, so nothing waits for a whole search. Clients take turns by address,
//! however many pieces each of them has waiting; what a client waits for first, such as its first
//! page, goes before later pieces of others, except that every fourth turn is a later one's.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::hub::lock::lock;

/// About how long a piece of work runs before others get their turn.
const SLICE: Duration = Duration::from_millis(20);
/// Turns of first pieces in a row while a later one waits.
const FIRSTS_IN_A_ROW: u32 = 3;

/// Work in slices.
pub(in crate::hub) trait Job: Send {
    /// Works for about a slice; gives itself back when there is more to do.
    fn run(self: Box<Self>) -> Option<Box<dyn Job>>;
}

/// Which line a piece of work waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::hub) enum Rank {
    /// What a client has begun to wait for.
    First,
    /// What continues from there.
    Later,
}

/// The time that a slice has.
#[derive(Debug, Clone, Copy)]
pub(in crate::hub) struct Slice(Stopwatch);

impl Slice {
    pub(in crate::hub) fn begin() -> Self {
        Self(Stopwatch::start())
    }

    /// Whether it is others' turn.
    pub(in crate::hub) fn is_over(self) -> bool {
        self.0.elapsed() >= SLICE
    }
}

/// The lines, and who works.
#[derive(Debug)]
pub(in crate::hub) struct Turns {
    at_once: usize,
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    running: usize,
    first: Line,
    later: Line,
    firsts: u32,
}

/// Clients in turn, and what each of them waits for.
#[derive(Default)]
struct Line {
    order: VecDeque<u64>,
    waiting: HashMap<u64, VecDeque<Box<dyn Job>>>,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("clients", &self.order.len()).finish_non_exhaustive()
    }
}

impl Turns {
    /// Without work; up to `at_once` pieces will run at the same time.
    pub(in crate::hub) fn new(at_once: usize) -> Self {
        Self { at_once, lines: Mutex::default() }
    }

    /// Puts work into the line of its client.
    pub(in crate::hub) fn push(self: &Arc<Self>, client: u64, rank: Rank, job: Box<dyn Job>) {
        let mut lines = lock(&self.lines);
        lines.put(client, rank, job);
        if lines.running < self.at_once {
            lines.running += 1;
            drop(lines);
            Worker { turns: Arc::clone(self), is_done: false }.start();
        }
    }

    /// How many work now.
    #[cfg(test)]
    pub(in crate::hub) fn running(&self) -> usize {
        lock(&self.lines).running
    }

    /// The next piece of work; without any, one who worked less.
    fn next(&self) -> Option<(u64, Box<dyn Job>)> {
        let mut lines = lock(&self.lines);
        let next = lines.next();
        lines.running -= usize::from(next.is_none());
        next
    }
}

impl Lines {
    fn put(&mut self, client: u64, rank: Rank, job: Box<dyn Job>) {
        match rank {
            Rank::First => self.first.put(client, job),
            Rank::Later => self.later.put(client, job),
        }
    }

    fn next(&mut self) -> Option<(u64, Box<dyn Job>)> {
        let is_laters_turn = self.firsts >= FIRSTS_IN_A_ROW && !self.later.order.is_empty();
        if let Some(first) = Some(&mut self.first).filter(|_| !is_laters_turn).and_then(Line::next)
        {
            self.firsts = self.firsts.saturating_add(1);
            return Some(first);
        }
        self.firsts = 0;
        self.later.next()
    }
}

impl Line {
    fn put(&mut self, client: u64, job: Box<dyn Job>) {
        let waiting = self.waiting.entry(client).or_default();
        if waiting.is_empty() {
            self.order.push_back(client);
        }
        waiting.push_back(job);
    }

    fn next(&mut self) -> Option<(u64, Box<dyn Job>)> {
        let client = self.order.pop_front()?;
        let waiting = self.waiting.get_mut(&client)?;
        let job = waiting.pop_front()?;
        if waiting.is_empty() {
            self.waiting.remove(&client);
        } else {
            self.order.push_back(client);
        }
        Some((client, job))
    }
}

/// One who works as long as there is something to do.
struct Worker {
    turns: Arc<Turns>,
    is_done: bool,
}

impl Worker {
    /// On a thread that may block; where there is no runtime, here and now.
    fn start(self) {
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || self.work())),
            Err(_) => self.work(),
        }
    }

    fn work(mut self) {
        while let Some((client, job)) = self.turns.next() {
            if let Some(rest) = job.run() {
                lock(&self.turns.lines).put(client, Rank::Later, rest);
            }
        }
        self.is_done = true;
    }
}

/// A piece of work that panics takes the others' turns with it otherwise.
impl Drop for Worker {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        let turns = Arc::clone(&self.turns);
        if std::thread::panicking() {
            Self { turns, is_done: false }.start();
        } else {
            lock(&turns.lines).running -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Done = Arc<Mutex<Vec<(u64, u32)>>>;

    /// Work of this many slices, which notes each of them.
    struct Slices {
        client: u64,
        left: u32,
        done: Done,
    }

    impl Job for Slices {
        fn run(mut self: Box<Self>) -> Option<Box<dyn Job>> {
            self.left -= 1;
            lock(&self.done).push((self.client, self.left));
            assert!(self.client < 100, "a client whose work panics");
            if self.left == 0 { None } else { Some(self) }
        }
    }

    /// Runs all of it on one thread, in the order of the turns.
    fn run_all(work: &[(u64, Rank, u32)]) -> Vec<(u64, u32)> {
        let (turns, done) = (Turns::new(1), Done::default());
        for (client, rank, left) in work {
            let job = Slices { client: *client, left: *left, done: Arc::clone(&done) };
            lock(&turns.lines).put(*client, *rank, Box::new(job));
        }
        lock(&turns.lines).running = 1;
        Worker { turns: Arc::new(turns), is_done: false }.work();
        std::mem::take(&mut *lock(&done))
    }

    #[test]
    fn one_clients_many_searches_delay_another_by_few_slices() {
        let mut work = vec![(1, Rank::First, 33); 400];
        work.push((2, Rank::First, 3));
        let done = run_all(&work);
        assert_eq!(done.len(), 400 * 33 + 3);
        let answered = done.iter().position(|slice| *slice == (2, 0)).unwrap();
        assert!(answered < 20, "{answered} slices before the answer");
    }

    #[test]
    fn first_pieces_go_before_later_ones_and_do_not_starve_them() {
        let mut work = vec![(1, Rank::Later, 1)];
        work.extend((2..22).map(|client| (client, Rank::First, 1)));
        let done = run_all(&work);
        let later = done.iter().position(|(client, _)| *client == 1);
        assert_eq!(later, Some(3));
    }

    #[tokio::test]
    async fn a_panic_costs_nobody_elses_turn() {
        let (turns, done) = (Arc::new(Turns::new(1)), Done::default());
        for client in [1, 100, 2] {
            let job = Slices { client, left: 1, done: Arc::clone(&done) };
            turns.push(client, Rank::First, Box::new(job));
        }
        let all_done = async {
            while lock(&done).len() < 3 || turns.running() > 0 {
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(std::time::Duration::from_secs(20), all_done).await;
        assert!(waited.is_ok(), "{} turns are still taken", turns.running());
    }
}
