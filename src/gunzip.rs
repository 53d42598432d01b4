//! Unpacks gzip as the `gzip` program and Python do: members one after the other; zeros behind a
//! member are padding; anything else behind the last one is left out and counted, and costs nothing
//! of what came before.
//!
//! Door to flate2 for files. Its own reader of several members takes padding for a broken member.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};

use flate2::bufread::GzDecoder;

/// What every member begins with.
const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The text of a file that may be a gzip. Its content decides, not its name.
#[derive(Debug)]
pub enum MaybeZipped<R: Read> {
    /// The file is text.
    Plain(BufReader<R>),
    /// The file is a gzip.
    Zipped(BufReader<Gunzip<BufReader<R>>>),
}

impl<R: Read> MaybeZipped<R> {
    /// Looks at the beginning of a file; `buffer` is the size of each buffer in bytes.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn open(file: R, buffer: usize) -> io::Result<Self> {
        let mut raw = BufReader::with_capacity(buffer, file);
        if raw.fill_buf()?.starts_with(&MAGIC) {
            Ok(Self::Zipped(BufReader::with_capacity(buffer, Gunzip::new(raw))))
        } else {
            Ok(Self::Plain(raw))
        }
    }

    /// The reader of a gzip, with its counts; `None` for text.
    #[must_use]
    pub fn gunzip(&self) -> Option<&Gunzip<BufReader<R>>> {
        match self {
            Self::Plain(_) => None,
            Self::Zipped(unpacked) => Some(unpacked.get_ref()),
        }
    }
}

impl<R: Read> Read for MaybeZipped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(raw) => raw.read(buffer),
            Self::Zipped(unpacked) => unpacked.read(buffer),
        }
    }
}

impl<R: Read> BufRead for MaybeZipped<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Self::Plain(raw) => raw.fill_buf(),
            Self::Zipped(unpacked) => unpacked.fill_buf(),
        }
    }

    fn consume(&mut self, bytes: usize) {
        match self {
            Self::Plain(raw) => raw.consume(bytes),
            Self::Zipped(unpacked) => unpacked.consume(bytes),
        }
    }
}

/// Reads what is packed.
#[derive(Debug)]
pub struct Gunzip<R: BufRead> {
    at: GunzipState<R>,
    whole: u64,
    garbage: u64,
}

#[derive(Debug)]
enum GunzipState<R: BufRead> {
    /// In a member; whether nothing of it was read yet, and whether it is the first.
    Member {
        member: Box<GzDecoder<Counted<R>>>,
        is_fresh: bool,
        is_first: bool,
    },
    End,
}

/// Counts what is taken from a reader.
#[derive(Debug)]
struct Counted<R> {
    from: R,
    taken: u64,
}

impl<R: BufRead> Gunzip<R> {
    /// Unpacks what comes from a reader, which has to begin with a member.
    #[must_use]
    pub fn new(from: R) -> Self {
        let member = Box::new(GzDecoder::new(Counted { from, taken: 0 }));
        let at = GunzipState::Member { member, is_fresh: true, is_first: true };
        Self { at, whole: 0, garbage: 0 }
    }

    /// How many packed bytes the members are that were read to their end, with what is between
    /// them.
    #[must_use]
    pub fn whole(&self) -> u64 {
        self.whole
    }

    /// How many bytes behind the last member are neither gzip nor zeros; known at the end.
    #[must_use]
    pub fn garbage(&self) -> u64 {
        self.garbage
    }

    /// Goes to the next member, behind what is between the two.
    fn go_on(&mut self, mut raw: Counted<R>) -> io::Result<()> {
        loop {
            let bytes = raw.fill_buf()?;
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            match bytes.get(zeros) {
                _ if bytes.is_empty() => return Ok(()),
                None => raw.consume(zeros),
                Some(first) => {
                    let is_member = *first == MAGIC[0];
                    raw.consume(zeros);
                    if is_member {
                        let member = Box::new(GzDecoder::new(raw));
                        self.at = GunzipState::Member { member, is_fresh: true, is_first: false };
                        return Ok(());
                    }
                    return self.leave_out(raw);
                }
            }
        }
    }

