//! The headers of Parquet's pages: what a page claims of its own sizes.

use std::ops::Range;

use crate::thrift::{Compact, FALSE, I32, STRUCT, TRUE};

/// Bytes that a page may have once it is unpacked, or [`MOST_UNPACKING`] times its bytes where that is more. Writers end pages at about
/// a megabyte, but some look at their size every thousand values only, which of images is a whole row group.
const MOST_PAGE_BYTES: u64 = 256 * 1024 * 1024;
/// Images are packed already.
const MOST_UNPACKING: u64 = 4;

/// What the header of a page says of its sizes, and how long it is.
#[derive(Debug, Default)]
pub(crate) struct PageHeader {
    /// Bytes of the header itself.
    pub(crate) length: usize,
    unpacked: i64,
    packed: i64,
    /// Values that the page claims to hold.
    pub(crate) values: u64,
    /// Bytes at the page's beginning that no codec packs: levels, in data pages of version 2.
    levels: [u64; 2],
    is_plain: bool,
}

impl PageHeader {
    /// None if the bytes end before the header does, or are none.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut thrift = Compact::new(bytes);
        let mut header = Self::default();
        thrift.each_field(0, &mut |thrift, field, kind, depth| {
            match (field, kind) {
                (2, I32) => header.unpacked = thrift.number()?,
                (3, I32) => header.packed = thrift.number()?,
                // of data pages, dictionary pages and data pages of version 2: the first field is the number of values
                (page @ (5 | 7 | 8), STRUCT) => {
                    let is_v2 = page == 8;
                    if is_v2 {
                        (header.levels, header.is_plain) = ([0; 2], false);
                    }
                    thrift.each_field(depth + 1, &mut |thrift, field, kind, depth| {
                        match (field, kind) {
                            (1, I32) => header.values = u64::from(u32::try_from(thrift.number()?).ok()?),
                            (5 | 6, I32) if is_v2 => {
                                header.levels[field as usize - 5] =
                                    u64::from(u32::try_from(thrift.number()?).ok()?);
                            }
                            (7, TRUE | FALSE) if is_v2 => header.is_plain = kind == FALSE,
                            _ => return thrift.skip(kind, depth),
                        }
                        Some(())
                    })?;
                }
                _ => thrift.skip(kind, depth)?,
            }
            Some(())
        })?;
        header.length = thrift.position();
        Some(header)
    }

    /// Refuses sizes that the page that begins at `start`, `left` bytes before the end of the file, cannot have.
    pub(crate) fn check(&self, start: u64, left: usize) -> Result<(), String> {
        let Self { length, unpacked, packed, .. } = *self;
        if u64::try_from(packed).ok().is_none_or(|packed| packed > (left - length) as u64) {
            return Err(format!("the page at byte {start} claims {packed} bytes, past the end of the file"));
        }
        let most = MOST_PAGE_BYTES.max(packed.unsigned_abs().saturating_mul(MOST_UNPACKING));
        if u64::try_from(unpacked).ok().is_none_or(|unpacked| unpacked > most) {
            return Err(format!(
                "the page at byte {start} claims {unpacked} bytes when unpacked, expected at most {most}"
            ));
        }
        Ok(())
    }

    /// Where a codec has packed the bytes of the page that begins at `start`, and how many it may unpack them to.
    pub(crate) fn packed(&self, start: u64) -> Option<(Range<u64>, u64)> {
        let (data, levels) = (start + self.length as u64, self.levels.iter().sum());
        let packed = data.checked_add(levels)?..data.checked_add(u64::try_from(self.packed).ok()?)?;
        let unpacked = u64::try_from(self.unpacked).ok()?.checked_sub(levels)?;
        (!self.is_plain && !packed.is_empty()).then_some((packed, unpacked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_large_in_the_file_may_be_large_when_unpacked() {
        let header = |unpacked| PageHeader { unpacked, packed: 100 << 20, ..PageHeader::default() };
        header(400 << 20).check(0, 100 << 20).expect("a row group of photographs");
        let error = header((400 << 20) + 1).check(0, 100 << 20).expect_err("refused");
        assert!(
            error.ends_with("claims 419430401 bytes when unpacked, expected at most 419430400"),
            "{error}"
        );
    }
}
