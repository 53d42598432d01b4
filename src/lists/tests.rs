use std::fs;

use super::*;

fn parse(text: &str) -> NameList {
    NameList::parse(text.as_bytes()).unwrap()
}

fn errors(text: &[u8]) -> Vec<(usize, String)> {
    let errors = NameList::parse(text).unwrap_err();
    errors.into_iter().map(|error| (error.line.unwrap(), error.reason)).collect()
}

#[test]
fn lines_are_names_comments_and_one_directive() {
    let list = parse(
        "\u{feff}# ours\r\ncomplete: true\r\n\r\nRust-Lang/Rust # the compiler\n\
         tokio-rs/*\n@Torvalds\nrust-lang/rust\n@renovate[bot]\n",
    );
    assert!(list.is_complete());
    let mut names: Vec<String> = list.iter().map(|name| name.to_string()).collect();
    names.sort();
    assert_eq!(names, ["@renovate[bot]", "@torvalds", "rust-lang/rust", "tokio-rs/*"]);
    assert_eq!(list.len(), 4);
    assert!(!parse("a/b\ncomplete: false").is_complete() && parse("").is_empty());
    for (text, names_repositories) in [("a/b", true), ("a/*", true), ("@a", false), ("", false)] {
        assert_eq!(parse(text).names_repositories(), names_repositories, "{text}");
    }
}

#[test]
fn events_of_repository_owner_and_actor_are_held() {
    let list = parse("Rust-Lang/Rust\ntokio-rs/*\n@torvalds");
    for (repo, actor, is_held) in [
        (Some("rust-lang/rust"), None, true),
        (Some("rust-lang/cargo"), Some("ann"), false),
        (Some("tokio-rs/anything"), None, true),
        (Some("tokio-rs"), None, false),
        (Some("x/y"), Some("torvalds"), true),
        (Some("torvalds/linux"), Some("ann"), false),
        (None, None, false),
    ] {
        assert_eq!(list.holds(repo, actor), is_held, "{repo:?} {actor:?}");
    }
}

#[test]
fn wrong_lines_are_reported_by_number() {
    let text =
        b"a/b\nhttps://github.com/a/b\n*/b\na/b/c\n@\n\xff\nowner/\ncomplete: yes\nall: true";
    let found = errors(text);
    let lines: Vec<usize> = found.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [2, 3, 4, 5, 6, 7, 8, 9]);
    assert!(found[0].1.contains("`https://github.com/a/b` is not a name"), "{}", found[0].1);
    assert!(found[6].1.contains("neither true nor false"), "{}", found[6].1);
    assert!(found[7].1.contains("`all:` is not known"), "{}", found[7].1);
    let twice = errors(b"complete: true\na/b\ncomplete: false");
    assert_eq!(twice, [(3, "`complete` is already set in line 1".to_owned())]);
    assert_eq!(errors("?\n".repeat(1_000).as_bytes()).len(), 20);
}

#[test]
fn list_has_a_limited_number_of_names() {
    let names = |count: usize| (0..count).map(|n| format!("o/r{n}\n")).collect::<Vec<_>>().concat();
    assert_eq!(parse(&names(LIST_NAMES)).len(), LIST_NAMES);
    let found = errors(names(LIST_NAMES + 1).as_bytes());
    assert_eq!(found.len(), 1);
    assert!(found[0].0 == LIST_NAMES + 1 && found[0].1.contains("up to 10000"), "{found:?}");
}

#[test]
fn last_good_text_stays_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mine.txt");
    fs::write(&path, "a/b").unwrap();
    fs::write(dir.path().join("README.md"), "no list").unwrap();
    let lists = Lists::open(dir.path());
    let list = lists.find("mine").unwrap();
    assert!(list.holds(Some("a/b"), None) && lists.diagnostics().is_empty());
    let mut changes = lists.changes();
    changes.mark_unchanged();

    fs::write(&path, "a/b\nnothing").unwrap();
    assert!(lists.look(false), "a new text is examined at the second look");
    assert!(lists.diagnostics().is_empty());
    assert!(!lists.look(false));
    assert!(list.holds(Some("a/b"), None) && !changes.has_changed().unwrap());
    let shown = lists.diagnostics()[0].to_string();
    assert!(shown.ends_with("`owner/*`, `@login` or `complete: true`"), "{shown}");
    assert!(shown.contains("mine.txt:2: `nothing` is not a name"), "{shown}");

    let trouble = lists.trouble().unwrap();
    assert_eq!(trouble, format!("{shown}; the last good text of this list is in force"));

    fs::write(&path, "c/d").unwrap();
    lists.look(true);
    assert!(list.holds(Some("c/d"), None) && !list.holds(Some("a/b"), None));
    assert_eq!(lists.trouble(), None);
    assert!(changes.has_changed().unwrap() && lists.diagnostics().is_empty());
}

