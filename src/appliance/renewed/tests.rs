//! Renewed files: what is reported, and what is put into use.

use std::sync::Mutex;

use super::*;
use crate::config::{Request, TlsConfig};
use crate::sync::lock;

const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/serve/tests/tls");

fn config_of(text: &str) -> Config {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    let set = lines.map(|(name, value)| (format!("GHPULSE_{name}"), value.to_owned()));
    let request = Request::of_variables(set.collect());
    crate::config::load(&request).unwrap().config
}

fn watched(text: &str) -> (Renewed, RenewalState) {
    let config = config_of(text);
    let certificate = crate::serve::certificate(&config.server).unwrap();
    let renewed = Renewed::new(&config, certificate, Clock::system());
    let state = renewed.state();
    (renewed, state)
}

#[test]
fn content_that_could_not_be_kept_is_kept_later() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("names");
    let done: Arc<Mutex<Vec<String>>> = Arc::default();
    let note = |what: &'static str, fails_first: bool| -> Take {
        let done = Arc::clone(&done);
        Box::new(move |files: &[Vec<u8>]| {
            let mut done = lock(&done);
            done.push(format!("{what} {}", String::from_utf8_lossy(&files[0])));
            let is_first = done.iter().filter(|one| one.starts_with(what)).count() == 1;
            if is_first && fails_first { Err("stalled".to_owned()) } else { Ok(()) }
        })
    };
    let keep = note("keep", true);
    let keeper = Some(ContentKeeper { keep, is_kept: true, has_failed: false });
    let used = vec![b"ann".to_vec()];
    let group = ReloadGroup::new("k", vec![path.clone()], note("take", false));
    let (mut renewed, _state) = watched("");
    renewed.groups = vec![ReloadGroup { used, settles: true, keeper, ..group }];
    std::fs::write(&path, "bob").unwrap();
    renewed.look(true);
    assert_eq!(*lock(&done), ["take bob", "keep bob"]);
    renewed.look(false);
    renewed.look(false);
    assert_eq!(*lock(&done), ["take bob", "keep bob", "keep bob"]);
}

#[test]
fn invalid_files_are_reported_and_valid_ones_used() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).display().to_string();
    for name in ["cert.pem", "key.pem"] {
        std::fs::copy(format!("{FILES}/{name}"), file(name)).unwrap();
    }
    std::fs::copy(format!("{FILES}/cert.pem"), file("ca.pem")).unwrap();
    let (mut renewed, state) = watched(&format!(
        "SERVER_TLS_CERT={}\nSERVER_TLS_KEY={}\nAMQP_CA={}\nAMQP_URL=amqps://u:p@h/\n",
        file("cert.pem"),
        file("key.pem"),
        file("ca.pem"),
    ));
    let said = |renewed: &mut Renewed, at_once: bool| {
        renewed.look(at_once);
        state.borrow().iter().map(|bad| bad.words.clone()).collect::<Vec<_>>()
    };
    assert!(said(&mut renewed, false).is_empty());
    // Reported at the second check: the other half of a pair may not be in place yet.
    std::fs::write(file("key.pem"), "telltale").unwrap();
    assert!(said(&mut renewed, false).is_empty());
    let words = said(&mut renewed, false).concat();
    assert!(words.starts_with("server.tls: ") && words.contains("key.pem"), "{words}");
    assert!(words.ends_with("the old one stays in use") && !words.contains("telltale"));
    std::fs::copy(format!("{FILES}/key.pem"), file("key.pem")).unwrap();
    assert!(said(&mut renewed, false).is_empty());
    // A signal means that all files are in place.
    std::fs::write(file("ca.pem"), "").unwrap();
    let words = said(&mut renewed, true).concat();
    assert!(words.starts_with("amqp.ca: ") && words.contains("no PEM certificate"), "{words}");
    std::fs::remove_file(file("ca.pem")).unwrap();
    assert!(said(&mut renewed, true).concat().contains("cannot be read"));
    std::fs::copy(format!("{FILES}/cert.pem"), file("ca.pem")).unwrap();
    assert!(said(&mut renewed, false).is_empty());
}

