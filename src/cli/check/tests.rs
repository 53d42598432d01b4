use super::*;

fn loaded(text: &str) -> Loaded {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.yaml");
    std::fs::write(&path, text).unwrap();
    let request = config::Request {
        lookup: config::ConfigPath::File(path),
        directory: directory.path().to_owned(),
        environment: Vec::new(),
        flags: Vec::new(),
        host: "box".to_owned(),
    };
    config::load(&request).unwrap()
}

#[test]
fn each_configured_server_is_tried_at_its_own_port() {
    let text = "pulsar: {env: dev, devHost: 'pulsar://q', producer: {topic: t}}\n\
                amqp: {url: 'amqps://u:p@rabbit/'}\ntidb: {host: db, db: x}\n";
    let config = loaded(text).config;
    let found: Vec<_> = servers(&config)
        .into_iter()
        .map(|server| format!("{} {}:{}", server.name, server.host, server.port))
        .collect();
    let expected =
        ["github api.github.com:443", "pulsar q:6650", "amqp rabbit:5671", "tidb db:4000"];
    assert_eq!(found, expected);
    assert!(servers(&loaded("disable: {producer: true}").config).is_empty());
}

#[test]
fn listening_server_is_reachable_and_silent_one_is_not() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let attempt = |port| {
        let host = "127.0.0.1".to_owned();
        let test = Box::pin(connect(host.clone(), port));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(try_one(ConfiguredServer { name: "github", host, port, test }))
    };
    assert_eq!(attempt(port).connected, Some(true));
    // Bound but not listening, so that no other process gets the port.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let away = attempt(taken.local_addr().unwrap().port());
    assert_eq!(away.connected, Some(false));
    assert!(away.said.contains("refused"), "{}", away.said);
}

#[test]
fn files_that_cannot_be_read_are_named_with_their_key() {
    let loaded = loaded("server: {port: 8700}\ngithub: {tokensFile: /nowhere/tokens}");
    let said = bad_files(&loaded.config, &loaded.places, true)[0].to_string();
    let expected = "config.yaml:2: github.tokensFile: /nowhere/tokens cannot be read";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn invalid_script_is_a_warning_with_line_and_column() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = loaded("").config;
    config.scripts_dir = directory.path().to_owned();
    assert!(scripts(&config).is_empty(), "the built-in script is in force");
    let path = directory.path().join("merge_latest.rhai");
    std::fs::write(&path, "fn merge(window) {\n  totl\n}").unwrap();
    assert!(scripts(&config)[0].contains("merge_latest.rhai:2:"), "{:?}", scripts(&config));
    std::fs::write(&path, script::SHIPPED).unwrap();
    assert!(scripts(&config).is_empty());
    std::fs::write(directory.path().join("stars.rhai"), script::SHIPPED).unwrap();
    let said = scripts(&config);
    assert!(said[0].contains("stars.rhai:1:1: function config is missing"), "{said:?}");
}

#[test]
fn missing_script_is_a_note_missing_directory_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let of = |path: &std::path::Path| {
        let text = format!("scripts: {{dir: {}}}\nops: {{listen: off}}", path.display());
        let text = report_of(&text).text();
        text.lines().find(|line| line.contains("scripts.dir")).map(str::to_owned)
    };
    let there = of(dir.path()).unwrap();
    assert!(there.starts_with("note: ") && there.contains("merge_latest.rhai: no such file"));
    let away = of(&dir.path().join("scrpts")).unwrap();
    assert!(away.starts_with("warning: ") && away.contains("scrpts: no such directory"), "{away}");
}

fn report_of(text: &str) -> CheckReport {
    let Loaded { config, file, warnings, places } = loaded(text);
    look(Ok(Loaded { config, file, warnings, places }), true).unwrap()
}

#[test]
fn the_report_names_file_and_warnings_and_counts() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path().display();
    let config = format!("server: {{port: 6000}}\ndata: {{dir: {data}}}\nops: {{listen: off}}");
    let mut report = report_of(&config);
    report.findings.retain(|found| found.key != "server.port");
    report.scripts = vec!["x.rhai: line 1".to_owned()];
    let text = report.text();
    for part in ["config.yaml\n", "warning: ", "6000", "x.rhai: line 1", "--offline"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(text.contains(&format!("ok: data.dir: {data}: can be written")), "{text}");
    assert!(text.ends_with("the configuration is valid\n0 errors, 2 warnings"), "{text}");
    assert_eq!(report.exit(), Exit::Fine);
}

#[test]
fn each_kind_of_error_has_its_exit_code_and_the_gravest_counts() {
    let mut report = report_of("data: {dir: /proc/nope}\nserver: {port: 0}\nops: {listen: off}");
    assert_eq!(report.exit(), Exit::Io);
    assert!(report.text().contains("error: data.dir: /proc/nope: cannot be created"));
    assert!(report.text().contains("\n1 error, "), "{}", report.text());
    report.findings.push(Finding::error("github.tokens", "token 1 of 1", "no", Exit::Config));
    assert_eq!(report.exit(), Exit::Config);
    report.findings.clear();
    report.findings.push(Finding::error("github.tokens", "1 tokens", "away", Exit::Unavailable));
    assert_eq!(report.exit(), Exit::Unavailable);
    assert_eq!(report.json()["errors"], 1);
}

#[test]
fn bad_token_lines_are_errors_and_an_empty_file_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens");
    let config = format!("github: {{tokensFile: {}}}\nops: {{listen: off}}", path.display());
    std::fs::write(&path, "NAME=ghp_telltale\n").unwrap();
    let text = report_of(&config).text();
    assert!(text.contains("tokens:1 is NAME=VALUE"), "{text}");
    assert!(!text.contains("telltale"), "{text}");
    std::fs::write(&path, "# none\n").unwrap();
    assert!(report_of(&config).text().contains("contains no token"));
}
