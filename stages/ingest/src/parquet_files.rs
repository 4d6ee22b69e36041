//! Which Parquet files of a Hugging Face repository belong to which split.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use delt_harness::interrupt;
use walkdir::WalkDir;

use crate::error::{IngestError, Result};
use crate::shards;
use crate::source::expect_exists;

/// How file names of the training split begin, whatever their case, or what the folder of such files is called.
pub const TRAIN: [&str; 1] = ["train"];
/// The same of the test split; the first that any file has counts.
pub const TEST: [&str; 4] = ["test", "validation", "valid", "val"];
/// Folder inside a clone of a Hugging Face repository where the files often lie.
const DATA: &str = "data";
const ENDING: &str = ".parquet";
/// How deep files lie at most: `<configuration>/train/<file>`.
const DEPTH: usize = 3;
/// Endings of other files of data, which are said to be passed over.
const OTHER_DATA: [&str; 8] = ["arrow", "csv", "gz", "jsonl", "tar", "tgz", "tsv", "zip"];
/// Names that a message lists at most.
const NAMED: usize = 5;

/// The files of both splits.
#[derive(Debug)]
pub struct Found {
    /// Files of training images in order, never none.
    pub train: Vec<PathBuf>,
    /// Files of test images: a list for each beginning of [`TEST`] that any has.
    pub tests: Vec<Vec<PathBuf>>,
    /// What else lies there.
    pub folder: Option<Folder>,
}

/// The files at `path`. A single file is the training split; in a folder names tell, and files that no name tells apart are all
/// training files, as for Hugging Face's own loader. File lists that are given count before either, relative to the folder.
///
/// # Errors
/// Nothing at the path, a file that is not Parquet, a folder without training files or with several configurations.
pub fn find(path: &Path, train: Option<&[PathBuf]>, test: Option<&[PathBuf]>) -> Result<Found> {
    expect_exists(path, "a folder with train-*.parquet and test-*.parquet, or a .parquet file")?;
    let is_folder = path.is_dir();
    if !is_folder && !is_parquet(path) && !begins_as_parquet(path) {
        let problem = "is not a .parquet file, expected one, or a folder with train-*.parquet and test-*.parquet; correct \
                       `ingest.source.path` or give DATA=path";
        return Err(IngestError::layout(path, problem));
    }
    let beside = if is_folder { path } else { path.parent().unwrap_or(Path::new("")) };
    let given = |files: Option<&[PathBuf]>| {
        let files: Vec<PathBuf> = files.into_iter().flatten().map(|file| beside.join(file)).collect();
        (!files.is_empty()).then_some(files)
    };
    let (train, test) = (given(train), given(test));
    if !is_folder || (train.is_some() && test.is_some()) {
        let train = train.unwrap_or_else(|| vec![path.to_path_buf()]);
        return Ok(Found { train, tests: test.into_iter().collect(), folder: None });
    }
    let folder = Folder::list(path)?;
    let tests = test.map_or_else(|| folder.tests(), |test| vec![test]);
    let train = match train {
        Some(train) => train,
        None => {
            folder.refuse_several()?;
            let named = folder.of(&TRAIN);
            let files = if named.is_empty() && tests.is_empty() { folder.of(&[]) } else { named };
            shards::check(&files, "ingest.source.train")?;
            files
        }
    };
    if train.is_empty() {
        return Err(folder.without_training_files());
    }
    Ok(Found { train, tests, folder: Some(folder) })
}

/// The files of data in a folder as it was cloned or downloaded.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    tables: Vec<Table>,
    others: Vec<PathBuf>,
    /// Where files are looked for: the folder and its `data/`, or else the one folder below that holds any.
    places: Vec<PathBuf>,
    /// The folders of several configurations, where nothing tells which one is meant.
    configurations: Vec<PathBuf>,
}

#[derive(Debug)]
struct Table {
    path: PathBuf,
    /// The folder, or the one above where the folder is called as a split.
    home: PathBuf,
    split: Option<&'static str>,
}

