//! The subset of GraphQL that ghpulse's client may use: one query, variables, aliases, arguments,
//! inline fragments. Anything else is refused with a message, as on GitHub.

use serde_json::Value;

/// Maximum nesting of selections.
const DEEPEST: usize = 12;
/// Maximum number of fields in a query.
const MOST_FIELDS: usize = 5_000;

/// A requested field.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    /// Its name in the response.
    pub(super) alias: String,
    pub(super) name: String,
    /// Names and values, with variables replaced.
    pub(super) arguments: Vec<(String, Value)>,
    pub(super) fields: Vec<Field>,
    /// The type in `... on Type` around it.
    pub(super) on: Option<String>,
}

impl Field {
    pub(super) fn argument(&self, name: &str) -> &Value {
        let found = self.arguments.iter().find(|(known, _)| known == name);
        found.map_or(&Value::Null, |(_, value)| value)
    }
}

/// Parses a query.
pub(super) fn read(query: &str, variables: &Value) -> Result<Vec<Field>, String> {
    let mut parser = Parser { tokens: tokens(query)?, at: 0, variables, fields: 0 };
    if parser.peek() == Some("query") {
        parser.at += 1;
        while !matches!(parser.peek(), Some("{") | None) {
            parser.at += 1;
        }
    }
    let fields = parser.selection(None, 0)?;
    match parser.peek() {
        None => Ok(fields),
        Some(more) => Err(format!("Parse error on \"{more}\" behind the query")),
    }
}

struct Parser<'a> {
    tokens: Vec<&'a str>,
    at: usize,
    variables: &'a Value,
    fields: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.tokens.get(self.at).copied()
    }

    fn next(&mut self) -> Result<&'a str, String> {
        let token = self.peek().ok_or("Parse error: unexpected end of the query")?;
        self.at += 1;
        Ok(token)
    }

    fn expect(&mut self, wanted: &str) -> Result<(), String> {
        let token = self.next()?;
        if token == wanted {
            return Ok(());
        }
        Err(format!("Parse error on \"{token}\": expected \"{wanted}\""))
    }

    fn name(&mut self) -> Result<String, String> {
        let token = self.next()?;
        if token.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            return Ok(token.to_owned());
        }
        Err(format!("Parse error on \"{token}\": expected a name"))
    }

    fn selection(&mut self, on: Option<&str>, depth: usize) -> Result<Vec<Field>, String> {
        if depth > DEEPEST {
            return Err(format!("Query has depth of more than {DEEPEST}"));
        }
        self.expect("{")?;
        let mut fields = Vec::new();
        while self.peek() != Some("}") {
            if self.peek() == Some("...") {
                self.at += 1;
                self.expect("on")?;
                let kind = self.name()?;
                fields.extend(self.selection(Some(&kind), depth + 1)?);
            } else {
                fields.push(self.field(on, depth)?);
            }
        }
        self.expect("}")?;
        Ok(fields)
    }

    fn field(&mut self, on: Option<&str>, depth: usize) -> Result<Field, String> {
        self.fields += 1;
        if self.fields > MOST_FIELDS {
            return Err(format!("Query asks for more than {MOST_FIELDS} fields"));
        }
        let mut name = self.name()?;
        let mut alias = name.clone();
        if self.peek() == Some(":") {
            self.at += 1;
            alias = std::mem::replace(&mut name, self.name()?);
        }
        let mut arguments = Vec::new();
        if self.peek() == Some("(") {
            self.at += 1;
            while self.peek() != Some(")") {
                let name = self.name()?;
                self.expect(":")?;
                arguments.push((name, self.value()?));
            }
            self.at += 1;
        }
        let nested = self.peek() == Some("{");
        let fields = if nested { self.selection(None, depth + 1)? } else { Vec::new() };
        Ok(Field { alias, name, arguments, fields, on: on.map(str::to_owned) })
    }

    fn value(&mut self) -> Result<Value, String> {
        match self.next()? {
            "$" => {
                let name = self.name()?;
                let value = self.variables.get(&name).cloned();
                value.ok_or_else(|| format!("Variable ${name} was provided no value"))
            }
            "[" => {
                let mut values = Vec::new();
                while self.peek() != Some("]") {
                    values.push(self.value()?);
                }
                self.at += 1;
                Ok(Value::Array(values))
            }
            token => serde_json::from_str(token)
                .map_err(|_| format!("Parse error on \"{token}\": expected a value")),
        }
    }
}

fn tokens(query: &str) -> Result<Vec<&str>, String> {
    let mut tokens = Vec::new();
    let mut rest = query;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
        let Some(first) = rest.chars().next() else { return Ok(tokens) };
        let length = match first {
            '"' => text_length(rest).ok_or("Parse error: a text does not end")?,
            '.' if rest.starts_with("...") => 3,
            '{' | '}' | '(' | ')' | '[' | ']' | ':' | '$' | '!' | '=' => 1,
            c if c.is_ascii_alphanumeric() || c == '_' || c == '-' => rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))
                .unwrap_or(rest.len()),
            c => return Err(format!("Parse error on \"{c}\"")),
        };
        let (token, behind) = rest.split_at(length);
        tokens.push(token);
        rest = behind;
    }
}

/// Length in bytes of a string, including both quotes.
fn text_length(rest: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_have_aliases_arguments_and_types() {
        let query =
            r#"query($ids:[ID!]!) { a:nodes(ids:$ids, x:["y\"",2]) { ... on T { id } } b }"#;
        let fields = read(query, &json!({"ids": ["q"]})).unwrap();
        assert_eq!((fields[0].alias.as_str(), fields[0].name.as_str()), ("a", "nodes"));
        assert_eq!(fields[0].argument("ids"), &json!(["q"]));
        assert_eq!(fields[0].argument("x"), &json!(["y\"", 2]));
        assert_eq!(fields[0].fields[0].on.as_deref(), Some("T"));
        assert_eq!(fields[1].name, "b");
    }

    #[test]
    fn invalid_query_is_refused_with_a_reason() {
        for (query, word) in [
            ("", "end"),
            ("{a", "end"),
            ("{a} b", "behind"),
            ("{a(x:$y)}", "$y"),
            ("{#}", "\"#\""),
            ("{a(b:\"c)}", "does not end"),
            ("mutation{a}", "expected"),
        ] {
            let error = read(query, &Value::Null).unwrap_err();
            assert!(error.contains(word), "{query}: {error}");
        }
        let deep = ["{a".repeat(40), "}".repeat(40)].concat();
        assert!(read(&deep, &Value::Null).unwrap_err().contains("depth"));
    }
}
