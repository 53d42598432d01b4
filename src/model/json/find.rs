//! Finds several values of an object in one pass over its text.
//!
//! Objects on the path to a value are walked, and everything else is skipped; both are validated.
//! Validity, and which of two members of one name counts, are the same as in `serde_json`: property
//! tests compare the two.

use std::borrow::Cow;

/// The result of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundValues<'a, const N: usize> {
    /// The values as text, in the order of their paths; `None` when a path does not exist.
    pub values: [Option<&'a str>; N],
    /// Whether the text is exactly the object, without white space between its tokens.
    pub is_compact: bool,
}

/// The most paths of one search: one bit for each.
const PATHS: usize = u64::BITS as usize;

/// Paths that lead through the value at which a walk is, to its members.
pub trait PathSet: Copy {
    /// The paths that lead to or through the member of this name.
    #[must_use]
    fn through(self, name: &[u8]) -> Self;
    /// Whether no path is left.
    fn is_empty(self) -> bool;
    /// Sets the values of all these paths to `None`, and splits them into those that end at this
    /// value and those that lead further.
    fn enter(self, values: &mut [Option<&str>]) -> (Self, Self);
    /// Sets the values of all these paths.
    fn set<'a>(self, value: &'a str, values: &mut [Option<&'a str>]);
}

/// Finds the values at up to 64 paths of member names; none when `json` is not an object. Text
/// after the object is ignored. The recursion is as deep as the longest path, so paths must not
/// come from a client.
#[must_use]
pub fn find<'a, const N: usize>(json: &'a str, paths: [&[&str]; N]) -> FoundValues<'a, N> {
    const { assert!(N <= PATHS, "there is one bit for each path") };
    let among = if N == PATHS { u64::MAX } else { (1 << N) - 1 };
    let mut values = [None; N];
    match walk(json, NamedPaths { paths: &paths, among, depth: 0 }, &mut values) {
        Some(is_compact) => FoundValues { values, is_compact },
        None => FoundValues { values: [None; N], is_compact: false },
    }
}

/// Finds the values at `paths` in the object `json`, in one pass over its text, and returns whether
/// the text is exactly the object, without white space between its tokens. `None` when it does not
/// begin with an object; the values are unspecified then. The recursion is as deep as the longest
/// path.
pub fn walk<'a, P: PathSet>(
    json: &'a str,
    paths: P,
    values: &mut [Option<&'a str>],
) -> Option<bool> {
    let scan = Scan { text: json, at: 0, is_compact: true, open: Vec::new() };
    let mut walk = PathWalk { scan, values };
    if walk.scan.token() != Some(b'{') {
        return None;
    }
    walk.object(paths, false)?;
    Some(walk.scan.is_compact && walk.scan.at == json.len())
}

/// Some of up to 64 paths, at a depth.
#[derive(Clone, Copy)]
struct NamedPaths<'p, const N: usize> {
    paths: &'p [&'p [&'p str]; N],
    /// One bit for each path.
    among: u64,
    depth: usize,
}

impl<const N: usize> PathSet for NamedPaths<'_, N> {
    fn through(self, name: &[u8]) -> Self {
        let mut among = 0;
        for path in bits(self.among) {
            if self.paths[path].get(self.depth).is_some_and(|wanted| wanted.as_bytes() == name) {
                among |= 1 << path;
            }
        }
        Self { among, depth: self.depth + 1, ..self }
    }

    fn is_empty(self) -> bool {
        self.among == 0
    }

    fn enter(self, values: &mut [Option<&str>]) -> (Self, Self) {
        let (mut ending, mut beyond) = (0, 0);
        for path in bits(self.among) {
            values[path] = None;
            let ends = self.paths[path].len() == self.depth;
            *(if ends { &mut ending } else { &mut beyond }) |= 1 << path;
        }
        (Self { among: ending, ..self }, Self { among: beyond, ..self })
    }

    fn set<'a>(self, value: &'a str, values: &mut [Option<&'a str>]) {
        for path in bits(self.among) {
            values[path] = Some(value);
        }
    }
}

/// The walk along the paths. Its functions return `None` when the text is not JSON.
struct PathWalk<'a, 'v> {
    scan: Scan<'a>,
    values: &'v mut [Option<&'a str>],
}

impl PathWalk<'_, '_> {
    /// Walks an object on these paths; `is_inner` says whether it is a member of another one.
    fn object(&mut self, paths: impl PathSet, is_inner: bool) -> Option<()> {
        self.scan.at += 1;
        if self.scan.token()? == b'}' {
            self.scan.at += 1;
            return Some(());
        }
        loop {
            // Names of inner objects are validated here, since nothing has skipped over them.
            let name = self.scan.name(is_inner)?;
            let through = paths.through(&name);
            if through.is_empty() {
                self.scan.value()?;
            } else {
                self.member(through)?;
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

    /// Reads the value of a member that these paths lead to or through.
    fn member(&mut self, paths: impl PathSet) -> Option<()> {
        // Of two members of one name the last one counts, with everything in it.
        let (ending, beyond) = paths.enter(self.values);
        let is_object = self.scan.token()? == b'{';
        let begin = self.scan.at;
        if is_object && !beyond.is_empty() {
            self.object(beyond, true)?;
        } else {
            self.scan.value()?;
        }
        let value = &self.scan.text[begin..self.scan.at];
        ending.set(value, self.values);
        Some(())
    }
}

/// The indices of the set bits.
fn bits(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = (set != 0).then(|| set.trailing_zeros() as usize);
        set &= set.wrapping_sub(1);
        lowest
    })
}

/// A scanner of a text. Its functions return `None` when the text is not JSON.
struct Scan<'a> {
    text: &'a str,
    at: usize,
    /// Whether no white space was skipped.
    is_compact: bool,
    /// The open brackets around the current value.
    open: Vec<u8>,
}

impl<'a> Scan<'a> {
    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    /// Skips white space, and returns the next byte without consuming it.
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

    /// Reads a member's name and the colon after it.
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
            super::member_name::name(quoted)?
        };
        self.colon()?;
        Some(name)
    }

    fn colon(&mut self) -> Option<()> {
        (self.token()? == b':').then(|| self.at += 1)
    }

    /// Skips one value.
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

    /// Skips what comes before a value in an object or list.
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

    /// Called after a value: whether the value to skip has ended; if not, moves to the next in it.
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

    /// Skips a string after its first quote; returns whether it has no escapes.
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

    /// Skips at least one digit; returns how many.
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

/// The offset of the first quote, backslash or control character from `at` on. Reads eight bytes at
/// a time, since most of the text is inside strings.
fn stop(bytes: &[u8], mut at: usize) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    // Sets the high bit of the first byte that is 0, and possibly of later bytes.
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
