//! The configuration as users meet it: files, variables, flags, errors and warnings.

use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn request(directory: &Path) -> Request {
    let (lookup, directory) = (ConfigPath::Places, directory.to_owned());
    Request { lookup, directory, ..Request::of_variables(Vec::new()) }
}

fn with_environment(text: &str, environment: &[(&str, &str)]) -> Result<Loaded, InvalidConfig> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("config.yaml"), text).unwrap();
    let mut request = request(directory.path());
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    request.environment = environment.iter().map(owned).collect();
    load(&request)
}

pub(super) fn loaded(text: &str) -> Loaded {
    match with_environment(text, &[]) {
        Ok(loaded) => loaded,
        Err(refused) => panic!("{text}\nwas refused: {:#?}", refused.errors),
    }
}

fn errors(text: &str) -> Vec<String> {
    let refused = with_environment(text, &[]).expect_err("this must be refused");
    refused.errors.iter().map(ToString::to_string).collect()
}

pub(super) fn only(text: &str) -> String {
    let mut all = errors(text);
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

pub(super) fn warnings(loaded: &Loaded, level: Severity) -> Vec<String> {
    let of_level = loaded.warnings.iter().filter(|warning| warning.level == level);
    of_level.map(ToString::to_string).collect()
}

pub(super) const SECONDS: fn(u64) -> Duration = Duration::from_secs;

#[test]
fn defaults_equal_the_contract() {
    let found = loaded("");
    assert!(found.warnings.is_empty(), "{:?}", found.warnings);
    let config = found.config;
    assert_eq!(config.api_version, 2);
    assert_eq!(config.node_name, "ghpulse");
    assert_eq!((config.data_dir, config.scripts_dir), ("data".into(), "scripts".into()));
    assert_eq!(config.server.listen(), SocketAddr::from(([0, 0, 0, 0], 8600)));
    assert_eq!((&*config.server.health, &*config.server.sync_event), ("/health", "/sync-event"));
    assert_eq!(config.server.flush_interval, Duration::from_millis(50));
    assert_eq!(config.server.grace, SECONDS(10));
    assert_eq!((config.server.base_path, config.server.tls), (None, None));
    assert_eq!(config.server.limits.message_bytes, 64 << 10);
    assert_eq!(config.ops_listen, Some(SocketAddr::from(([127, 0, 0, 1], 8602))));
    assert_eq!(config.disable, DisableConfig { producer: false, interval: false });
    assert_eq!(config.log, LogConfig { level: "info".into(), file: None, format: LogFormat::Text });
    assert_eq!(config.github.api_url, "https://api.github.com");
    assert_eq!(config.github.graphql_url, "https://api.github.com/graphql");
    assert_eq!((config.github.timeout, config.github.pace), (SECONDS(5), SECONDS(1)));
    assert!(config.github.tokens.is_empty() && config.github.enrich.enabled);
    assert_eq!(config.github.pages, 3);
    assert_eq!((config.github.enrich.deadline, config.github.enrich.batch), (SECONDS(20), 100));
    assert!((config.github.enrich.budget - 0.5).abs() < f64::EPSILON);
    let hour = SECONDS(3600);
    assert_eq!(
        config.interval,
        IntervalConfig {
            daily: hour,
            day_count: hour,
            year_count: hour,
            retry: 3,
            retry_wait: SECONDS(10),
            latest: SECONDS(1),
            latest_during: 3600
        }
    );
    assert_eq!(config.store.sync, Durability::EveryBatch);
    assert_eq!((config.store.seen_for, config.store.journal_for), (hour * 72, hour * 48));
    assert_eq!(config.store.journal_bytes, 32 << 30);
    assert_eq!((config.pulsar, config.tidb, config.amqp), (None, None, None));
    assert_eq!((config.alerts, config.archive_dir, config.backup), (None, None, None));
}

#[test]
fn every_default_reads_and_every_key_is_documented() {
    for key in KEYS {
        assert!(key.default.is_empty() || value::read(key, key.default).is_ok(), "{}", key.path);
        assert!(key.meaning.ends_with('.'), "{}", key.path);
        assert!(!table::is_section(key.path), "{} is key and section", key.path);
    }
    let mut names: Vec<String> = KEYS.iter().map(ConfigKey::variable).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), KEYS.len(), "two keys share a variable");
}

