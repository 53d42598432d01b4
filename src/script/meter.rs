//! Limits of one run: time, work inside native calls, memory of tallies.
//!
//! Rhai counts its own operations, but not the work of native calls: a loop of `total.add(window)`
//! has few operations and much work. Each run has a thread (`run.rs`), so the meter is thread-local
//! and needs no lock. It measures the thread's CPU time: a script cannot wait, so it only computes,
//! and a stalled machine does not count against it.

use std::cell::Cell;
use std::time::Duration;

use rhai::{EvalAltResult, Position};

use crate::clock::{CpuStopwatch, Stopwatch};
use crate::model::tally::NAME_BYTES;

pub(super) const STRING_BYTES: usize = 64 * 1024;
/// Rhai measures a whole array at each push, so much longer arrays would take seconds.
pub(super) const ARRAY_ITEMS: usize = 10_000;

/// Limits of one run. Reaching one ends the run; a script cannot catch it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ScriptLimits {
    /// Operations of the interpreter. An hour of 20 languages, each visited by the script, takes
    /// about 700,000.
    pub(super) operations: u64,
    /// Single additions, copies and look-ups inside native calls.
    pub(super) native_work: u64,
    /// Counts in all tallies of a run together, 8 bytes each.
    pub(super) tally_cells: u64,
    /// The longest name of a tally, in bytes.
    pub(super) name_bytes: usize,
    /// Bytes of memory that it may be the first to touch: far above what a script needs.
    pub(super) memory: u64,
    /// CPU time of a run.
    pub(super) deadline: Duration,
}

impl Default for ScriptLimits {
    fn default() -> Self {
        Self {
            operations: 5_000_000,
            native_work: 100_000_000,
            tally_cells: 8_000_000,
            name_bytes: NAME_BYTES,
            memory: 256 << 20,
            deadline: Duration::from_millis(200),
        }
    }
}

/// Operations or native steps between two checks of the clock.
const LOOK_EVERY: u64 = 64;
const NATIVE_LOOK_EVERY: u64 = 4_096;
/// The longest time between two checks of clock and memory: one operation may copy a container of
/// any size.
const LOOK_AFTER: Duration = Duration::from_millis(1);
/// The smallest page size; on systems with larger pages the limit is higher.
const PAGE_BYTES: u64 = 4_096;
/// How many times its memory limit the whole process may grow meanwhile: a thread touches few huge
/// pages, and other threads' memory counts here.
const MUCH_MORE: u64 = 4;

#[derive(Clone, Copy)]
struct RunMeter {
    limits: ScriptLimits,
    watch: CpuStopwatch,
    native_work: u64,
    looked_at: u64,
    tally_cells: u64,
    memory_before: Memory,
}

thread_local! {
    static METER: Cell<Option<RunMeter>> = const { Cell::new(None) };
    static LOOKED: Cell<Option<Stopwatch>> = const { Cell::new(None) };
}

/// Starts to measure the run of this thread.
pub(super) fn begin(limits: ScriptLimits) {
    let meter = RunMeter {
        limits,
        watch: CpuStopwatch::start(),
        native_work: 0,
        looked_at: 0,
        tally_cells: 0,
        memory_before: Memory::now(),
    };
    LOOKED.set(Some(Stopwatch::start()));
    METER.set(Some(meter));
}

/// The longest name in this thread's run, in bytes.
pub(super) fn name_bytes() -> usize {
    METER.get().map_or(NAME_BYTES, |meter| meter.limits.name_bytes)
}

/// The interpreter's progress callback: the reason to stop, if any.
pub(super) fn progress(operations: u64) -> Option<String> {
    // Cheap enough for each operation, and each may have been a long one.
    if LOOKED.get().is_some_and(|watch| watch.elapsed() >= LOOK_AFTER) {
        LOOKED.set(Some(Stopwatch::start()));
        return METER.get().and_then(|meter| meter.late().or_else(|| meter.large()));
    }
    if !operations.is_multiple_of(LOOK_EVERY) {
        return None;
    }
    METER.get().and_then(|meter| meter.late())
}

/// Records steps inside a native call; an error ends the run.
pub(super) fn work(steps: usize) -> Result<(), Box<EvalAltResult>> {
    spend(steps, 0)
}

/// Records memory of tallies; memory freed within a run is not subtracted.
pub(super) fn cells(count: usize) -> Result<(), Box<EvalAltResult>> {
    spend(count, count)
}

fn spend(steps: usize, cells: usize) -> Result<(), Box<EvalAltResult>> {
    let Some(mut meter) = METER.get() else { return Ok(()) };
    meter.native_work = meter.native_work.saturating_add(steps as u64);
    meter.tally_cells = meter.tally_cells.saturating_add(cells as u64);
    let limits = meter.limits;
    let mut over = None;
    if meter.native_work > limits.native_work {
        over = Some(format!("more than {} steps inside native calls", limits.native_work));
    } else if meter.tally_cells > limits.tally_cells {
        over = Some(format!("tallies hold more than {} counts", limits.tally_cells));
    } else if meter.native_work - meter.looked_at >= NATIVE_LOOK_EVERY {
        meter.looked_at = meter.native_work;
        over = meter.late();
    }
    METER.set(Some(meter));
    match over {
        None => Ok(()),
        Some(why) => Err(Box::new(EvalAltResult::ErrorTerminated(why.into(), Position::NONE))),
    }
}

impl RunMeter {
    fn late(&self) -> Option<String> {
        let is_late = self.watch.has_reached(self.limits.deadline);
        is_late.then(|| format!("ran longer than {} ms", self.limits.deadline.as_millis()))
    }

    fn large(&self) -> Option<String> {
        let (now, before, most) = (Memory::now(), self.memory_before, self.limits.memory);
        let grown = |now: Option<u64>, before: Option<u64>| {
            now.zip(before).map_or(0, |(now, before)| now.saturating_sub(before))
        };
        let is_large = grown(now.touched, before.touched) > most
            || grown(now.held, before.held) / MUCH_MORE > most;
        is_large.then(|| format!("memory grew by more than {} MiB while it ran", most >> 20))
    }
}

/// Memory figures of the system, as far as it reports them.
#[derive(Clone, Copy)]
struct Memory {
    /// Bytes that this thread was the first to touch.
    touched: Option<u64>,
    /// Bytes that the process holds for data.
    held: Option<u64>,
}

impl Memory {
    fn now() -> Self {
        Self { touched: touched(), held: held() }
    }
}

/// Page faults of this thread, in bytes.
fn touched() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").ok()?;
    // The name before the last `)` may contain anything; `minflt` is the eighth field behind it.
    let faults: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(7)?.parse().ok()?;
    faults.checked_mul(PAGE_BYTES)
}

fn held() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kib.checked_mul(1 << 10)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn time_in_which_a_run_does_not_compute_is_not_its_own() {
        let deadline = Duration::from_millis(100);
        begin(ScriptLimits { deadline, native_work: u64::MAX, ..ScriptLimits::default() });
        // The machine is busy with other work for three times as long.
        let (_silent, nothing) = channel::<()>();
        assert!(nothing.recv_timeout(3 * deadline).is_err());
        let look = usize::try_from(NATIVE_LOOK_EVERY).unwrap();
        assert!(work(look).is_ok() && progress(LOOK_EVERY).is_none());
        while work(look).is_ok() {}
        assert_eq!(progress(LOOK_EVERY).as_deref(), Some("ran longer than 100 ms"));
    }
}
