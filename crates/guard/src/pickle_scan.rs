//! A look through a pickle before anything is built from it: what it would take is told by its operations alone.
//!
//! A few bytes of a pickle can ask for the same object a million times. The reader bounds most of that, but not how often
//! names are repeated and how many small objects there are; both are bounded here.

use std::io::{self, BufRead, ErrorKind, Read};

/// Operations of all pickles of a file: a network of a thousand tensors has about thirty thousand.
const MOST_OPERATIONS: u64 = 2_000_000;
/// Operations times bytes of the longest text: what names take if every operation repeats the longest of them.
const MOST_REPEATED_BYTES: u64 = 1 << 30;
/// A checkpoint from before PyTorch 1.6 begins with so many pickles, newer ones have one.
const MOST_PICKLES: u32 = 5;
/// Operations without text or number, of those that are characters.
const BARE: &[u8] = b"(.012NRbdltsa)]}euQ";

/// Looks through the pickles at the start of `input`, to their end or to what is no pickle any more: the reader stops there too.
/// Gives what is asked for, where that is too much.
///
/// # Errors
///
/// If the input cannot be read.
pub(crate) fn too_much(input: &mut impl BufRead) -> io::Result<Option<String>> {
    let (mut operations, mut longest, mut pickles) = (0_u64, 0_u64, 0);
    while pickles < MOST_PICKLES {
        let (operation, text) = match step(input) {
            Ok(Some(step)) => step,
            Ok(None) => break,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        };
        operations += 1;
        longest = longest.max(text);
        if operations > MOST_OPERATIONS {
            return Ok(Some(format!("more than {MOST_OPERATIONS} operations")));
        }
        if operations.saturating_mul(longest) > MOST_REPEATED_BYTES {
            return Ok(Some(format!("{operations} operations or more around a text of {longest} bytes")));
        }
        pickles += u32::from(operation == b'.');
    }
    Ok(None)
}

/// Where so many pickles at the start of `bytes` end, if there are as many.
pub(crate) fn end_of(bytes: &[u8], pickles: u32) -> Option<usize> {
    let mut input = io::Cursor::new(bytes);
    let mut ended = 0;
    while ended < pickles {
        ended += u32::from(step(&mut input).ok()??.0 == b'.');
    }
    usize::try_from(input.position()).ok()
}

/// The next operation and the bytes of its text; none at what is no operation, and the error of an early end at the end.
fn step(input: &mut impl BufRead) -> io::Result<Option<(u8, u64)>> {
    let [operation] = exactly(input)?;
    let text = match operation {
        b'K' | b'h' | b'q' | 0x80 | 0x82 => skip(input, 1)?,
        b'M' | 0x83 => skip(input, 2)?,
        b'J' | b'j' | b'r' | 0x84 => skip(input, 4)?,
        b'G' | 0x95 => skip(input, 8)?,
        b'U' | b'C' | 0x8a | 0x8c => {
            let length = u8::from_le_bytes(exactly(input)?);
            skip(input, length.into())?
        }
        b'T' | b'X' | b'B' | 0x8b => {
            let length = u32::from_le_bytes(exactly(input)?);
            skip(input, length.into())?
        }
        0x8d | 0x8e | 0x96 => {
            let length = u64::from_le_bytes(exactly(input)?);
            skip(input, length)?
        }
        b'I' | b'L' | b'F' | b'V' | b'g' | b'p' | b'P' => line(input)?,
        b'c' => line(input)? + line(input)?,
        0x81 | 0x85..=0x89 | 0x8f..=0x94 | 0x97 | 0x98 => 0,
        _ if BARE.contains(&operation) => 0,
        _ => return Ok(None),
    };
    Ok(Some((operation, text)))
}

fn exactly<const N: usize>(input: &mut impl BufRead) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Steps over so many bytes.
fn skip(input: &mut impl BufRead, bytes: u64) -> io::Result<u64> {
    let skipped = io::copy(&mut input.by_ref().take(bytes), &mut io::sink())?;
    if skipped == bytes { Ok(bytes) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

/// Steps over a line.
fn line(input: &mut impl BufRead) -> io::Result<u64> {
    let mut bytes = 0;
    loop {
        let ahead = input.fill_buf()?;
        if ahead.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let end = ahead.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(ahead.len(), |end| end + 1);
        input.consume(taken);
        bytes += taken as u64;
        if end.is_some() {
            return Ok(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(pickle: &[u8]) -> Option<String> {
        too_much(&mut io::Cursor::new(pickle)).unwrap()
    }

    #[test]
    fn a_name_that_is_repeated_and_a_crowd_of_small_objects_are_too_much() {
        let name = "n".repeat(20_000);
        let repeated = [format!("cm\n{name}\n").into_bytes(), vec![b'2'; 60_000], vec![b'.']].concat();
        let expected = "53680 operations or more around a text of 20003 bytes";
        assert_eq!(said(&repeated).as_deref(), Some(expected));
        assert_eq!(said(&vec![b'N'; 2_000_001]).as_deref(), Some("more than 2000000 operations"));
        assert_eq!(said(&vec![b'N'; 2_000_000]), None);
    }

    #[test]
    fn what_stands_behind_the_pickles_is_not_looked_at() {
        // protocol, a dict with one text, the end; then the bytes of tensors
        let pickle = b"\x80\x02}X\x01\0\0\0aK\x01s.".to_vec();
        let behind = vec![b'N'; 3_000_000];
        assert_eq!(said(&[pickle.repeat(5), behind.clone()].concat()), None);
        assert!(said(&[pickle, behind].concat()).is_some());
        // a text that goes on past the end, and no operation at all
        assert_eq!(said(b"\x80\x02X\xff\xff\xff\xff"), None);
        assert_eq!(said(b"\xff"), None);
    }
}