#[test]
fn the_default_file_loads_as_the_defaults() {
    let text = default_file();
    let found = loaded(&text);
    assert!(found.warnings.is_empty(), "{:?}", found.warnings);
    assert_eq!(found.config, loaded("").config);
    for key in KEYS {
        let name = key.path.rsplit('.').next().unwrap();
        assert!(text.contains(&format!("{name}:")), "{} is not printed", key.path);
    }
}

#[test]
fn the_reference_and_the_variables_name_every_key() {
    let (text, json, variables) = (reference(), reference_json().to_string(), variables());
    for key in KEYS {
        assert!(text.contains(&format!("`{}`", key.path)), "{}", key.path);
        assert!(json.contains(&format!("\"{}\"", key.path)), "{}", key.path);
        let used = !matches!(key.kind, ValueKind::Unused(_));
        assert_eq!(variables.iter().any(|(_, path)| *path == key.path), used, "{}", key.path);
    }
    assert_eq!(defaults_json()["server"]["port"], 8600);
    assert_eq!(defaults_json()["interval"]["latest"], "1s");
    assert!(defaults_json()["github"]["tokens"].is_null());
}

#[test]
fn readme_table_has_the_defaults_of_the_code() {
    let readme = include_str!("../../config/README.md");
    let mut rows = 0;
    for line in readme.lines().filter(|line| line.starts_with("| `")) {
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        let words = |column: &str| -> Vec<String> {
            column.split(", ").map(|word| word.trim_matches('`').to_owned()).collect()
        };
        let keys: Option<Vec<_>> = words(columns[1]).iter().map(|key| table::find(key)).collect();
        let Some(keys) = keys else { continue };
        let defaults = keys.iter().map(|key| key.default);
        let written = words(columns[2]);
        let written = written.iter().map(|word| match word.as_str() {
            "none" | "any" => "",
            word => word,
        });
        assert!(written.eq(defaults), "{line}");
        rows += 1;
    }
    assert!(rows >= 10, "{rows} rows of keys in config/README.md");
}

#[test]
fn keys_match_without_regard_to_case() {
    let config = loaded("SERVER:\n  syncevent: /flush\nServer.PORT: 1234\n").config;
    assert_eq!((&*config.server.sync_event, config.server.listen().port()), ("/flush", 1234));
}

#[test]
fn paths_are_the_same_with_and_without_the_prefix() {
    let config = loaded("server: {basePath: /websocket, health: /websocket/alive}").config;
    assert_eq!(config.server.health, "/alive");
    for taken in ["/sampling", "/language", "/stream"] {
        let said = only(&format!("server: {{basePath: {taken}}}"));
        assert!(said.contains("server.basePath") && said.contains(taken), "{said}");
    }
    for taken in ["/metrics", "/asyncapi.json", "/store", "/stream/types", "/aggregate/stars"] {
        let said = only(&format!("server: {{health: {taken}}}"));
        assert!(said.contains("server.health") && said.contains(taken), "{said}");
    }
}

#[test]
fn errors_between_keys_name_the_place_of_a_written_one() {
    for (text, expected) in [
        ("server:\n  health: /sync-event", "config.yaml:2: server.health: "),
        ("server:\n  syncEvent: /health", "config.yaml:2: server.syncEvent: "),
        ("server:\n  health: /a\n  syncEvent: /a", "config.yaml:3: server.syncEvent: "),
        ("pulsar:\n  devHost: 'pulsar://q'\n  env: dev", "config.yaml:2: pulsar.producer.topic: "),
        ("server:\n  health: '/:id'", "config.yaml:2: server.health: \"/:id\" is not accepted"),
    ] {
        let said = only(text);
        assert!(said.starts_with(expected), "{said}\nshould begin with\n{expected}");
    }
}

#[test]
fn a_choice_of_on_and_off_takes_true_and_false() {
    let tls = |word: &str| loaded(&format!("tidb: {{host: h, db: x, tls: {word}}}")).config;
    let tls = |word: &str| tls(word).tidb.unwrap().tls;
    assert_eq!((tls("true"), tls("false"), tls("on"), tls("'off'")), (true, false, true, false));
    assert!(only("log: {format: on}").contains("one of text, json, console"));
}

