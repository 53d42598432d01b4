//! The window on which scripts are tried before any event was seen: its counts are always the same.

use crate::model::tally::{Buckets, WindowSnapshot};
use crate::model::window::{Second, Window};

/// Length of an hour, the default of `interval.latestDuring`.
pub(super) const SECONDS: u32 = 3_600;
/// About as many languages as a second of GitHub has.
pub(super) const LANGUAGES: usize = 20;
/// 2025-12-31T23:59:59Z.
const LAST: Second = Second(1_767_225_599);

const NAMES: [&str; 32] = [
    "JavaScript",
    "Python",
    "TypeScript",
    "Java",
    "Go",
    "C++",
    "Rust",
    "C#",
    "PHP",
    "Ruby",
    "C",
    "Shell",
    "HTML",
    "CSS",
    "Kotlin",
    "Swift",
    "Dart",
    "Scala",
    "Jupyter Notebook",
    "Vue",
    "HCL",
    "Lua",
    "Elixir",
    "Haskell",
    "Nix",
    "R",
    "Zig",
    "Clojure",
    "Perl",
    "Julia",
    "OCaml",
    "Erlang",
];

/// Two hours of every second; 20 of 32 languages in each, common ones with larger counts. `name_of`
/// gives the name that a language is counted under.
pub(super) fn window(name_of: impl Fn(&str) -> String) -> WindowSnapshot {
    let names = NAMES.map(name_of);
    let mut buckets = Buckets::default();
    let mut state = 42_u64;
    for age in 0..i64::from(SECONDS) * 2 {
        for nth in 0..LANGUAGES {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let random = usize::try_from(state >> 48).expect("16 bits");
            // 13 and 32 are coprime, so the names of a second are distinct.
            let start = usize::try_from(age).expect("not negative");
            let name = (start + nth * 13) % NAMES.len();
            let n = 1 + random % (60 / (name + 1)).max(2);
            let n = i64::try_from(n).expect("at most 60");
            let second = Second(LAST.0 - age);
            buckets.add(second, &names[name], n).expect("the names are short and few");
        }
    }
    buckets.snapshot(Window::ending_with(LAST, SECONDS))
}