#[test]
fn removed_list_is_unknown_and_stays_for_its_readers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mine.txt");
    let lists = Lists::open(dir.path());
    let unknown = lists.find("mine").unwrap_err().to_string();
    assert_eq!(unknown, "no list `mine`: there is none; a list is a file NAME.txt in lists.dir");
    fs::write(&path, "a/b").unwrap();
    fs::write(dir.path().join("bad.txt"), "nothing").unwrap();
    lists.look(true);
    let list = lists.find("mine").unwrap();
    assert_eq!(lists.all(), [Arc::clone(&list)]);
    let bad = lists.find("bad").unwrap_err().to_string();
    assert_eq!(bad, "the file of list `bad` has an error (line 1); see the log");
    assert_eq!(lists.find("x").unwrap_err().to_string(), "no list `x`: the only list is mine");
    fs::remove_file(&path).unwrap();
    lists.look(true);
    assert!(lists.find("mine").is_err() && list.holds(Some("a/b"), None));
    // The same list is in force again for a reader that kept it.
    fs::write(&path, "c/d").unwrap();
    lists.look(true);
    assert!(list.holds(Some("c/d"), None) && Arc::ptr_eq(&lists.find("mine").unwrap(), &list));
}

#[test]
fn new_file_is_in_force_at_the_second_look() {
    let dir = tempfile::tempdir().unwrap();
    let lists = Lists::open(dir.path());
    fs::write(dir.path().join("new.txt"), "a/b").unwrap();
    assert!(lists.look(false) && lists.find("new").is_err());
    assert!(!lists.look(false) && lists.find("new").is_ok());
}

#[test]
fn pipe_and_crowded_directory_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe.txt");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let lists = Lists::open(dir.path());
    let unknown = lists.find("pipe").unwrap_err().to_string();
    assert_eq!(unknown, "the file of list `pipe` has an error; see the log");
    assert!(lists.diagnostics()[0].to_string().ends_with("it is a pipe, not a file"));
    for number in 0..ENTRIES {
        fs::write(dir.path().join(format!("{number}.md")), "").unwrap();
    }
    lists.look(true);
    let said = lists.diagnostics()[0].to_string();
    assert!(said.ends_with("more than 1000 entries: further lists may be missing"), "{said}");
}

#[test]
fn trouble_names_the_first_error_of_the_first_files() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a b.txt"), "a/b").unwrap();
    for number in 0..9 {
        fs::write(dir.path().join(format!("{number}.txt")), "a/b\nx\ny\n").unwrap();
    }
    let trouble = Lists::open(dir.path()).trouble().unwrap();
    let line = "0.txt:2: `x` is not a name; a line is `owner/repo`, `owner/*`, `@login` or \
                `complete: true` (and 1 more); nothing of this list is in force; ";
    assert!(trouble.contains("a b.txt: not used: ") && trouble.contains(line), "{trouble}");
    assert!(trouble.contains("3.txt:2: ") && !trouble.contains("4.txt"), "{trouble}");
    assert!(trouble.ends_with("; 5 more: `ghpulse check` names all"), "{trouble}");
}

#[test]
fn odd_file_names_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a b.txt", ".hidden.txt", "good-1.txt", "!not.txt"] {
        fs::write(dir.path().join(name), "a/b").unwrap();
    }
    assert_eq!(Lists::open(dir.path()).all().len(), 1);
    assert_eq!(check(dir.path()).len(), 3);
    assert!(check(&dir.path().join("none")).is_empty());
    let names: Vec<bool> = ["", "a", "A.b-c_d", "a,b", "!a"].map(is_list_name).to_vec();
    assert_eq!(names, [false, true, true, false, false]);
}
