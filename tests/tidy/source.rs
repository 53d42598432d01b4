//! Reads source text for the rules: what is code, comment, string or test, and which names of the
//! crate it uses. This is a small lexer rather than a parser: the rules only need words and
//! positions, and a parser would be the project's largest dependency.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::graph::module_of;

/// Replaces a character inside a string literal in [`Source::code`].
const IN_STRING: char = '\u{1}';
/// Replaces each further byte of a blanked character, so that all forms have the same offsets.
const FILLER: char = '\u{2}';

/// A Rust file.
pub(crate) struct Source {
    /// Its path from the root of the repository, with `/`.
    pub path: String,
    /// As written.
    pub text: String,
    /// The same at the same offsets, comments blank, strings' insides [`IN_STRING`].
    pub code: String,
    /// `code` without what is compiled for tests only.
    pub live: String,
}

impl Source {
    /// `path:line` of byte `at`.
    pub(crate) fn place(&self, at: usize) -> String {
        format!("{}:{}", self.path, line_of(&self.text, at))
    }
}

/// Whether a character of [`Source::code`] counts for the length of its line outside of strings.
pub(crate) fn is_outside(c: char) -> bool {
    !matches!(c, IN_STRING | FILLER)
}

/// Every file below `top`, as paths from the repository's top, sorted; hidden folders included.
pub(crate) fn files_below(root: &Path, top: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![top.to_owned()];
    while let Some(at) = open.pop() {
        let full = root.join(&at);
        if full.is_dir() {
            for entry in fs::read_dir(&full).expect("a folder of the repository can be read") {
                let name = entry.expect("an entry can be read").file_name();
                open.push(format!("{at}/{}", name.to_str().expect("names here are UTF-8")));
            }
        } else if full.is_file() {
            found.push(at);
        }
    }
    found.sort();
    found
}

/// All Rust below `src` or `tests`, read and lexed; what only tests include has no live code.
pub(crate) fn read_rust(root: &Path, top: &str) -> Vec<Source> {
    let mut sources: Vec<Source> = files_below(root, top)
        .into_iter()
        .filter(|path| is_a(path, "rs"))
        .map(|path| {
            let text = fs::read_to_string(root.join(&path)).expect("sources are UTF-8");
            let code = lex(&text);
            Source { live: without_tests(&code), path, text, code }
        })
        .collect();
    let only_tests: BTreeSet<String> = sources.iter().flat_map(test_files).collect();
    for source in &mut sources {
        let stem = source.path.trim_end_matches(".rs");
        if only_tests.iter().any(|t| stem == t || stem.starts_with(&format!("{t}/"))) {
            source.live.clear();
        }
    }
    sources
}

/// Whether the file's name ends in `.extension`.
pub(crate) fn is_a(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|e| e == extension)
}

/// One-based number of the line that byte `at` is on.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Blanks comments and the insides of strings and characters.
fn lex(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = comment_end(&chars, at);
        if end > at {
            chars[at..end].iter().for_each(|c| blank(&mut out, *c, ' '));
            at = end;
            continue;
        }
        let (open, end) = string_span(&chars, at);
        if end > at {
            out.extend(&chars[at..open]);
            chars[open..end - 1].iter().for_each(|c| blank(&mut out, *c, IN_STRING));
            out.push(chars[end - 1]);
            at = end;
            continue;
        }
        out.push(chars[at]);
        at += 1;
    }
    out
}

fn blank(out: &mut String, c: char, with: char) {
    out.push(if c == '\n' { '\n' } else { with });
    out.extend(std::iter::repeat_n(FILLER, c.len_utf8() - 1));
}

/// Where the comment that begins at `at` ends, or `at` when none begins there.
fn comment_end(chars: &[char], at: usize) -> usize {
    match (chars[at], chars.get(at + 1)) {
        ('/', Some('/')) => {
            chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |n| at + n)
        }
        ('/', Some('*')) => {
            let (mut depth, mut i) = (1, at + 2);
            while i < chars.len() && depth > 0 {
                match (chars[i], chars.get(i + 1)) {
                    ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
                    ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
                    _ => i += 1,
                }
            }
            i
        }
        _ => at,
    }
}