#[test]
fn invalid_port_is_refused() {
    let all = errors("github: {apiUrl: 'http://h:99999', graphqlUrl: 'http://h:port/x'}");
    assert_eq!(all.len(), 2, "{all:#?}");
}

#[test]
fn variables_of_a_kubernetes_service_are_ignored() {
    let of_service = ["SERVICE_HOST", "SERVICE_PORT_HTTP", "PORT", "PORT_8600_TCP_ADDR"];
    let names: Vec<String> = of_service.iter().map(|name| format!("GHPULSE_{name}")).collect();
    let set: Vec<(&str, &str)> =
        names.iter().map(|name| (name.as_str(), "tcp://10.0.0.1")).collect();
    let loaded = with_environment("", &set).unwrap();
    assert_eq!(warnings(&loaded, Severity::Warning).len(), of_service.len());
    assert!(with_environment("", &[("GHPULSE_PORTS", "1")]).is_err());
}

#[test]
fn values_are_taken_as_people_write_them() {
    let text = "server: {port: '8601', bind: localhost, basePath: /websocket/}\n\
                tidb: {host: db, db: gh, password: ' 0123 '}\n\
                disable: {producer: yes}\n\
                server.allowedOrigins: https://a.org/, https://b.org\n\
                server.trustedProxies: [10.0.0.0/8, '::1']\n\
                github: {tokens: [one, two], apiUrl: https://ghe.example.org/api/v3/}\n\
                store: {sync: 200ms, journal: {bytes: 512MiB, for: 1h30m}}\n\
                ops: {listen: off}\n";
    let config = loaded(text).config;
    assert_eq!(config.server.listen(), SocketAddr::from(([127, 0, 0, 1], 8601)));
    assert_eq!(config.server.base_path.as_deref(), Some("/websocket"));
    assert_eq!(config.server.allowed_origins, ["https://a.org", "https://b.org"]);
    assert!(config.server.trusted_proxies[0].contains("10.9.8.7".parse().unwrap()));
    assert!(!config.server.trusted_proxies[0].contains("11.0.0.1".parse().unwrap()));
    assert!(config.server.trusted_proxies[1].contains("::1".parse().unwrap()));
    assert!(config.disable.producer);
    assert_eq!(config.tidb.unwrap().password.unwrap().expose(), " 0123 ");
    assert_eq!(config.github.tokens.len(), 2);
    assert_eq!(config.github.graphql_url, "https://ghe.example.org/api/graphql");
    assert_eq!(config.store.sync, Durability::Every(Duration::from_millis(200)));
    assert_eq!(config.store.journal_bytes, 512 << 20);
    assert_eq!(config.store.journal_for, SECONDS(5400));
    assert_eq!(config.ops_listen, None);
}

#[test]
fn units_of_the_peer_are_accepted() {
    let text = "github: {loop: {timeout: 2000, break: 1500ms}}\n\
                interval: {retryWait: 500, latestDuring: 60, daily: 1m, dayCount: 2m, latest: 2s}\n\
                lark: {webhook: 'https://l.example/x', minimumBreak: 3, errorTolerance: 9}\n";
    let config = loaded(text).config;
    assert_eq!(config.github.timeout, SECONDS(2));
    assert_eq!(config.github.pace, Duration::from_millis(1500));
    assert_eq!(config.interval.retry_wait, Duration::from_millis(500));
    assert_eq!((config.interval.latest_during, config.interval.latest), (60, SECONDS(2)));
    assert_eq!(
        (config.interval.day_count, config.interval.year_count),
        (SECONDS(120), SECONDS(60))
    );
    let alerts = config.alerts.unwrap();
    assert_eq!((alerts.format, alerts.tolerance), (AlertFormat::Lark, 9));
    assert_eq!((alerts.pause, alerts.within), (SECONDS(180), SECONDS(300)));
}

