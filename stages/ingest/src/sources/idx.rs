//! IDX files as MNIST and its relatives are published: images and labels in files of their own, gzipped or not.

use std::io::Read;
use std::path::{Path, PathBuf};

use delt_formats::canonical::Digest;
use delt_formats::rgb_image::RgbImage;
use delt_images::ImagesError;
use delt_images::stored_image::Content;
use delt_pipeline::config::ingest::{Idx, Published};
use flate2::read::MultiGzDecoder;
use serde_json::json;

use crate::download::{self, Downloads};
use crate::error::{IngestError, Result};
use crate::source::{Source, SourceImage, Split, Visitor, counts_note, expect_exists};

/// Bytes that a file may unpack to: EMNIST has half of one.
const MOST_BYTES: u64 = 2 << 30;
/// Where torchvision puts the files below the folder that it is given.
const FOLDERS: [&str; 6] = ["", "raw", "MNIST/raw", "FashionMNIST/raw", "KMNIST/raw", "EMNIST/raw"];
/// The published files.
const FILES: [&str; 4] = [
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
];
/// Images of MNIST and of Fashion-MNIST.
const PUBLISHED: [u64; 2] = [60_000, 10_000];
/// What the names of training files contain, and those of test files.
const SPLITS: [(Split, &[&str]); 2] = [(Split::Train, &["train"]), (Split::Test, &["t10k", "test"])];
/// The first bytes of a file of bytes in one dimension, and in three.
const LABELS: [u8; 4] = [0, 0, 8, 1];
const IMAGES: [u8; 4] = [0, 0, 8, 3];

/// What is particular to a published set of such files.
#[derive(Debug)]
pub struct Set {
    name: &'static str,
    title: &'static str,
    /// Where torchvision puts it.
    folder: &'static str,
    classes: [&'static str; 10],
}

/// MNIST.
pub static MNIST: Set = Set {
    name: "mnist",
    title: "MNIST",
    folder: FOLDERS[2],
    classes: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
};

/// Fashion-MNIST.
#[rustfmt::skip]
pub static FASHION_MNIST: Set = Set {
    name: "fashion_mnist",
    title: "Fashion-MNIST",
    folder: FOLDERS[3],
    classes: [
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ],
};

/// Both splits, in memory.
#[derive(Debug)]
pub struct IdxFiles {
    /// The folder of the files.
    folder: PathBuf,
    /// The published set that they are.
    set: Option<&'static Set>,
    /// Gzipped files that are not byte for byte the published ones.
    unlike: usize,
    classes: Vec<String>,
    parts: [Part; 2],
}

#[derive(Debug)]
struct Part {
    images: PathBuf,
    labels_file: PathBuf,
    sides: [u32; 2],
    pixels: Vec<u8>,
    labels: Vec<u8>,
}

/// Reads the four files of a folder. Classes are called by their numbers where the section names none.
///
/// # Errors
/// A file that is missing, there twice, damaged or of another kind; another number of labels than images; a label without a name.
pub fn open(section: &Idx) -> Result<IdxFiles> {
    read(&section.path, &FOLDERS, section.class_names.clone())
}

/// Reads a published set, downloaded where no path is given, as [`open`] does.
///
/// # Errors
/// As [`open`]; a file that cannot be downloaded.
pub fn published(set: &'static Set, section: &Published, downloads: &Downloads) -> Result<IdxFiles> {
    let mut root = section.path.clone();
    for file in FILES.iter().filter(|_| section.path.is_none()) {
        root = downloads.file(set.name, file)?.parent().map(Path::to_path_buf);
    }
    let names = set.classes.map(str::to_owned).to_vec();
    let files = read(&root.unwrap_or_default(), &["", "raw", set.folder], Some(names))?;
    let unlike = if section.path.is_some() { unlike(set, &files)? } else { 0 };
    Ok(IdxFiles { set: Some(set), unlike, ..files })
}

/// How many gzipped files are not byte for byte those of the set; those of another set are refused.
fn unlike(set: &Set, files: &IdxFiles) -> Result<usize> {
    let mut unlike = 0;
    let all = files.parts.iter().flat_map(|part| [&part.images, &part.labels_file]);
    for path in all.filter(|path| is_gzipped(path)) {
        let sum = download::sha256(&mut fs_err::File::open(path)?).map_err(IngestError::reading(path))?;
        match download::source_of(&sum)? {
            None => unlike += 1,
            Some(source) if source == set.name => {}
            Some(source) => {
                let problem = format!(
                    "is of the source `{source}` by its SHA-256, expected {}; set `ingest.source.kind` to {source} or give \
                     another path",
                    set.title
                );
                return Err(IngestError::layout(path, problem));
            }
        }
    }
    Ok(unlike)
}

fn read(root: &Path, folders: &[&str], class_names: Option<Vec<String>>) -> Result<IdxFiles> {
    let expected = "a folder with train-images-idx3-ubyte, train-labels-idx1-ubyte and the same of t10k, or these with .gz";
    expect_exists(root, expected)?;
    if !root.is_dir() {
        return Err(IngestError::layout(root, format!("is a file, expected {expected}")));
    }
    let holds_images = |folder: &PathBuf| folder.is_dir() && find(folder, &["train"], "images").is_ok();
    let folder = folders.iter().map(|folder| root.join(folder).components().collect()).find(holds_images);
    let folder = folder.unwrap_or_else(|| root.to_path_buf());
    let part = |names| {
        let (images, labels) = (find(&folder, names, "images")?, find(&folder, names, "labels")?);
        let ([count, height, width], pixels) = values::<3>(&images, IMAGES)?;
        let ([label_count], labels_read) = values::<1>(&labels, LABELS)?;
        if count != label_count {
            let problem = format!(
                "holds {label_count} labels, and {} {count} images; give those of one set",
                images.display()
            );
            return Err(IngestError::layout(&labels, problem));
        }
        Ok(Part { images, labels_file: labels, sides: [height, width], pixels, labels: labels_read })
    };
    let parts = [part(SPLITS[0].1)?, part(SPLITS[1].1)?];
    let most = parts.iter().flat_map(|part| &part.labels).max().copied().unwrap_or_default();
    let numbers = || (0..=most).map(|label| label.to_string()).collect();
    let classes = class_names.unwrap_or_else(numbers);
    if usize::from(most) >= classes.len() {
        let place = "`ingest.source.class_names`".to_owned();
        return Err(ImagesError::Label { place, found: most.to_string(), classes: classes.len() }.into());
    }
    Ok(IdxFiles { folder, set: None, unlike: 0, classes, parts })
}

impl IdxFiles {
    fn part(&self, split: Split) -> &Part {
        &self.parts[usize::from(split == Split::Test)]
    }
}

impl Source for IdxFiles {
    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn description(&self) -> String {
        self.set.map_or("IDX files", |set| set.title).to_owned()
    }

