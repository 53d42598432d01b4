//! The program as used from a shell: exit codes, standard output, standard error.

use std::path::Path;
use std::process::{Command, Output};

/// Runs the program in a new directory, with only the path of our environment.
fn ghpulse(directory: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ghpulse"))
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .expect("the program can be started")
}

/// An address on which nobody listens. It is reserved while the socket lives, so that no other
/// process gets it.
fn reserved() -> (tokio::net::TcpSocket, std::net::SocketAddr) {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let address = socket.local_addr().expect("an address");
    (socket, address)
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    let directory = tempfile::tempdir().expect("a directory");
    read(&ghpulse(directory.path(), arguments, &[]))
}

fn read(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let code = output.status.code().expect("it ended by itself");
    (code, text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_unit_is_started_again_for_as_long_as_a_disk_is_full() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/config/ghpulse.service");
    let unit = std::fs::read_to_string(unit).expect("the unit is there");
    let value = |name: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("{name} is not set"))
    };
    assert_eq!(value("Restart"), "on-failure");
    assert_eq!(value("StartLimitIntervalSec"), "0", "no number of failed starts is the last");
    let prevented: Vec<&str> = value("RestartPreventExitStatus").split(' ').collect();
    assert_eq!(prevented, ["64", "78"], "74 mends itself");
    // The log shows what the check reports; a failed check does not prevent the start.
    let check = value("ExecStartPre");
    assert!(check.starts_with('-') && check.contains(" check --offline "), "{check}");
    assert_eq!(value("WatchdogSec"), "60");
    assert!(unit.contains("MemoryHigh=") && unit.contains("MemoryMax="));
}

#[test]
fn requested_output_goes_to_stdout_with_exit_0() {
    for arguments in [
        ["--version"].as_slice(),
        &["version"],
        &["--help"],
        &["config", "default"],
        &["config", "reference"],
        &["config", "env"],
        &["check", "--offline"],
    ] {
        let (code, stdout, stderr) = run(arguments);
        assert_eq!((code, stderr.as_str()), (0, ""), "{arguments:?}");
        assert!(!stdout.is_empty() && !stdout.contains('\u{1b}'), "{arguments:?} {stdout}");
    }
    let (_, version, _) = run(&["--version"]);
    assert!(version.contains("RocksDB") && version.contains("commit"), "{version}");
}

#[test]
fn a_wrong_command_line_ends_with_64_and_speaks_on_stderr() {
    for arguments in [["fly"].as_slice(), &["check", "--offlin"], &["config"], &["config", "x"]] {
        let (code, stdout, stderr) = run(arguments);
        assert_eq!((code, stdout.as_str()), (64, ""), "{arguments:?} {stderr}");
        assert!(!stderr.is_empty());
    }
}

#[test]
fn json_is_json() {
    for arguments in [
        ["version", "--json"].as_slice(),
        &["config", "default", "--json"],
        &["config", "reference", "--json"],
        &["config", "env", "--json"],
        &["check", "--offline", "--json"],
    ] {
        let (code, stdout, _) = run(arguments);
        let value: Result<serde_json::Value, _> = serde_json::from_str(&stdout);
        assert!(code == 0 && value.is_ok(), "{arguments:?} {stdout}");
    }
}

#[test]
fn a_wrong_configuration_ends_with_78_and_every_complaint() {
    let directory = tempfile::tempdir().expect("a directory");
    let text = "server:\n  prot: 1\ngithub:\n  pages: 9\n";
    std::fs::write(directory.path().join("config.yaml"), text).expect("written");
    let environment = [("GHPULSE_SERVER_PROT", "1")];
    let output = ghpulse(directory.path(), &["check", "--offline"], &environment);
    let (code, stdout, _) = read(&output);
    assert_eq!(code, 78);
    for part in ["config.yaml:2: server.prot", "config.yaml:4: github.pages", "GHPULSE_SERVER_PROT"]
    {
        assert!(stdout.contains(part), "{part} is not in\n{stdout}");
    }
    let output = ghpulse(directory.path(), &["check", "--offline", "--json"], &environment);
    let (code, stdout, _) = read(&output);
    let value: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(code, 78);
    assert_eq!(value["complaints"][0]["line"], 2);
    assert_eq!(value["complaints"].as_array().map(Vec::len), Some(3));
}

