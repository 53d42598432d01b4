//! Parses YAML into a tree that keeps line numbers. The only user of serde-saphyr.
//!
//! The tree is built from the parser's events, not through serde: so a scalar keeps the text that
//! was written (`password: 0123` stays those four characters), and an error can name the line.
//! Anchors, aliases and merge keys work. Depth, nodes, and the bytes that aliases copy are limited,
//! and counted before anything is copied, so that any text's tree takes at most a few times its
//! size.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};

/// The most nodes of a tree, including those that aliases repeat.
const MAX_NODES: usize = 20_000;
/// The most bytes of text that anchors and aliases may copy in total: the size of the largest file.
const MAX_COPIED: usize = 1 << 20;
/// The deepest nesting; the deepest key needs four levels.
const MAX_DEPTH: usize = 16;

/// One value of a YAML text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct YamlNode {
    /// Counted from 1.
    pub line: usize,
    pub shape: YamlValue,
}

/// Kind of a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum YamlValue {
    /// Nothing, `~` or `null`, unquoted.
    Null,
    /// The text as written, escapes resolved.
    Scalar(String),
    List(Vec<YamlNode>),
    Map(Vec<YamlEntry>),
}

/// One key of a mapping.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct YamlEntry {
    pub key: String,
    /// The key's line, counted from 1.
    pub line: usize,
    pub node: YamlNode,
}

/// Why a text is not a configuration.
#[derive(Debug, PartialEq)]
pub(super) struct YamlError {
    pub line: usize,
    pub message: String,
}

/// Parses one document; an empty text is [`YamlValue::Null`].
pub(super) fn parse(text: &str) -> Result<YamlNode, YamlError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let events = Parser::new_from_str(text);
    let mut reader = YamlReader { events, line: 1, nodes: 0, copied: 0, anchors: HashMap::new() };
    let mut root = None;
    loop {
        match reader.next()? {
            Event::StreamStart | Event::DocumentEnd => {}
            Event::StreamEnd => break,
            Event::DocumentStart(..) if root.is_some() => {
                return Err(reader.wrong(
                    "a second YAML document begins; a config file must be one \
                                         document",
                ));
            }
            Event::DocumentStart(..) => {
                let event = reader.next()?;
                root = Some(reader.node(event, 0)?);
            }
            _ => return Err(reader.wrong("unexpected content outside the document")),
        }
    }
    Ok(root.unwrap_or(YamlNode { line: 1, shape: YamlValue::Null }))
}

struct YamlReader<'text, I: Iterator<Item = Result<(Event<'text>, Span), ScanError>>> {
    events: I,
    line: usize,
    nodes: usize,
    /// Bytes of text copied for anchors and aliases.
    copied: usize,
    anchors: HashMap<usize, YamlNode>,
}

