//! Sets of other projects: what is found, what is said of it, what is refused.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its files may panic")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray};
use delt_formats::teacher::Normalization;
use delt_formats::{NamedTensor, RgbImage, TensorValues, write_safetensors};
use delt_images::external_set::{ExternalSet, Read, Space, open};
use delt_images::stored_image::Content;
use parquet::arrow::ArrowWriter;

fn classes() -> Vec<String> {
    ["cat", "dog", "owl"].map(str::to_owned).to_vec()
}

fn floats(name: &str, shape: &[usize], values: &[f32]) -> NamedTensor {
    NamedTensor { name: name.to_owned(), shape: shape.to_vec(), values: TensorValues::F32(values.to_vec()) }
}

fn whole(name: &str, shape: &[usize], values: &[i64]) -> NamedTensor {
    NamedTensor { name: name.to_owned(), shape: shape.to_vec(), values: TensorValues::I64(values.to_vec()) }
}

/// A file of tensors in a folder of its own.
fn file(folder: &Path, tensors: &[NamedTensor]) -> PathBuf {
    let path = folder.join("set.safetensors");
    write_safetensors(&path, tensors, None).unwrap();
    path
}

fn opened(tensors: &[NamedTensor], space: Option<&Space<'_>>) -> Result<ExternalSet, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), tensors);
    let said = |error: delt_images::ImagesError| error.to_string().replace(&path.display().to_string(), "@");
    // what a look at the labels refuses, is refused when the images are read
    let labels = open(&path, &classes(), space, Read::Labels).map_err(said);
    let images = open(&path, &classes(), space, Read::Images).map_err(said);
    if let (Ok(labels), Ok(images)) = (&labels, &images) {
        assert_eq!(labels.per_class(3), images.per_class(3));
        assert!(labels.images.iter().all(|image| image.content.is_none()));
    }
    images
}

/// Label and pixels of each image.
fn pixels(set: &ExternalSet) -> Vec<(u32, Vec<u8>)> {
    let rgb = |content: &Option<Content>| match content {
        Some(Content::Pixels(picture)) => picture.rgb.clone(),
        _ => Vec::new(),
    };
    set.images.iter().map(|image| (image.label, rgb(&image.content))).collect()
}

const BY_NUMBER: &str =
    "the labels are classes by number only, taken as the teacher's order: 0 is `cat`, 1 is `dog`, 2 is `owl`";

#[test]
fn images_and_labels_are_found_under_any_usual_name_and_channels_come_first() {
    // red 0 and 1, green 0.2 and 0.4, blue 0.6 and 0.8: two pixels, one image of class 2
    let values = [0.0, 1.0, 0.2, 0.4, 0.6, 0.8];
    let expected = [(2, vec![0, 51, 153, 255, 102, 204])];
    for (images, labels) in
        [("0", "1"), ("images", "labels"), ("image_syn", "label_syn"), ("data.0.0", "data.0.1")]
    {
        let set = opened(&[floats(images, &[1, 3, 1, 2], &values), whole(labels, &[1], &[2])], None).unwrap();
        assert_eq!(pixels(&set), expected, "{images}");
        assert_eq!(set.notes, [BY_NUMBER]);
    }
    let bytes = whole("images", &[1, 3, 1, 2], &[0, 255, 51, 102, 153, 204]);
    let set = opened(&[bytes, floats("labels", &[1], &[2.0])], None).unwrap();
    assert_eq!(pixels(&set), expected);
}