#[test]
fn unreachable_server_exits_with_69() {
    let directory = tempfile::tempdir().expect("a directory");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let url = format!("http://{address}");
    let environment = [("GHPULSE_GITHUB_APIURL", url.as_str())];
    let (code, stdout, _) = read(&ghpulse(directory.path(), &["check"], &environment));
    assert_eq!(code, 0, "{stdout}");
    let (_reserved, address) = reserved();
    let url = format!("http://{address}");
    let environment = [("GHPULSE_GITHUB_APIURL", url.as_str())];
    let (code, stdout, _) = read(&ghpulse(directory.path(), &["check"], &environment));
    assert_eq!(code, 69, "{stdout}");
    assert!(stdout.contains(&format!("error: github at {address}: cannot be connected to")));
}

#[test]
fn a_token_that_github_refuses_is_78_and_never_printed() {
    use std::io::BufRead as _;
    let directory = tempfile::tempdir().expect("a directory");
    let mut github = Command::new(env!("CARGO_BIN_EXE_ghpulse"))
        .args(["simulate", "--listen", "127.0.0.1:0", "--fault", "revoked:token=ghp_telltale"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("it can be started");
    let said = std::io::BufReader::new(github.stderr.take().expect("it is piped"));
    let url = said.lines().map_while(Result::ok).find_map(|line| {
        let at = line.find("http://127.0.0.1:")?;
        Some(line[at..].split_whitespace().next()?.trim_end_matches('/').to_owned())
    });
    let url = url.expect("it says where it is");
    let environment = [
        ("GHPULSE_GITHUB_APIURL", url.as_str()),
        ("GHPULSE_GITHUB_TOKENS", "ghp_good,ghp_telltale,ghs_app"),
        ("GHPULSE_SERVER_PORT", "0"),
        ("GHPULSE_OPS_LISTEN", "off"),
    ];
    let (code, stdout, _) = read(&ghpulse(directory.path(), &["check"], &environment));
    let _ = github.kill();
    let _ = github.wait();
    assert_eq!(code, 78, "{stdout}");
    assert!(stdout.contains("ok: github.tokens: token 1 of 3: GitHub accepts it"), "{stdout}");
    assert!(stdout.contains("error: github.tokens: token 2 of 3: GitHub refused it"), "{stdout}");
    assert!(stdout.contains("ok: github.tokens: token 3 of 3"), "{stdout}");
    assert!(
        stdout.ends_with("\n1 error, 0 warnings\n") && !stdout.contains("telltale"),
        "{stdout}"
    );
}

#[test]
fn unusable_directories_and_ports_are_74_and_each_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port().to_string();
    let environment = [
        ("GHPULSE_DATA_DIR", "/proc/nope"),
        ("GHPULSE_LOG_FILE", "/proc/nope/x.log"),
        ("GHPULSE_ARCHIVE_DIR", "/proc/nope/archive"),
        ("GHPULSE_BACKUP_DIR", "/proc/nope/backups"),
        ("GHPULSE_SERVER_BIND", "127.0.0.1"),
        ("GHPULSE_SERVER_PORT", port.as_str()),
        ("GHPULSE_OPS_LISTEN", "off"),
    ];
    let (code, stdout, _) = read(&ghpulse(directory.path(), &["check", "--offline"], &environment));
    assert_eq!(code, 74, "{stdout}");
    for key in ["data.dir", "log.file", "archive.dir", "backup.dir", "server.port"] {
        assert!(stdout.contains(&format!("\nerror: {key}: ")), "{key} is not in\n{stdout}");
    }
    assert!(stdout.ends_with("\n5 errors, 0 warnings\n"), "{stdout}");
    let arguments = ["check", "--offline", "--json"];
    let (code, stdout, _) = read(&ghpulse(directory.path(), &arguments, &environment));
    let json: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!((code, &json["errors"], &json["warnings"]), (74, &5.into(), &0.into()), "{json}");
    // Nothing was created by looking.
    assert_eq!(std::fs::read_dir(directory.path()).expect("it can be read").count(), 0);
}

#[test]
fn secrets_that_others_can_read_are_a_warning() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().expect("a directory");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory.path(), open).expect("it is ours");
    let file = directory.path().join("config.yaml");
    let said = |text: &str, mode: u32| {
        std::fs::write(&file, text).expect("written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("ours");
        let off = [("GHPULSE_OPS_LISTEN", "off"), ("GHPULSE_SERVER_PORT", "0")];
        read(&ghpulse(directory.path(), &["check", "--offline"], &off)).1
    };
    let secret = "server: {adminToken: telltale}\n";
    let warned = said(secret, 0o644);
    assert!(warned.contains("warning: server.adminToken: config.yaml: readable by"), "{warned}");
    assert!(!warned.contains("telltale"));
    // The remedy must not keep the service out of its file.
    let remedy = "chgrp GROUP config.yaml && chmod 640 config.yaml, GROUP being that of the user";
    if rustix::process::geteuid().is_root() {
        assert!(warned.contains(remedy) && !warned.contains("chmod o="), "{warned}");
    }
    assert!(!said(secret, 0o640).contains("every user"));
    assert!(!said("server: {grace: 5s}\n", 0o644).contains("every user"));
}

