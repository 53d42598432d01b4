use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::render::{LinkTarget, target};
use super::*;

const FORMS: [Form; 2] = [Form::Served, Form::Files];

/// All values of an attribute in a document.
fn values<'a>(html: &'a str, attribute: &str) -> Vec<&'a str> {
    let start = format!(" {attribute}=\"");
    let rest = html.split(&start).skip(1);
    rest.map(|rest| rest.split('"').next().expect("an attribute ends")).collect()
}

fn documents(form: Form) -> BTreeMap<String, String> {
    let names = PAGES.iter().map(|page| page.name).chain([WHOLE]);
    names.map(|name| (name.to_owned(), document(name, form).expect("a page"))).collect()
}

/// Resolves a relative link to the name of its page, by the rules of URLs.
fn followed(form: Form, name: &str, link: &str) -> String {
    let here = match (form, name) {
        (Form::Served, "") => "http://host/prefix/docs".to_owned(),
        (Form::Served, name) => format!("http://host/prefix/docs/{name}"),
        (Form::Files, "") => "file:///manual/index.html".to_owned(),
        (Form::Files, name) => format!("file:///manual/{name}.html"),
    };
    let there = joined(&here, link);
    match form {
        Form::Served if there == "http://host/prefix/docs" => String::new(),
        Form::Served => match there.strip_prefix("http://host/prefix/docs/") {
            Some(name) => name.to_owned(),
            None => there,
        },
        Form::Files => {
            let file = there.strip_prefix("file:///manual/").unwrap_or(&there);
            if file == "index.html" { String::new() } else { file.replace(".html", "") }
        }
    }
}

/// Resolves a relative path against a URL, replacing its last segment.
fn joined(here: &str, link: &str) -> String {
    let mut words: Vec<&str> = here.split('/').collect();
    words.pop();
    for word in link.split('/') {
        match word {
            ".." => drop(words.pop()),
            "." => {}
            word => words.push(word),
        }
    }
    words.join("/")
}

#[test]
fn every_link_leads_to_a_page_and_an_anchor() {
    let site = ["http://host/prefix/", "http://host/prefix/status"];
    let site = site.into_iter().chain([
        "http://host/prefix/?wall",
        "http://host/prefix/play",
        "http://host/prefix/topics",
        "http://host/prefix/scripts",
    ]);
    let site: BTreeSet<&str> = site.collect();
    for form in FORMS {
        let documents = documents(form);
        for (name, html) in &documents {
            let mut internal = 0;
            for link in values(html, "href") {
                if link.starts_with("http") || link.starts_with("data:") {
                    continue;
                }
                let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
                let there = if path.is_empty() { name.clone() } else { followed(form, name, path) };
                if there == STYLE_NAME || site.contains(there.as_str()) {
                    continue;
                }
                internal += 1;
                let page = documents.get(&there);
                let page = page.unwrap_or_else(|| panic!("{name}: `{link}` leads to `{there}`"));
                let is_there = anchor.is_empty() || values(page, "id").contains(&anchor);
                assert!(is_there, "{name}: no anchor for `{link}`");
            }
            assert!(internal > PAGES.len(), "{name}: {internal} links");
        }
    }
}

#[test]
fn every_file_that_a_page_names_is_in_the_repository() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for page in PAGES {
        for part in page.text.split("](").skip(1) {
            let link = part.split(')').next().expect("a link ends");
            if let LinkTarget::File(file) = target(page, link) {
                assert!(root.join(&file).exists(), "{}: `{link}`", page.file);
                assert!(!file.contains(".md"), "{}: `{file}` is missing in PAGES", page.file);
            }
        }
    }
}