impl Folder {
    /// Lists a folder; hidden files and folders are passed over.
    ///
    /// # Errors
    /// If it cannot be listed.
    pub fn list(root: &Path) -> Result<Self> {
        let (mut paths, mut others) = (Vec::new(), Vec::new());
        let walk = WalkDir::new(root).follow_links(true).max_depth(DEPTH).into_iter();
        let is_shown = |name: &std::ffi::OsStr| !name.to_string_lossy().starts_with('.');
        for entry in walk.filter_entry(|entry| entry.depth() == 0 || is_shown(entry.file_name())) {
            interrupt::check()?;
            let is_gone = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
            let entry = match entry {
                Ok(entry) if entry.file_type().is_file() => entry.into_path(),
                Ok(_) => continue,
                Err(error) if error.depth() > 0 && error.io_error().is_none_or(is_gone) => continue,
                Err(error) => return Err(IngestError::reading(root)(error.into())),
            };
            let ending = entry.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
            if is_parquet(&entry) {
                paths.push(entry);
            } else if ending.is_some_and(|ending| OTHER_DATA.contains(&ending.as_str())) {
                others.push(entry);
            }
        }
        paths.sort();
        others.sort();
        let is_named = paths.iter().any(|path| split_of(root, path, false) == Some(TRAIN[0]));
        let table = |path: PathBuf| {
            let (home, split) = (home(root, &path).to_path_buf(), split_of(root, &path, !is_named));
            Table { path, home, split }
        };
        let tables = paths.into_iter().map(table).collect();
        let mut folder =
            Self { root: root.to_path_buf(), tables, others, places: Vec::new(), configurations: Vec::new() };
        folder.choose_places();
        Ok(folder)
    }

    fn choose_places(&mut self) {
        let usual = [self.root.clone(), self.root.join(DATA)];
        let homes = |is_wanted: fn(&Table) -> bool| -> BTreeSet<PathBuf> {
            self.tables.iter().filter(|table| is_wanted(table)).map(|table| table.home.clone()).collect()
        };
        let (training, all) = (homes(|table| table.split == Some(TRAIN[0])), homes(|_| true));
        let homes = if training.is_empty() { all } else { training };
        if homes.is_empty() || usual.iter().any(|place| homes.contains(place)) {
            self.places = usual.to_vec();
        } else if homes.len() == 1 {
            self.places = homes.into_iter().collect();
        } else {
            self.configurations = homes.into_iter().collect();
        }
    }

    /// Refuses folders of several configurations.
    ///
    /// # Errors
    /// Names them.
    pub fn refuse_several(&self) -> Result<()> {
        let Some(first) = self.configurations.first() else { return Ok(()) };
        let problem = format!(
            "holds several configurations: {}; name the folder of one, e.g. `ingest.source.path: {1}` or DATA={1}",
            self.named(&self.configurations),
            first.display()
        );
        Err(IngestError::layout(&self.root, problem))
    }