#[test]
fn check_takes_the_flags_of_run() {
    let directory = tempfile::tempdir().expect("a directory");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let flags = ["check", "--offline", "--data", "/proc/nope", "--listen", &address];
    let off = [("GHPULSE_OPS_LISTEN", "off")];
    let (code, stdout, stderr) = read(&ghpulse(directory.path(), &flags, &off));
    assert_eq!(code, 74, "{stdout}{stderr}");
    for words in ["error: data.dir: /proc/nope", &format!("error: server.port: {address}")] {
        assert!(stdout.contains(words), "{words} is not in\n{stdout}");
    }
}

#[test]
fn what_ends_it_is_in_a_log_that_is_not_stderr() {
    let directory = tempfile::tempdir().expect("a directory");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let run = ["run", "--github", "http://127.0.0.1:1", "--listen", &address];
    let in_file = [("GHPULSE_LOG_FILE", "x.log"), ("GHPULSE_OPS_LISTEN", "off")];
    let (code, _, stderr) = read(&ghpulse(directory.path(), &run, &in_file));
    assert!(code == 74 && stderr.starts_with("error: cannot listen on "), "{stderr}");
    let log = std::fs::read_to_string(directory.path().join("x.log")).expect("it is written");
    let last = log.lines().last().expect("it has lines");
    assert!(last.contains("ERROR") && last.contains("exit=74") && last.contains(&address), "{log}");
    let as_json = [("GHPULSE_LOG_FORMAT", "json"), ("GHPULSE_OPS_LISTEN", "off")];
    let (_, _, stderr) = read(&ghpulse(directory.path(), &run, &as_json));
    let mut lines = stderr.lines().filter_map(|line| serde_json::from_str(line).ok());
    let last: serde_json::Value = lines.next_back().expect("it has lines");
    assert_eq!((&last["level"], &last["exit"]), (&"ERROR".into(), &74.into()), "{stderr}");
}

#[test]
fn check_says_whom_the_file_of_names_leaves_out() {
    let directory = tempfile::tempdir().expect("a directory");
    let ports = [("GHPULSE_OPS_LISTEN", "off"), ("GHPULSE_SERVER_PORT", "0")];
    let said = || read(&ghpulse(directory.path(), &["check", "--offline"], &ports)).1;
    let missing = said();
    let line = "note: privacy.excludeFile: exclude.txt: does not exist, so it leaves nobody out";
    assert!(missing.contains(line), "{missing}");
    std::fs::write(directory.path().join("exclude.txt"), "ann\nbob/tool\n").expect("written");
    let found = said();
    assert!(found.contains("ok: privacy.excludeFile: exclude.txt: leaves out 2 names"), "{found}");
}

