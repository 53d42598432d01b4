//! Finds type names that are used for more than one type.

use std::collections::BTreeMap;

use crate::source::{Source, ends_in_word, line_of, read_rust};
use crate::{root, settle};

/// Names still used for several types. The number may only shrink.
const SHARED: usize = 0;

#[test]
fn type_names_have_one_meaning() {
    let types = types(&read_rust(root(), "src"));
    let shared = types.iter().filter(|(_, places)| places.len() > 1);
    let complaints: Vec<String> = shared
        .map(|(name, places)| {
            format!(
                "{}: `{name}` stands for {} types: name each by what it is of ({})",
                places[0],
                places.len(),
                places[1..].join(", ")
            )
        })
        .collect();
    settle(if complaints.len() > SHARED { &complaints } else { &[] });
}

/// The words that begin the definition of a type.
const DEFINES: [&str; 5] = ["struct ", "enum ", "union ", "trait ", "type "];

/// Type name -> where it is defined, as `path:line`. Types inside blocks, such as associated types
/// of an implementation, do not count, nor does code for tests only.
pub(crate) fn types(sources: &[Source]) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sources {
        let mut at = 0;
        for line in source.live.split_inclusive('\n') {
            if let Some(name) = defined(line) {
                let place = format!("{}:{}", source.path, line_of(&source.live, at));
                found.entry(name.to_owned()).or_default().push(place);
            }
            at += line.len();
        }
    }
    found
}

/// The name of the type that a line defines: an unindented one, or a public one in a macro.
fn defined(line: &str) -> Option<&str> {
    let line = line.strip_prefix("    ").filter(|rest| rest.starts_with("pub")).unwrap_or(line);
    let line = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
        Some(rest) => rest.strip_prefix(' ')?,
        None => line,
    };
    let rest = DEFINES.iter().find_map(|word| line.strip_prefix(word))?;
    let end = rest.find(|c: char| !ends_in_word(c.encode_utf8(&mut [0; 4])))?;
    Some(&rest[..end])
}

#[test]
fn definitions_are_found_at_the_beginning_of_a_line() {
    for (line, name) in [
        ("pub struct Store {\n", Some("Store")),
        ("pub(in crate::model) enum Part<'a> {\n", Some("Part")),
        ("type Columns = [u32; 3];\n", Some("Columns")),
        ("    type Item = u8;\n", None),
        ("    pub enum FaultKind {\n", Some("FaultKind")),
        ("pub fn struct_of() {\n", None),
        ("impl Store {\n", None),
    ] {
        assert_eq!(defined(line), name, "{line}");
    }
}
