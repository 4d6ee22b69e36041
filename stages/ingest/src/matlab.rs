//! Arrays of MATLAB 5 files (`.mat`), each unpacked as it is read: numbers, texts and structures, which is all that published sets of
//! images hold. The format is MathWorks' "MAT-File Format", level 5.

use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::Path;

use flate2::read::ZlibDecoder;

use crate::error::{IngestError, Result};

/// Bytes before the first array: text, then version and byte order.
const HEADER_BYTES: usize = 128;
/// Version 5 in little-endian order.
const VERSION: [u8; 4] = [0, 1, b'I', b'M'];
/// Bytes of a list of numbers or a text, at most; the longest published ones have a few megabytes.
const MOST_BYTES: u32 = 64 << 20;
/// Structures of an array, at most; the development kit of ImageNet has 1,860.
const MOST_STRUCTURES: u64 = 1 << 20;
/// Kinds of elements.
const U8: u32 = 2;
const U16: u32 = 4;
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;
const UTF8: u32 = 16;
/// Classes of arrays.
const STRUCTURE: u8 = 2;
const TEXT: u8 = 4;
const NUMBERS: std::ops::RangeInclusive<u8> = 6..=15;

/// What stands before the values of an array.
#[derive(Debug)]
pub struct Array {
    /// What it is called.
    pub name: String,
    /// Sides, of which the first changes fastest.
    pub sides: Vec<u64>,
    class: u8,
}

/// A field of a structure.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// The first of its numbers.
    Number(f64),
    /// A text.
    Text(String),
    /// Nothing, or what is not read.
    Other,
}

/// Takes an array and what follows its head; `Break` means that no more are wanted.
pub type Each<'a> = dyn FnMut(&Array, &mut dyn Read) -> Result<ControlFlow<()>> + 'a;

/// Says of a file that it cannot be read to its end.
pub(crate) fn broken(path: &Path) -> impl Fn(io::Error) -> IngestError + '_ {
    move |source| {
        IngestError::layout(path, format!("is not a complete MATLAB 5 file ({source}); download it again"))
    }
}

/// Hands over the arrays of a file in its order until the visitor breaks; without a break all checksums are compared.
///
/// # Errors
/// Another version, a damaged file, and what `each` reports.
pub fn for_each(path: &Path, input: &mut dyn Read, each: &mut Each<'_>) -> Result<()> {
    let mut header = [0; HEADER_BYTES];
    input.read_exact(&mut header).map_err(broken(path))?;
    let version = &header[HEADER_BYTES - VERSION.len()..];
    if version != VERSION {
        let problem = format!(
            "has the version {version:?}, expected {VERSION:?} as MATLAB 5 files; download it again, or save it with -v6 or -v7"
        );
        return Err(IngestError::layout(path, problem));
    }
    while let Some((kind, bytes)) = tag(input).map_err(broken(path))? {
        let mut element = (&mut *input).take(bytes.into());
        let flow = if kind == COMPRESSED {
            let mut unpacked = ZlibDecoder::new(&mut element);
            let inner = tag(&mut unpacked).map_err(broken(path))?;
            array(path, inner.map(|(kind, _)| kind), &mut unpacked, each)?
        } else {
            array(path, Some(kind), &mut element, each)?
        };
        if flow.is_break() {
            return Ok(());
        }
        io::copy(&mut element, &mut io::sink()).map_err(broken(path))?;
        if element.limit() > 0 {
            return Err(broken(path)(io::ErrorKind::UnexpectedEof.into()));
        }
    }
    Ok(())
}

fn array(
    path: &Path,
    kind: Option<u32>,
    input: &mut dyn Read,
    each: &mut Each<'_>,
) -> Result<ControlFlow<()>> {
    if kind != Some(MATRIX) {
        return Ok(ControlFlow::Continue(()));
    }
    let array = head(input).map_err(broken(path))?;
    let flow = each(&array, input)?;
    if flow.is_continue() {
        io::copy(input, &mut io::sink()).map_err(broken(path))?;
    }
    Ok(flow)
}

impl Array {
    /// How many values it has.
    pub fn count(&self) -> u64 {
        self.sides.iter().fold(1, |all, side| all.saturating_mul(*side))
    }

    /// The number of bytes that follow, where the values are stored as bytes.
    ///
    /// # Errors
    /// Values of another kind, or none.
    pub fn bytes(&self, input: &mut dyn Read) -> io::Result<u64> {
        match tag(input)? {
            Some((U8, bytes)) => Ok(bytes.into()),
            _ => Err(unexpected("an array that is not of bytes")),
        }
    }

    /// The values of an array of numbers.
    ///
    /// # Errors
    /// Values that are no numbers, or fewer than they claim.
    pub fn numbers(&self, input: &mut dyn Read) -> io::Result<Vec<f64>> {
        numbers(input)
    }