#[cfg(feature = "amqp")]
#[test]
fn unavailable_rabbitmq_exits_69_misconfigured_exits_78() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_reserved, address) = reserved();
    let url = format!("amqps://me:telltale@{address}/");
    let about = |more: &[(&'static str, &'static str)], arguments: &[&str]| {
        let mut environment =
            vec![("GHPULSE_AMQP_URL", url.as_str()), ("GHPULSE_DISABLE_PRODUCER", "true")];
        environment.extend(more);
        let (code, stdout, stderr) = read(&ghpulse(directory.path(), arguments, &environment));
        assert!(!stdout.contains("telltale") && !stderr.contains("telltale"));
        (code, stdout + stderr.as_str())
    };
    let (code, said) = about(&[], &["check"]);
    assert_eq!(code, 69, "{said}");
    assert!(said.contains(&format!("amqp at {address}: connecting: nothing is")), "{said}");

    let missing = [("GHPULSE_AMQP_CA", "nowhere.pem")];
    for arguments in [["check"].as_slice(), &["check", "--offline"]] {
        let (code, said) = about(&missing, arguments);
        assert_eq!(code, 78, "{said}");
        assert!(
            said.contains("amqp.ca: ") && said.contains("nowhere.pem cannot be read"),
            "{said}"
        );
    }
    std::fs::write(directory.path().join("empty.pem"), "").expect("written");
    let empty = [("GHPULSE_AMQP_CA", "empty.pem")];
    let run = ["run", "--listen", "127.0.0.1:0"];
    for (environment, arguments, words) in [
        (&empty, ["check"].as_slice(), "empty.pem: contains no PEM certificate"),
        (&empty, &run, "empty.pem: contains no PEM certificate"),
        (&missing, &run, "nowhere.pem: No such file"),
    ] {
        let (code, said) = about(environment, arguments);
        assert_eq!(code, 78, "{arguments:?} {said}");
        assert!(said.contains("cannot use `amqp.ca` ") && said.contains(words), "{said}");
    }
}

#[test]
fn missing_key_file_exits_78_before_serving() {
    let directory = tempfile::tempdir().expect("a directory");
    let text = "pulsar:\n  env: prod\n  host: pulsar+ssl://pulsar.invalid:6651\n  audience: urn:a\n  \
                keypath: key.json\n  producer: {topic: t}\n  consumer: {topic: t, name: n}\n";
    std::fs::write(directory.path().join("config.yaml"), text).expect("written");
    for arguments in [["run", "--listen", "127.0.0.1:0"].as_slice(), &["check"]] {
        let (code, stdout, stderr) = read(&ghpulse(directory.path(), arguments, &[]));
        assert_eq!(code, 78, "{arguments:?} {stdout} {stderr}");
        assert!(format!("{stdout}{stderr}").contains("key.json"), "{stdout} {stderr}");
    }
}

#[test]
fn the_printed_default_file_is_a_configuration() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_, text, _) = run(&["config", "default"]);
    std::fs::write(directory.path().join("config.yaml"), text).expect("written");
    // Free ports, whatever else uses the default ports of this machine.
    let ports = [("GHPULSE_SERVER_PORT", "0"), ("GHPULSE_OPS_LISTEN", "off")];
    let (code, stdout, _) = read(&ghpulse(directory.path(), &["check", "--offline"], &ports));
    assert_eq!(code, 0, "{stdout}");
    assert!(stdout.starts_with("config: config.yaml\n"), "{stdout}");
}