    /// What is behind the last member ends here.
    fn leave_out(&mut self, mut raw: Counted<R>) -> io::Result<()> {
        loop {
            let bytes = raw.fill_buf()?.len();
            if bytes == 0 {
                return Ok(());
            }
            self.garbage = self.garbage.saturating_add(bytes as u64);
            raw.consume(bytes);
        }
    }
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while let GunzipState::Member { member, is_fresh, is_first } = &mut self.at {
            match member.read(buffer) {
                Ok(0) => {}
                Ok(read) => {
                    *is_fresh = false;
                    return Ok(read);
                }
                // It only began with the byte that members begin with.
                Err(error)
                    if *is_fresh
                        && !*is_first
                        && member.header().is_none()
                        && error.kind() == ErrorKind::InvalidInput => {}
                Err(error) => return Err(error),
            }
            let GunzipState::Member { member, is_fresh, is_first } =
                std::mem::replace(&mut self.at, GunzipState::End)
            else {
                break;
            };
            let is_over = !is_fresh || is_first || member.header().is_some();
            let raw = (*member).into_inner();
            if is_over {
                self.whole = raw.taken;
                self.go_on(raw)?;
            } else {
                self.garbage = raw.taken - self.whole;
                self.leave_out(raw)?;
            }
        }
        Ok(0)
    }
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.taken += read as u64;
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.from.fill_buf()
    }

    fn consume(&mut self, bytes: usize) {
        self.taken += bytes as u64;
        self.from.consume(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn zip(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    /// What is in it, whatever pieces it comes in; with the bytes that are whole, and garbage.
    fn unpacked(packed: &[u8]) -> io::Result<(String, u64, u64)> {
        let read = |room| {
            let mut gunzip = Gunzip::new(BufReader::with_capacity(room, packed));
            let mut text = String::new();
            gunzip.read_to_string(&mut text).map(|_| (text, gunzip.whole(), gunzip.garbage()))
        };
        let kind = |error: io::Error| error.kind();
        for room in [2, 3, 7, 4_096] {
            assert_eq!(read(room).map_err(kind), read(1).map_err(kind), "{room}");
        }
        read(1)
    }

    #[test]
    fn padding_is_passed_over_and_garbage_is_counted() {
        let (one, two) = (zip("one\n"), zip("two\n"));
        let (first, both) = (one.len() as u64, (one.len() + two.len()) as u64);
        let zeros = vec![0; 5_000];
        let cases: [(&[&[u8]], &str, u64, u64); 9] = [
            (&[&one], "one\n", first, 0),
            (&[&one, &two], "one\ntwo\n", both, 0),
            (&[&one, &zeros], "one\n", first, 0),
            (&[&one, &zeros, &two], "one\ntwo\n", both + 5_000, 0),
            (&[&one, &two, b"\0\0garbage"], "one\ntwo\n", both, 7),
            (&[&one, b"{}"], "one\n", first, 2),
            (&[&one, b"\x1fno member"], "one\n", first, 10),
            (&[&one, &zip("")], "one\n", first + zip("").len() as u64, 0),
            (&[&zip("")], "", zip("").len() as u64, 0),
        ];
        for (parts, text, whole, garbage) in cases {
            let found = unpacked(&parts.concat()).unwrap();
            assert_eq!(found, (text.to_owned(), whole, garbage), "{text:?} {garbage}");
        }
    }

    #[test]
    fn truncated_gzip_is_an_error() {
        let (one, two) = (zip("one\n"), zip("two\n"));
        for cut in [1, 5, two.len() / 2, two.len() - 1] {
            let error = unpacked(&[&one[..], &two[..cut]].concat()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{cut}");
        }
        assert!(unpacked(b"no gzip").is_err() && unpacked(b"").is_err());
        let mut wrong = one.clone();
        wrong[10] = 0xff;
        assert!(unpacked(&wrong).is_err(), "its content is damaged");
        assert!(unpacked(&[one, wrong].concat()).is_err(), "a later member's is");
    }
}