#[test]
fn all_errors_are_reported_with_file_line_and_key() {
    let text = "server:\n  prot: 1\n  port: 70000\ninterval:\n  latest: 5\n  retry: -1\ngithub:\n  \
                pages: 4\n  enrich: {budget: 1.5}\nstore: 3\nserver.tls.cert: a.pem\n";
    let all = errors(text);
    let expected = [
        "config.yaml:2: server.prot: unknown key; did you mean server.port?",
        "config.yaml:3: server.port: \"70000\" is not accepted: use a port from 1 to 65535",
        "config.yaml:5: interval.latest: \"5\" is not accepted: use a duration with its unit",
        "config.yaml:6: interval.retry: \"-1\" is not accepted: use a whole number from 0",
        "config.yaml:8: github.pages: \"4\" is not accepted: use a whole number from 1 to 3",
        "config.yaml:9: github.enrich.budget: \"1.5\" is not accepted: use a number from 0 to 1",
        "config.yaml:10: store: this is a section, not a value: below it are sync, seenFor, journal",
        "config.yaml:11: server.tls.key: missing",
    ];
    assert_eq!(all.len(), expected.len(), "{all:#?}");
    for (found, expected) in all.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\nshould begin with\n{expected}");
    }
}

#[test]
fn unknown_key_error_suggests_the_nearest_key() {
    assert!(only("github: {tokns: [a]}").contains("did you mean github.tokens?"));
    assert!(only("gihtub: {tokens: [a]}").contains("did you mean github?"));
    assert!(only("basePath: /x").contains("did you mean server.basePath?"));
    assert!(only("store: {jurnal: {for: 1h}}").contains("did you mean store.journal?"));
    assert!(only("somethingElse: 1").contains("ghpulse config reference"));
}

#[test]
fn wrong_shapes_are_named() {
    assert!(only("server: {port: [1]}").contains("a list is not accepted: use a port"));
    assert!(only("server: {port: {a: 1}}").contains("a section is not accepted: use a port"));
    assert!(only("- server").contains("a mapping of sections"));
    assert!(only("a: 1\n b: 2\n").starts_with("config.yaml:2: not valid YAML"));
    assert!(only("api: {version: 2}\nAPI: {version: 3}").contains("duplicate key, first in"));
    assert!(only("server: {port: ''}").contains("use a port"));
    assert!(only("server: {health: /sampling}").contains("another endpoint"));
    assert!(only("server: {port: 8602}").contains("is already server.port"));
    assert!(only("interval: {latestDuring: 1500ms}").contains("whole seconds"));
    assert!(only("tidb: {db: x}").contains("tidb.host: missing"));
    assert!(only("server: {allowedOrigins: [example.org]}").contains("https://example.org"));
}

#[test]
fn values_that_can_never_work_are_refused_by_name() {
    for (text, expected) in [
        ("backup: {every: 24h}", "backup.dir: missing"),
        ("backup: {keep: 3}", "backup.dir: missing"),
        ("amqp: {exchange: x}", "amqp.url: missing"),
        ("alerts: {format: slack}", "alerts.webhook: missing"),
        ("lark: {signKey: x}", "alerts.webhook: missing"),
        ("tidb: {user: x}", "tidb.host: missing"),
        ("pulsar: {audience: a}", "pulsar.host: missing"),
        ("tidb: {host: 'db:4000', db: x}", "tidb.host: \"db:4000\" is not a host"),
        ("github: {tokens: ['${GITHUB_TOKEN}']}", "token 1 of 1"),
        ("github: {tokens: [a, '\"ghp_a\"']}", "token 2 of 2"),
        ("github: {tokens: ['NAME=ghp_a']}", "is NAME=VALUE"),
        ("github: {apiUrl: 'https://github.com/api'}", "https://api.github.com"),
        ("github: {apiUrl: 'https://h/api?x'}", "without a query"),
        ("github: {apiUrl: 'https://me:pw@h/api'}", "it contains a login"),
        ("server: {allowedOrigins: 'https://*.example.net'}", "server.allowedOrigins: "),
        ("server: {adminToken: 'two words'}", "server.adminToken: "),
        (
            "data: {dir: '/srv/${HOST}'}",
            "data.dir: \"/srv/${HOST}\" contains an unexpanded \
                                         variable",
        ),
        ("tidb: {host: h, db: x, password: '${PW}'}", "GHPULSE_TIDB_PASSWORD"),
        ("amqp: {url: 'amqp://u:a@b@h/'}", "write %40 for an `@`"),
        ("alerts: {webhook: 'https://h/hook#x'}", "write %23"),
    ] {
        let said = only(text);
        assert!(said.contains(expected), "{text}: {said}");
        assert!(!said.contains("ghp_a") && !said.contains("pw@"), "{said}");
    }
    let quoted = with_environment("", &[("GHPULSE_DATA_DIR", "\"/srv/x\"")]).unwrap_err();
    assert!(quoted.errors[0].to_string().contains("remove them"), "{quoted:?}");
    // A key left empty on purpose is accepted, and a password may hold anything.
    loaded("backup: {every: 24h, dir: }\namqp: {url: '', exchange: x}");
    let text = "tidb: {host: h, db: x, password: 'a${b'}\nlog: {file: a$b.log}";
    assert_eq!(loaded(text).config.tidb.unwrap().password.unwrap().expose(), "a${b");
}