    /// These fields of each element of an array of structures.
    ///
    /// # Errors
    /// Another array, or one that ends early.
    pub fn fields<const N: usize>(
        &self,
        input: &mut dyn Read,
        wanted: [&str; N],
    ) -> io::Result<Vec<[Value; N]>> {
        if self.class != STRUCTURE {
            return Err(unexpected("an array that is not of structures"));
        }
        let (_, length) = data(input)?;
        let length = usize::from(length.first().copied().unwrap_or_default()).max(1);
        let (_, names) = data(input)?;
        let name = |bytes: &[u8]| text(bytes.split(|byte| *byte == 0).next().unwrap_or_default());
        let names: Vec<String> = names.chunks(length).map(name).collect();
        if names.is_empty() || self.count() > MOST_STRUCTURES {
            return Err(unexpected(&format!("{} structures of {} fields", self.count(), names.len())));
        }
        let mut elements = Vec::new();
        for _ in 0..self.count() {
            let mut element = [const { Value::Other }; N];
            for name in &names {
                let value = value(input)?;
                if let Some(place) = wanted.iter().position(|wanted| wanted == name) {
                    element[place] = value;
                }
            }
            elements.push(element);
        }
        Ok(elements)
    }
}

/// Kind and size of an element; `None` at the end.
fn tag(input: &mut dyn Read) -> io::Result<Option<(u32, u32)>> {
    let mut bytes = Vec::new();
    input.take(8).read_to_end(&mut bytes)?;
    match &bytes[..] {
        [] => Ok(None),
        [a, b, c, d, e, f, g, h] => {
            Ok(Some((u32::from_le_bytes([*a, *b, *c, *d]), u32::from_le_bytes([*e, *f, *g, *h]))))
        }
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Kind and bytes of an element, which is filled up to eight bytes or, of four and less, lies in its tag.
fn data(input: &mut dyn Read) -> io::Result<(u32, Vec<u8>)> {
    let (kind, bytes) = tag(input)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    if kind >> 16 != 0 {
        let length = (kind >> 16).min(4) as usize;
        return Ok((kind & 0xffff, bytes.to_le_bytes()[..length].to_vec()));
    }
    if bytes > MOST_BYTES {
        return Err(unexpected(&format!("an element of {bytes} bytes, more than {MOST_BYTES}")));
    }
    let mut read = Vec::new();
    input.take(u64::from(bytes.next_multiple_of(8))).read_to_end(&mut read)?;
    if read.len() < bytes as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    read.truncate(bytes as usize);
    Ok((kind, read))
}

fn head(input: &mut dyn Read) -> io::Result<Array> {
    let (_, flags) = data(input)?;
    let (_, sides) = data(input)?;
    let (_, name) = data(input)?;
    let side = |bytes: &[u8]| bytes.iter().rev().fold(0, |side, byte| side << 8 | u64::from(*byte));
    let sides = sides.chunks(4).map(side).collect();
    Ok(Array { name: text(&name), sides, class: flags.first().copied().unwrap_or_default() })
}

/// Numbers, in whatever kind they are stored.
fn numbers(input: &mut dyn Read) -> io::Result<Vec<f64>> {
    fn each<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.as_chunks().0.iter().map(|chunk| number(*chunk)).collect()
    }
    let (kind, bytes) = data(input)?;
    Ok(match kind {
        1 => each(&bytes, |bytes| i8::from_le_bytes(bytes).into()),
        U8 => each(&bytes, |[byte]| byte.into()),
        3 => each(&bytes, |bytes| i16::from_le_bytes(bytes).into()),
        U16 => each(&bytes, |bytes| u16::from_le_bytes(bytes).into()),
        5 => each(&bytes, |bytes| i32::from_le_bytes(bytes).into()),
        6 => each(&bytes, |bytes| u32::from_le_bytes(bytes).into()),
        7 => each(&bytes, |bytes| f32::from_le_bytes(bytes).into()),
        9 => each(&bytes, f64::from_le_bytes),
        _ => return Err(unexpected(&format!("numbers of kind {kind}"))),
    })
}

/// A field: its first number, or its text.
fn value(input: &mut dyn Read) -> io::Result<Value> {
    let (kind, bytes) = tag(input)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    if kind != MATRIX {
        return Err(unexpected(&format!("a field of kind {kind}")));
    }
    let mut input = input.take(bytes.into());
    let found = match head(&mut input) {
        Err(_) if bytes == 0 => Value::Other,
        array => match array?.class {
            TEXT => match data(&mut input)? {
                (U16, units) => {
                    let units: Vec<u16> =
                        units.as_chunks().0.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
                    Value::Text(String::from_utf16_lossy(&units))
                }
                (1 | U8 | UTF8, bytes) => Value::Text(text(&bytes)),
                _ => Value::Other,
            },
            class if NUMBERS.contains(&class) => {
                numbers(&mut input)?.first().map_or(Value::Other, |n| Value::Number(*n))
            }
            _ => Value::Other,
        },
    };
    io::copy(&mut input, &mut io::sink())?;
    Ok(found)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn unexpected(found: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("found {found}"))
}
