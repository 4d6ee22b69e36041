//! Image files with their classes, packed: what a name does not share with the one before and a dozen bytes, of which whatever
//! repeats itself is left out. A data set has millions.

use std::borrow::Cow;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use delt_images::image_files::ImageFile;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use crate::source::Split;

/// Bytes of a block before it is packed, about: a few thousand files, which are only ever read one after the other.
const BLOCK: usize = 1 << 16;

/// An image file with its class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabeledFile {
    /// The file.
    pub file: ImageFile,
    /// Index into the class list.
    pub label: u32,
    /// Which part of the data it belongs to.
    pub split: Split,
}

/// Files in an order.
#[derive(Debug, Default)]
pub struct FileList {
    packed: Vec<Box<[u8]>>,
    /// The block that is being filled.
    open: Vec<u8>,
    count: usize,
    places: Vec<Place>,
    /// The name of the last one.
    last: String,
}

/// Where files lie.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// Each at its relative path below a folder.
    Below(PathBuf),
    /// In one archive.
    In(PathBuf),
}

impl Place {
    fn of(file: &ImageFile) -> Self {
        let depth = Path::new(&file.relative).components().count();
        let below = file.path.ancestors().nth(depth).map(|root| Self::Below(root.to_path_buf()));
        below.filter(|place| place.is_of(file)).unwrap_or_else(|| Self::In(file.path.clone()))
    }

    fn is_of(&self, file: &ImageFile) -> bool {
        self.path(&file.relative).as_os_str() == file.path.as_os_str()
    }

    fn path(&self, relative: &str) -> PathBuf {
        match self {
            Self::Below(folder) => folder.join(relative),
            Self::In(archive) => archive.clone(),
        }
    }
}

impl FileList {
    /// Adds a file.
    pub fn push(&mut self, LabeledFile { file, label, split }: LabeledFile) {
        let place = match self.places.last() {
            Some(last) if last.is_of(&file) => self.places.len() - 1,
            _ => self.place(&file),
        };
        let mut shared = file.relative.bytes().zip(self.last.bytes()).take_while(|(a, b)| a == b).count();
        while !file.relative.is_char_boundary(shared) {
            shared -= 1;
        }
        let rest = &file.relative.as_bytes()[shared..];
        let is_test = u64::from(split == Split::Test);
        let start = file.start.map_or(0, |start| start + 1);
        for number in [
            place as u64,
            shared as u64,
            rest.len() as u64,
            file.bytes,
            start,
            u64::from(label) << 1 | is_test,
        ] {
            write_number(&mut self.open, number);
        }
        self.open.extend_from_slice(rest);
        if self.open.len() >= BLOCK {
            self.packed.push(packed(&self.open));
            self.open.clear();
        }
        self.count += 1;
        self.last = file.relative;
    }

    fn place(&mut self, file: &ImageFile) -> usize {
        let place = Place::of(file);
        self.places.iter().position(|known| *known == place).unwrap_or_else(|| {
            self.places.push(place);
            self.places.len() - 1
        })
    }