#[test]
fn every_bad_value_of_a_list_is_named_with_its_number() {
    let text = "server:\n  allowedOrigins:\n    - https://*.a.org\n    - https://b.org\n    - \
                https://c.org:443\n    - '${D}'\n    - [x]\n  trustedProxies: 10.0.0.0/8, \
                here,10.0.0.0/99\ngithub:\n  tokens: [ghp_XXXX, '', 'A=ghp_telltale', ghp_b, \
                '\"ghp_c\"']\nstore: {sync: [1s]}\ntidb: {port: x}\n";
    let all = errors(text);
    let expected = [
        (3, "server.allowedOrigins: value 1 of 5: \"https://*.a.org\" can never match"),
        (5, "server.allowedOrigins: value 3 of 5: \"https://c.org:443\" can never match"),
        (6, "server.allowedOrigins: value 4 of 5: \"${D}\" contains an unexpanded variable"),
        (7, "server.allowedOrigins: value 5 of 5: nested: use a list of origins"),
        (8, "server.trustedProxies: value 2 of 3: \"here\" is not an address or a network"),
        (8, "server.trustedProxies: value 3 of 3: \"10.0.0.0/99\" is not an address"),
        (10, "github.tokens: token 3 of 5 is NAME=VALUE"),
        (10, "github.tokens: token 5 of 5 is enclosed in quotes"),
        (11, "store.sync: a list is not accepted: use batch"),
        (12, "tidb.port: \"x\" is not accepted"),
    ];
    assert_eq!(all.len(), expected.len(), "{all:#?}");
    for ((line, words), said) in expected.iter().zip(&all) {
        assert!(said.contains(&format!("config.yaml:{line}: {words}")), "{words}: {all:#?}");
    }
    assert!(!all.join("").contains("telltale"), "{all:#?}");
    let variable = ("GHPULSE_SERVER_ALLOWEDORIGINS", "https://*.a.org,https://b.org,c");
    let refused = with_environment("", &[variable]).unwrap_err();
    let said: Vec<String> = refused.errors.iter().map(ToString::to_string).collect();
    assert!(said.len() == 2 && said[0].contains("value 1 of 3: ") && said[1].contains("3 of 3"));
}

#[test]
fn pulsar_is_joined_only_when_it_is_addressed() {
    assert_eq!(loaded("pulsar: {compression: zstd}").config.pulsar, None);
    let found = loaded("pulsar: {env: dev, devHost: 'pulsar://q', consumer: {topic: t}}");
    let pulsar = found.config.pulsar.unwrap();
    assert_eq!((&*pulsar.url, &*pulsar.producer_topic, pulsar.oauth), ("pulsar://q", "t", None));
    let cloud =
        "pulsar: {host: 'pulsar+ssl://q:6651', audience: a, keypath: /k, producer: {topic: t}}";
    let pulsar = loaded(cloud).config.pulsar.unwrap();
    assert_eq!(pulsar.oauth, Some(OAuthConfig { audience: "a".into(), key_file: "/k".into() }));
    assert!(only("pulsar: {env: dev, producer: {topic: t}}").contains("pulsar.devHost: missing"));
    assert!(only("pulsar: {env: x, producer: {topic: t}}").contains("pulsar.host: missing"));
    assert!(only("pulsar: {host: 'pulsar://q'}").contains("pulsar.producer.topic: missing"));
    let wrong = only("pulsar: {host: 'http://q', producer: {topic: t}}");
    assert!(wrong.contains("pulsar:// or pulsar+ssl://"), "{wrong}");
}

