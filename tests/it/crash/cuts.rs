//! Power cuts: only what was synced survives, and that is enough.
//!
//! A process runs under `strace`. From the trace, the test rebuilds the directory as a power cut at
//! any moment would have left it (`disk`), and compares it with what the process had reported until
//! then: events sent, exit codes, names.
//!
//! `make cuts N=1000` runs more cuts, with a fresh seed that it prints; a failing cut prints the
//! command that repeats its run.

mod disk;
mod trace;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr as _;

use ghpulse::model::position::Cursor;

use super::copies::{bodies, fill};
use super::*;
use crate::archive;
use crate::common::client::Client;
use crate::common::model::key_of;
use crate::common::ports::free_port;
use crate::common::running::{soon, until_some};
use disk::{Disk, Keeps};
use trace::Call;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ghpulse");
/// Steps of a run: GitHub's pages still show all of its events after a cut.
const STEPS: usize = 12;
const EMITTED: usize = 20;
/// Cuts per run. After every ninth one, the appliance runs until all events are applied.
const CUTS_OF_A_RUN: usize = 100;
const FINISHED: usize = 9;
/// With fewer events before a cut, the pages after it may show none of one of GitHub's two
/// sequences of ids, so that nothing proves that they join it (`collect::outage`): a gap is right.
const YOUNG: usize = 60;
/// Cuts in `make test`.
const CUTS: usize = 50;

/// The total number of cuts, and the first seed.
fn wanted() -> (usize, u64) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let cuts = number("TEST_CUTS").map_or(CUTS, |cuts| usize::try_from(cuts).unwrap());
    (cuts, number("TEST_CUTS_SEED").unwrap_or(1))
}

/// Whether processes can be traced here; prints a message if not.
pub(super) fn can_trace(test: &str) -> bool {
    let tried = std::process::Command::new("strace")
        .args(["-f", "--seccomp-bpf", "-e", "trace=write", "-o", "/dev/null", "true"])
        .output();
    let can = tried.is_ok_and(|tried| tried.status.success());
    if !can {
        println!("skipped: {test}: no strace here, or it may not trace");
    }
    can
}

pub(super) use trace::first_process;

/// A command that runs the program so that its n-th write or sync in this database fails.
pub(super) fn strace_that_fails(
    into: &Path,
    db: &Path,
    error: &str,
    call: u64,
) -> std::process::Command {
    trace::failing(PROGRAM, into, db, error, call)
}

/// A command that runs the program so that every sync of a thread from its n-th on fails.
pub(super) fn strace_that_fails_syncs(
    into: &Path,
    error: &str,
    first: u64,
) -> std::process::Command {
    trace::failing_syncs(PROGRAM, into, error, first)
}

/// The initial content of a directory, and the calls that changed it.
struct Traced {
    root: PathBuf,
    before: Disk,
    calls: Vec<Call>,
}

impl Traced {
    fn last_line(&self) -> usize {
        self.calls.last().map_or(0, |call| call.ended)
    }

    /// Rebuilds the directory after each of several cuts. Passes `check` the line of the trace at
    /// which the last call before the cut ended, what survived, and the rebuilt directory.
    fn cut(mut self, seed: u64, cuts: usize, mut check: impl FnMut(usize, Keeps, &Path)) {
        let mut rng = fastrand::Rng::with_seed(seed);
        // Calls that change nothing below the root are not candidates for a cut.
        let mut at: Vec<usize> = (1..cuts).map(|_| rng.usize(..self.calls.len())).collect();
        at.push(self.calls.len() - 1);
        at.sort_unstable();
        let mut followed = 0;
        for (number, at) in at.into_iter().enumerate() {
            while followed <= at {
                self.before.follow(&self.calls[followed]);
                followed += 1;
            }
            // The last cut comes after all calls: only what was never synced is missing.
            let is_last = number + 1 == cuts;
            let keeps =
                if is_last { Keeps::Nothing } else { Keeps::ALL[number % Keeps::ALL.len()] };
            let left = tempfile::tempdir().unwrap();
            self.before.after_a_cut(keeps, &mut rng, left.path());
            println!("cut {number} behind call {at} of {}: {keeps:?}", self.calls.len());
            check(self.calls[at].ended, keeps, left.path());
        }
    }

    /// Cursors that were sent over a connection, each with the line at which the call began.
    fn told(&self) -> Vec<(usize, Cursor)> {
        let mut told = Vec::new();
        for call in &self.calls {
            let sends = matches!(call.name.as_str(), "write" | "writev" | "sendto" | "sendmsg");
            if !sends || call.place(0).is_some_and(|place| place.starts_with(&self.root)) {
                continue;
            }
            let data = call.bytes.concat();
            let text = String::from_utf8_lossy(&data);
            for part in text.split(r#""type":"event","cursor":""#).skip(1) {
                let cursor = part.split_once('"').map(|(cursor, _)| Cursor::from_str(cursor));
                told.extend(cursor.map(|cursor| (call.begun, cursor.unwrap())));
            }
        }
        told
    }
}

