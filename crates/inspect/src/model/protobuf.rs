//! Protocol-buffer wire format: bytes → fields, without copies.
//!
//! Source: protobuf.dev/programming-guides/encoding.
//!
//! **Invariant:** no length is trusted: every field lies within its message, or the message is refused.

/// A field's value as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Wire<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WireError {
    /// A field reaches beyond the end.
    Truncated,
    /// A number takes more than 64 bits.
    Varint,
    /// A wire type that does not exist or is not used any more.
    WireType,
    /// A field has another wire type than its definition says.
    Mismatch,
    /// Text that is not UTF-8.
    Text,
}

impl WireError {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Truncated => "a field reaches beyond the end of its message",
            Self::Varint => "a number takes more than 64 bits",
            Self::WireType => "an unknown wire type",
            Self::Mismatch => "a field has the wrong wire type",
            Self::Text => "a text is not UTF-8",
        }
    }
}

/// Reads the fields of one message.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field: its number and value.
    pub(super) fn next_field(&mut self) -> Result<Option<(u64, Wire<'a>)>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = varint(&mut self.rest)?;
        let value = match tag & 7 {
            0 => Wire::Varint(varint(&mut self.rest)?),
            1 => Wire::Fixed64(fixed(&mut self.rest)?),
            2 => {
                let length = usize::try_from(varint(&mut self.rest)?).map_err(|_| WireError::Truncated)?;
                let (value, rest) = self.rest.split_at_checked(length).ok_or(WireError::Truncated)?;
                self.rest = rest;
                Wire::Bytes(value)
            }
            5 => Wire::Fixed32(fixed(&mut self.rest)?),
            _ => return Err(WireError::WireType),
        };
        Ok(Some((tag >> 3, value)))
    }
}

fn fixed<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], WireError> {
    let (value, after) = rest.split_first_chunk::<N>().ok_or(WireError::Truncated)?;
    *rest = after;
    Ok(*value)
}

fn varint(rest: &mut &[u8]) -> Result<u64, WireError> {
    let mut value = 0_u64;
    for shift in 0..10 {
        let (byte, after) = rest.split_first().ok_or(WireError::Truncated)?;
        *rest = after;
        let bits = u64::from(byte & 0x7f);
        if shift == 9 && bits > 1 {
            return Err(WireError::Varint);
        }
        value |= bits << (7 * shift);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(WireError::Varint)
}

impl<'a> Wire<'a> {
    pub(super) fn bytes(self) -> Result<&'a [u8], WireError> {
        if let Self::Bytes(bytes) = self { Ok(bytes) } else { Err(WireError::Mismatch) }
    }

    pub(super) fn text(self) -> Result<String, WireError> {
        std::str::from_utf8(self.bytes()?).map(str::to_owned).map_err(|_| WireError::Text)
    }

    /// A signed integer, two's complement as `int32` and `int64` write it.
    pub(super) fn integer(self) -> Result<i64, WireError> {
        if let Self::Varint(value) = self { Ok(value.cast_signed()) } else { Err(WireError::Mismatch) }
    }

    pub(super) fn float(self) -> Result<f64, WireError> {
        if let Self::Fixed32(bytes) = self { Ok(f64::from(f32::from_le_bytes(bytes))) } else { Err(WireError::Mismatch) }
    }

    /// Appends one float, or many packed ones.
    pub(super) fn floats_into(self, floats: &mut Vec<f64>) -> Result<(), WireError> {
        match self {
            Self::Fixed32(bytes) => floats.push(f64::from(f32::from_le_bytes(bytes))),
            Self::Bytes(packed) => {
                let (chunks, rest) = packed.as_chunks::<4>();
                if !rest.is_empty() {
                    return Err(WireError::Truncated);
                }
                floats.extend(chunks.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))));
            }
            _ => return Err(WireError::Mismatch),
        }
        Ok(())
    }

    /// Appends one double, or many packed ones.
    pub(super) fn doubles_into(self, doubles: &mut Vec<f64>) -> Result<(), WireError> {
        match self {
            Self::Fixed64(bytes) => doubles.push(f64::from_le_bytes(bytes)),
            Self::Bytes(packed) => {
                let (chunks, rest) = packed.as_chunks::<8>();
                if !rest.is_empty() {
                    return Err(WireError::Truncated);
                }
                doubles.extend(chunks.iter().map(|bytes| f64::from_le_bytes(*bytes)));
            }
            _ => return Err(WireError::Mismatch),
        }
        Ok(())
    }

    /// Appends one integer, or many packed ones.
    pub(super) fn integers_into(self, integers: &mut Vec<i64>) -> Result<(), WireError> {
        match self {
            Self::Varint(value) => integers.push(value.cast_signed()),
            Self::Bytes(mut packed) => {
                while !packed.is_empty() {
                    integers.push(varint(&mut packed)?.cast_signed());
                }
            }
            _ => return Err(WireError::Mismatch),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_and_bounds_are_kept() {
        let mut fields = Fields::new(&[0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i']);
        assert_eq!(fields.next_field(), Ok(Some((1, Wire::Varint(150)))));
        assert_eq!(fields.next_field(), Ok(Some((2, Wire::Bytes(b"hi")))));
        assert_eq!(fields.next_field(), Ok(None));
        for (bytes, error) in [
            (&[0x12_u8, 0x05, b'h'][..], WireError::Truncated),
            (&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], WireError::Truncated),
            (&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], WireError::Varint),
            (&[0x0b], WireError::WireType),
            (&[0x0d, 0, 0], WireError::Truncated),
        ] {
            assert_eq!(Fields::new(bytes).next_field(), Err(error), "{bytes:?}");
        }
    }

    #[test]
    fn negative_integers_are_twos_complement() {
        let mut integers = Vec::new();
        Wire::Bytes(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x02]).integers_into(&mut integers).unwrap();
        assert_eq!(integers, [-1, 2]);
    }
}