#[test]
fn failed_start_reports_on_stderr_with_its_exit_code() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("config.yaml"), "server: {prot: 1}").expect("written");
    // Without a command, the program executes `run`, with its flags.
    for arguments in [["run"].as_slice(), &[], &["--listen", "127.0.0.1:0"]] {
        let (code, stdout, stderr) = read(&ghpulse(directory.path(), arguments, &[]));
        assert_eq!((code, stdout.as_str()), (78, ""), "{arguments:?}");
        assert!(stderr.contains("config.yaml:1: server.prot"), "{stderr}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let (code, _, stderr) = run(&["simulate", "--listen", &address]);
    assert_eq!(code, 74, "{stderr}");
    assert!(stderr.contains(&address), "{stderr}");
    let (code, _, stderr) = run(&["run", "--github", "http://127.0.0.1:1", "--listen", &address]);
    assert_eq!(code, 74, "{stderr}");
    for wrong in [["--listen", "somewhere"], ["--data", ""]] {
        assert_eq!(run(&wrong).0, 64, "{wrong:?}");
    }
}

#[test]
fn package_gets_man_pages_completions_manual_monitoring() {
    let directory = tempfile::tempdir().expect("a directory");
    let output = ghpulse(directory.path(), &["documents", "out"], &[]);
    assert_eq!(read(&output).0, 0, "{output:?}");
    let read = |path: &str| {
        let text = std::fs::read_to_string(directory.path().join("out").join(path));
        text.unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let (_, help, _) = run(&["--help"]);
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = commands.take_while(|line| !line.is_empty());
    let commands: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    let commands: Vec<&str> = commands.into_iter().filter(|name| name.len() > 2).collect();
    assert!(commands.contains(&"tail") && !commands.contains(&"documents"), "{commands:?}");
    let completions = ["ghpulse.bash", "_ghpulse", "ghpulse.fish"];
    let completions = completions.map(|name| read(&format!("completions/{name}")));
    for name in commands.iter().filter(|name| **name != "help") {
        let page = read(&format!("man/ghpulse-{name}.1"));
        for section in [".TH", ".SH NAME", ".SH SYNOPSIS", ".SH OPTIONS", "Example"] {
            assert!(page.contains(section), "{name}: no {section}\n{page}");
        }
        for text in &completions {
            assert!(text.contains(name), "{name}");
        }
    }
    assert!(read("man/ghpulse.1").contains("Exit codes"));
    assert!(read("manual/index.html").contains("href=\"config.html\""));
    assert!(read("manual/all.html").contains("id=\"config-pulsar\""));
    assert!(read("config/grafana.json").contains("ghpulse_events_applied_total"));
    // Bash loads the completions and knows the command afterwards.
    let script = "source out/completions/ghpulse.bash && complete -p ghpulse";
    let mut bash = Command::new("bash");
    let bash = bash.args(["--norc", "-c", script]).current_dir(directory.path());
    let output = bash.output().expect("bash is there");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("_ghpulse"), "{output:?}");
}

/// Takes the place of cargo, which has built the program: runs it with what follows `--`.
const CARGO: &str = "#!/bin/sh\nwhile [ $# -gt 0 ] && [ \"$1\" != -- ]; do shift; done\n\
                     [ $# -gt 0 ] || exit 0\nshift\nexec \"$GHPULSE\" \"$@\"\n";

#[test]
fn make_run_starts_the_demo_or_what_is_configured() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().expect("a directory");
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
        std::fs::write(&path, text).expect("a file");
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, executable).expect("its rights");
    };
    write("Makefile", include_str!("../../Makefile"));
    write(".ci/setup", "#!/bin/sh\n");
    write("home/bin/cargo", CARGO);
    let program = env!("CARGO_BIN_EXE_ghpulse");
    for command in ["demo", "run"] {
        let is_demo = command == "demo";
        if !is_demo {
            write("config/config.yaml", "");
        }
        let made = Command::new("make")
            .args(["run", "ARGS=--help"])
            .current_dir(dir.path())
            .env("CARGO_HOME", dir.path().join("home"))
            .env("GHPULSE", program)
            .env_remove("MAKEFLAGS")
            .env_remove("MAKELEVEL")
            .output()
            .expect("make is there");
        let (code, output, errors) = read(&made);
        assert_eq!(code, 0, "{errors}");
        let (_, help, _) = run(&[command, "--help"]);
        assert!(output.ends_with(&help), "{output}");
        assert_eq!(output.contains("This is the demo"), is_demo, "{output}");
    }
}
