//! ImageNette and ImageWoof: ten classes of ImageNet each, as trees of folders in archives of three sizes.

use delt_pipeline::config::ingest::{ImageFolder, Imagenette};

use super::image_folder;
use crate::download::Downloads;
use crate::error::{IngestError, Result};
use crate::labeled_files::LabeledFiles;
use crate::source::counts_note;
use crate::unpacked;

/// What is particular to one of the two.
#[derive(Debug)]
pub struct Variant {
    name: &'static str,
    title: &'static str,
    /// How the names of its archives begin.
    archive: &'static str,
    /// WordNet ids in their order, which is that of the labels.
    classes: &'static str,
    published: [u64; 2],
}

/// ImageNette, version 2: ten classes that are easy to tell apart.
pub static IMAGENETTE: Variant = Variant {
    name: "imagenette",
    title: "ImageNette",
    archive: "imagenette2",
    classes: "n01440764 n02102040 n02979186 n03000684 n03028079 n03394916 n03417042 n03425413 \
              n03445777 n03888257",
    published: [9_469, 3_925],
};

/// ImageWoof, version 2: ten breeds of dogs.
pub static IMAGEWOOF: Variant = Variant {
    name: "imagewoof",
    title: "ImageWoof",
    archive: "imagewoof2",
    classes: "n02086240 n02087394 n02088364 n02089973 n02093754 n02096294 n02099601 n02105641 \
              n02111889 n02115641",
    published: [9_025, 3_929],
};

/// Lists the tree at a path of the user's, or of the published archive where none is given; `val` is the test split.
///
/// # Errors
/// Nothing at the path, other classes than the ten, or as [`image_folder::open`].
pub fn open(variant: &Variant, section: &Imagenette, downloads: &Downloads) -> Result<LabeledFiles> {
    let size = section.px.map_or_else(String::new, |px| format!("-{px}"));
    let archive = format!("{}{size}.tgz", variant.archive);
    let path = unpacked::published(variant.name, &archive, section.path.as_deref(), downloads)?;
    let folder = ImageFolder { path, test_fraction: None, split_seed: None };
    let mut files = image_folder::open(&folder)?;
    if !variant.classes.split(' ').eq(&files.classes) {
        let problem = format!(
            "holds the classes {}, expected those of {}: {}; give the folder of {archive}",
            files.classes.join(" "),
            variant.title,
            variant.classes
        );
        return Err(IngestError::layout(&folder.path, problem));
    }
    files.description = variant.title;
    files.notes.extend(counts_note(variant.title, &folder.path, &files, variant.published));
    Ok(files)
}
