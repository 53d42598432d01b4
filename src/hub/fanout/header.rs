//! Headers of WebSocket frames.

/// Appends the header of an unmasked frame with a payload of `length` bytes (RFC 6455 §5.2).
pub(in crate::hub) fn push_header(bytes: &mut Vec<u8>, first: u8, length: usize) {
    bytes.push(first);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => bytes.push(short),
        (_, Ok(medium)) => {
            bytes.push(126);
            bytes.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            bytes.push(127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}