/// Runs a command, which must succeed, and traces what it does below `root`.
fn traced(root: &Path, arguments: &[&str]) -> Traced {
    let before = Disk::new(root);
    let around = tempfile::tempdir().unwrap();
    let file = around.path().join("trace");
    let output = trace::strace(PROGRAM, &file, &[]).args(arguments).current_dir(root).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    let calls = trace::read(&std::fs::read_to_string(&file).unwrap());
    Traced { root: root.to_owned(), before, calls }
}

/// Traces an appliance on the site until a reader has all events, and stops it.
async fn traced_run(site: &Site, sync: &str) -> Traced {
    let (root, port) = (site.dir.path(), free_port());
    let before = Disk::new(root);
    let around = tempfile::tempdir().unwrap();
    let file = around.path().join("trace");
    let mut command = Command::from(trace::strace(PROGRAM, &file, &[]));
    command.args(["run", "--listen", &format!("127.0.0.1:{port}")]);
    let mut child = site.start_as(command, root, None, &[("GHPULSE_STORE_SYNC", sync)]);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let listens = async || tokio::net::TcpStream::connect(address).await.ok();
    drop(until_some("it listens", listens).await);
    let mut reader = Client::connect(address, "/stream").await;
    reader.json().await;
    for _ in 0..STEPS {
        site.control.emit(EMITTED);
        let requests = site.control.requests();
        let asked = site.control.until(|c| c.requests() > requests + 3);
        tokio::time::timeout(PATIENCE, asked).await.expect("it asks in time");
    }
    let mut came = BTreeSet::new();
    let all_come = async {
        while came.len() < STEPS * EMITTED {
            let message = reader.json().await;
            if message["type"] == "event" {
                came.insert(key_of(&message["event"]));
            }
        }
    };
    soon("the reader has all events", all_come).await;
    let process = trace::first_process(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let sent = Command::new("kill").args(["-TERM", &process]).status().await.unwrap();
    assert!(sent.success());
    let status = tokio::time::timeout(PATIENCE, child.wait()).await.expect("it stops in time");
    assert!(status.unwrap().success());
    let calls = trace::read(&std::fs::read_to_string(&file).unwrap());
    Traced { root: root.to_owned(), before, calls }
}

/// After a power cut, the machine's boot id differs from the one that the process saw.
fn in_another_boot(data: &Path) {
    let path = data.join("WRITTEN");
    let Ok(text) = std::fs::read_to_string(&path) else { return };
    let Some(boot) = text.split(' ').nth(2).filter(|boot| boot.len() > 8) else { return };
    std::fs::write(&path, text.replacen(&boot[..8], "another0", 1)).unwrap();
}

async fn runs_are_cut(sync: &str, share: usize, of: usize) {
    let (all, first) = wanted();
    let mut left = (all * share).div_ceil(of);
    for seed in first.. {
        if left == 0 {
            break;
        }
        let cuts = left.min(CUTS_OF_A_RUN);
        left -= cuts;
        println!("seed {seed}: TEST_CUTS_SEED={seed} make cuts N={all}");
        let site = Site::new(seed, Shape::Old).await;
        let traced = traced_run(&site, sync).await;
        let told = traced.told();
        let heard: BTreeSet<_> = told.iter().map(|(_, cursor)| cursor.position).collect();
        assert_eq!(heard.len(), STEPS * EMITTED, "the trace shows what was sent");
        let mut finished = Vec::new();
        let mut number = 0;
        traced.cut(seed, cuts, |line, _, left| {
            let told = told.iter().filter(|(begun, _)| *begun <= line);
            let told: BTreeSet<_> = told.map(|(_, cursor)| cursor.position).collect();
            in_another_boot(left);
            let opened = Store::open(left, Durability::EveryBatch, Clock::system());
            let store = opened.unwrap_or_else(|error| panic!("it does not open: {error}"));
            let lost = store.lost_tail().cloned();
            drop(store);
            let found = stored::assert_agrees_with_itself(left);
            let missing = told.difference(&found).count();
            if sync == "batch" {
                assert_eq!((missing, lost), (0, None), "of {} that were sent", told.len());
            } else if missing > 0 {
                assert!(lost.is_some(), "{missing} that were sent are lost without a gap");
            }
            if sync == "batch" && number % FINISHED == FINISHED - 1 {
                let kept = tempfile::tempdir().unwrap();
                super::log::copy(left, kept.path());
                finished.push((kept, found.len() < YOUNG));
            }
            number += 1;
        });
        for (kept, may_have_gap) in finished {
            site.finish_in(kept.path(), may_have_gap).await;
        }
        site.stop.cancel();
    }
    let cuts = (all * share).div_ceil(of);
    println!(
        "report: {cuts} cuts with store.sync: {sync}: {}",
        match sync {
            "batch" => "nothing that was sent is lost",
            _ => "what is lost is reported",
        }
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn power_cuts_lose_nothing_that_was_sent() {
    if can_trace("power_cuts_lose_nothing_that_was_sent") {
        runs_are_cut("batch", 26, 50).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_lost_in_a_sync_interval_are_reported() {
    if can_trace("events_lost_in_a_sync_interval_are_reported") {
        runs_are_cut("1s", 8, 50).await;
    }
}

/// Cuts for each of the four commands.
fn cuts_of_a_command() -> usize {
    (wanted().0 * 4).div_ceil(50)
}

fn report(command: &str) {
    println!("report: {} cuts of `{command}`: its result is whole or absent", cuts_of_a_command());
}

fn run(root: &Path, arguments: &[&str]) {
    let output = std::process::Command::new(PROGRAM).args(arguments).current_dir(root).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

#[tokio::test]
async fn backup_is_whole_or_absent_after_a_power_cut() {
    if !can_trace("backup_is_whole_or_absent_after_a_power_cut") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fill(&dir.path().join("data")).await;
    let backup = ["backup", "backups/one", "--data", "data"];
    let traced = traced(dir.path(), &backup);
    let end = traced.last_line();
    traced.cut(wanted().1, cuts_of_a_command(), |line, _, left| {
        assert_eq!(bodies(&left.join("data")), 100, "the store itself is as it was");
        let is_there = left.join("backups").join("one").exists();
        assert!(is_there || line < end, "the command had ended well");
        if !is_there {
            run(left, &backup);
        }
        run(left, &["restore", "backups/one", "--data", "restored"]);
        assert_eq!(bodies(&left.join("restored")), 100);
    });
    report("backup");
}

#[tokio::test]
async fn restore_is_whole_or_repeated_after_a_power_cut() {
    if !can_trace("restore_is_whole_or_repeated_after_a_power_cut") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fill(&dir.path().join("data")).await;
    run(dir.path(), &["backup", "one", "--data", "data"]);
    let restore = ["restore", "one", "--data", "restored"];
    let traced = traced(dir.path(), &restore);
    let end = traced.last_line();
    traced.cut(wanted().1, cuts_of_a_command(), |line, _, left| {
        let is_there = left.join("restored").join("db").exists();
        assert!(is_there || line < end, "the command had ended well");
        if !is_there {
            run(left, &restore);
        }
        assert_eq!(bodies(&left.join("restored")), 100);
    });
    report("restore");
}

#[test]
fn exported_hours_are_whole_or_absent_after_a_power_cut() {
    if !can_trace("exported_hours_are_whole_or_absent_after_a_power_cut") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let events = archive::world(11, Shape::Old);
    archive::live::apply(&dir.path().join("data"), &events);
    // The record beside an hour is written after it, and before an hour with only some events.
    let list = dir.path().join("lists");
    std::fs::create_dir(&list).unwrap();
    std::fs::write(list.join("none.txt"), "nobody/nothing\n").unwrap();
    exports_are_cut(&dir, &[]);
    std::fs::remove_dir_all(dir.path().join("hours")).unwrap();
    exports_are_cut(&dir, &["--list", "!none"]);
}

fn exports_are_cut(dir: &tempfile::TempDir, more: &[&str]) {
    let export = ["export", "--since", "2026-01-01", "--to", "hours", "--data", "data"];
    let traced = traced(dir.path(), &[&export, more].concat());
    let end = traced.last_line();
    let wanted_files = archive::files_in(&dir.path().join("hours"));
    let names: Vec<_> = wanted_files.iter().map(|file| file.file_name().unwrap()).collect();
    traced.cut(wanted().1, cuts_of_a_command(), |line, _, left| {
        let hours = left.join("hours");
        let found = if hours.exists() { archive::files_in(&hours) } else { Vec::new() };
        // A file with its final name is complete.
        for file in &found {
            let at = names.iter().position(|name| Some(*name) == file.file_name()).unwrap();
            let same = archive::live::events_of(std::slice::from_ref(file));
            assert_eq!(same, archive::live::events_of(&wanted_files[at..=at]));
        }
        assert!(found.len() == names.len() || line < end, "{} files are left", found.len());
    });
    report("export");
}

#[test]
fn imported_hours_are_counted_once_after_a_power_cut() {
    if !can_trace("imported_hours_are_counted_once_after_a_power_cut") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let events = archive::world(7, Shape::Old);
    let files = archive::archive(dir.path(), &events);
    let names = files.iter().map(|file| file.file_name().unwrap().to_str().unwrap());
    let import: Vec<&str> = ["import", "--data", "data"].into_iter().chain(names).collect();
    let traced = traced(dir.path(), &import);
    let end = traced.last_line();
    let expected = archive::model(&events);
    traced.cut(wanted().1, cuts_of_a_command(), |line, _, left| {
        if line < end {
            run(left, &import);
        }
        archive::assert_figures(&left.join("data"), &expected);
    });
    report("import");
}
