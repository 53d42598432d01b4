//! The few fields of Pulsar's protobuf messages that are read of an entry, without taking anything
//! else out of it: what a stranger puts into the others costs nothing.

/// The fields of one protobuf message, in the order in which they are written.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

/// A field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A number of any kind.
    Number(u64),
    /// A text, bytes, or a message.
    Bytes(&'a [u8]),
}

/// Bytes that are not a protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

impl<'a> Fields<'a> {
    fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(Malformed)?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Malformed)
    }

    fn bytes(&mut self, length: u64) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(length).map_err(|_| Malformed)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn field(&mut self) -> Result<(u64, Value<'a>), Malformed> {
        let tag = self.number()?;
        let value = match tag & 7 {
            0 => Value::Number(self.number()?),
            1 => Value::Bytes(self.bytes(8)?),
            2 => {
                let length = self.number()?;
                Value::Bytes(self.bytes(length)?)
            }
            5 => Value::Bytes(self.bytes(4)?),
            _ => return Err(Malformed),
        };
        Ok((tag >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Value<'a> {
    /// The number; 0 for anything else.
    pub(super) fn number(self) -> u64 {
        match self {
            Self::Number(number) => number,
            Self::Bytes(_) => 0,
        }
    }

    /// The bytes; none for a number.
    pub(super) fn bytes(self) -> &'a [u8] {
        match self {
            Self::Number(_) => &[],
            Self::Bytes(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_are_read_in_order_and_damage_ends_them() {
        let message = [0x08, 0xac, 0x02, 0x12, 2, b'h', b'i', 0x1d, 1, 2, 3, 4];
        let read: Vec<_> = Fields(&message).map(Result::unwrap).collect();
        let number = (1, Value::Number(300));
        assert_eq!(read, [number, (2, Value::Bytes(b"hi")), (3, Value::Bytes(&[1, 2, 3, 4]))]);
        for cut in [1, 2, 4, 6, 9] {
            assert_eq!(Fields(&message[..cut]).last(), Some(Err(Malformed)), "{cut}");
        }
        assert_eq!(Fields(&[0x12, 0xff, 0xff, 0xff, 0xff, 0x7f]).next(), Some(Err(Malformed)));
        assert_eq!(Fields(&[0x80; 12]).next(), Some(Err(Malformed)));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in any::<Vec<u8>>()) {
            prop_assert!(Fields(&bytes).count() <= bytes.len());
        }
    }
}
