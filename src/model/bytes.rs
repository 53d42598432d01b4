//! Reads encoded values, each from the beginning of the rest of a row.

/// Takes the first bytes of `rest`; `None` when there are fewer.
pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*taken)
}

/// Takes a text: its length in four bytes, then UTF-8.
pub(super) fn take_text(rest: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(u32::from_be_bytes(take(rest)?)).ok()?;
    let text = rest.split_off(..length)?;
    String::from_utf8(text.to_vec()).ok()
}
