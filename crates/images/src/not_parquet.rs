//! Files that are called Parquet and are none: what they are, going by their first bytes, and what helps.

use crate::mistaken;

/// How Parquet files begin and end.
const MARK: &[u8] = b"PAR1";
/// Bytes that are looked at.
pub(crate) const HEAD: usize = 512;

/// Beginnings of other tables: what they are, what to do.
const OTHERS: [(&[u8], &str); 3] = [
    (
        b"ARROW1",
        "is an Arrow file; write it as Parquet, in Python: datasets.Dataset.from_file(path).to_parquet(\"train.parquet\")",
    ),
    (
        b"\xff\xff\xff\xff",
        "is an Arrow stream, as `save_to_disk` writes them; write it as Parquet, in Python: \
         datasets.load_from_disk(folder)[\"train\"].to_parquet(\"train.parquet\")",
    ),
    (b"\x89HDF", "is an HDF5 file; write it as Parquet"),
];

/// What a file of so many bytes is that begins and ends with these; `None` if it may be Parquet, or nothing that is known.
pub(crate) fn what_is(head: &[u8], end: &[u8], bytes: u64) -> Option<String> {
    const EMPTY: &str = "is empty: its download or copy did not begin, or the disk was full; fetch it again";
    const CUT: &str =
        "begins as Parquet and does not end so: its download or copy stopped early; fetch it again";
    if bytes == 0 {
        return Some(EMPTY.to_owned());
    }
    if head.starts_with(MARK) {
        return (!end.ends_with(MARK)).then(|| CUT.to_owned());
    }
    let other = OTHERS.iter().find(|(mark, _)| head.starts_with(mark)).map(|(_, what)| (*what).to_owned());
    other.or_else(|| mistaken::content(head).map(|(found, cure)| format!("is {found}, not Parquet; {cure}")))
}
