//! Parquet files in the Hugging Face layout.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Int32Array, Int64Array, LargeBinaryArray, RecordBatch, StringArray, StructArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Schema};
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use crate::made_up::{ingest, png, refusal};

const NAMES: &str =
    r#"{"info": {"features": {"fine_label": {"names": ["apple", "bear"], "_type": "ClassLabel"}}}}"#;

pub(crate) fn pictures(seeds: &[u32]) -> BinaryArray {
    BinaryArray::from_iter_values(seeds.iter().map(|seed| png(*seed, 5, 3)))
}

fn in_struct(bytes: ArrayRef, paths: &[Option<&str>]) -> ArrayRef {
    let fields = Fields::from(vec![
        Field::new("bytes", bytes.data_type().clone(), true),
        Field::new("path", DataType::Utf8, true),
    ]);
    Arc::new(StructArray::new(fields, vec![bytes, Arc::new(StringArray::from(paths.to_vec()))], None))
}

fn write(path: &Path, image: ArrayRef, labels: ArrayRef, metadata: Option<&str>) {
    let count = labels.len() as i64;
    let coarse: ArrayRef = Arc::new(Int64Array::from_iter_values(0..count));
    write_columns(path, vec![("coarse_label", coarse), ("img", image), ("fine_label", labels)], metadata);
}

