//! A minimal protobuf reader for the few fields of an entry that are used. Unknown fields are
//! skipped without an allocation, whatever a producer puts into them.

/// Iterates over the fields of one protobuf message, in the order in which they are written.
pub(super) struct ProtobufFields<'a>(pub(super) &'a [u8]);

/// A field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProtobufValue<'a> {
    /// A varint.
    Number(u64),
    /// Text, bytes, a nested message, or a fixed-width number.
    Bytes(&'a [u8]),
}

/// Bytes that are not a protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MalformedProtobuf;

impl<'a> ProtobufFields<'a> {
    fn number(&mut self) -> Result<u64, MalformedProtobuf> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(MalformedProtobuf)?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(MalformedProtobuf)
    }

    fn bytes(&mut self, length: u64) -> Result<&'a [u8], MalformedProtobuf> {
        let length = usize::try_from(length).map_err(|_| MalformedProtobuf)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(MalformedProtobuf)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn field(&mut self) -> Result<(u64, ProtobufValue<'a>), MalformedProtobuf> {
        let tag = self.number()?;
        let value = match tag & 7 {
            0 => ProtobufValue::Number(self.number()?),
            1 => ProtobufValue::Bytes(self.bytes(8)?),
            2 => {
                let length = self.number()?;
                ProtobufValue::Bytes(self.bytes(length)?)
            }
            5 => ProtobufValue::Bytes(self.bytes(4)?),
            _ => return Err(MalformedProtobuf),
        };
        Ok((tag >> 3, value))
    }
}

impl<'a> Iterator for ProtobufFields<'a> {
    type Item = Result<(u64, ProtobufValue<'a>), MalformedProtobuf>;

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

impl<'a> ProtobufValue<'a> {
    /// The number; 0 for bytes.
    pub(super) fn number(self) -> u64 {
        match self {
            Self::Number(number) => number,
            Self::Bytes(_) => 0,
        }
    }

    /// The bytes; empty for a number.
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
    fn fields_come_in_order_and_end_at_the_first_malformed_one() {
        let message = [0x08, 0xac, 0x02, 0x12, 2, b'h', b'i', 0x1d, 1, 2, 3, 4];
        let read: Vec<_> = ProtobufFields(&message).map(Result::unwrap).collect();
        let number = (1, ProtobufValue::Number(300));
        assert_eq!(
            read,
            [number, (2, ProtobufValue::Bytes(b"hi")), (3, ProtobufValue::Bytes(&[1, 2, 3, 4]))]
        );
        for cut in [1, 2, 4, 6, 9] {
            assert_eq!(
                ProtobufFields(&message[..cut]).last(),
                Some(Err(MalformedProtobuf)),
                "{cut}"
            );
        }
        assert_eq!(
            ProtobufFields(&[0x12, 0xff, 0xff, 0xff, 0xff, 0x7f]).next(),
            Some(Err(MalformedProtobuf))
        );
        assert_eq!(ProtobufFields(&[0x80; 12]).next(), Some(Err(MalformedProtobuf)));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in any::<Vec<u8>>()) {
            prop_assert!(ProtobufFields(&bytes).count() <= bytes.len());
        }
    }
}
