//! Several values of an object, found in one pass over its text.
//!
//! Objects that lie on the way to a value are walked, all else is stepped over; both only where
//! it is JSON. What is JSON, and which of two members of one name holds, is what `serde_json` says:
//! the tests compare the two.

use std::borrow::Cow;

/// What was found in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found<'a, const N: usize> {
    /// The values as text, in the order of their paths; `None` where a path leads nowhere.
    pub values: [Option<&'a str>; N],
    /// Whether the text is the object and no more, without white space between its parts.
    pub is_compact: bool,
}

/// The most paths of one search: a bit for each.
const PATHS: usize = u64::BITS as usize;

/// The values at paths of member names, at most 64 of them; none when `json` is no object. What is
/// behind the object is not looked at. As deep as the longest path, calls are in each other: paths
/// are ours, never a client's.
#[must_use]
pub fn find<'a, const N: usize>(json: &'a str, paths: [&[&str]; N]) -> Found<'a, N> {
    const { assert!(N <= PATHS, "a bit for each path") };
    let nothing = Found { values: [None; N], is_compact: false };
    let mut walk = Walk {
        scan: Scan { text: json, at: 0, is_compact: true, open: Vec::new() },
        paths,
        values: [None; N],
    };
    if walk.scan.token() != Some(b'{') {
        return nothing;
    }
    let all = if N == PATHS { u64::MAX } else { (1 << N) - 1 };
    match walk.object(all, 0) {
        Some(()) => {
            let is_compact = walk.scan.is_compact && walk.scan.at == json.len();
            Found { values: walk.values, is_compact }
        }
        None => nothing,
    }
}

/// The way to the values. Its functions give `None` where the text is no JSON.
struct Walk<'a, 'p, const N: usize> {
    scan: Scan<'a>,
    paths: [&'p [&'p str]; N],
    values: [Option<&'a str>; N],
}

impl<const N: usize> Walk<'_, '_, N> {
    /// Walks an object that lies `depth` members deep on the way of the paths in `among`.
    fn object(&mut self, among: u64, depth: usize) -> Option<()> {
        self.scan.at += 1;
        if self.scan.token()? == b'}' {
            self.scan.at += 1;
            return Some(());
        }
        loop {
            // Whoever walks into an object inside has not seen it from outside.
            let name = self.scan.name(depth > 0)?;
            let here = self.on_the_way(among, depth, &name);
            if here == 0 {
                self.scan.value()?;
            } else {
                self.member(here, depth)?;
            }
            match self.scan.token()? {
                b',' => self.scan.at += 1,
                b'}' => {
                    self.scan.at += 1;
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    /// Which of the paths in `among` have this name at this depth.
    fn on_the_way(&self, among: u64, depth: usize, name: &[u8]) -> u64 {
        let mut here = 0;
        for path in bits(among) {
            if self.paths[path].get(depth).is_some_and(|wanted| wanted.as_bytes() == name) {
                here |= 1 << path;
            }
        }
        here
    }

    /// Reads a member's value, by whose name the paths in `here` lead.
    fn member(&mut self, here: u64, depth: usize) -> Option<()> {
        let (mut wanted, mut below) = (0, 0);
        for path in bits(here) {
            // Of two members of one name the last holds, with what is in it.
            self.values[path] = None;
            let ends = self.paths[path].len() == depth + 1;
            *(if ends { &mut wanted } else { &mut below }) |= 1 << path;
        }
        let is_object = self.scan.token()? == b'{';
        let begin = self.scan.at;
        if is_object && below != 0 {
            self.object(below, depth + 1)?;
        } else {
            self.scan.value()?;
        }
        let value = &self.scan.text[begin..self.scan.at];
        for path in bits(wanted) {
            self.values[path] = Some(value);
        }
        Some(())
    }
}

/// The numbers of the bits that are set.
fn bits(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = (set != 0).then(|| set.trailing_zeros() as usize);
        set &= set.wrapping_sub(1);
        lowest
    })
}

/// A place in a text. Its functions give `None` where the text is no JSON.
struct Scan<'a> {
    text: &'a str,
    at: usize,
    /// Whether no white space was stepped over.
    is_compact: bool,
    /// The brackets that are open around what is stepped over.
    open: Vec<u8>,
}

impl<'a> Scan<'a> {
    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    /// The first byte that is no white space; the place is then at it.
    fn token(&mut self) -> Option<u8> {
        loop {
            let byte = *self.bytes().get(self.at)?;
            if !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                return Some(byte);
            }
            self.is_compact = false;
            self.at += 1;
        }
    }