#[test]
fn later_layers_win() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("config.yaml"), "server: {port: 1000}\napi.version: 7")
        .unwrap();
    let mut request = request(directory.path());
    assert_eq!(load(&request).unwrap().config.server.listen().port(), 1000);
    request.environment = vec![
        ("GHPULSE_SERVER_PORT".into(), "1002".into()),
        ("GHPULSE_GITHUB_TOKENS".into(), "a, b".into()),
        ("GHPULSE_SERVER_BASEPATH".into(), String::new()),
        ("GHPULSE_FAULT".into(), "x".into()),
        ("PATH".into(), "/bin".into()),
    ];
    let config = load(&request).unwrap().config;
    assert_eq!((config.server.listen().port(), config.github.tokens.len()), (1002, 2));
    request.flags = vec![Flag { name: "--listen", key: "server.port", value: "1003".to_owned() }];
    let found = load(&request).unwrap();
    assert_eq!((found.config.server.listen().port(), found.config.api_version), (1003, 7));
    assert_eq!(found.file, Some("config.yaml".into()));
}

#[test]
fn the_first_file_that_is_there_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let inner = directory.path().join("inner");
    for (place, port) in [("config/config.yaml", 3), ("inner/config/config.yaml", 4)] {
        let path = directory.path().join(place);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("server.port: {port}00")).unwrap();
    }
    let port = |request: &Request| load(request).unwrap().config.server.listen().port();
    let mut request = request(&inner);
    assert_eq!(port(&request), 400);
    std::fs::remove_dir_all(inner.join("config")).unwrap();
    assert_eq!(port(&request), 300);
    request.lookup = ConfigPath::Nothing;
    assert_eq!(port(&request), 8600);
    request.lookup = ConfigPath::File("absent.yaml".into());
    let refused = load(&request).unwrap_err();
    assert!(refused.errors[0].to_string().starts_with("absent.yaml: cannot be read: No such"));
    request.lookup = ConfigPath::File("/dev/zero".into());
    let refused = load(&request).unwrap_err();
    assert!(refused.errors[0].to_string().contains("larger than"), "{}", refused.errors[0]);
}

#[test]
fn unknown_variable_error_suggests_the_nearest_name() {
    let refused = |name| with_environment("", &[(name, "1")]).unwrap_err().errors[0].to_string();
    let found = refused("GHPULSE_SERVER_BASE_PATH");
    assert_eq!(
        found,
        "GHPULSE_SERVER_BASE_PATH: unknown variable; did you mean GHPULSE_SERVER_BASEPATH?"
    );
    assert!(refused("GHPULSE_SERVER_PROT").contains("did you mean GHPULSE_SERVER_PORT?"));
    assert!(refused("GHPULSE_QUITE_ANOTHER_THING").contains("ghpulse config env"));
}

#[test]
fn no_secret_is_in_a_complaint_or_a_notice() {
    let text = "github:\n  tokens: ['ghp_tell tale']\n  ghp_telltale: 1\n  apiUrl: ghp_telltale\n\
                amqp: {url: 'http://u:telltale@h'}\nlark: {webhook: telltale}\n\
                tidb: {password: [telltale]}\npulsar: {host: 'x://u:telltale@h'}\n";
    let refused = with_environment(text, &[("GHPULSE_SERVER_ADMINTOKEN", "telltale")]).unwrap_err();
    assert!(refused.errors.len() >= 6, "{refused:#?}");
    let json = serde_json::to_string(&refused.errors).unwrap();
    let all = format!("{refused:?} {json}");
    assert!(!all.contains("telltale") && !all.contains("tell tale"), "{all}");
    let kept =
        with_environment("github: {tokens: [telltale]}\namqp: {url: 'amqp://u:telltale@h'}", &[]);
    assert!(!format!("{:?}", kept.unwrap()).contains("telltale"));
}

