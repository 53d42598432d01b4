//! A well-tuned broadcast server in Go with gorilla/websocket (`gorilla/main.go`), in its own
//! process, which reads its messages as lines from its standard input.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

/// The running server.
pub struct Gorilla {
    process: Child,
    input: Option<ChildStdin>,
    pub address: String,
}

/// Builds the program; `None` if Go or its module is unavailable.
pub fn build(dir: &Path) -> Option<PathBuf> {
    let program = dir.join("gorilla");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/load/opponents/gorilla");
    let mut go = Command::new("go");
    go.args(["build", "-o"]).arg(&program).arg(".").current_dir(source);
    go.status().is_ok_and(|status| status.success()).then_some(program)
}

impl Gorilla {
    pub fn start(program: &Path) -> Self {
        let mut process = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it was built");
        let input = process.stdin.take();
        let mut address = String::new();
        let said = process.stdout.take().expect("it is piped");
        BufReader::new(said).read_line(&mut address).expect("it speaks");
        Self { process, input, address: address.trim().to_owned() }
    }

    /// Publishes a message.
    pub fn publish(&mut self, kind: &str, text: &str) {
        let input = self.input.as_mut().expect("it is open until the end");
        writeln!(input, "{kind}\t{text}").expect("it reads");
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Gorilla {
    fn drop(&mut self) {
        drop(self.input.take());
        // It ends with its input; this is for a process that hangs.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
