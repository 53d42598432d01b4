//! A compact sorted list of texts.

use std::cmp::Ordering;

/// Different texts in one string, sorted by length and then by bytes. It takes about as much memory
/// as the texts have bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct PackedTexts {
    text: String,
    /// The offset at which each ends. A query has fewer than 65,536 bytes of values.
    ends: Vec<u16>,
}

impl PackedTexts {
    /// Adds a text that is not in the list.
    pub(super) fn insert(&mut self, text: &str) {
        let Err(at) = self.find(text) else { return };
        let begin = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        // The limits of a query are far below 65,536 bytes; more would be left out.
        let length = u16::try_from(text.len()).ok();
        let fits = length.filter(|_| u16::try_from(self.text.len() + text.len()).is_ok());
        let Some(length) = fits else { return };
        self.text.insert_str(usize::from(begin), text);
        self.ends.insert(at, begin);
        self.ends[at..].iter_mut().for_each(|end| *end += length);
    }

    /// Whether a text is in the list.
    pub(super) fn have(&self, text: &str) -> bool {
        !self.ends.is_empty() && self.find(text).is_ok()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> + Clone {
        let begins = std::iter::once(&0).chain(&self.ends);
        begins
            .zip(&self.ends)
            .map(|(begin, end)| &self.text[usize::from(*begin)..usize::from(*end)])
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Frees the capacity that adding texts has left.
    pub(super) fn shrink(&mut self) {
        self.text.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    /// Bytes allocated on the heap.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.text.capacity() + 2 * self.ends.capacity()
    }

    fn get(&self, at: usize) -> &str {
        let begin = at.checked_sub(1).map_or(0, |before| usize::from(self.ends[before]));
        &self.text[begin..usize::from(self.ends[at])]
    }

    /// The index of a text, or where to insert it.
    fn find(&self, text: &str) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            let known = self.get(middle);
            match known.len().cmp(&text.len()).then_with(|| known.cmp(text)) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }
}