#[test]
fn ports_that_browsers_refuse_are_warned_of() {
    let said = warnings(&loaded("server: {port: 6000}"), Severity::Warning);
    assert!(said[0].starts_with("config.yaml:1: server.port: browsers refuse"), "{said:?}");
    assert!(warnings(&loaded("server: {port: 6001}"), Severity::Warning).is_empty());
}

proptest! {
    #[test]
    fn any_bytes_load_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let mut layers = layers::Layers::default();
        layers.file(Path::new("x"), &text);
        let mut values = values::Values::new(layers);
        check::build(&mut values, "box");
    }

    #[test]
    fn any_value_of_any_key_loads_or_is_refused(
        at in 0..KEYS.len(),
        text in prop_oneof![
            any::<String>(),
            "[0-9a-z:/.,\\[\\]@%=-]{0,30}",
            "[0-9]{1,25}(ms|s|h|d)?",
        ],
    ) {
        let mut layers = layers::Layers::default();
        layers.environment(&[(KEYS[at].variable(), text)]);
        let mut values = values::Values::new(layers);
        check::build(&mut values, "box");
        let _ = format!("{:?}", values.end().errors);
    }
}

#[test]
fn log_level_without_effect_is_warned_of() {
    let said = |level: &str| {
        let loaded = loaded(&format!("log: {{level: '{level}'}}"));
        loaded.warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for fine in ["info", "debug", "info,ghpulse::store=debug", "warn,hyper=info,ghpulse=debug"] {
        assert_eq!(said(fine), [""; 0], "{fine}");
    }
    for (level, words) in [
        ("trace", "config.yaml:1: log.level: `trace` prints what `debug` does"),
        ("info,ghpulse::hub=trace", "`ghpulse::hub=trace` prints what"),
        ("info,ghpulse::stor=debug", "no module `ghpulse::stor` writes to the log; aggregates, "),
        ("ghpulse::clock::witness=info", "no module `ghpulse::clock` writes"),
    ] {
        let said = said(level);
        assert!(said.len() == 1 && said[0].contains(words), "{said:?}");
    }
}

#[test]
fn modules_of_log_level_are_those_that_write_to_the_log() {
    fn writes(path: &Path) -> bool {
        if path.is_dir() {
            let below = std::fs::read_dir(path).unwrap();
            return below.map(|entry| entry.unwrap().path()).any(|path| writes(&path));
        }
        if path.extension().is_none_or(|end| end != "rs") {
            return false;
        }
        let text = std::fs::read_to_string(path).unwrap();
        ["error", "warn", "info", "debug"]
            .iter()
            .any(|level| text.contains(&format!("tracing::{level}!")))
    }
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
    let lines = include_str!("../lib.rs").lines();
    let modules = lines.filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let mut found: Vec<&str> = modules
        .filter(|name| {
            let paths = [root.join(name), root.join(format!("{name}.rs"))];
            paths.iter().any(|path| path.exists() && writes(path))
        })
        .collect();
    found.sort_unstable();
    assert_eq!(found, check::LOGGING);
}

#[test]
fn environment_over_the_file_is_noted_at_the_file() {
    let text = "data: {dir: mine}\nserver:\n  port: 81\n  allowedOrigins: [https://b.example]\n\
                lists: {dir: lists}\n";
    let set = [
        ("GHPULSE_DATA_DIR", "/x"),
        ("GHPULSE_LISTS_DIR", "lists"),
        ("GHPULSE_SERVER_BIND", "127.0.0.1"),
        ("GHPULSE_SERVER_ALLOWEDORIGINS", "https://a.example"),
    ];
    let loaded = with_environment(text, &set).unwrap();
    let said: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    let words = |place: &str, variable: &str| {
        format!("{place}: not used: the environment has precedence ({variable})")
    };
    let expected = [
        words("config.yaml:1: data.dir", "GHPULSE_DATA_DIR"),
        words("config.yaml:4: server.allowedOrigins", "GHPULSE_SERVER_ALLOWEDORIGINS"),
    ];
    assert_eq!(said, expected);
    assert!(loaded.warnings.iter().all(|one| one.level == Severity::Info));
}