/// The literal that begins at `at`: where its inside begins, and one past its end; `(at, at)` when
/// none begins there. The `#` before a raw string's last quote count as inside.
fn string_span(chars: &[char], at: usize) -> (usize, usize) {
    let word_before = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    let mut i = at;
    if !word_before && matches!(chars[i], 'b' | 'c') && chars.len() > i + 1 {
        i += 1;
    }
    if chars[i] == 'r' && (i > at || !word_before) {
        let hashes = chars[i + 1..].iter().take_while(|c| **c == '#').count();
        if chars.get(i + 1 + hashes) == Some(&'"') {
            let open = i + 2 + hashes;
            let close: String = format!("\"{}", "#".repeat(hashes));
            let rest: String = chars[open..].iter().collect();
            let inside = rest.find(&close).map_or(rest.len(), |b| rest[..b].chars().count());
            return (open, open + inside + close.len());
        }
        return (at, at);
    }
    let quote = chars[i];
    let is_char =
        quote == '\'' && (chars.get(i + 1) == Some(&'\\') || chars.get(i + 2) == Some(&'\''));
    if quote != '"' && !is_char {
        return (at, at);
    }
    let mut end = i + 1;
    while end < chars.len() && chars[end] != quote {
        end += if chars[end] == '\\' { 2 } else { 1 };
    }
    (i + 1, (end + 1).min(chars.len()))
}

/// Blanks every item under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let mut live = code.to_owned();
    let mut from = 0;
    while let Some(found) = live[from..].find("#[cfg(test)]") {
        let at = from + found;
        let end = item_end(&live, at + "#[cfg(test)]".len());
        let mut blanked = String::with_capacity(end - at);
        live[at..end].chars().for_each(|c| blank(&mut blanked, c, ' '));
        live.replace_range(at..end, &blanked);
        from = at + blanked.len();
    }
    live
}

/// One past the end of the item at `at`: its `;`, or the brace that closes its first one.
fn item_end(code: &str, at: usize) -> usize {
    let mut depth = 0;
    for (i, c) in code[at..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return at + i + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + i + 1,
            _ => {}
        }
    }
    code.len()
}

/// The files, without `.rs`, that `source` includes for tests only.
fn test_files(source: &Source) -> Vec<String> {
    let (folder, file) = source.path.rsplit_once('/').expect("sources lie in folders");
    let stem = file.trim_end_matches(".rs");
    let own = if matches!(stem, "mod" | "lib" | "main") {
        folder.to_owned()
    } else {
        format!("{folder}/{stem}")
    };
    let mut found = Vec::new();
    for (at, _) in source.code.match_indices("#[cfg(test)]") {
        let item = &source.text[at + "#[cfg(test)]".len()..item_end(&source.code, at)];
        if let Some((_, path)) = item.split_once("#[path = \"") {
            let path = path.split('"').next().unwrap_or_default();
            found.push(format!("{folder}/{}", path.trim_end_matches(".rs")));
        } else if let Some((_, name)) = item.split_once("mod ") {
            found.push(format!("{own}/{}", name.trim_end_matches(';').trim()));
        }
    }
    found
}

/// Every path into the crate that live code names, from the crate's top (`["store", "keys"]`), with
/// the byte it stands at. Groups are spread out; `super` is followed as far as the top.
pub(crate) fn crate_paths(source: &Source) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    let depth = depth(&source.path);
    for start in ["crate::", "super::", "ghpulse::"] {
        for (at, _) in source.live.match_indices(start) {
            if source.live[..at].ends_with([':', '_']) || ends_in_word(&source.live[..at]) {
                continue;
            }
            let mut rest = at + start.len();
            if start == "super::" {
                let mut up = 1;
                while source.live[rest..].starts_with(start) {
                    (up, rest) = (up + 1, rest + start.len());
                }
                if up < depth {
                    continue;
                }
            }
            spread(&source.live, rest, &mut Vec::new(), &mut |path| found.push((at, path)));
        }
    }
    found
}

/// Every path into the crate that live code names by `crate`, `super` or `self`, from the crate's
/// top, except where it names a visibility (`pub(in crate::hub)`). Paths of modules inside a file
/// are taken for paths of the file.
pub(crate) fn absolute_paths(source: &Source) -> Vec<Vec<String>> {
    let own: Vec<String> = module_of(&source.path).split("::").map(str::to_owned).collect();
    let mut found = Vec::new();
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in source.live.match_indices(start) {
            let before = &source.live[..at];
            if before.ends_with(':') || before.ends_with("pub(in ") || ends_in_word(before) {
                continue;
            }
            let (mut base, mut rest) = (own.clone(), at + start.len());
            match start {
                "crate::" => base.clear(),
                "super::" => {
                    base.pop();
                    while source.live[rest..].starts_with(start) {
                        base.pop();
                        rest += start.len();
                    }
                }
                _ => {}
            }
            spread(&source.live, rest, &mut base, &mut |path| found.push(path));
        }
    }
    found
}