impl<'text, I: Iterator<Item = Result<(Event<'text>, Span), ScanError>>> YamlReader<'text, I> {
    fn wrong(&self, message: impl Into<String>) -> YamlError {
        YamlError { line: self.line, message: message.into() }
    }

    /// The next event other than a comment.
    fn next(&mut self) -> Result<Event<'text>, YamlError> {
        loop {
            match self.events.next() {
                None => return Err(self.wrong("the text ends too early")),
                Some(Err(error)) => {
                    return Err(YamlError {
                        line: error.marker().line().max(1),
                        message: format!("not valid YAML: {}", error.kind()),
                    });
                }
                Some(Ok((Event::Comment(..) | Event::Anchor(..), _))) => {}
                Some(Ok((event, span))) => {
                    self.line = span.start.line().max(1);
                    return Ok(event);
                }
            }
        }
    }

    fn count(&mut self, nodes: usize) -> Result<(), YamlError> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(self.wrong(format!("more than {MAX_NODES} values")));
        }
        Ok(())
    }

    /// Counts a copy of `node`, to be made only when this succeeds.
    fn count_copy(&mut self, node: YamlSize) -> Result<(), YamlError> {
        self.count(node.nodes)?;
        self.copied = self.copied.saturating_add(node.bytes);
        if self.copied > MAX_COPIED {
            return Err(self.wrong(format!(
                "anchors and aliases copy more than {MAX_COPIED} bytes of text; write the values \
                 out, or use shorter ones"
            )));
        }
        Ok(())
    }

    fn node(&mut self, event: Event<'text>, depth: usize) -> Result<YamlNode, YamlError> {
        if depth > MAX_DEPTH {
            return Err(self.wrong(format!("nested more than {MAX_DEPTH} deep")));
        }
        self.count(1)?;
        let line = self.line;
        let (anchor, shape) = match event {
            Event::Scalar(text, style, anchor, _) => (anchor, scalar(text, style)),
            Event::SequenceStart(_, anchor, _) => (anchor, self.list(depth)?),
            Event::MappingStart(_, anchor, _) => (anchor, self.map(depth)?),
            Event::Alias(anchor) => {
                let Some(known) = self.anchors.get(&anchor) else {
                    return Err(self.wrong("an alias refers to itself"));
                };
                let size = size(known);
                self.count_copy(size)?;
                return self.anchors.get(&anchor).cloned().ok_or_else(|| self.wrong("an alias"));
            }
            _ => return Err(self.wrong("not valid YAML here")),
        };
        let node = YamlNode { line, shape };
        if anchor > 0 {
            // The copy is kept for aliases, so it counts like any other node.
            self.count_copy(size(&node))?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<YamlValue, YamlError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                Event::SequenceEnd => return Ok(YamlValue::List(items)),
                event => items.push(self.node(event, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<YamlValue, YamlError> {
        let mut entries: Vec<YamlEntry> = Vec::new();
        let mut merged = Vec::new();
        loop {
            let key = match self.next()? {
                Event::MappingEnd => break,
                event => self.node(event, depth + 1)?,
            };
            let line = key.line;
            let key = match key.shape {
                YamlValue::Scalar(text) => text,
                YamlValue::Null => String::new(),
                _ => return Err(YamlError { line, message: "a key must be a text".to_owned() }),
            };
            let event = self.next()?;
            let node = self.node(event, depth + 1)?;
            if key == "<<" {
                merge(&mut merged, node);
            } else {
                entries.push(YamlEntry { key, line, node });
            }
        }
        for entry in merged {
            if !entries.iter().any(|own| own.key.eq_ignore_ascii_case(&entry.key)) {
                entries.push(entry);
            }
        }
        Ok(YamlValue::Map(entries))
    }
}

/// Collects the entries of `<<: *base` or `<<: [*a, *b]`; any other value has none.
fn merge(into: &mut Vec<YamlEntry>, node: YamlNode) {
    match node.shape {
        YamlValue::Map(entries) => into.extend(entries),
        YamlValue::List(items) => items.into_iter().for_each(|item| {
            if let YamlValue::Map(entries) = item.shape {
                into.extend(entries);
            }
        }),
        YamlValue::Null | YamlValue::Scalar(_) => {}
    }
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle) -> YamlValue {
    let nothing = matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
    if style == ScalarStyle::Plain && nothing {
        return YamlValue::Null;
    }
    YamlValue::Scalar(text.into_owned())
}

/// Size of a node's copy.
#[derive(Debug, Clone, Copy, Default)]
struct YamlSize {
    /// Nodes and keys.
    nodes: usize,
    /// Bytes of their texts.
    bytes: usize,
}

fn size(node: &YamlNode) -> YamlSize {
    let mut total = YamlSize { nodes: 1, bytes: 0 };
    let mut add = |nodes: usize, bytes: usize, below: Option<&YamlNode>| {
        let below = below.map(size).unwrap_or_default();
        total.nodes += nodes + below.nodes;
        total.bytes += bytes + below.bytes;
    };
    match &node.shape {
        YamlValue::Null => {}
        YamlValue::Scalar(text) => add(0, text.len(), None),
        YamlValue::List(items) => items.iter().for_each(|item| add(0, 0, Some(item))),
        YamlValue::Map(entries) => {
            for entry in entries {
                add(1, entry.key.len(), Some(&entry.node));
            }
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entries(text: &str) -> Vec<YamlEntry> {
        match parse(text).unwrap().shape {
            YamlValue::Map(entries) => entries,
            other => panic!("no mapping: {other:?}"),
        }
    }

    #[test]
    fn scalars_keep_their_text_and_their_lines() {
        let found = entries("a: 0123\n# note\nb: 'null'\nc: ~\nd: |\n  x\n  y\n");
        let shapes: Vec<_> = found.iter().map(|entry| (entry.line, &entry.node.shape)).collect();
        assert_eq!(shapes[0], (1, &YamlValue::Scalar("0123".into())));
        assert_eq!(shapes[1], (3, &YamlValue::Scalar("null".into())));
        assert_eq!(shapes[2], (4, &YamlValue::Null));
        assert_eq!(shapes[3], (5, &YamlValue::Scalar("x\ny\n".into())));
    }

    #[test]
    fn aliases_and_merge_keys_are_resolved() {
        let found = entries("a: &base {x: 1, y: 2}\nb:\n  <<: *base\n  y: 3\n");
        let YamlValue::Map(b) = &found[1].node.shape else { panic!("no mapping") };
        let pairs: Vec<_> = b.iter().map(|entry| (&*entry.key, &entry.node.shape)).collect();
        assert_eq!(pairs[0], ("y", &YamlValue::Scalar("3".into())));
        assert_eq!(pairs[1], ("x", &YamlValue::Scalar("1".into())));
        assert_eq!(pairs.len(), 2);
    }

    #[test]
    fn a_wrong_text_names_its_line() {
        assert_eq!(parse("a: 1\nb: [1\n").unwrap_err().line, 2);
        assert_eq!(parse("a: 1\n---\nb: 2\n").unwrap_err().line, 2);
        assert_eq!(parse("").unwrap().shape, YamlValue::Null);
        assert_eq!(parse("# only a note\n").unwrap().shape, YamlValue::Null);
    }

    #[test]
    fn a_tree_that_aliases_blow_up_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let below = format!("*a{}", level - 1);
            let items = vec![below; 8].join(", ");
            text = format!("{text}a{level}: &a{level} [{items}]\n");
        }
        assert!(parse(&text).unwrap_err().message.contains("20000"));
        let deep = ["[".repeat(100), "]".repeat(100)].concat();
        assert!(parse(&deep).unwrap_err().message.contains("deep"));
    }

    /// Bytes of all texts of a tree.
    fn bytes(text: &str) -> usize {
        parse(text).map_or(0, |node| size(&node).bytes)
    }

    #[test]
    fn copies_of_long_texts_are_bounded_in_bytes() {
        let long = "x".repeat(100_000);
        let block = format!("{}\n", "  y".repeat(30_000));
        let times = |alias: &str| vec![alias; 9_000].join(", ");
        let lines =
            |line: &dyn Fn(usize) -> String| (0..5_000).map(line).collect::<Vec<_>>().concat();
        let keys = lines(&|n| format!("k{n}: {{? *a : 1}}\n"));
        let lists = lines(&|n| format!("l{n}: [[*a], [*a]]\n"));
        let merges = lines(&|n| format!("m{n}: {{<<: *a}}\n"));
        let nested: String =
            (0..2_000).map(|n| format!("n{n}: &n{n} [*a, *a]\n")).collect::<Vec<_>>().concat();
        for text in [
            format!("a: &a {long}\nb: [{}]\n", times("*a")),
            format!("a: &a '{long}'\nb: [{}]\n", times("*a")),
            format!("a: &a |\n{block}b: [{}]\n", times("*a")),
            format!("a: &a {long}\n{keys}"),
            format!("a: &a {long}\n{lists}"),
            format!("a: &a {{{}: 1}}\n{merges}", &long[..900]),
            format!("a: &a [{long}]\n{nested}"),
        ] {
            let refused = parse(&text).unwrap_err().message;
            assert!(refused.contains("copy more than"), "{refused}");
        }
        // Real config files stay far below the limit; every copy is one of this text.
        let query = "SELECT 1 FROM github_events ".repeat(100);
        let text = format!("a: &a \"{query}\"\nb: [*a, *a, *a]\n");
        assert!(bytes(&text) >= 4 * query.len() && bytes(&text) < 5 * query.len());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = parse(&text);
        }

        #[test]
        fn any_yaml_like_text_is_read_or_refused(
            text in "[a-c:\\-\\[\\]{}&*<>|!#'\" \n\t~?%@,]{0,60}",
        ) {
            let _ = parse(&text);
        }
    }
}