    /// The digests of what the files hold, gzipped or not.
    fn fingerprint(&self) -> Result<Digest> {
        let of =
            |part: &Part| json!([part.sides, Digest::of_bytes(&part.pixels), Digest::of_bytes(&part.labels)]);
        Ok(Digest::of_json(&json!(self.parts.each_ref().map(of))))
    }

    fn len(&self, split: Split) -> u64 {
        self.part(split).labels.len() as u64
    }

    fn notes(&self) -> Vec<String> {
        let gray = "gray images are stored as RGB, each value three times".to_owned();
        let counts = self.set.and_then(|set| counts_note(set.title, &self.folder, self, PUBLISHED));
        // too few or too many say enough
        let unlike = (self.unlike > 0 && counts.is_none()).then(|| {
            format!(
                "{} of {} .gz files in {} have another SHA-256 than those published, packed anew or with other images; as many \
                 images as published were found",
                self.unlike,
                FILES.len(),
                self.folder.display()
            )
        });
        [gray].into_iter().chain(counts).chain(unlike).collect()
    }

    fn visit(&self, split: Split, visitor: &mut Visitor<'_>) -> Result<()> {
        let Part { images, sides: [height, width], pixels, labels, .. } = self.part(split);
        let pixels = pixels.chunks_exact(*height as usize * *width as usize);
        for (row, (gray, label)) in pixels.zip(labels).enumerate() {
            let rgb = gray.iter().flat_map(|value| [*value; 3]).collect();
            let content = Content::Pixels(RgbImage { width: *width, height: *height, rgb });
            let (path, place) =
                (format!("{}/{row:05}.png", split.name()), format!("{} image {row}", images.display()));
            if visitor(SourceImage { path, place, label: (*label).into(), content })?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// The file of a split and a kind; an unpacked one counts before the same gzipped.
fn find(folder: &Path, splits: &[&str], kind: &str) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let is_of = name.contains(kind) && splits.iter().any(|split| name.contains(split));
        let is_twin = is_gzipped(&path) && path.with_extension("").is_file();
        if is_of && name.contains("idx") && path.is_file() && !is_twin {
            found.push(path);
        }
    }
    found.sort();
    let problem = match &found[..] {
        [only] => return Ok(only.clone()),
        [] => format!(
            "holds no file of {} {kind}, expected {}-{kind}-idx?-ubyte or that with .gz",
            splits[0], splits[0]
        ),
        [one, two, ..] => {
            let [one, two] = [one, two].map(|path| path.file_name().unwrap_or_default().to_string_lossy());
            format!("holds {one} and {two}; give a folder with the files of one set")
        }
    };
    Err(IngestError::layout(folder, problem))
}

fn is_gzipped(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gz"))
}

/// Sides and values of a file.
fn values<const N: usize>(path: &Path, magic: [u8; 4]) -> Result<([u32; N], Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut file = fs_err::File::open(path)?;
    let read = if is_gzipped(path) {
        MultiGzDecoder::new(file).take(MOST_BYTES).read_to_end(&mut bytes)
    } else {
        file.by_ref().take(MOST_BYTES).read_to_end(&mut bytes)
    };
    read.map_err(IngestError::reading(path))?;
    let first = bytes.first_chunk::<4>().copied().unwrap_or_default();
    if first != magic {
        let problem = format!(
            "begins with the bytes {first:?}, expected {magic:?} as IDX files of bytes; download it again"
        );
        return Err(IngestError::layout(path, problem));
    }
    let mut sides = [0; N];
    for (side, four) in sides.iter_mut().zip(bytes[4..].chunks_exact(4)) {
        *side = four.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
    }
    let start = 4 + 4 * N;
    let expected =
        sides.iter().try_fold(1_u64, |all, side| all.checked_mul(u64::from(*side))).unwrap_or(u64::MAX);
    let found = bytes.len().saturating_sub(start) as u64;
    if bytes.len() < start || found != expected || expected == 0 {
        let problem = format!("holds {found} values, its header says {sides:?}; download it again");
        return Err(IngestError::layout(path, problem));
    }
    Ok((sides, bytes.split_off(start)))
}