    /// All files, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = LabeledFile> {
        let mut relative = String::new();
        let last = std::iter::once(Cow::Borrowed(&self.open[..]));
        let mut blocks = self.packed.iter().map(|block| Cow::Owned(unpacked(block))).chain(last);
        let (mut block, mut read): (Cow<'_, [u8]>, usize) = (Cow::Borrowed(&[]), 0);
        std::iter::from_fn(move || {
            if read == block.len() {
                (block, read) = (blocks.next()?, 0);
            }
            if block.is_empty() {
                return None;
            }
            let mut left = &block[read..];
            let [place, shared, rest, bytes, start, label] = std::array::from_fn(|_| read_number(&mut left));
            let (name, others) = left.split_at(rest as usize);
            read = block.len() - others.len();
            relative.truncate(shared as usize);
            relative.push_str(std::str::from_utf8(name).expect("it was text when it was added"));
            let path = self.places[place as usize].path(&relative);
            let file = ImageFile { relative: relative.clone(), path, bytes, start: start.checked_sub(1) };
            let split = if label & 1 == 1 { Split::Test } else { Split::Train };
            Some(LabeledFile { file, label: (label >> 1) as u32, split })
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl Extend<LabeledFile> for FileList {
    fn extend<I: IntoIterator<Item = LabeledFile>>(&mut self, files: I) {
        files.into_iter().for_each(|file| self.push(file));
    }
}

impl FromIterator<LabeledFile> for FileList {
    fn from_iter<I: IntoIterator<Item = LabeledFile>>(files: I) -> Self {
        let mut list = Self::default();
        list.extend(files);
        list
    }
}

fn packed(block: &[u8]) -> Box<[u8]> {
    let mut packed = DeflateEncoder::new(Vec::new(), Compression::default());
    let whole = packed.write_all(block).and_then(|()| packed.finish());
    whole.expect("memory takes all bytes").into_boxed_slice()
}

fn unpacked(packed: &[u8]) -> Vec<u8> {
    let mut block = Vec::with_capacity(BLOCK + BLOCK / 8);
    DeflateDecoder::new(packed).read_to_end(&mut block).expect("it was packed here");
    block
}

/// Seven bits a byte, the lowest first; the last byte is below 128.
fn write_number(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

fn read_number(from: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..).step_by(7) {
        let (byte, rest) = from.split_first().expect("a number ends in its block");
        *from = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            break;
        }
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(relative: &str, path: &str, bytes: u64, start: Option<u64>) -> ImageFile {
        ImageFile { relative: relative.to_owned(), path: PathBuf::from(path), bytes, start }
    }

    #[test]
    fn files_come_back_as_they_were_added() {
        let labeled = |(file, label)| {
            let split = if label % 2 == 0 { Split::Train } else { Split::Test };
            LabeledFile { file, label, split }
        };
        let files = [
            (file("train/é/1.png", "/data/set/train/é/1.png", 0, None), 0),
            (file("train/è/1.png", "/data/set/train/è/1.png", 127, None), 1),
            (file("train/è/10.png", "/data/set/train/è/10.png", 128, None), 1),
            (file("train/n01/1.JPEG", "/data/train.tar", u64::MAX, Some(0)), 1000),
            (file("train/n01/2.JPEG", "/data/train.tar", 1 << 40, Some(1 << 41)), 1000),
            (file("./a.png", "./a.png", 3, None), 3),
            (file("/elsewhere/a.png", "/elsewhere/a.png", 3, None), 2),
            (file("b.png", "/data/set/b.png", 3, None), 2),
        ]
        .map(labeled);
        let list: FileList = files.iter().cloned().collect();
        assert_eq!(list.iter().collect::<Vec<_>>(), files);
        assert_eq!(list.len(), files.len());
    }

    /// Bytes of each of a hundred thousand images that are called so by number.
    fn bytes_of_each(name: impl Fn(u32) -> String) -> usize {
        let images = 100_000_u32;
        let of = |at: u32| {
            let relative = name(at);
            let path = format!("/data/set/{relative}");
            let bytes = 110_000 + u64::from(at * 7919 % 50_021);
            LabeledFile { file: file(&relative, &path, bytes, None), label: at / 1000, split: Split::Train }
        };
        let list: FileList = (0..images).map(of).collect();
        assert!(list.iter().eq((0..images).map(of)));
        list.packed.iter().map(|block| block.len()).sum::<usize>() / images as usize
    }

    #[test]
    fn an_image_of_a_million_takes_less_than_ten_bytes_in_order_and_less_than_twenty_in_none() {
        let name = |class: u32, at: u32| format!("train/n{class:08}/n{class:08}_{}.JPEG", at * 17);
        let in_order = bytes_of_each(|at| name(at / 1000, at % 1000));
        assert!(in_order < 10, "{in_order} bytes");
        let shuffled = bytes_of_each(|at| {
            let at = u64::from(at) * 61_507 % 100_000;
            name((at / 1000) as u32, (at % 1000) as u32)
        });
        assert!(shuffled < 20, "{shuffled} bytes");
    }
}