#[test]
fn values_that_are_no_pixels_need_a_stated_space() {
    let images = floats("images", &[1, 3, 1, 1], &[-1.0, 0.0, 2.0]);
    let labels = whole("labels", &[1], &[0]);
    assert_eq!(
        opened(&[images.clone(), labels.clone()], None).unwrap_err(),
        "@: its images (`images`) hold values from -1 to 2, expected 0 to 1; if they are normalized, state by what in \
         synthesize.import_tensors: {mean: [..], std: [..]}, if whitened by ZCA, {zca: file}; other ranges divide before saving"
    );
    let normalization = Normalization { mean: [0.5, 0.4, 0.6], std: [0.25, 0.25, 0.3] };
    let space = Space { normalization: Some(normalization), zca: None };
    let set = opened(&[images.clone(), labels.clone()], Some(&space)).unwrap();
    assert_eq!(pixels(&set), [(0, vec![64, 102, 255])]);
    assert_eq!(set.notes[1], "33.3 % of its values are pixels below 0 or above 1, and are clipped");
    // the file may state it itself
    let stated = [floats("mean", &[3], &[0.5, 0.4, 0.6]), floats("std", &[3], &[0.25, 0.25, 0.3])];
    let set = opened(&[&[images.clone(), labels.clone()], &stated[..]].concat(), None).unwrap();
    assert_eq!(pixels(&set), [(0, vec![64, 102, 255])]);
    let diverged = floats("images", &[1, 3, 1, 1], &[0.0, f32::NAN, 1.0]);
    assert!(opened(&[diverged.clone(), labels.clone()], None).unwrap_err().contains("from NaN to NaN"));
    assert!(opened(&[diverged, labels], Some(&space)).unwrap_err().contains("image 0 holds NaN"));
}

#[test]
fn whitening_is_undone_by_the_inverse_that_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let zca = folder.path().join("zca.safetensors");
    // swaps red and blue and halves green, around a mean
    let inverse = floats("inverse", &[3, 3], &[0.0, 0.0, 1.0, 0.0, 0.5, 0.0, 1.0, 0.0, 0.0]);
    write_safetensors(&zca, &[inverse, floats("mean", &[1, 3], &[0.5, 0.5, 0.5])], None).unwrap();
    let space = Space { normalization: None, zca: Some(&zca) };
    let whitened = floats("images", &[1, 3, 1, 1], &[0.5, -1.0, -0.5]);
    let set = opened(&[whitened, whole("labels", &[1], &[1])], Some(&space)).unwrap();
    assert_eq!(pixels(&set), [(1, vec![0, 0, 255])]);
    let other = floats("images", &[1, 3, 1, 2], &[0.5; 6]);
    let said = opened(&[other, whole("labels", &[1], &[1])], Some(&space)).unwrap_err();
    assert!(said.contains("zca.safetensors: tensor `inverse`: found [3, 3], expected 36 floats"), "{said}");
}

#[test]
fn labels_may_be_soft_absent_or_wrong() {
    let images = |n: usize| floats("images", &[n, 3, 1, 1], &vec![0.5; 3 * n]);
    let labels = |set: &ExternalSet| set.images.iter().map(|image| image.label).collect::<Vec<_>>();
    let soft = floats("labels", &[2, 3], &[0.1, 0.2, 0.7, 0.6, 0.2, 0.2]);
    let set = opened(&[images(2), soft.clone()], None).unwrap();
    assert_eq!(labels(&set), [0, 2]);
    let said = "its soft labels (`labels`) are not used: the teacher labels, but for the class of each image, the largest of a row";
    assert_eq!(set.notes[0], said);
    let soft = NamedTensor { name: "soft".to_owned(), ..soft };
    let set = opened(&[images(2), soft, whole("labels", &[2], &[1, 1])], None).unwrap();
    assert_eq!(
        (labels(&set), set.notes[0].as_str()),
        (vec![1, 1], "its soft labels (`soft`) are not used: the teacher labels")
    );
    let set = opened(&[images(6)], None).unwrap();
    assert_eq!(
        (set.per_class(3), set.notes[0].as_str()),
        (vec![2; 3], "it has no labels: taken class after class, 2 images of each")
    );
    for (tensors, said) in [
        (
            vec![images(4)],
            "@: holds 4 images and no labels, and 4 is no multiple of the 3 classes; save both: torch.save([images, labels], ..)",
        ),
        (
            vec![images(1), whole("labels", &[1], &[3])],
            "@: found the label 3, expected 0 to 2, the teacher's classes",
        ),
        (
            vec![images(1), whole("labels", &[1], &[-1])],
            "@: found the label -1, expected 0 to 2, the teacher's classes",
        ),
        (
            vec![images(1), floats("labels", &[1], &[0.5])],
            "@: its labels (`labels`) hold 0.5, expected whole numbers",
        ),
        (
            vec![whole("labels", &[1], &[0])],
            "@: has no images, expected a tensor [n, 3, height, width]; found `labels` [1]",
        ),
    ] {
        assert_eq!(opened(&tensors, None).unwrap_err(), said);
    }
}

