//! Names of the invented people, repositories and pull requests.
//!
//! All names are composed of these words; a name that exists on GitHub is a coincidence, except for
//! the repositories of the documentation's examples.

/// Languages by weight, with shares as on GitHub, so that a language map looks realistic.
pub(super) const LANGUAGES: &[(&str, u32)] = &[
    ("TypeScript", 1900),
    ("Python", 1750),
    ("JavaScript", 1300),
    ("Java", 800),
    ("Go", 560),
    ("C#", 520),
    ("Rust", 480),
    ("C++", 440),
    ("HTML", 400),
    ("PHP", 340),
    ("Kotlin", 240),
    ("Shell", 230),
    ("Ruby", 220),
    ("C", 210),
    ("Dart", 170),
    ("Jupyter Notebook", 160),
    ("Swift", 150),
    ("CSS", 130),
    ("Vue", 120),
    ("HCL", 110),
    ("Nix", 90),
    ("Scala", 80),
    ("Dockerfile", 70),
    ("Svelte", 64),
    ("Lua", 58),
    ("Elixir", 52),
    ("Haskell", 42),
    ("SCSS", 38),
    ("PowerShell", 35),
    ("R", 32),
    ("Astro", 29),
    ("Zig", 26),
    ("Solidity", 24),
    ("Julia", 21),
    ("Makefile", 19),
    ("Perl", 17),
    ("Clojure", 15),
    ("OCaml", 13),
    ("Bicep", 11),
    ("Erlang", 9),
    ("F#", 8),
    ("Fortran", 6),
];

/// Number of repositories in a thousand for which GitHub detects no language.
pub(super) const NO_LANGUAGE_PER_MILLE: u32 = 70;

pub(super) const FIRST: &[&str] = &[
    "ada", "ahmed", "akira", "alex", "amara", "ana", "anders", "anil", "astrid", "bao", "bea",
    "bruno", "carla", "chen", "dalia", "daniel", "diego", "elena", "emil", "eva", "farah", "felix",
    "gita", "hana", "hugo", "ines", "ivan", "jan", "jing", "jonas", "kai", "kofi", "lars", "leila",
    "lin", "luca", "mai", "marek", "maria", "mei", "mika", "nadia", "nils", "noor", "olga", "omar",
    "paulo", "priya", "quinn", "rafa", "ravi", "rosa", "sana", "sofia", "sven", "tariq", "tomas",
    "uma", "vera", "wei", "xenia", "yara", "yusuf", "zoe",
];

pub(super) const LAST: &[&str] = &[
    "abe", "berg", "bits", "brandt", "castro", "code", "costa", "craft", "dev", "diaz", "dube",
    "falk", "fox", "garcia", "hacks", "haas", "ito", "jansen", "kahn", "kaur", "kim", "kovac",
    "labs", "lind", "lopez", "meyer", "mori", "nair", "novak", "okoro", "patel", "petrov", "rao",
    "reis", "rossi", "sato", "shah", "silva", "singh", "stone", "tan", "torres", "vogel", "wolf",
    "works", "wright", "yilmaz", "zhao",
];

pub(super) const ORGS: &[&str] = &[
    "amberforge",
    "blue-heron-labs",
    "brightquarry",
    "cedarline",
    "copperfield-io",
    "driftwood-os",
    "fernway",
    "glasshouse-hq",
    "harborworks",
    "inkstone",
    "juniper-grove",
    "kitesail",
    "lanternfish",
    "mosslight",
    "northbench",
    "openquill",
    "paperlantern",
    "quietriver",
    "redkiln",
    "saltmarsh-dev",
    "tidepool-systems",
    "underbridge",
    "violet-static",
    "windmill-data",
];

/// The owner of [`EXAMPLES`], an organization: id and login.
pub(super) const EXAMPLE_OWNER: (u64, &str) = (5_430_905, "rust-lang");

/// Repositories that the documentation's examples ask for, so that these show something in the
/// demo: the place among the busiest, the name, the language.
pub(super) const EXAMPLES: &[(usize, &str, &str)] =
    &[(1, "rust", "Rust"), (3, "cargo", "Rust"), (9, "rust-analyzer", "Rust")];

pub(super) const BOTS: &[&str] =
    &["bump-keeper", "lockfile-robot", "release-minder", "format-fairy", "triage-owl"];

pub(super) const ADJECTIVES: &[&str] = &[
    "agile", "amber", "async", "atomic", "blue", "bright", "calm", "clear", "crisp", "daily",
    "deep", "easy", "fast", "fluent", "gentle", "hidden", "instant", "iron", "lazy", "lean",
    "little", "lunar", "modern", "nimble", "open", "plain", "quick", "quiet", "rapid", "sharp",
    "silver", "simple", "smart", "solid", "steady", "tiny", "tidy", "vivid", "warm", "wild",
];

pub(super) const NOUNS: &[&str] = &[
    "api",
    "atlas",
    "backend",
    "blog",
    "board",
    "bot",
    "bridge",
    "budget",
    "cache",
    "canvas",
    "chat",
    "cli",
    "client",
    "compiler",
    "config",
    "course",
    "dashboard",
    "docs",
    "dotfiles",
    "editor",
    "engine",
    "forms",
    "frontend",
    "game",
    "gateway",
    "graph",
    "infra",
    "journal",
    "kernel",
    "kit",
    "lexer",
    "library",
    "maps",
    "monitor",
    "notes",
    "parser",
    "pipeline",
    "planner",
    "player",
    "portfolio",
    "queue",
    "recipes",
    "runner",
    "scheduler",
    "sdk",
    "server",
    "shop",
    "site",
    "store",
    "stream",
    "studio",
    "sync",
    "template",
    "theme",
    "tools",
    "tracker",
    "tutor",
    "ui",
    "vault",
    "viewer",
    "wiki",
    "worker",
];

pub(super) const BRANCHES: &[&str] =
    &["feature", "fix", "chore", "docs", "refactor", "deps", "release", "hotfix", "test", "ci"];

pub(super) const VERBS: &[&str] = &[
    "Add", "Bump", "Clean up", "Document", "Drop", "Extract", "Fix", "Improve", "Move", "Refactor",
    "Remove", "Rename", "Rework", "Simplify", "Speed up", "Test", "Update",
];

pub(super) const OBJECTS: &[&str] = &[
    "the cache key",
    "error messages",
    "the login form",
    "retry logic",
    "the build script",
    "pagination",
    "the release notes",
    "dark mode",
    "the date parser",
    "dependency versions",
    "the sidebar",
    "unit tests for the client",
    "the query planner",
    "the README",
    "time zone support",
    "the upload limit",
    "type hints",
    "the CI matrix",
    "keyboard shortcuts",
    "the \"empty\" state",
    "database migrations",
    "the search index",
    "logging",
    "translations (français, 日本語)",
];

/// Name and colour of labels.
pub(super) const LABELS: &[(&str, &str)] = &[
    ("bug", "d73a4a"),
    ("dependencies", "0366d6"),
    ("documentation", "0075ca"),
    ("enhancement", "a2eeef"),
    ("good first issue", "7057ff"),
    ("needs review", "fbca04"),
];
