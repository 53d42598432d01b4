//! A script file that waits when it is opened, as on a network mount that hangs.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::hosting::{DOUBLE, folder, host, live};
use crate::model::script_report::InForce;

/// A lease on a file: opening the file waits until it is given back, or 45 seconds (`fcntl(2)`).
/// Files on a network mount or in `/proc` wait alike, and cannot be made in every test.
struct Lease(Child);

impl Lease {
    /// `None` if the system gives no lease here.
    fn of(path: &Path) -> Option<Self> {
        const HOLD: &str = "\
            import fcntl, os, signal, sys\n\
            signal.signal(signal.SIGIO, signal.SIG_IGN)\n\
            file = os.open(sys.argv[1], os.O_RDONLY)\n\
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)\n\
            print('held', flush=True)\n\
            sys.stdin.read()\n";
        let mut python = Command::new("python3");
        python.args(["-c", HOLD]).arg(path).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = python.spawn().ok()?;
        let mut said = String::new();
        BufReader::new(holder.stdout.take()?).read_line(&mut said).ok()?;
        let lease = Self(holder);
        (said == "held\n").then_some(lease)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn file_that_waits_when_opened_does_not_stop_scripts() {
    let (_folder, path) = folder();
    let host = host(None);
    fs::write(&path, DOUBLE).unwrap();
    let Some(lease) = Lease::of(&path) else {
        println!(
            "skipped: file_that_waits_when_opened_does_not_stop_scripts: no Python 3, or no lease \
             on files of {}",
            path.display()
        );
        return;
    };
    // A look that waits would succeed in the end, when the system takes the lease away.
    assert_eq!(host.refresh(&path, |_| live()), None);
    let refused = host.status().refused.unwrap().reason;
    assert!(refused.starts_with("cannot be read: Resource temporarily unavailable"), "{refused}");
    drop(lease);
    assert_eq!(host.refresh(&path, |_| live()).as_deref(), Some(DOUBLE));
    assert_eq!((host.status().in_force, host.status().diagnostic()), (InForce::File, None));
}