#[test]
fn of_several_sets_the_first_is_taken_and_the_others_are_named() {
    let one = |name: &str, value: f32| floats(name, &[1, 3, 1, 1], &[value; 3]);
    let tensors = [
        one("data.0.0", 0.0),
        whole("data.0.1", &[1], &[1]),
        one("data.1.0", 1.0),
        whole("data.1.1", &[1], &[2]),
    ];
    let set = opened(&tensors, None).unwrap();
    assert_eq!(pixels(&set), [(1, vec![0; 3])]);
    assert_eq!(set.notes[1], "of its sets `data.0.0` is taken, left out `data.1.0`");
}

#[test]
fn labels_of_images_alone_may_lie_in_a_file_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("images_best.safetensors");
    let beside = folder.path().join("labels_best.safetensors");
    write_safetensors(&path, &[floats("", &[2, 3, 1, 1], &[0.5; 6])], None).unwrap();
    write_safetensors(&beside, &[whole("", &[2], &[2, 0])], None).unwrap();
    let set = open(&path, &classes(), None, Read::Labels).unwrap();
    assert_eq!(set.per_class(3), [1, 0, 1]);
    assert_eq!(set.notes[0], format!("labels are those of {}", beside.display()));
    write_safetensors(&beside, &[whole("", &[3], &[2, 0, 1])], None).unwrap();
    let said = open(&path, &classes(), None, Read::Labels).unwrap_err().to_string();
    assert!(said.contains("labels_best.safetensors: holds no 2 whole numbers"), "{said}");
}

#[test]
fn arrays_of_numpy_are_refused_with_the_way_to_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("arrays.pt");
    // a dictionary of a text, as the reader sees arrays: objects that are no tensors
    std::fs::write(&path, b"\x80\x02}X\x06\0\0\0imagesX\x06\0\0\0arrayss.").unwrap();
    let said = open(&path, &classes(), None, Read::Labels).unwrap_err().to_string();
    assert!(said.contains("arrays.pt: holds no tensors; arrays of NumPy have to be made tensors"), "{said}");
}

#[test]
fn tables_have_class_ids_and_a_stated_space_is_for_tensors_only() {
    let folder = tempfile::tempdir().unwrap();
    let png = RgbImage { width: 1, height: 1, rgb: vec![1, 2, 3] }.encode_png().unwrap();
    let image: ArrayRef = Arc::new(BinaryArray::from_vec(vec![&png[..]; 3]));
    let class_id: ArrayRef = Arc::new(Int64Array::from(vec![2, 0, 2]));
    let batch = RecordBatch::try_from_iter([("image", image), ("class_id", class_id)]).unwrap();
    let write = |path: &Path| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut writer =
            ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    };
    write(&folder.path().join("data/train-00000-of-00002.parquet"));
    write(&folder.path().join("data/train-00001-of-00002.parquet"));
    let set = open(folder.path(), &classes(), None, Read::Images).unwrap();
    assert_eq!(set.per_class(3), [2, 0, 4]);
    assert_eq!(set.notes, [BY_NUMBER]);
    // text is matched by name, whatever the order of its classes
    let text: ArrayRef = Arc::new(StringArray::from(vec!["owl", "cat", "owl"]));
    let images: ArrayRef = Arc::new(BinaryArray::from_vec(vec![&png[..], &png[..], &[]]));
    let batch = RecordBatch::try_from_iter([("image", images), ("label", text)]).unwrap();
    let file = folder.path().join("text.parquet");
    let mut writer =
        ArrowWriter::try_new(std::fs::File::create(&file).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let set = open(&file, &classes(), None, Read::Labels).unwrap();
    assert_eq!((set.per_class(3), set.notes), (vec![1, 0, 2], Vec::new()));
    let said = open(&file, &classes(), None, Read::Images).unwrap_err().to_string();
    assert!(said.contains("text.parquet: row 2 holds no bytes of its image"), "{said}");
    std::fs::remove_file(&file).unwrap();
    let space = Space { normalization: None, zca: Some(Path::new("zca.pt")) };
    let said = open(folder.path(), &classes(), Some(&space), Read::Images).unwrap_err().to_string();
    assert!(said.ends_with("has no tensors (.pt, .pth, .safetensors), and synthesize.import_tensors says how they become pixels; leave it out"), "{said}");
    let said = open(folder.path(), &classes()[..2], None, Read::Labels).unwrap_err().to_string();
    assert!(said.contains(" row 0: label 2, expected 0 to 1"), "{said}");
}

