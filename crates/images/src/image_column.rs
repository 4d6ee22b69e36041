//! What stands in the image column of a table: bytes, or the path of a file beside the table.

use std::path::{Component, Path, PathBuf};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Fields};
use parquet::file::metadata::ParquetMetaData;

use crate::error::{ImagesError, Result};
use crate::label_column::text;
use crate::stored_image::Content;

const EXPECTED: &str = "a struct with binary `bytes`, binary, or the paths of image files as text";
/// Fields of the struct in which `datasets` keeps an image.
const BYTES: &str = "bytes";
const PATH: &str = "path";

/// Refuses a column of this type if it cannot hold images: found, expected, what to do.
pub(crate) fn check(name: &str, column: &DataType) -> Result<(), String> {
    let problem = match column {
        DataType::Struct(fields) if is_binary(field(fields, BYTES)) || is_text(field(fields, PATH)) => {
            return Ok(());
        }
        plain if is_binary(Some(plain)) || is_text(Some(plain)) => return Ok(()),
        DataType::List(items) | DataType::LargeList(items) | DataType::FixedSizeList(items, _) => {
            let holds = format!("column `{name}` holds a list for each row, expected one image");
            if matches!(items.data_type(), DataType::Struct(_) | DataType::Binary | DataType::Utf8) {
                format!(
                    "{holds}; take one of them out of its list, in Python: dataset.map(lambda row: {{\"{name}\": row[\"{name}\"][0]}})"
                )
            } else {
                format!(
                    "{holds} as JPEG or PNG: these are pixels; encode them, in Python: dataset.map(lambda row: {{\"{name}\": \
                     PIL.Image.fromarray(numpy.uint8(row[\"{name}\"]))}}), then to_parquet"
                )
            }
        }
        other => format!("column `{name}` holds {other}, expected {EXPECTED}"),
    };
    Err(problem)
}

fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a DataType> {
    fields.iter().find(|field| field.name() == name).map(|field| field.data_type())
}

fn is_binary(column: Option<&DataType>) -> bool {
    matches!(column, Some(DataType::Binary | DataType::LargeBinary | DataType::BinaryView))
}

fn is_text(column: Option<&DataType>) -> bool {
    matches!(column, Some(DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View))
}

/// Whether some images of the column may be files beside the table: all are where it has no bytes, and some where its statistics do
/// not say that no bytes are null. `paths` is the Parquet name of the column of paths then.
pub(crate) fn paths(name: &str, column: &DataType, table: &ParquetMetaData) -> Option<String> {
    let DataType::Struct(fields) = column else { return is_text(Some(column)).then(|| name.to_owned()) };
    let (bytes, paths) = (format!("{name}.{BYTES}"), format!("{name}.{PATH}"));
    let is_whole = |group: &parquet::file::metadata::RowGroupMetaData| {
        let column = group.columns().iter().find(|column| column.column_path().string() == bytes);
        column.and_then(|column| column.statistics()?.null_count_opt()) == Some(0)
    };
    (is_text(field(fields, PATH)) && !table.row_groups().iter().all(is_whole)).then_some(paths)
}

/// Bytes and path of each row. A null struct has null bytes too, which are empty here.
pub(crate) fn read(column: &ArrayRef, path: &Path) -> Result<Vec<(Vec<u8>, Option<String>)>> {
    let (bytes, names) = match column.as_struct_opt() {
        Some(fields) => (fields.column_by_name(BYTES), fields.column_by_name(PATH)),
        None if is_text(Some(column.data_type())) => (None, Some(column)),
        None => (Some(column), None),
    };
    let bytes = bytes
        .map(|bytes| cast(bytes, &DataType::LargeBinary))
        .transpose()
        .map_err(ImagesError::arrow(path))?;
    let bytes = bytes.as_ref().map(arrow::array::AsArray::as_binary::<i64>);
    let names =
        names.filter(|names| is_text(Some(names.data_type()))).map(|names| text(names, path)).transpose()?;
    let names = names.as_ref().map(arrow::array::AsArray::as_string::<i64>);
    let row = |row: usize| {
        let bytes = bytes.filter(|bytes| !column.is_null(row) && !bytes.is_null(row));
        let name = names.filter(|names| !names.is_null(row)).map(|names| names.value(row).to_owned());
        (bytes.map_or_else(Vec::new, |bytes| bytes.value(row).to_vec()), name)
    };
    Ok((0..column.len()).map(row).collect())
}

/// An image that its table holds, or else the file that it names: relative to one of `folders`, the first that has it. Nothing
/// outside of them is read, and an image that is nowhere is [`Content::Absent`].
pub fn content(bytes: Vec<u8>, name: Option<&str>, folders: &[&Path]) -> Content {
    let Some(name) = name.filter(|name| bytes.is_empty() && !name.is_empty()) else {
        return Content::Encoded(bytes);
    };
    let is_outside = |part| !matches!(part, Component::Normal(_) | Component::CurDir);
    let inside = folders.iter().find_map(|folder| Path::new(name).strip_prefix(folder).ok());
    let inside = inside.unwrap_or(Path::new(name));
    let problem = if name.contains("://") {
        "is an address, and nothing is downloaded here; embed the images".to_owned()
    } else if inside.components().any(is_outside) {
        "leads out of its folder, where nothing is read; give paths relative to the table, or embed the images".to_owned()
    } else {
        let places = || folders.iter().map(|folder| folder.join(inside));
        let found = places().find_map(|path| {
            Some((fs_err::metadata(&path).ok().filter(std::fs::Metadata::is_file)?.len(), path))
        });
        match found {
            Some((bytes, path)) => return Content::File { path, bytes },
            None => format!(
                "is not there, looked for {}; put it there, or embed the images",
                places().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" and ")
            ),
        }
    };
    Content::Absent {
        problem: format!("the table holds no bytes of the image, and its path `{name}` {problem}"),
    }
}

/// The named file where it is there, as [`content`] finds it, and its size.
pub fn file(name: &str, folders: &[&Path]) -> Option<(PathBuf, u64)> {
    match content(Vec::new(), Some(name), folders) {
        Content::File { path, bytes } => Some((path, bytes)),
        _ => None,
    }
}
