//! LEB128: numbers in as few bytes as they need, seven bits in each, the lowest first.

/// Appends a number.
pub(super) fn push(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let byte = u8::try_from(number & 0x7f).unwrap_or(0);
        number >>= 7;
        if number == 0 {
            return out.push(byte);
        }
        out.push(byte | 0x80);
    }
}

/// Takes a number from the beginning of `rest`; `None` if there is none, or one of more than 64
/// bits.
pub(super) fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for place in 0..10 {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        let part = u64::from(byte & 0x7f);
        number |= part.checked_shl(7 * place).filter(|shifted| shifted >> (7 * place) == part)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn number_is_read_back(number: u64, behind: Vec<u8>) {
            let mut bytes = Vec::new();
            push(&mut bytes, number);
            bytes.extend(&behind);
            let mut rest = &bytes[..];
            prop_assert_eq!(take(&mut rest), Some(number));
            prop_assert_eq!(rest, &behind[..]);
        }
    }

    #[test]
    fn unfinished_and_too_large_numbers_are_refused() {
        let eleven = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1];
        let of_65_bits = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2];
        for mut bytes in [&[][..], &[0x80], &eleven, &of_65_bits] {
            assert_eq!(take(&mut bytes), None);
        }
    }
}