#[test]
fn folders_of_an_export_are_the_classes_that_its_record_names() {
    let root = tempfile::tempdir().unwrap();
    let png = RgbImage { width: 1, height: 1, rgb: vec![1, 2, 3] }.encode_png().unwrap();
    let put = |path: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, &png).unwrap();
    };
    let record = |folder: &str, text: &str| {
        std::fs::write(root.path().join(folder).join("delt-export.json"), text).unwrap();
    };
    put("plain/00000/0.png");
    put("plain/00001/0.png");
    std::fs::create_dir(root.path().join("plain/00002")).unwrap();
    let named = r#"{"classes": ["owl", "cat", "none"], "folders": ["00000", "00001", "00002"], "image_folder": "images"}"#;
    record("plain", named);
    let opened = |folder: &str| {
        open(&root.path().join(folder), &classes(), None, Read::Labels)
            .map_err(|error| error.to_string().replace(&root.path().display().to_string(), "@"))
    };
    let set = opened("plain").unwrap();
    assert_eq!(set.per_class(3), [1, 0, 1]);
    assert_eq!(set.notes, ["classes are named as delt-export.json says"]);
    // as the exports for FKD and DD-Ranking have them
    for inner in ["train", "images"] {
        let export = format!("export-{inner}");
        put(&format!("{export}/{inner}/00000/0.png"));
        put(&format!("{export}/labels/00000/0.png"));
        record(&export, named);
        assert_eq!(opened(&export).unwrap().per_class(3), [0, 0, 1], "{inner}");
        assert_eq!(
            opened(&format!("{export}/{inner}")).unwrap_err(),
            format!(
                "@/{export}/{inner}: its folders are called by number, and delt-export.json above it names the classes; give @/{export}"
            )
        );
    }
    record("plain", r#"{"classes": ["owl", "fox", "none"], "folders": ["00000", "00001", "00002"]}"#);
    let said = opened("plain").unwrap_err();
    assert!(
        said.starts_with("@/plain: folders not among the teacher's classes (`cat`, `dog`, `owl`): `fox`;"),
        "{said}"
    );
    record("plain", r#"{"classes": ["owl"], "folders": ["00000", "00001"]}"#);
    let said = opened("plain").unwrap_err();
    assert!(said.starts_with("@/plain/delt-export.json: expected JSON with a name in `classes`"), "{said}");
}

#[test]
fn of_a_folder_the_only_file_of_tensors_is_the_set() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = [floats("images", &[1, 3, 1, 1], &[0.5; 3]), whole("labels", &[1], &[2])];
    file(folder.path(), &tensors);
    std::fs::write(folder.path().join("delt-export.json"), "{}").unwrap();
    let set = open(folder.path(), &classes(), None, Read::Images).unwrap();
    assert_eq!(pixels(&set), [(2, vec![128; 3])]);
    write_safetensors(folder.path().join("a.safetensors"), &tensors, None).unwrap();
    let said = open(folder.path(), &classes(), None, Read::Images).unwrap_err().to_string();
    assert!(
        said.ends_with(
            ": holds the files of tensors a.safetensors, set.safetensors; give the path of that of the images"
        ),
        "{said}"
    );
}

#[test]
fn classes_that_a_file_of_pytorch_names_are_matched_by_name() {
    // torch.save({"images": torch.tensor([0.0, 0.2, 0.4, 0.6]).view(4, 1, 1, 1).repeat(1, 3, 1, 1), "labels": torch.tensor([0, 0, 1, 2]),
    //             "classes": ["owl", "cat", "dog"]}, ..), as export writes it for FORMAT=torch
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/named_classes.pt");
    let set = open(&path, &classes(), None, Read::Images).unwrap();
    assert_eq!(pixels(&set), [(0, vec![102; 3]), (1, vec![153; 3]), (2, vec![0; 3]), (2, vec![51; 3])]);
    assert_eq!(set.notes, Vec::<String>::new());
    let two = classes()[..2].to_vec();
    let said = open(&path, &two, None, Read::Labels).unwrap_err().to_string();
    assert!(
        said.contains("named_classes.pt: classes not among the teacher's classes (`cat`, `dog`): `owl`;"),
        "{said}"
    );
}
