//! Synthetic images that another project made, as an artifact of this one: a Parquet file, or a folder for each class.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use delt_augment::resize::fit;
use delt_formats::{RgbImage, SyntheticRow};
use delt_harness::interrupt;
use delt_images::ImagesError;
use delt_images::image_files::{below, folders_in};
use delt_images::image_table::{self, Columns};
use delt_images::stored_image::{Content, prepare};

/// Where the path is named; the columns have fixed names here.
const KEY: &str = "synthesize.import";

/// The images of `path` by class and then in the order of their rows or file names, brought to `size` px as test images are.
///
/// A Parquet file has the columns `image` and `label`, as `synthetic.parquet` and image sets at Hugging Face do; its class
/// names count where its metadata has them, else its labels are numbers. A folder has a folder for each class, called as the
/// class, or by text that ends in its number (`00007`, `new007`, `class7`).
///
/// # Errors
/// Classes that are not the teacher's, images that cannot be read, another number of images than `ipc` per class.
pub fn images(path: &Path, classes: &[String], size: u32, ipc: u32) -> Result<Vec<SyntheticRow>> {
    let place = || format!("synthesize.import: {}", path.display());
    let mut found = if path.is_dir() {
        of_folder(path, classes).with_context(place)?
    } else {
        of_parquet(path, classes).context("synthesize.import")?
    };
    found.sort_by_key(|image| image.label);
    let mut rows = Vec::new();
    for class in found.chunk_by(|a, b| a.label == b.label) {
        let name = &classes[class[0].label as usize];
        ensure!(
            class.len() == ipc as usize,
            "{}: found {} images of class `{name}`, expected {ipc} as select.ipc; set select.ipc to the number that each class has",
            place(),
            class.len()
        );
        for (slot, image) in (0..).zip(class) {
            let picture =
                RgbImage::decode(&image.bytes).with_context(|| format!("{}: {}", place(), image.place))?;
            let png = fit(&picture, size).encode_png()?;
            rows.push(SyntheticRow { png, label: image.label, slot, round: 0, iterations: 0 });
        }
    }
    ensure!(!rows.is_empty(), "{}: found no images", place());
    Ok(rows)
}

/// An image that was found, JPEG or PNG.
struct Found {
    label: u32,
    place: String,
    bytes: Vec<u8>,
}

fn of_folder(path: &Path, classes: &[String]) -> Result<Vec<Found>> {
    let names = folders_in(path)?;
    ensure!(!names.is_empty(), "found no folders, expected one for each class");
    let labels = labels_of(&names, classes)?;
    let mut found = Vec::new();
    for (name, label) in names.iter().zip(labels) {
        let files = below(&path.join(name), path, || Ok::<_, anyhow::Error>(interrupt::check()?))?;
        ensure!(!files.is_empty(), "folder `{name}` holds no images; add them or remove it");
        for file in files {
            let content = Content::File { path: file.path.clone(), bytes: file.bytes };
            let bytes = prepare(content).with_context(|| file.relative.clone())?.bytes;
            found.push(Found { label, place: file.relative, bytes });
        }
    }
    Ok(found)
}

/// The label of each folder.
fn labels_of(names: &[String], classes: &[String]) -> Result<Vec<u32>> {
    let by_name = names.iter().map(|name| label_of(name, classes));
    if let Some(labels) = by_name.collect() {
        return Ok(labels);
    }
    let by_number = |name: &String| -> Option<u32> {
        let text = name.trim_end_matches(|c: char| c.is_ascii_digit());
        name[text.len()..].parse().ok().filter(|label| (*label as usize) < classes.len())
    };
    let labels = names.iter().map(by_number).collect::<Option<Vec<u32>>>();
    let is_distinct = |labels: &Vec<u32>| labels.iter().collect::<BTreeSet<_>>().len() == names.len();
    labels.filter(is_distinct).with_context(|| {
        let odd = names.iter().find(|name| label_of(name, classes).is_none());
        format!(
            "folder `{}` is not a class of the teacher (`{}`, ..) and does not end in a number below {}; rename the folders",
            odd.map_or("", String::as_str),
            classes.first().map_or("", String::as_str),
            classes.len()
        )
    })
}

/// The label of the class of a name.
fn label_of(name: &str, classes: &[String]) -> Option<u32> {
    classes.iter().position(|class| class == name).map(|label| label as u32)
}