    /// The files of a split in order, told by the first of `beginnings` that any has; all files where there is no beginning.
    pub fn of(&self, beginnings: &[&'static str]) -> Vec<PathBuf> {
        let beginnings: Vec<_> = if beginnings.is_empty() {
            vec![None]
        } else {
            beginnings.iter().map(|beginning| Some(*beginning)).collect()
        };
        for place in &self.places {
            for beginning in &beginnings {
                let is_of = |table: &&Table| {
                    table.home == *place && (beginning.is_none() || table.split == *beginning)
                };
                let found: Vec<_> =
                    self.tables.iter().filter(is_of).map(|table| table.path.clone()).collect();
                if !found.is_empty() {
                    return found;
                }
            }
        }
        Vec::new()
    }

    fn tests(&self) -> Vec<Vec<PathBuf>> {
        let of = |place: &PathBuf, beginning| {
            let is_of = |table: &&Table| table.home == *place && table.split == Some(beginning);
            self.tables.iter().filter(is_of).map(|table| table.path.clone()).collect::<Vec<_>>()
        };
        let all = self.places.iter().flat_map(|place| TEST.map(|beginning| of(place, beginning)));
        all.filter(|files| !files.is_empty()).collect()
    }

    /// Whether it holds any Parquet.
    pub fn has_any(&self) -> bool {
        !self.tables.is_empty()
    }

    /// A line for each kind of file that lies there and is not among the `used` ones.
    pub fn passed_over(&self, used: &[&PathBuf]) -> Vec<String> {
        let tables = self.tables.iter().map(|table| table.path.clone());
        let tables: Vec<PathBuf> = tables.filter(|path| !used.contains(&path)).collect();
        let line = |files: &[PathBuf], what: &str| {
            (!files.is_empty())
                .then(|| format!("passed over {what} ({}): {}", files.len(), self.named(files)))
        };
        let lines = [
            line(&tables, "Parquet files that belong to neither split"),
            line(&self.others, "files of data that are not Parquet"),
        ];
        lines.into_iter().flatten().collect()
    }

    fn named(&self, paths: &[PathBuf]) -> String {
        let name = |path: &PathBuf| path.strip_prefix(&self.root).unwrap_or(path).display().to_string();
        let more = if paths.len() > NAMED { ", …" } else { "" };
        format!("{}{more}", paths.iter().take(NAMED).map(name).collect::<Vec<_>>().join(", "))
    }

    fn without_training_files(&self) -> IngestError {
        let is_saved =
            self.others.iter().any(|path| path.extension().is_some_and(|ending| ending == "arrow"));
        let problem = if is_saved && self.tables.is_empty() {
            "holds Arrow files, as `save_to_disk` writes them, and no Parquet; write each split as Parquet, in Python: \
             datasets.load_from_disk(folder)[\"train\"].to_parquet(\"train.parquet\")"
                .to_owned()
        } else {
            format!("holds no {}; name the files in `ingest.source.train`", patterns(&TRAIN))
        };
        IngestError::layout(&self.root, problem)
    }
}

/// The split that a file's folder or the beginning of its name tells, or any word of its name.
fn split_of(root: &Path, path: &Path, by_word: bool) -> Option<&'static str> {
    let all = || TRAIN.into_iter().chain(TEST);
    let folder = path.parent().filter(|folder| *folder != root).and_then(Path::file_name);
    let folder = folder.map(|name| name.to_string_lossy().to_ascii_lowercase());
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let begins = |split: &&str| {
        let rest = stem.strip_prefix(split);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_', '.']))
    };
    let has_word = |split: &&str| stem.split(|c: char| !c.is_alphanumeric()).any(|word| word == *split);
    all()
        .find(|split| folder.as_deref() == Some(*split))
        .or_else(|| all().find(begins))
        .or_else(|| all().find(has_word).filter(|_| by_word))
}

fn home<'a>(root: &Path, path: &'a Path) -> &'a Path {
    let folder = path.parent().unwrap_or(path);
    let name = folder.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let is_split = folder != root && TRAIN.into_iter().chain(TEST).any(|split| split == name);
    folder.parent().filter(|_| is_split).unwrap_or(folder)
}

/// The names that are looked for, for messages.
pub fn patterns(beginnings: &[&str]) -> String {
    beginnings.iter().map(|beginning| format!("{beginning}-*.parquet")).collect::<Vec<_>>().join(" or ")
}

/// Whether the path is that of a Parquet file, going by its name.
pub fn is_parquet(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(ENDING))
}

/// Whether it is, going by its first bytes: caches name files by their digests.
fn begins_as_parquet(path: &Path) -> bool {
    let mut head = [0; 4];
    fs_err::File::open(path).is_ok_and(|mut file| file.read_exact(&mut head).is_ok()) && head == *b"PAR1"
}
