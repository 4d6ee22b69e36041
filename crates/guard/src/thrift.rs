//! Thrift's compact protocol, in which Parquet writes its footers and the headers of its pages.

/// Types of truth values: the type is the value.
pub(crate) const TRUE: u8 = 1;
/// The other.
pub(crate) const FALSE: u8 = 2;
/// Type of a whole number.
pub(crate) const I32: u8 = 5;
/// Type of a structure.
pub(crate) const STRUCT: u8 = 12;
/// Structures and lists inside each other, at most; a footer has eight.
const MOST_DEPTH: u8 = 16;

/// Reads the protocol, as far as is needed to step over what is not looked at.
#[derive(Debug)]
pub(crate) struct Compact<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Takes or skips a field: its number, its type, and how deep it lies.
pub(crate) type Field<'f> = dyn FnMut(&mut Compact<'_>, i64, u8, u8) -> Option<()> + 'f;

impl<'a> Compact<'a> {
    /// At the first of `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }
}

impl Compact<'_> {
    /// Bytes read so far.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// A number in zigzag: 0, -1, 1, -2, … None where the bytes end first, here and below.
    pub(crate) fn number(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    fn forward(&mut self, bytes: u64) -> Option<()> {
        let left = self.bytes.len() - self.at;
        let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes <= left)?;
        self.at += bytes;
        Some(())
    }

    /// Hands each field of a structure at `depth` to `field`.
    pub(crate) fn each_field(&mut self, depth: u8, field: &mut Field<'_>) -> Option<()> {
        let mut number: i64 = 0;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(());
            }
            number = match head >> 4 {
                0 => self.number()?,
                step => number.checked_add(i64::from(step))?,
            };
            field(self, number, head & 0x0f, depth)?;
        }
    }

    /// Steps over a field, which is none if it claims more than there is or lies too deep.
    pub(crate) fn skip(&mut self, kind: u8, depth: u8) -> Option<()> {
        if depth >= MOST_DEPTH {
            return None;
        }
        match kind {
            1 | 2 => Some(()),
            3 => self.forward(1),
            4..=6 => self.varint().map(drop),
            7 => self.forward(8),
            8 => {
                let bytes = self.varint()?;
                self.forward(bytes)
            }
            9 | 10 => {
                let head = self.byte()?;
                let items = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
                for _ in 0..items {
                    // Parquet has no list of truth values here, and to its library they take no byte: billions of them in a few
                    if matches!(head & 0x0f, 1 | 2) {
                        return None;
                    }
                    self.skip(head & 0x0f, depth + 1)?;
                }
                Some(())
            }
            STRUCT => self.each_field(depth + 1, &mut |thrift, _, kind, depth| thrift.skip(kind, depth)),
            _ => None,
        }
    }
}
