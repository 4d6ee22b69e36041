//! Records of one size, one for each image of a data set: in memory while all of them fit, else in a temporary file. So what a stage
//! needs in memory does not grow with its data set.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use delt_pipeline::amounts::human_bytes;
use rayon::prelude::*;

use crate::error::TrainingError;

/// Bytes of records that stay in memory: more go through a file, all of them.
pub const MOST_IN_MEMORY: u64 = 1 << 30;

/// Records that are added once and then read in any order.
#[derive(Debug)]
pub struct Records {
    bytes_each: usize,
    count: usize,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Memory(Vec<u8>),
    /// A file without a name: it is gone once the process ends, however that ends.
    File(File, Needed),
}

/// What a temporary file holds in the end, and where it lies.
#[derive(Debug, Clone)]
struct Needed {
    bytes: u64,
    folder: PathBuf,
}

impl Records {
    /// None so far, of at most so many.
    ///
    /// # Errors
    ///
    /// Where the folder of temporary files takes none.
    pub fn new(bytes_each: usize, at_most: usize) -> Result<Self, TrainingError> {
        Self::within(MOST_IN_MEMORY, bytes_each, at_most)
    }

    /// As [`Self::new`], with another limit.
    pub(crate) fn within(limit: u64, bytes_each: usize, at_most: usize) -> Result<Self, TrainingError> {
        let bytes = bytes_each as u64 * at_most as u64;
        let place = if bytes <= limit {
            Place::Memory(Vec::with_capacity(bytes_each * at_most))
        } else {
            let needed = Needed { bytes, folder: std::env::temp_dir() };
            let file = tempfile::tempfile_in(&needed.folder).map_err(|source| needed.refused(source))?;
            Place::File(file, needed)
        };
        Ok(Self { bytes_each, count: 0, place })
    }

    /// Adds a record.
    ///
    /// # Errors
    ///
    /// A disk that is full.
    ///
    /// # Panics
    ///
    /// A record of another size.
    pub fn push(&mut self, record: &[u8]) -> Result<(), TrainingError> {
        assert_eq!(record.len(), self.bytes_each, "bytes of a record");
        self.count += 1;
        match &mut self.place {
            Place::Memory(all) => all.extend_from_slice(record),
            Place::File(file, needed) => file.write_all(record).map_err(|source| needed.refused(source))?,
        }
        Ok(())
    }