/// The number of modules above a file's items: 0 for `lib.rs`, 2 for `store/keys.rs`.
fn depth(path: &str) -> usize {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs");
    let parts = inner.split('/').count();
    if matches!(inner, "lib" | "main") {
        0
    } else if inner.ends_with("/mod") {
        parts - 1
    } else {
        parts
    }
}

pub(crate) fn ends_in_word(text: &str) -> bool {
    text.ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// Walks one use tree (`a::{b, c::*}`) from `at` and reports each leaf; returns where it ended.
fn spread(
    code: &str,
    mut at: usize,
    above: &mut Vec<String>,
    found: &mut impl FnMut(Vec<String>),
) -> usize {
    at += code[at..].len() - code[at..].trim_start().len();
    if code[at..].starts_with('{') {
        at += 1;
        while at < code.len() && !code[at..].trim_start().starts_with('}') {
            at = spread(code, at, above, found);
            at += code[at..].find([',', '}']).map_or(0, |n| n);
            if code[at..].starts_with(',') {
                at += 1;
            }
        }
        return at + code[at..].find('}').map_or(0, |n| n + 1);
    }
    let word: String =
        code[at..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    at += word.len();
    if word.is_empty() {
        found(above.clone());
        return at;
    }
    above.push(word);
    if code[at..].starts_with("::") {
        at = spread(code, at + 2, above, found);
    } else {
        found(above.clone());
    }
    above.pop();
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        let code = lex(text);
        Source { path: path.into(), text: text.into(), live: without_tests(&code), code }
    }

    fn paths(path: &str, text: &str) -> Vec<String> {
        crate_paths(&source(path, text)).into_iter().map(|(_, path)| path.join("::")).collect()
    }

    #[test]
    fn comments_and_strings_are_no_code() {
        let code = lex("a(\"x // y\", r#\"d\"q\"#, b\"z\", '\"', '\\'', 'é'); // b\n\
             /* c /* d */ */ e::<'f>()");
        let kept: String = code.chars().filter(|c| is_outside(*c)).collect();
        assert!(!kept.contains(['x', 'y', 'q', 'z', 'é', 'd', 'c']), "{kept}");
        assert!(kept.contains("e::<'f>()") && kept.starts_with("a(\"\", r#\""), "{kept}");
    }

    #[test]
    fn every_form_has_the_same_offsets() {
        let text = "// größer …\nlet a = \"ä…\";\n#[cfg(test)]\n\
                    mod tests { fn ü() {} }\nfn b() {}";
        let source = source("src/a.rs", text);
        for form in [&source.code, &source.live] {
            assert_eq!(form.len(), text.len());
            assert_eq!(form.find("fn b"), text.find("fn b"));
        }
        assert!(source.code.contains("mod tests") && !source.live.contains("mod tests"));
    }

    #[test]
    fn groups_are_spread_and_super_is_followed_to_the_top() {
        let text = "use crate::store::{keys::{Seen, *}, batch};\nfn f(x: crate::hub::Tail<u8>) {}";
        let expected = ["store::keys::Seen", "store::keys", "store::batch", "hub::Tail"];
        assert_eq!(paths("src/serve/socket.rs", text), expected);
        assert_eq!(paths("src/a/b.rs", "use super::x::Y; use super::super::c::D;"), ["c::D"]);
        assert_eq!(paths("src/a/mod.rs", "use super::c::D;"), ["c::D"]);
        assert_eq!(paths("src/a.rs", "mycrate::x(); // crate::y\nlet z = \"crate::z\";"), [""; 0]);
    }

    #[test]
    fn files_that_only_tests_include_are_known() {
        let text = "#[cfg(test)]\nmod fake;\n#[cfg(test)]\n#[path = \"keys_tests.rs\"]\nmod tests;";
        assert_eq!(
            test_files(&source("src/store/keys.rs", text)),
            ["src/store/keys/fake", "src/store/keys_tests"]
        );
        assert_eq!(
            test_files(&source("src/store/mod.rs", "#[cfg(test)]\nmod a;")),
            ["src/store/a"]
        );
    }
}