#[test]
fn elements_are_balanced_and_anchors_unique() {
    const VOID: [&str; 6] = ["meta", "link", "br", "hr", "img", "input"];
    for form in FORMS {
        for (name, html) in documents(form) {
            let ids = values(&html, "id");
            let unique: BTreeSet<&str> = ids.iter().copied().collect();
            assert_eq!(ids.len(), unique.len(), "{name}: an anchor is there twice");
            let mut open: Vec<&str> = Vec::new();
            for tag in html.split('<').skip(1) {
                let tag = tag.split('>').next().expect("a tag ends");
                let word = tag.trim_start_matches('/').split([' ', '\n']).next().expect("a name");
                match tag.starts_with('/') {
                    true => assert_eq!(open.pop(), Some(word), "{name}: </{word}>"),
                    false if VOID.contains(&word) || word.starts_with('!') => {}
                    false => open.push(word),
                }
            }
            assert_eq!(open, Vec::<&str>::new(), "{name}: left open");
            assert!(!html.contains("{{"), "{name}: a place was left empty");
            for forbidden in ["<script>", " style=", " onclick="] {
                assert!(!html.contains(forbidden), "{name}: {forbidden}");
            }
            // Files have no server whose address could be shown.
            let scripts: Vec<String> = html
                .split("<script src=\"")
                .skip(1)
                .map(|rest| followed(form, &name, rest.split('"').next().expect("it ends")))
                .collect();
            let wanted = if form == Form::Served { &[SCRIPT_NAME][..] } else { &[] };
            assert_eq!(scripts, wanted, "{name}");
            assert_eq!(html.matches("<script").count(), wanted.len(), "{name}");
        }
    }
}

#[test]
fn a_page_has_one_title_and_a_list_of_its_sections() {
    for page in PAGES {
        let html = document(page.name, Form::Served).expect("a page");
        assert_eq!(html.matches("<h1 ").count(), 1, "{}", page.file);
        let sections = page.text.lines().filter(|line| line.starts_with("## ")).count();
        assert!(html.matches("<li class=\"level-2\">").count() >= sections.min(1), "{}", page.file);
    }
    let config = document("config", Form::Served).expect("a page");
    assert!(config.contains("<a href=\"#pulsar\">Pulsar</a>"));
    assert!(config.contains("<h2 id=\"pulsar\">Pulsar</h2>"));
    assert!(config.contains("<a href=\"api#topics\">"));
}

#[test]
fn unknown_names_have_no_page() {
    for name in ["index", "README.md", "../config", "config/", STYLE_NAME, SCRIPT_NAME] {
        assert_eq!(document(name, Form::Served), None, "{name}");
    }
}

/// `localhost:8600` is shown as the address of this server, which another machine may have: what is
/// meant for a server of the reader's own says `127.0.0.1`.
#[test]
fn own_server_is_written_by_its_address() {
    const OWN: [&str; 4] = ["make run", "target/release/ghpulse", "sync-event", "docker run"];
    for page in PAGES {
        let lines = page.text.lines().filter(|line| line.contains("localhost:8600"));
        for line in lines {
            assert!(!OWN.iter().any(|own| line.contains(own)), "{}: {line}", page.file);
        }
        assert!(!page.text.contains("127.0.0.1:8600/aggregate"), "{}", page.file);
    }
    assert!(SCRIPT.contains("localhost:8600"));
}

#[test]
fn style_has_both_schemes_and_no_address() {
    assert!(STYLE.contains("prefers-color-scheme: dark") && STYLE.contains(".manual"));
    assert!(!STYLE.contains("url("));
}

#[test]
fn pictures_are_embedded_with_their_alternative_text() {
    for form in FORMS {
        let whole = document(WHOLE, form).unwrap();
        let sources = values(&whole, "src");
        let kinds = |kind: &str| sources.iter().filter(|url| url.starts_with(kind)).count();
        assert_eq!(kinds("data:image/webp;base64,"), 3);
        assert_eq!(kinds("data:image/svg+xml;base64,"), 1);
        let texts = values(&whole, "alt");
        assert!(texts.len() == 4 && texts.iter().all(|text| text.starts_with("Simulated data: ")));
    }
}