    /// A record; `room` is what it is read into where it lies in a file.
    ///
    /// # Errors
    ///
    /// A disk that does not give it back.
    pub fn read<'a>(&'a self, index: usize, room: &'a mut Vec<u8>) -> Result<&'a [u8], TrainingError> {
        let start = index * self.bytes_each;
        match &self.place {
            Place::Memory(all) => Ok(&all[start..start + self.bytes_each]),
            Place::File(file, needed) => {
                room.resize(self.bytes_each, 0);
                file.read_exact_at(room, start as u64).map_err(|source| needed.refused(source))?;
                Ok(room)
            }
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What the user must know of `what` the records are of, where they lie in a file.
    pub fn note(&self, what: &str) -> Option<String> {
        let Place::File(_, Needed { bytes, folder }) = &self.place else { return None };
        let (bytes, folder) = (human_bytes(*bytes), folder.display());
        Some(format!(
            "{what} go through a temporary file of {bytes} in {folder}; TMPDIR=folder chooses another place"
        ))
    }
}

impl Needed {
    fn refused(&self, source: io::Error) -> TrainingError {
        TrainingError::TemporaryFile { folder: self.folder.clone(), bytes: self.bytes, source }
    }
}

/// Rows of numbers: images as networks take them, where it costs too much to make them again.
#[derive(Debug)]
pub struct Floats {
    records: Records,
    values_each: usize,
}

impl Floats {
    /// None so far, of at most so many.
    ///
    /// # Errors
    ///
    /// As [`Records::new`].
    pub fn new(values_each: usize, at_most: usize) -> Result<Self, TrainingError> {
        Self::within(MOST_IN_MEMORY, values_each, at_most)
    }

    /// As [`Self::new`], with another limit of bytes in memory.
    ///
    /// # Errors
    ///
    /// As [`Records::new`].
    pub fn within(limit: u64, values_each: usize, at_most: usize) -> Result<Self, TrainingError> {
        Ok(Self { records: Records::within(limit, 4 * values_each, at_most)?, values_each })
    }

    /// Of rows of so many values.
    ///
    /// # Errors
    ///
    /// As [`Self::push`].
    pub fn of(rows: &[f32], values_each: usize) -> Result<Self, TrainingError> {
        let mut floats = Self::new(values_each, rows.len() / values_each)?;
        floats.push(rows)?;
        Ok(floats)
    }

    /// Adds rows.
    ///
    /// # Errors
    ///
    /// As [`Records::push`].
    pub fn push(&mut self, rows: &[f32]) -> Result<(), TrainingError> {
        rows.chunks_exact(self.values_each).try_for_each(|row| {
            let bytes: Vec<u8> = row.iter().flat_map(|value| value.to_le_bytes()).collect();
            self.records.push(&bytes)
        })
    }

    /// The rows at `indices`, one after the other.
    ///
    /// # Errors
    ///
    /// As [`Records::read`].
    pub fn rows(&self, indices: &[usize]) -> Result<Vec<f32>, TrainingError> {
        let mut rows = vec![0.0; indices.len() * self.values_each];
        let chunks = rows.par_chunks_mut(self.values_each.max(1)).zip(indices);
        chunks.try_for_each_init(Vec::new, |room, (out, index)| {
            let bytes = self.records.read(*index, room)?.chunks_exact(4);
            out.iter_mut().zip(bytes).for_each(|(value, bytes)| {
                *value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            });
            Ok::<_, TrainingError>(())
        })?;
        Ok(rows)
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// As [`Records::note`].
    pub fn note(&self, what: &str) -> Option<String> {
        self.records.note(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_a_file_are_those_of_memory_and_only_they_are_told_of() {
        let stored = |limit| {
            let mut records = Records::within(limit, 5, 40).expect("room");
            (0..40_u8).for_each(|at| records.push(&[at, 7, at, at, 200 - at]).expect("stored"));
            records
        };
        let (memory, file) = (stored(200), stored(199));
        let (mut room, mut other) = (Vec::new(), Vec::new());
        for index in [39, 0, 17, 17] {
            assert_eq!(
                memory.read(index, &mut room).expect("read"),
                file.read(index, &mut other).expect("read")
            );
        }
        assert_eq!(memory.note("the images"), None);
        let folder = std::env::temp_dir();
        let said = format!(
            "the images go through a temporary file of 200 B in {}; TMPDIR=folder chooses another place",
            folder.display()
        );
        assert_eq!(file.note("the images"), Some(said));
    }

    #[test]
    fn a_full_disk_names_the_folder_the_bytes_and_what_to_set() {
        let folder = PathBuf::from("/full");
        let device = File::options().write(true).open("/dev/full").expect("a full device");
        let place = Place::File(device, Needed { bytes: 3_000_000_000, folder });
        let mut full = Records { bytes_each: 4, count: 0, place };
        let error = full.push(&[0; 4]).expect_err("refused");
        assert_eq!(
            error.to_string(),
            "/full: cannot hold a temporary file of 2.8 GiB; make room there, or set TMPDIR to a folder that has it"
        );
    }

    #[test]
    fn floats_come_back_to_the_bit() {
        let rows = [0.1_f32, f32::MIN_POSITIVE, -3.5, 1e30, 0.0, -0.0];
        let floats = Floats::of(&rows, 2).expect("stored");
        assert_eq!(floats.len(), 3);
        assert_eq!(floats.rows(&[2, 0]).expect("read"), [0.0, -0.0, 0.1, f32::MIN_POSITIVE]);
    }
}