pub(crate) fn write_columns(path: &Path, columns: Vec<(&str, ArrayRef)>, metadata: Option<&str>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let fields: Vec<Field> =
        columns.iter().map(|(n, c)| Field::new(*n, c.data_type().clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), columns.into_iter().map(|(_, c)| c).collect()).unwrap();
    let metadata = metadata.map(|json| vec![KeyValue::new("huggingface".to_owned(), json.to_owned())]);
    let properties = WriterProperties::builder().set_key_value_metadata(metadata).build();
    let mut writer =
        ArrowWriter::try_new(std::fs::File::create(path).unwrap(), schema, Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Two training files and one test file as `datasets` writes them.
fn files(folder: &Path) {
    let image = |seeds: &[u32], paths: &[Option<&str>]| in_struct(Arc::new(pictures(seeds)), paths);
    let labels = |labels: &[i64]| Arc::new(Int64Array::from(labels.to_vec())) as ArrayRef;
    write(&folder.join("train-00001-of-00002.parquet"), image(&[3], &[None]), labels(&[0]), Some(NAMES));
    write(
        &folder.join("train-00000-of-00002.parquet"),
        image(&[1, 2], &[Some("one.png"), Some("two.png")]),
        labels(&[1, 0]),
        Some(NAMES),
    );
    write(&folder.join("test-00000-of-00001.parquet"), image(&[4], &[Some("")]), labels(&[1]), Some(NAMES));
}

fn section(folder: &Path, more: &str) -> String {
    let folder = folder.display();
    format!(
        "source: {{kind: huggingface_parquet, path: {folder}, image_column: img, label_column: fine_label{more}}}"
    )
}

#[test]
fn files_are_found_by_name_and_read_in_order() {
    let dir = tempfile::tempdir().unwrap();
    files(dir.path());
    let dataset = ingest(&section(dir.path(), "")).unwrap();
    assert_eq!(dataset.classes, ["apple", "bear"]);
    assert_eq!(dataset.train_paths(), ["one.png", "two.png", "train-00001-of-00002.parquet row 0"]);
    assert_eq!(dataset.train.iter().map(|row| row.label).collect::<Vec<_>>(), [1, 0, 0]);
    for (row, seed) in dataset.train.iter().zip([1, 2, 3]) {
        assert_eq!(row.bytes, png(seed, 5, 3));
    }
    assert_eq!(dataset.test[0].bytes, png(4, 5, 3));
}

#[test]
fn a_data_folder_and_a_validation_split_are_found_too() {
    let dir = tempfile::tempdir().unwrap();
    files(&dir.path().join("data"));
    std::fs::rename(
        dir.path().join("data/test-00000-of-00001.parquet"),
        dir.path().join("data/validation-00000-of-00001.parquet"),
    )
    .unwrap();
    assert_eq!(ingest(&section(dir.path(), "")).unwrap().facts.test_images, 1);
}

#[test]
fn given_files_other_types_and_given_names_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let large = cast(&pictures(&[1, 2]), &DataType::LargeBinary).unwrap();
    write(&dir.path().join("a.parquet"), large, Arc::new(Int32Array::from(vec![0, 1])), None);
    let bare: ArrayRef = Arc::new(LargeBinaryArray::from_iter_values([png(3, 5, 3)]));
    write(
        &dir.path().join("b.parquet"),
        in_struct(bare, &[Some("b.png")]),
        Arc::new(Int32Array::from(vec![1])),
        None,
    );
    let dataset =
        ingest(&section(dir.path(), ", train: [a.parquet], test: [b.parquet], class_names: [x, y]")).unwrap();
    assert_eq!(dataset.classes, ["x", "y"]);
    assert_eq!(dataset.train_paths(), ["a.parquet row 0", "a.parquet row 1"]);
    assert_eq!(dataset.test[0].path, "b.png");
}

#[test]
fn a_split_beside_test_files_is_refused_with_both_named() {
    let dir = tempfile::tempdir().unwrap();
    files(dir.path());
    assert_eq!(
        refusal(&section(dir.path(), ", test_fraction: 0.5, split_seed: 0")),
        format!(
            "{}/test-00000-of-00001.parquet: holds the test images, and `ingest.source.test_fraction` 0.5 asks for a split \
             beside them; leave test_fraction and split_seed out to test on these, or move these away",
            dir.path().display()
        )
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a list of cases")]
fn refusals_name_file_and_column() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().display().to_string();
    assert_eq!(
        refusal(&section(dir.path(), "")),
        format!("{root}: holds no train-*.parquet; name the files in `ingest.source.train`")
    );
    files(dir.path());
    let first = format!("{root}/train-00000-of-00002.parquet");
    assert_eq!(
        refusal(&section(dir.path(), ", class_names: [x, x]")),
        "class name `x` stands for two classes of the source; give each class a name of its own"
    );
    assert_eq!(
        refusal(&section(dir.path(), ", train: [absent.parquet]")),
        format!(
            "{root}/absent.parquet: cannot be read; if it was copied or unpacked here, do that again: No such file or \
             directory (os error 2)"
        )
    );
    let split = ", test_fraction: 0.5, split_seed: 0";
    assert_eq!(
        refusal(&section(Path::new(&format!("{root}/train-00001-of-00002.parquet")), split)),
        format!(
            "{root}/train-00001-of-00002.parquet: has 1 row of class `apple`, expected at least 2 to split them; add some"
        )
    );
    std::fs::write(dir.path().join("notes.txt"), b"text").unwrap();
    assert_eq!(
        refusal(&section(&dir.path().join("notes.txt"), "")),
        format!(
            "{root}/notes.txt: is not a .parquet file, expected one, or a folder with train-*.parquet and test-*.parquet; \
             correct `ingest.source.path` or give DATA=path"
        )
    );
    assert_eq!(
        refusal(&section(&dir.path().join("nowhere"), "")),
        format!(
            "{root}/nowhere: not found, expected a folder with train-*.parquet and test-*.parquet, or a .parquet file; \
             correct `ingest.source.path` or give DATA=path"
        )
    );
    assert_eq!(
        refusal(&section(dir.path(), "").replace("img", "image")),
        format!(
            "{root}/train-00000-of-00002.parquet: has no column `image`, found coarse_label, img, fine_label; correct \
             `ingest.source.image_column`"
        )
    );
    assert_eq!(
        refusal(&section(dir.path(), "").replace("fine_label", "coarse_label")),
        format!(
            "{root}/train-00000-of-00002.parquet: names no classes for column `coarse_label` in its metadata; give \
             `ingest.source.class_names`"
        )
    );
    assert_eq!(
        refusal(&section(dir.path(), ", class_names: [only]")),
        format!(
            "{root}/train-00000-of-00002.parquet: names 2 classes (apple, bear), expected 1 class (only), which lack \
             `apple`, `bear`, as `ingest.source.class_names` has them; give all names there, or as many other names in the \
             files' order"
        )
    );
    let image = in_struct(Arc::new(BinaryArray::from_opt_vec(vec![None])), &[None]);
    let label = Arc::new(Int64Array::from(vec![0]));
    write(&dir.path().join("test-00000-of-00001.parquet"), image, label, Some(NAMES));
    let message = refusal(&section(dir.path(), ""));
    assert!(
        message.starts_with(&format!(
            "{root}/test-00000-of-00001.parquet row 0: cannot be decoded as an image;"
        )),
        "{message}"
    );
    let how = "name test files in `ingest.source.test`, or for a split of its own give `ingest.source.test_fraction` and \
               `ingest.source.split_seed`, e.g. 0.2 and 0";
    assert_eq!(
        refusal(&section(Path::new(&first), "")),
        format!("{first}: is one file of training images; {how}")
    );
    std::fs::remove_file(dir.path().join("test-00000-of-00001.parquet")).unwrap();
    assert_eq!(
        refusal(&section(dir.path(), "")),
        format!(
            "{root}: holds no test-*.parquet or validation-*.parquet or valid-*.parquet or val-*.parquet; {how}"
        )
    );
}

#[test]
fn training_files_without_test_files_are_split_by_the_seed() {
    let dir = tempfile::tempdir().unwrap();
    let seeds: Vec<u32> = (0..20).collect();
    let labels = Arc::new(Int64Array::from_iter_values((0..20).map(|i| i % 2))) as ArrayRef;
    let paths: Vec<String> = seeds.iter().map(|seed| format!("{seed}.png")).collect();
    let paths: Vec<Option<&str>> = paths.iter().map(|path| Some(path.as_str())).collect();
    let image =
        |range: std::ops::Range<usize>| in_struct(Arc::new(pictures(&seeds[range.clone()])), &paths[range]);
    let part = |start, length| labels.slice(start, length);
    let (folder, file) = (dir.path().join("folder"), dir.path().join("one.parquet"));
    write(&folder.join("train-0.parquet"), image(0..9), part(0, 9), Some(NAMES));
    write(&folder.join("train-1.parquet"), image(9..20), part(9, 11), Some(NAMES));
    write(&file, image(0..20), labels.clone(), Some(NAMES));
    let read = |path: &Path, seed: u64| {
        ingest(&section(path, &format!(", test_fraction: 0.2, split_seed: {seed}"))).unwrap()
    };
    let (whole, one, other) = (read(&folder, 0), read(&file, 0), read(&folder, 1));
    assert_eq!(whole.facts.train_per_class, [8, 8]);
    assert_eq!(whole.facts.test_images, 4);
    assert_eq!((&whole.train, &whole.test), (&one.train, &one.test), "how rows lie in files does not matter");
    assert_ne!(whole.train_paths(), other.train_paths());
    let mut all = whole.train_paths();
    all.extend(whole.test.iter().map(|row| row.path.as_str()));
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 20, "no image is lost or in both splits");
    assert!(whole.train.iter().chain(&whole.test).all(|row| {
        let seed: u32 = row.path.trim_end_matches(".png").parse().unwrap();
        row.label == seed % 2 && row.bytes == png(seed, 5, 3)
    }));

    let unnamed = dir.path().join("unnamed");
    std::fs::create_dir(&unnamed).unwrap();
    std::fs::rename(&file, unnamed.join("0000.parquet")).unwrap();
    assert_eq!(read(&unnamed, 0).train, one.train, "files that no name tells apart are training files");
    let listed = section(dir.path(), ", train: [folder/train-0.parquet, folder/train-1.parquet]");
    let listed = listed.replace("}", ", test_fraction: 0.2, split_seed: 0}");
    assert_eq!(ingest(&listed).unwrap().train, one.train, "a list of files will do");
}

#[test]
fn a_file_is_training_images_beside_a_list_of_test_files() {
    let dir = tempfile::tempdir().unwrap();
    files(dir.path());
    let path = dir.path().join("train-00000-of-00002.parquet");
    let dataset = ingest(&section(&path, ", test: [test-00000-of-00001.parquet]")).unwrap();
    assert_eq!((dataset.facts.train_images, dataset.facts.test_images), (2, 1));
}

/// Ten classes in the layout of Hugging Face's `cifar10`.
fn cifar10_files(folder: &Path, names: &[&str]) {
    let json = serde_json::json!({"info": {"features": {"label": {"names": names}}}}).to_string();
    let seeds: Vec<u32> = (0..20).collect();
    for (file, seeds) in
        [("train-00000-of-00001.parquet", &seeds[..]), ("test-00000-of-00001.parquet", &seeds[..10])]
    {
        let labels = Arc::new(Int64Array::from_iter_values(seeds.iter().map(|seed| i64::from(seed % 10))));
        let paths = vec![None; seeds.len()];
        let columns = [("img", in_struct(Arc::new(pictures(seeds)), &paths)), ("label", labels as ArrayRef)];
        write_columns(&folder.join(file), columns.into(), Some(&json));
    }
}

#[test]
fn cifar_in_parquet_is_read_as_cifar_and_its_class_names_are_checked() {
    const NAMES: [&str; 10] =
        ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
    let dir = tempfile::tempdir().unwrap();
    let (root, source) = (dir.path().display().to_string(), |path: &Path| {
        format!("source: {{kind: cifar10, path: {}}}", path.display())
    });
    cifar10_files(dir.path(), &NAMES);
    let dataset = ingest(&source(dir.path())).unwrap();
    assert_eq!(dataset.classes, NAMES);
    assert_eq!((dataset.facts.train_per_class, dataset.facts.test_images), (vec![2; 10], 10));
    let file = dir.path().join("train-00000-of-00001.parquet");
    assert_eq!(ingest(&source(&file)).unwrap().train, dataset.train, "a file stands for its folder");

    let hint =
        "correct `ingest.source.kind` or give DATA=path; other data is read by `kind: huggingface_parquet`";
    let mut swapped = NAMES;
    swapped.swap(3, 5);
    cifar10_files(dir.path(), &swapped);
    assert_eq!(
        refusal(&source(dir.path())),
        format!("{root}: its files name class 3 `dog`, expected `cat` as in CIFAR-10; {hint}")
    );
    cifar10_files(dir.path(), &NAMES[..2]);
    assert_eq!(
        refusal(&source(dir.path())),
        format!("{root}: its files name 2 classes, expected the 10 of CIFAR-10; {hint}")
    );
    cifar10_files(dir.path(), &NAMES);
    assert_eq!(
        refusal(&source(dir.path()).replace("cifar10", "cifar100")),
        format!(
            "{root}/train-00000-of-00001.parquet: has no column `fine_label`, found img, label; correct `ingest.source: \
             {{kind: huggingface_parquet, image_column: .., label_column: ..}}`"
        )
    );
    std::fs::remove_file(dir.path().join("test-00000-of-00001.parquet")).unwrap();
    assert_eq!(
        refusal(&source(dir.path())),
        format!(
            "{root}: holds no test-*.parquet or validation-*.parquet or valid-*.parquet or val-*.parquet, expected both \
             splits of CIFAR-10; download it too, or give the archive cifar-10-binary.tar.gz"
        )
    );
}
