//! A queue of blocking work that is fair between clients.
//!
//! A few jobs run at once, on blocking threads. A job runs for about one [`SLICE`] and is queued
//! again if it is not finished, so no client waits for the whole search of another. Clients take
//! turns, however many jobs each of them has queued. Jobs of [`Priority::First`], such as the first
//! page of a new query, go before those of [`Priority::Later`], except that every fourth turn
//! belongs to the latter.

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::sync::lock;

/// About how long a job runs before others get their turn.
const SLICE: Duration = Duration::from_millis(20);
/// First jobs in a row while a later one waits.
const FIRSTS_IN_A_ROW: u32 = 3;

pub(in crate::hub) trait SlicedWork: Send {
    /// Works for about a slice. Returns itself if there is more to do.
    fn run(self: Box<Self>) -> Option<Box<dyn SlicedWork>>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::hub) enum Priority {
    /// The beginning of what a client waits for.
    First,
    /// Its continuation.
    Later,
}

/// The time of one slice.
#[derive(Debug, Clone, Copy)]
pub(in crate::hub) struct TimeSlice(Stopwatch);

impl TimeSlice {
    pub(in crate::hub) fn begin() -> Self {
        Self(Stopwatch::start())
    }

    /// Whether it is the turn of others.
    pub(in crate::hub) fn is_over(self) -> bool {
        self.0.elapsed() >= SLICE
    }
}

/// A queue of jobs, and the threads that work on them.
#[derive(Debug)]
pub(in crate::hub) struct FairQueue {
    at_once: usize,
    queues: Mutex<ClientQueues>,
}

#[derive(Debug, Default)]
struct ClientQueues {
    running: usize,
    first: RoundRobin,
    later: RoundRobin,
    firsts: u32,
}

/// Clients in turn, and the jobs of each.
#[derive(Default)]
struct RoundRobin {
    order: VecDeque<u64>,
    waiting: HashMap<u64, VecDeque<Box<dyn SlicedWork>>>,
}

impl std::fmt::Debug for RoundRobin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RoundRobin").field("clients", &self.order.len()).finish_non_exhaustive()
    }
}

impl FairQueue {
    /// An empty queue; up to `at_once` jobs will run at the same time.
    pub(in crate::hub) fn new(at_once: usize) -> Self {
        Self { at_once, queues: Mutex::default() }
    }

    /// Adds a job of this client.
    pub(in crate::hub) fn push(
        self: &Arc<Self>,
        client: u64,
        priority: Priority,
        job: Box<dyn SlicedWork>,
    ) {
        let mut queues = lock(&self.queues);
        queues.put(client, priority, job);
        if queues.running < self.at_once {
            queues.running += 1;
            drop(queues);
            let queue = Arc::clone(self);
            // On a blocking thread; without a runtime, on this one.
            match tokio::runtime::Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn_blocking(move || queue.work())),
                Err(_) => queue.work(),
            }
        }
    }

    /// Works on jobs until none is left. A job that panics does not stop the others.
    fn work(&self) {
        while let Some((client, job)) = self.next() {
            let ran = std::panic::catch_unwind(AssertUnwindSafe(|| job.run()));
            if let Ok(Some(rest)) = ran {
                lock(&self.queues).put(client, Priority::Later, rest);
            }
        }
    }

    #[cfg(test)]
    pub(in crate::hub) fn running(&self) -> usize {
        lock(&self.queues).running
    }

    /// The next job; if there is none, the calling worker counts as stopped.
    fn next(&self) -> Option<(u64, Box<dyn SlicedWork>)> {
        let mut queues = lock(&self.queues);
        let next = queues.next();
        queues.running -= usize::from(next.is_none());
        next
    }
}

impl ClientQueues {
    fn put(&mut self, client: u64, priority: Priority, job: Box<dyn SlicedWork>) {
        let queue = if priority == Priority::First { &mut self.first } else { &mut self.later };
        queue.put(client, job);
    }

    fn next(&mut self) -> Option<(u64, Box<dyn SlicedWork>)> {
        let is_turn_of_later = self.firsts >= FIRSTS_IN_A_ROW && !self.later.order.is_empty();
        if let Some(first) =
            Some(&mut self.first).filter(|_| !is_turn_of_later).and_then(RoundRobin::next)
        {
            self.firsts = self.firsts.saturating_add(1);
            return Some(first);
        }
        self.firsts = 0;
        self.later.next()
    }
}

impl RoundRobin {
    fn put(&mut self, client: u64, job: Box<dyn SlicedWork>) {
        let waiting = self.waiting.entry(client).or_default();
        if waiting.is_empty() {
            self.order.push_back(client);
        }
        waiting.push_back(job);
    }

    fn next(&mut self) -> Option<(u64, Box<dyn SlicedWork>)> {
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

#[cfg(test)]
mod tests {
    use super::*;

    type Done = Arc<Mutex<Vec<(u64, u32)>>>;

    /// A job of this many slices, which notes each of them.
    struct Slices {
        client: u64,
        left: u32,
        done: Done,
    }

    impl SlicedWork for Slices {
        fn run(mut self: Box<Self>) -> Option<Box<dyn SlicedWork>> {
            self.left -= 1;
            lock(&self.done).push((self.client, self.left));
            assert!(self.client < 100, "a client whose work panics");
            if self.left == 0 { None } else { Some(self) }
        }
    }

    /// Runs all jobs on one thread.
    fn run_all(work: &[(u64, Priority, u32)]) -> Vec<(u64, u32)> {
        let (queue, done) = (FairQueue::new(1), Done::default());
        for (client, priority, left) in work {
            let job = Slices { client: *client, left: *left, done: Arc::clone(&done) };
            lock(&queue.queues).put(*client, *priority, Box::new(job));
        }
        lock(&queue.queues).running = 1;
        queue.work();
        std::mem::take(&mut *lock(&done))
    }

    #[test]
    fn many_jobs_of_one_client_delay_others_by_few_slices() {
        let mut work = vec![(1, Priority::First, 33); 400];
        work.push((2, Priority::First, 3));
        let done = run_all(&work);
        assert_eq!(done.len(), 400 * 33 + 3);
        let answered = done.iter().position(|slice| *slice == (2, 0)).unwrap();
        assert!(answered < 20, "{answered} slices before the answer");
    }

    #[test]
    fn first_jobs_go_before_later_ones_without_starving_them() {
        let mut work = vec![(1, Priority::Later, 1)];
        work.extend((2..22).map(|client| (client, Priority::First, 1)));
        let done = run_all(&work);
        let later = done.iter().position(|(client, _)| *client == 1);
        assert_eq!(later, Some(3));
    }

    #[tokio::test]
    async fn panicking_job_does_not_stop_the_others() {
        let (queue, done) = (Arc::new(FairQueue::new(1)), Done::default());
        for client in [1, 100, 2] {
            let job = Slices { client, left: 1, done: Arc::clone(&done) };
            queue.push(client, Priority::First, Box::new(job));
        }
        let all_done = async {
            while lock(&done).len() < 3 || queue.running() > 0 {
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), all_done).await;
        assert!(waited.is_ok(), "{} jobs still run", queue.running());
    }
}