fn of_parquet(path: &Path, classes: &[String]) -> Result<Vec<Found>> {
    let columns = Columns { image: "image".to_owned(), label: "label".to_owned() };
    let footer = image_table::footer(fs_err::File::open(path)?.into_file(), path, &columns)
        .map_err(|error| error.with_key(KEY))?;
    // labels of the file to those of the teacher
    let names = footer.class_names.unwrap_or_else(|| classes.to_vec());
    let labels = names.iter().map(|name| {
        label_of(name, classes)
            .with_context(|| format!("{}: class `{name}` is none of the teacher's", path.display()))
    });
    let labels = labels.collect::<Result<Vec<u32>>>()?;
    let mut found = Vec::new();
    let mut visitor = |row: image_table::Row| {
        let (label, place) = (labels[row.label as usize], format!("{} row {}", path.display(), row.index));
        found.push(Found { label, place, bytes: row.bytes });
        Ok::<_, ImagesError>(ControlFlow::Continue(()))
    };
    image_table::visit(fs_err::File::open(path)?.into_file(), path, &columns, labels.len(), &mut visitor)
        .map(drop)?;
    for image in &mut found {
        let bytes = prepare(Content::Encoded(std::mem::take(&mut image.bytes)));
        image.bytes = bytes.with_context(|| image.place.clone())?.bytes;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes() -> Vec<String> {
        ["cat", "dog", "7"].map(str::to_owned).to_vec()
    }

    fn labels(names: &[&str]) -> Result<Vec<u32>> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        labels_of(&names, &classes())
    }

    #[test]
    fn folders_are_classes_by_name_or_by_the_number_they_end_in() {
        assert_eq!(labels(&["7", "cat", "dog"]).expect("names"), [2, 0, 1]);
        assert_eq!(labels(&["00000", "00001", "00002"]).expect("numbers"), [0, 1, 2]);
        assert_eq!(labels(&["new001", "new000"]).expect("numbers"), [1, 0]);
        assert_eq!(labels(&["v2_class0", "v2_class1"]).expect("numbers"), [0, 1]);
        assert_eq!(labels(&["dog"]).expect("one is enough"), [1]);
        for names in [&["cat", "horse"][..], &["00000", "00003"], &["a1", "b1"], &["00000", "1x"]] {
            let said = labels(names).expect_err("refused").to_string();
            assert!(
                said.ends_with("(`cat`, ..) and does not end in a number below 3; rename the folders"),
                "{said}"
            );
        }
    }

    fn png(side: u32, value: u8) -> Vec<u8> {
        let rgb = vec![value; (side * side * 3) as usize];
        RgbImage { width: side, height: side, rgb }.encode_png().expect("PNG")
    }

    #[test]
    fn images_of_a_folder_are_sorted_sized_and_counted() {
        let folder = tempfile::tempdir().expect("folder");
        for (name, side, value) in
            [("dog/b.png", 8, 2), ("dog/a.png", 16, 1), ("cat/x.png", 8, 3), ("cat/y.png", 8, 4)]
        {
            let path = folder.path().join(name);
            fs_err::create_dir_all(path.parent().expect("parent")).expect("made");
            fs_err::write(path, png(side, value)).expect("written");
        }
        let rows = images(folder.path(), &classes(), 8, 2).expect("images");
        let seen: Vec<(u32, u32, u8)> = rows
            .iter()
            .map(|row| (row.label, row.slot, RgbImage::decode(&row.png).expect("PNG").rgb[0]))
            .collect();
        assert_eq!(seen, [(0, 0, 3), (0, 1, 4), (1, 0, 1), (1, 1, 2)]);
        assert!(rows.iter().all(|row| RgbImage::decode(&row.png).expect("PNG").width == 8));
        assert_eq!(
            images(folder.path(), &classes(), 8, 3).expect_err("refused").to_string(),
            format!(
                "synthesize.import: {}: found 2 images of class `cat`, expected 3 as select.ipc; set select.ipc to the number \
                 that each class has",
                folder.path().display()
            )
        );
        fs_err::write(folder.path().join("cat/z.png"), "no image").expect("written");
        let said = format!("{:#}", images(folder.path(), &classes(), 8, 2).expect_err("refused"));
        assert!(said.contains("cat/z.png: "), "{said}");
    }
}
