//! The names on a list: parsing, and membership in constant time.

use std::collections::HashSet;

/// The most names on a list.
pub const LIST_NAMES: usize = 10_000;
/// The most errors of one file that are reported.
const ERRORS: usize = 20;
/// The longest login, in bytes: GitHub's limit of 39, and room for a company's suffix and `[bot]`.
const LOGIN_BYTES: usize = 60;
/// The longest name of a repository, in bytes.
const REPO_BYTES: usize = 100;
/// What a line may be, for error messages.
const ACCEPTED: &str = "a line is `owner/repo`, `owner/*`, `@login` or `complete: true`";

type NameSet = HashSet<Box<str>, foldhash::fast::RandomState>;

/// A name on a list, in lower case. What stands for many repositories is ordered first, so that its
/// feed is not read after those of thousands of repositories.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListedName {
    /// `owner/*`: all repositories of an organization or a user; the owner's login.
    Owner(Box<str>),
    /// `@login`: what a person does, in any repository.
    Login(Box<str>),
    /// `owner/repo`: a repository.
    Repo(Box<str>),
}

impl std::fmt::Display for ListedName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Repo(name) => f.write_str(name),
            Self::Owner(owner) => write!(f, "{owner}/*"),
            Self::Login(login) => write!(f, "@{login}"),
        }
    }
}

/// An error in the text of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListLineError {
    /// The line, from 1; `None` for an error of the whole text.
    pub line: Option<usize>,
    /// What is wrong, and what is accepted.
    pub reason: String,
}

/// The names on a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NameList {
    repos: NameSet,
    owners: NameSet,
    logins: NameSet,
    is_complete: bool,
}

impl NameList {
    /// Parses a text: one name per line, `complete: true` or `complete: false` on a line of its
    /// own, `#` begins a comment. Repeated names count once.
    ///
    /// # Errors
    /// With the first 20 lines that are none of these; then no name of the text is used.
    pub fn parse(text: &[u8]) -> Result<Self, Vec<ListLineError>> {
        let mut list = Self::default();
        let mut errors = Vec::new();
        let mut directive = None;
        for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line =
                if at == 0 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
            let read = std::str::from_utf8(line).map_err(|_| "not UTF-8".to_owned());
            let read = read.and_then(|line| list.read(at + 1, line, &mut directive));
            if let Err(reason) = read {
                errors.push(ListLineError { line: Some(at + 1), reason });
                if errors.len() == ERRORS {
                    break;
                }
            }
            if list.len() > LIST_NAMES {
                let reason = format!("one name too many: a list has up to {LIST_NAMES}");
                errors.push(ListLineError { line: Some(at + 1), reason });
                break;
            }
        }
        if errors.is_empty() { Ok(list) } else { Err(errors) }
    }

    fn read(
        &mut self,
        number: usize,
        line: &str,
        directive: &mut Option<usize>,
    ) -> Result<(), String> {
        let text = line.split('#').next().unwrap_or_default().trim();
        if text.is_empty() {
            return Ok(());
        }
        if let Some((key, value)) = text.split_once(':')
            && !value.starts_with("//")
        {
            return self.direct((key.trim(), value.trim()), number, directive);
        }
        match ListedName::parse(text) {
            Some(ListedName::Repo(name)) => _ = self.repos.insert(name),
            Some(ListedName::Owner(name)) => _ = self.owners.insert(name),
            Some(ListedName::Login(name)) => _ = self.logins.insert(name),
            None => return Err(format!("`{}` is not a name; {ACCEPTED}", shown(text))),
        }
        Ok(())
    }

    /// Applies a line `key: value`.
    fn direct(
        &mut self,
        (key, value): (&str, &str),
        number: usize,
        directive: &mut Option<usize>,
    ) -> Result<(), String> {
        if !key.eq_ignore_ascii_case("complete") {
            return Err(format!("`{}:` is not known; {ACCEPTED}", shown(key)));
        }
        if let Some(first) = directive.replace(number) {
            return Err(format!("`complete` is already set in line {first}"));
        }
        self.is_complete = match value.to_ascii_lowercase().as_str() {
            "true" => true,
            "false" => false,
            _ => return Err(format!("`complete: {}` is neither true nor false", shown(value))),
        };
        Ok(())
    }

    /// Number of names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.repos.len() + self.owners.len() + self.logins.len()
    }

    /// Whether there is no name on the list.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is a repository or `owner/*` on the list.
    #[must_use]
    pub fn names_repositories(&self) -> bool {
        !self.repos.is_empty() || !self.owners.is_empty()
    }

    /// Whether the list is marked `complete: true`.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Whether an event of this repository by this actor is on the list; both in lower case.
    #[must_use]
    pub fn holds(&self, repo: Option<&str>, actor: Option<&str>) -> bool {
        let of_repo = |repo: &str| {
            self.repos.contains(repo)
                || (!self.owners.is_empty()
                    && repo.split_once('/').is_some_and(|(owner, _)| self.owners.contains(owner)))
        };
        repo.is_some_and(of_repo) || actor.is_some_and(|actor| self.logins.contains(actor))
    }

    /// All names, in no order.
    pub fn iter(&self) -> impl Iterator<Item = ListedName> {
        let repos = self.repos.iter().cloned().map(ListedName::Repo);
        let owners = self.owners.iter().cloned().map(ListedName::Owner);
        repos.chain(owners).chain(self.logins.iter().cloned().map(ListedName::Login))
    }
}

impl ListedName {
    /// The name of the repository, if it is of one.
    #[must_use]
    pub fn into_repo(self) -> Option<Box<str>> {
        match self {
            Self::Repo(name) => Some(name),
            Self::Owner(_) | Self::Login(_) => None,
        }
    }

    /// Parses a name; `None` when GitHub has no such names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        if let Some(login) = lower.strip_prefix('@') {
            return is_login(login).then(|| Self::Login(login.into()));
        }
        let (owner, repo) = lower.split_once('/').filter(|(owner, _)| is_login(owner))?;
        match repo {
            "*" => Some(Self::Owner(owner.into())),
            repo if is_repo(repo) => Some(Self::Repo(lower.into())),
            _ => None,
        }
    }
}

/// Whether GitHub may have this login: of a user, an organization, or an app (`name[bot]`).
fn is_login(text: &str) -> bool {
    let name = text.strip_suffix("[bot]").unwrap_or(text);
    text.len() <= LOGIN_BYTES
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

fn is_repo(text: &str) -> bool {
    text.len() <= REPO_BYTES
        && !matches!(text, "" | "." | "..")
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}
