//! Inputs from libFuzzer, which mutates those that reached new code.
//!
//! libFuzzer calls a function for each input, and ends the process. Here it runs in a thread that
//! hands each input to the caller of [`Inputs::next`] and waits, so that a target can be a loop
//! that starts and ends servers. The code under test must be compiled with counters of its edges
//! (`.ci/instrumented`); otherwise libFuzzer mutates blindly.

use std::ffi::{CString, c_char, c_int};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

extern crate libfuzzer_sys as _;

/// Most time for one input. libFuzzer writes an input that causes SIGABRT into `crashes`, and none
/// when the process is ended from outside.
const LONGEST: Duration = Duration::from_secs(120);

/// The thread's end of the two channels.
struct Thread {
    inputs: SyncSender<Vec<u8>>,
    done: Mutex<Receiver<()>>,
}

static THREAD: OnceLock<Thread> = OnceLock::new();
/// Whether the inputs have ended, so that an end of the process is not a crash.
static HAS_ENDED: AtomicBool = AtomicBool::new(false);

type Callback = extern "C" fn(*const u8, usize) -> c_int;

unsafe extern "C" {
    /// Runs libFuzzer (LLVM's FuzzerInterface.h, "Using libFuzzer as a library").
    fn LLVMFuzzerRunDriver(
        count: *mut c_int,
        arguments: *mut *mut *mut c_char,
        run_one: Callback,
    ) -> c_int;
}

/// The function that `libfuzzer-sys` expects of a fuzz target with a `main` of libFuzzer's; not
/// called.
#[unsafe(no_mangle)]
#[expect(improper_ctypes_definitions, reason = "declared so by libfuzzer-sys")]
extern "C" fn rust_fuzzer_test_input(_: &[u8]) -> c_int {
    0
}

/// Asked by libFuzzer before it reports a crash, a time-out or an early end of the process.
#[unsafe(no_mangle)]
extern "C" fn __sanitizer_acquire_crash_state() -> c_int {
    c_int::from(!HAS_ENDED.load(Ordering::SeqCst))
}

extern "C" fn run_one(data: *const u8, size: usize) -> c_int {
    let thread = THREAD.get().expect("set before libFuzzer runs");
    let input = if size == 0 {
        Vec::new()
    } else {
        // SAFETY: libFuzzer passes `size` readable bytes, which it does not change during the call.
        unsafe { std::slice::from_raw_parts(data, size) }.to_vec()
    };
    let done = thread.done.lock().unwrap_or_else(PoisonError::into_inner);
    if thread.inputs.send(input).is_ok() {
        match done.recv_timeout(LONGEST) {
            Ok(()) => return 0,
            Err(RecvTimeoutError::Timeout) if !HAS_ENDED.load(Ordering::SeqCst) => {
                eprintln!("an input takes longer than {LONGEST:?}");
                std::process::abort();
            }
            Err(_) => {}
        }
    }
    // The inputs have ended: libFuzzer would end the process before the caller is done.
    loop {
        std::thread::park();
    }
}

/// Where libFuzzer reads and writes, and how it begins.
pub struct Options<'o> {
    /// A directory whose files are the first inputs, and to which inputs that reach new code are
    /// added.
    pub corpus: &'o Path,
    /// More directories with first inputs.
    pub seeds: &'o [&'o Path],
    /// A directory for inputs that crash.
    pub crashes: &'o Path,
    /// A file of fragments, one a line in double quotes.
    pub dictionary: &'o Path,
    /// Seed of the mutations; 0 draws one.
    pub seed: u32,
    /// Largest input in bytes.
    pub largest: usize,
    /// Most memory of the process in MiB.
    pub memory: u32,
}

/// Inputs from libFuzzer. A process has them once.
pub struct Inputs {
    inputs: Receiver<Vec<u8>>,
    done: SyncSender<()>,
    is_taken: bool,
}

impl Inputs {
    /// Starts libFuzzer in a thread. From now on a panic in any thread ends the process, and
    /// libFuzzer writes the input that was being processed into `crashes`.
    ///
    /// # Panics
    ///
    /// If it was started before in this process, or a path has a zero byte.
    #[must_use]
    pub fn start(options: &Options<'_>) -> Self {
        let ((input_to, inputs), (done, done_from)) = (sync_channel(0), sync_channel(0));
        let thread = Thread { inputs: input_to, done: Mutex::new(done_from) };
        assert!(THREAD.set(thread).is_ok(), "one target in a process");
        let Options { corpus, seeds, crashes, dictionary, seed, largest, memory } = options;
        let mut arguments = vec![
            "fuzz".to_owned(),
            format!("-seed={seed}"),
            format!("-max_len={largest}"),
            format!("-rss_limit_mb={memory}"),
            format!("-artifact_prefix={}/", crashes.display()),
            format!("-dict={}", dictionary.display()),
            "-timeout=0".to_owned(),
            "-handle_usr1=0".to_owned(),
            "-handle_usr2=0".to_owned(),
            corpus.display().to_string(),
        ];
        arguments.extend(seeds.iter().map(|dir| dir.display().to_string()));
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            usual(panic);
            if !HAS_ENDED.load(Ordering::SeqCst) {
                std::process::abort();
            }
        }));
        std::thread::spawn(move || {
            let arguments = arguments.into_iter().map(CString::new);
            let mut arguments: Vec<*mut c_char> =
                arguments.map(|text| text.expect("without a zero byte").into_raw()).collect();
            let mut count = c_int::try_from(arguments.len()).expect("a few");
            arguments.push(std::ptr::null_mut());
            let mut first = arguments.as_mut_ptr();
            // SAFETY: `count` strings that end with a zero byte and are never freed, and a null
            // pointer behind them; the callback has the declared signature.
            unsafe { LLVMFuzzerRunDriver(&raw mut count, &raw mut first, run_one) }
        });
        Self { inputs, done, is_taken: false }
    }

    /// The next input; the one before counts as processed. Ends the process if libFuzzer ended.
    ///
    /// # Panics
    ///
    /// If libFuzzer could not be started.
    pub fn next(&mut self) -> Vec<u8> {
        if self.is_taken {
            self.done.send(()).expect("libFuzzer waits");
        }
        self.is_taken = true;
        self.inputs.recv().expect("libFuzzer runs")
    }
}

impl Drop for Inputs {
    fn drop(&mut self) {
        HAS_ENDED.store(true, Ordering::SeqCst);
    }
}
