//! MATLAB 5 files, written as MATLAB does.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// Kinds of elements, and classes of arrays.
pub(crate) const U8: u32 = 2;
pub(crate) const F64: u32 = 9;
const U16: u32 = 4;
const MATRIX: u32 = 14;
const OF_STRUCTURES: u8 = 2;
const OF_TEXT: u8 = 4;
pub(crate) const OF_F64: u8 = 6;
pub(crate) const OF_U8: u8 = 9;

/// An element with its tag: in one where it is small, as MATLAB packs it, else filled up to eight bytes.
pub(crate) fn element(kind: u32, bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len() as u32;
    let mut element = if (1..=4).contains(&length) {
        (length << 16 | kind).to_le_bytes().to_vec()
    } else {
        [kind.to_le_bytes(), length.to_le_bytes()].concat()
    };
    element.extend(bytes);
    element.resize(element.len().next_multiple_of(8), 0);
    element
}

pub(crate) fn array(name: &str, class: u8, sides: &[u32], values: &[u8]) -> Vec<u8> {
    let sides: Vec<u8> = sides.iter().flat_map(|side| side.to_le_bytes()).collect();
    let flags = element(6, &[class, 0, 0, 0, 0, 0, 0, 0]);
    element(MATRIX, &[&flags, &element(5, &sides), &element(1, name.as_bytes()), values].concat())
}

/// A column of structures with a number, a text and a list of numbers.
pub(crate) fn structures(name: &str, fields: [&str; 3], rows: &[(f64, &str)]) -> Vec<u8> {
    let names: Vec<u8> = fields
        .iter()
        .flat_map(|field| {
            let mut field = field.as_bytes().to_vec();
            field.resize(32, 0);
            field
        })
        .collect();
    let mut values = [element(5, &32_u32.to_le_bytes()), element(1, &names)].concat();
    for (number, text) in rows {
        let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        values.extend(array("", OF_F64, &[1, 1], &element(F64, &number.to_le_bytes())));
        values.extend(array("", OF_TEXT, &[1, text.len() as u32], &element(U16, &units)));
        values.extend(array("", OF_U8, &[0, 0], &element(U8, &[])));
    }
    array(name, OF_STRUCTURES, &[rows.len() as u32, 1], &values)
}

/// A file of arrays, each packed or not.
pub(crate) fn file(arrays: &[Vec<u8>], is_packed: bool) -> Vec<u8> {
    let mut file = b"MATLAB 5.0 MAT-file, made up".to_vec();
    file.resize(124, b' ');
    file.extend([0, 1, b'I', b'M']);
    for array in arrays {
        if is_packed {
            let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
            packed.write_all(array).unwrap();
            let packed = packed.finish().unwrap();
            file.extend([15_u32.to_le_bytes(), (packed.len() as u32).to_le_bytes()].concat());
            file.extend(packed);
        } else {
            file.extend(array);
        }
    }
    file
}
