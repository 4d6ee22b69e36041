//! Image files with their classes, in a dozen bytes each beside what a name does not share with the one before: a data set has
//! millions.

use std::path::{Path, PathBuf};

use delt_images::image_files::ImageFile;

use crate::source::Split;

/// Bytes of a block. Blocks are never moved, so that a list that grows is in memory once.
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
    blocks: Vec<Vec<u8>>,
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
        let mut entry = Vec::with_capacity(rest.len() + 16);
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
            write_number(&mut entry, number);
        }
        entry.extend_from_slice(rest);
        match self.blocks.last_mut() {
            Some(block) if block.len() + entry.len() <= BLOCK => block.extend(entry),
            _ => {
                let mut block = Vec::with_capacity(BLOCK.max(entry.len()));
                block.extend(entry);
                self.blocks.push(block);
            }
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
        let mut blocks = self.blocks.iter();
        let mut left: &[u8] = &[];
        std::iter::from_fn(move || {
            if left.is_empty() {
                left = blocks.next()?;
            }
            let [place, shared, rest, bytes, start, label] = std::array::from_fn(|_| read_number(&mut left));
            let (name, others) = left.split_at(rest as usize);
            left = others;
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

    #[test]
    fn an_image_of_a_million_takes_less_than_twenty_bytes() {
        let images = 100_000_u32;
        let of = |at: u32| {
            let (class, at) = (at / 1000, at % 1000);
            let relative = format!("train/n{class:08}/n{class:08}_{}.JPEG", at * 17);
            let path = format!("/data/set/{relative}");
            LabeledFile {
                file: file(&relative, &path, 110_000 + u64::from(at), None),
                label: class,
                split: Split::Train,
            }
        };
        let list: FileList = (0..images).map(of).collect();
        assert_eq!(list.iter().last(), Some(of(images - 1)));
        let bytes = list.blocks.iter().map(Vec::capacity).sum::<usize>() / images as usize;
        assert!(bytes < 20, "{bytes} bytes");
    }
}
