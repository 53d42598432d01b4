//! Parses an `strace` trace: every call that changes files, and every byte that the process sent.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The traced calls: names and contents of files, syncs, and what is sent over sockets.
const TRACED: &str = "trace=open,openat,creat,write,writev,pwrite64,pwritev,pwritev2,ftruncate,\
    truncate,rename,renameat,renameat2,unlink,unlinkat,link,linkat,symlink,symlinkat,mkdir,\
    mkdirat,rmdir,fsync,fdatasync,sync,syncfs,lseek,copy_file_range,sendfile,sendto,sendmsg,msync";

/// A successful call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) name: String,
    /// The arguments as printed, without the quoted strings.
    pub(super) args: Vec<String>,
    /// The quoted strings in order: paths and data.
    pub(super) bytes: Vec<Vec<u8>>,
    /// The return value.
    pub(super) result: i64,
    /// The line at which it began: calls that ended on a later line had not completed then.
    pub(super) begun: usize,
    /// The line at which it ended.
    pub(super) ended: usize,
}

impl Call {
    /// The bytes written or sent.
    pub(super) fn data(&self) -> Vec<u8> {
        let mut data = self.bytes.concat();
        data.truncate(usize::try_from(self.result).unwrap());
        data
    }

    /// A path: the quoted string, resolved against the directory named before it.
    pub(super) fn path(&self, at: usize) -> PathBuf {
        let path = PathBuf::from(String::from_utf8(self.bytes[at].clone()).unwrap());
        let place = self.args.iter().enumerate().filter(|(_, arg)| arg.contains('"')).nth(at);
        let before = place.and_then(|(place, _)| place.checked_sub(1));
        let dir = before.and_then(|before| annotated(&self.args[before]));
        dir.map_or(path.clone(), |dir| dir.join(path))
    }

    /// The file descriptor in an argument.
    pub(super) fn descriptor(&self, at: usize) -> i32 {
        let digits: String = self.args[at].chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or_else(|_| panic!("no file: {self:?}"))
    }

    /// The path of an open file.
    pub(super) fn place(&self, at: usize) -> Option<PathBuf> {
        annotated(&self.args[at])
    }

    pub(super) fn number(&self, at: usize) -> u64 {
        self.args[at].parse().unwrap_or_else(|_| panic!("no number: {self:?}"))
    }
}

/// The path annotated after a descriptor, as in `4</var/lib>`.
fn annotated(arg: &str) -> Option<PathBuf> {
    let (_, path) = arg.split_once('<')?;
    let path = unescaped(path.split('>').next()?);
    Some(PathBuf::from(String::from_utf8(path).ok()?))
}

/// Decodes escapes: `\x41` is A; all other characters stay as they are.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4);
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'\\' && after.first() == Some(&b'x') && after.len() >= 3 {
            let digits = std::str::from_utf8(&after[1..3]).unwrap();
            bytes.push(u8::from_str_radix(digits, 16).unwrap());
            rest = &after[3..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    bytes
}

/// A command that runs a program with its calls traced to this file.
pub(super) fn strace(program: &str, into: &Path, more: &[&str]) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "--seccomp-bpf", "-xx", "-y", "-s", "67108864", "-e", TRACED, "-o"]);
    command.arg(into).args(more).arg(program);
    command
}

/// The process id that a trace starts with.
pub(in crate::crash) fn first_process(text: &str) -> Option<String> {
    text.lines().next()?.split_whitespace().next().map(str::to_owned)
}

/// Parses a trace, in the order in which the calls ended.
pub(super) fn read(text: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut unfinished = std::collections::HashMap::<&str, (usize, String)>::new();
    for (at, line) in text.lines().enumerate() {
        let Some((process, said)) = line.split_once(' ') else { continue };
        let said = said.trim_start();
        if let Some(begin) = said.strip_suffix(" <unfinished ...>") {
            unfinished.insert(process, (at, begin.to_owned()));
            continue;
        }
        let (started, whole) = match said.strip_prefix("<... ") {
            Some(resumed) => {
                let Some((started, begin)) = unfinished.remove(process) else { continue };
                let rest = resumed.split_once(" resumed>").map_or("", |(_, rest)| rest);
                (started, begin + rest)
            }
            None => (at, said.to_owned()),
        };
        calls.extend(call(&whole, started, at));
    }
    calls
}

/// `None` for signals, exits, and failed calls.
fn call(text: &str, begun: usize, ended: usize) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    let (args, result) = rest.rsplit_once(" = ")?;
    let args = args.trim_end().strip_suffix(')')?;
    let result = result.split(['<', ' ']).next()?.parse::<i64>().ok().filter(|n| *n >= 0)?;
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return None;
    }
    assert!(!args.contains("\"..."), "a trace that leaves data out: {name}");
    let quoted: Vec<&str> = args.split('"').skip(1).step_by(2).collect();
    Some(Call {
        name: name.to_owned(),
        args: args.split(", ").map(str::to_owned).collect(),
        bytes: quoted.into_iter().map(unescaped).collect(),
        result,
        begun,
        ended,
    })
}

/// Highest number of the database files whose calls can be made to fail.
const NUMBERED: u32 = 80;

/// A command that runs a program whose n-th write or sync in this database fails with `error`.
pub(super) fn failing(program: &str, into: &Path, db: &Path, error: &str, call: u64) -> Command {
    let mut command = Command::new("strace");
    let inject = format!("inject=write,pwrite64,fsync,fdatasync:error={error}:when={call}");
    command.args(["-f", "-qq", "-s", "0", "-e", "trace=write,pwrite64,fsync,fdatasync", "-e"]);
    command.arg(inject).arg("-o").arg(into);
    for number in 1..NUMBERED {
        for name in [
            format!("{number:06}.log"),
            format!("{number:06}.sst"),
            format!("MANIFEST-{number:06}"),
        ] {
            command.arg("-P").arg(db.join(name));
        }
    }
    command.arg(program);
    command
}

/// A command that runs a program in which every sync of a thread from its n-th on fails with
/// `error`.
pub(super) fn failing_syncs(program: &str, into: &Path, error: &str, first: u64) -> Command {
    let mut command = Command::new("strace");
    let inject = format!("inject=fsync,fdatasync:error={error}:when={first}+");
    command.args(["-f", "-qq", "--seccomp-bpf", "-e", "trace=fsync,fdatasync", "-e"]);
    command.arg(inject).arg("-o").arg(into).arg(program);
    command
}
