//! The names that are left out, and the file that lists them.

use std::collections::HashSet;

use crate::model::glob;

/// The most names and globs in a file.
pub const EXCLUDED_NAMES: usize = 10_000;
/// The most globs in a file: each is compared with every event.
pub const EXCLUDED_GLOBS: usize = 200;
/// The longest name or glob in a file, in bytes: `owner/name` with GitHub's longest of both.
const NAME_BYTES: usize = 161;
/// The most `*` in one glob of a file.
const STARS: usize = 8;
/// The most lines of one file that an error names.
const ERRORS: usize = 5;

type ExactNames = HashSet<Box<str>, foldhash::fast::RandomState>;

/// Names and globs of people, organizations and repositories, in lower case.
#[derive(Debug, Default)]
pub struct ExcludedNames {
    people: NamesAndGlobs,
    /// Of `owner/name`.
    repos: NamesAndGlobs,
}

#[derive(Debug, Default)]
struct NamesAndGlobs {
    names: ExactNames,
    globs: Vec<Box<str>>,
}

impl ExcludedNames {
    /// Of names and globs in any case: one with a `/` is of repositories, one without of people
    /// and organizations, with all repositories that are theirs.
    pub(super) fn new(names: &[String]) -> Self {
        let mut all = Self::default();
        for name in names {
            let kind = if name.contains('/') { &mut all.repos } else { &mut all.people };
            let name = name.to_ascii_lowercase().into_boxed_str();
            if name.contains('*') {
                kind.globs.push(name);
            } else {
                kind.names.insert(name);
            }
        }
        all
    }

    /// Whether it is without names.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.people.is_empty() && self.repos.is_empty()
    }

    /// Whether an event is left out: by its actor, the organization, the repository or its owner.
    #[must_use]
    pub fn hold(&self, actor: Option<&str>, org: Option<&str>, repo: Option<&str>) -> bool {
        if self.is_empty() {
            return false;
        }
        let owner = repo.and_then(|repo| repo.split_once('/')).map(|(owner, _)| owner);
        [actor, org, owner].into_iter().any(|name| self.people.hold(name)) || self.repos.hold(repo)
    }
}

impl NamesAndGlobs {
    fn is_empty(&self) -> bool {
        self.names.is_empty() && self.globs.is_empty()
    }

    fn hold(&self, name: Option<&str>) -> bool {
        let Some(name) = name.filter(|_| !self.is_empty()).map(str::to_ascii_lowercase) else {
            return false;
        };
        self.names.contains(&*name)
            || self.globs.iter().any(|pattern| glob::matches(pattern, name.as_bytes()))
    }
}

/// Parses the text of a file: one name or glob per line as in `privacy.exclude`, a person also as
/// `@login`; `#` begins a comment.
///
/// # Errors
/// With the numbers of the first invalid lines and what is accepted, without their text: who asks
/// to be left out is not named in a status.
pub fn parse_excluded(text: &[u8]) -> Result<Vec<String>, String> {
    let (mut names, mut globs, mut errors) = (Vec::new(), 0, Vec::new());
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    for (number, line) in (1_usize..).zip(text.split(|byte| *byte == b'\n')) {
        let line = std::str::from_utf8(line).map_err(|_| "not UTF-8".to_owned());
        match line.and_then(name_of_line) {
            Ok(None) => {}
            Ok(Some(name)) => {
                globs += usize::from(name.contains('*'));
                names.push(name);
            }
            Err(reason) => errors.push(format!("line {number}: {reason}")),
        }
        if names.len() > EXCLUDED_NAMES {
            return Err(format!("line {number}: a file has up to {EXCLUDED_NAMES} names"));
        }
        if globs > EXCLUDED_GLOBS {
            return Err(format!("line {number}: a file has up to {EXCLUDED_GLOBS} names with `*`"));
        }
        if errors.len() == ERRORS {
            break;
        }
    }
    if errors.is_empty() { Ok(names) } else { Err(errors.join("; ")) }
}

fn name_of_line(line: &str) -> Result<Option<String>, String> {
    let text = line.split('#').next().unwrap_or_default().trim();
    let name = text.strip_prefix('@').unwrap_or(text);
    if text.is_empty() {
        return Ok(None);
    }
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.*[]/".contains(&byte);
    let parts = name.split('/').count();
    let is_name = parts <= 2
        && !(text.starts_with('@') && parts == 2)
        && name.len() <= NAME_BYTES
        && name.bytes().all(is_known)
        && name.split('/').all(|part| !part.is_empty())
        && name.bytes().filter(|byte| *byte == b'*').count() <= STARS;
    if !is_name {
        return Err("not a name; a line is `login`, `owner/repo` or either with `*`".to_owned());
    }
    if !name.bytes().any(|byte| byte.is_ascii_alphanumeric()) {
        return Err("leaves out everything; name somebody".to_owned());
    }
    Ok(Some(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_has_a_name_or_glob_per_line() {
        let text =
            "\u{feff}# asked by mail\nAnn\n@bob\n\n spam-*  # bots\nbob/secret\r\n*/private-*";
        let names = parse_excluded(text.as_bytes()).unwrap();
        assert_eq!(names, ["Ann", "bob", "spam-*", "bob/secret", "*/private-*"]);
        assert_eq!(parse_excluded(b""), Ok(Vec::new()));
    }

    #[test]
    fn invalid_lines_are_numbered_and_not_repeated() {
        for line in ["ann smith", "a/b/c", "/x", "x/", "@a/b", "a,b", "https://github.com/a"] {
            let refused = parse_excluded(format!("ok\n{line}\n").as_bytes()).unwrap_err();
            assert!(refused.starts_with("line 2: not a name"), "{line}: {refused}");
            assert!(!refused.contains(line), "{refused}");
        }
        assert!(parse_excluded(b"\xff").unwrap_err().contains("line 1: not UTF-8"));
        for all in ["*", "*/*", "**"] {
            assert!(parse_excluded(all.as_bytes()).unwrap_err().contains("everything"), "{all}");
        }
        let many = parse_excluded("a b\n".repeat(50).as_bytes()).unwrap_err();
        assert!(many.contains("line 5") && !many.contains("line 6"), "{many}");
    }

    #[test]
    fn a_file_is_bounded() {
        let names = |n: usize, end: &str| {
            (0..n).map(|i| format!("n{i}{end}")).collect::<Vec<_>>().join("\n")
        };
        assert!(parse_excluded(names(EXCLUDED_NAMES, "").as_bytes()).is_ok());
        let refused = parse_excluded(names(EXCLUDED_NAMES + 1, "").as_bytes()).unwrap_err();
        assert!(refused.contains("line 10001") && refused.contains("10000 names"), "{refused}");
        assert!(parse_excluded(names(EXCLUDED_GLOBS + 1, "*").as_bytes()).is_err());
    }
}