    /// Reads a member's name, and the colon behind it.
    fn name(&mut self, is_strict: bool) -> Option<Cow<'a, [u8]>> {
        if self.token()? != b'"' {
            return None;
        }
        let begin = self.at;
        self.at += 1;
        let is_plain = self.string(is_strict)?;
        let quoted = &self.text[begin..self.at];
        let name = if is_plain {
            Cow::Borrowed(&quoted.as_bytes()[1..quoted.len() - 1])
        } else {
            super::name(quoted)?
        };
        self.colon()?;
        Some(name)
    }

    fn colon(&mut self) -> Option<()> {
        (self.token()? == b':').then(|| self.at += 1)
    }

    /// Steps over one value.
    fn value(&mut self) -> Option<()> {
        self.open.clear();
        loop {
            match self.token()? {
                b'"' => {
                    self.at += 1;
                    self.string(true)?;
                }
                open @ (b'{' | b'[') => {
                    self.at += 1;
                    if self.token()? == closing(open) {
                        self.at += 1;
                    } else {
                        self.open.push(open);
                        self.begin_item(open)?;
                        continue;
                    }
                }
                b'-' | b'0'..=b'9' => self.number()?,
                b't' => self.word(b"true")?,
                b'f' => self.word(b"false")?,
                b'n' => self.word(b"null")?,
                _ => return None,
            }
            if self.has_ended()? {
                return Some(());
            }
        }
    }

    /// Steps over what comes before a value in an object or list.
    fn begin_item(&mut self, open: u8) -> Option<()> {
        if open == b'{' {
            if self.token()? != b'"' {
                return None;
            }
            self.at += 1;
            self.string(true)?;
            self.colon()?;
        }
        Some(())
    }

    /// Behind a value: whether it was the one to step over; if not, goes to the next in it.
    fn has_ended(&mut self) -> Option<bool> {
        while let Some(open) = self.open.last().copied() {
            let byte = self.token()?;
            self.at += 1;
            if byte == b',' {
                self.begin_item(open)?;
                return Some(false);
            }
            if byte != closing(open) {
                return None;
            }
            self.open.pop();
        }
        Some(true)
    }

    /// Steps over the rest of a string, its first quote is behind; whether it has no escapes.
    fn string(&mut self, is_strict: bool) -> Option<bool> {
        let mut is_plain = true;
        loop {
            self.at = stop(self.bytes(), self.at)?;
            match self.bytes()[self.at] {
                b'"' => {
                    self.at += 1;
                    return Some(is_plain);
                }
                b'\\' => {
                    is_plain = false;
                    self.escape()?;
                }
                _ if is_strict => return None,
                _ => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        let rest = &self.bytes()[self.at + 1..];
        self.at += match rest.first()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 2,
            b'u' if rest.get(1..5)?.iter().all(u8::is_ascii_hexdigit) => 6,
            _ => return None,
        };
        Some(())
    }

    fn number(&mut self) -> Option<()> {
        if self.bytes()[self.at] == b'-' {
            self.at += 1;
        }
        let first = self.at;
        let digits = self.digits()?;
        if digits > 1 && self.bytes()[first] == b'0' {
            return None;
        }
        if self.bytes().get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.bytes().get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.bytes().get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    /// Steps over digits, at least one; says how many.
    fn digits(&mut self) -> Option<usize> {
        let rest = &self.bytes()[self.at..];
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        (count > 0).then_some(count)
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.bytes()[self.at..].starts_with(word).then(|| self.at += word.len())
    }
}

fn closing(open: u8) -> u8 {
    if open == b'{' { b'}' } else { b']' }
}

/// Where the first quote, backslash or control character at or behind `at` is. Eight bytes at
/// once: most of a text is inside of strings.
fn stop(bytes: &[u8], mut at: usize) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    // A byte's high bit is set where it is 0; behind the first such byte also elsewhere.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    while let Some(eight) = bytes[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*eight);
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let quote = zero(word ^ (ONES * u64::from(b'"')));
        let backslash = zero(word ^ (ONES * u64::from(b'\\')));
        let stops = (control | quote | backslash) & HIGH;
        if stops != 0 {
            return Some(at + stops.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let stops = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    bytes[at..].iter().position(stops).map(|more| at + more)
}

#[cfg(test)]
mod tests;