#[test]
fn file_that_turned_bad_before_the_first_check_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let names = ["cert.pem", "key.pem", "ca.pem", "tokens"];
    let write_all = || {
        for name in &names[..2] {
            std::fs::copy(format!("{FILES}/{name}"), file(name)).unwrap();
        }
        std::fs::copy(format!("{FILES}/cert.pem"), file("ca.pem")).unwrap();
        std::fs::write(file("tokens"), "ghp_one\n").unwrap();
    };
    let variables = ["SERVER_TLS_CERT", "SERVER_TLS_KEY", "AMQP_CA", "GITHUB_TOKENSFILE"];
    let lines = variables.iter().zip(names);
    let lines = lines.map(|(key, name)| format!("{key}={}\n", file(name).display()));
    let text = lines.collect::<String>() + "AMQP_URL=amqps://u:p@h/\n";
    for is_removed in [false, true] {
        write_all();
        let (mut renewed, state) = watched(&text);
        // As the start reads the tokens, and a connection to the broker its authorities.
        let tokens = config_of(&text).github;
        assert_eq!(tokens::all(&tokens).unwrap_or_default().len(), 1);
        reload::read_good(&file("ca.pem"), reload::check_authorities).unwrap();
        for name in &names[1..] {
            if is_removed {
                std::fs::remove_file(file(name)).unwrap();
            } else {
                std::fs::write(file(name), b"\xff telltale").unwrap();
            }
        }
        renewed.look(false);
        assert!(state.borrow().is_empty(), "it may be incomplete");
        renewed.look(false);
        let said = state.borrow().iter().map(|bad| bad.words.clone()).collect::<Vec<_>>();
        for key in ["server.tls", "amqp.ca", "github.tokensFile"] {
            let is_named = |words: &String| words.starts_with(&format!("{key}: "));
            assert!(said.iter().any(is_named), "{key}: {said:?}");
        }
        assert!(!said.concat().contains("telltale"), "{said:?}");
        write_all();
        renewed.look(false);
        assert!(state.borrow().is_empty(), "{:?}", state.borrow());
    }
}

#[test]
fn certificate_that_was_renewed_before_the_first_check_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let copy = |from: &str| {
        for name in ["cert.pem", "key.pem"] {
            let to = dir.path().join(name);
            std::fs::copy(format!("{FILES}/{from}{name}"), to).unwrap();
        }
    };
    copy("");
    let tls = TlsConfig { cert: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
    let taken = Arc::new(Mutex::new(0));
    let count = Arc::clone(&taken);
    let take = move |_: &[Vec<u8>]| {
        *lock(&count) += 1;
        Ok(())
    };
    Certificate::read(&tls).unwrap();
    let paths = vec![tls.cert, tls.key];
    let (mut renewed, _state) = watched("");
    renewed.groups = vec![ReloadGroup::new("server.tls", paths, Box::new(take))];
    copy("renewed-");
    renewed.look(false);
    renewed.look(false);
    assert_eq!(*lock(&taken), 1);
}

#[test]
fn unusable_file_of_tokens_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens");
    std::fs::write(&path, "ghp_one\n").unwrap();
    let (mut renewed, state) = watched(&format!("GITHUB_TOKENSFILE={}\n", path.display()));
    let mut said = || {
        renewed.look(false);
        renewed.look(false);
        state.borrow().iter().map(|bad| bad.words.clone()).collect::<Vec<_>>().concat()
    };
    assert_eq!(said(), "");
    for (bad, why) in [(&b"ghp_one\nNAME=ghp_telltale\n"[..], "line 2 "), (b"\xff\xfe", "UTF-8")] {
        std::fs::write(&path, bad).unwrap();
        let words = said();
        assert!(words.starts_with("github.tokensFile: ") && words.contains(why), "{words}");
        assert!(!words.contains("telltale"), "{words}");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(said().contains("cannot be read"));
    std::fs::write(&path, "ghp_two\n").unwrap();
    assert_eq!(said(), "");
}
