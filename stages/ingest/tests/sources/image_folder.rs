//! Folders of one folder per class.

use std::path::Path;

use delt_augment::resize::with_shorter_side;
use delt_formats::rgb_image::RgbImage;

use crate::made_up::{ingest, open, picture, png, put, refusal};

fn tree(root: &Path) {
    put(root, "train/zebra/2.png", &png(1, 5, 3));
    put(root, "train/zebra/10.PNG", &png(2, 3, 5));
    put(root, "train/Ape/deep/er.png", &png(3, 4, 4));
    put(root, "train/Ape/a.png", &png(4, 2, 7));
    put(root, "train/Ape/.hidden.png", b"not looked at");
    put(root, "train/Ape/notes.txt", b"not looked at");
    put(root, "val/zebra/v.png", &png(5, 7, 2));
    put(root, "val/Ape/v.png", &png(6, 2, 2));
}

fn section(root: &Path, more: &str) -> String {
    format!("source: {{kind: image_folder, path: {}{more}}}", root.display())
}

#[test]
fn train_and_val_are_read_in_sorted_order_with_landscape_and_portrait_pixels_in_place() {
    let dir = tempfile::tempdir().unwrap();
    tree(dir.path());
    let dataset = ingest(&section(dir.path(), "")).unwrap();
    assert_eq!(dataset.classes, ["Ape", "zebra"]);
    assert_eq!(
        dataset.train_paths(),
        ["train/Ape/a.png", "train/Ape/deep/er.png", "train/zebra/10.PNG", "train/zebra/2.png"]
    );
    assert_eq!(
        dataset.train.iter().map(|row| (row.label, row.image_id)).collect::<Vec<_>>(),
        [(0, 0), (0, 1), (1, 2), (1, 3)]
    );
    let seeds = [(4, 2, 7), (3, 4, 4), (2, 3, 5), (1, 5, 3)];
    for (row, (seed, width, height)) in dataset.train.iter().zip(seeds) {
        assert_eq!(RgbImage::decode(&row.bytes).unwrap(), picture(seed, width, height));
        assert_eq!(row.bytes, png(seed, width, height), "plain RGB keeps its bytes");
    }
    assert_eq!((dataset.facts.train_images, dataset.facts.test_images), (4, 2));
    assert_eq!(dataset.facts.train_per_class, [2, 2]);
    assert_eq!(dataset.facts.source, "image folder");
    assert_eq!(dataset.summary, "4 training and 2 test images of 2 classes");
}

#[test]
fn larger_images_are_stored_with_the_shorter_side_that_is_asked_for_and_smaller_ones_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    tree(dir.path());
    let dataset = ingest(&format!("{}\nshorter_side: 3", section(dir.path(), ""))).unwrap();
    assert_eq!(dataset.facts.resized, Some(1));
    let expected = "4 training and 2 test images of 2 classes, 1 brought to a shorter side of 3 px";
    assert_eq!(dataset.summary, expected);
    let none = ingest(&format!("{}\nshorter_side: 300", section(dir.path(), ""))).unwrap();
    assert!(
        none.summary.ends_with("of 2 classes, none with a shorter side above 300 px"),
        "{}",
        none.summary
    );
    let stored = dataset.train.iter().map(|row| RgbImage::decode(&row.bytes).unwrap());
    let sides: Vec<(u32, u32)> = stored.map(|image| (image.width, image.height)).collect();
    assert_eq!(sides, [(2, 7), (3, 3), (3, 5), (5, 3)]);
    assert_eq!(dataset.train[1].bytes, with_shorter_side(&picture(3, 4, 4), 3).encode_png().unwrap());
    assert_eq!(dataset.train[2].bytes, png(2, 3, 5), "an image that is small enough keeps its bytes");
}

#[test]
fn mean_and_standard_deviation_are_those_of_all_training_pixels() {
    let dir = tempfile::tempdir().unwrap();
    tree(dir.path());
    let facts = ingest(&section(dir.path(), "")).unwrap().facts;
    let pixels: Vec<Vec<u8>> =
        [(4, 2, 7), (3, 4, 4), (2, 3, 5), (1, 5, 3)].map(|(s, w, h)| picture(s, w, h).rgb).into();
    for channel in 0..3 {
        let values: Vec<f64> = pixels
            .iter()
            .flat_map(|rgb| rgb.chunks(3).map(|pixel| f64::from(pixel[channel]) / 255.0))
            .collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
        assert!((f64::from(facts.mean[channel]) - mean).abs() < 1e-6);
        assert!((f64::from(facts.std[channel]) - variance.sqrt()).abs() < 1e-6);
    }
    let given =
        format!("{}\nnormalization: {{mean: [0.5, 0.25, 0.125], std: [1, 2, 3]}}", section(dir.path(), ""));
    let facts = ingest(&given).unwrap().facts;
    assert_eq!((facts.mean, facts.std), ([0.5, 0.25, 0.125], [1.0, 2.0, 3.0]));
}

#[test]
fn the_test_folder_may_be_called_test() {
    let dir = tempfile::tempdir().unwrap();
    tree(dir.path());
    std::fs::rename(dir.path().join("val"), dir.path().join("test")).unwrap();
    assert_eq!(ingest(&section(dir.path(), "")).unwrap().facts.test_images, 2);
}

#[test]
fn a_tree_without_a_test_folder_is_split_by_the_seed() {
    let dir = tempfile::tempdir().unwrap();
    for index in 0..10 {
        put(dir.path(), &format!("cat/{index}.png"), &png(index, 3, 2));
        put(dir.path(), &format!("dog/{index}.png"), &png(index + 50, 2, 3));
    }
    let split =
        |seed| ingest(&section(dir.path(), &format!(", test_fraction: 0.2, split_seed: {seed}"))).unwrap();
    let (zero, again, one) = (split(0), split(0), split(1));
    assert_eq!(zero.facts.train_per_class, [8, 8]);
    assert_eq!(zero.facts.test_images, 4);
    assert_eq!(zero.train, again.train);
    assert_ne!(zero.train_paths(), one.train_paths());
    let mut all: Vec<&str> = zero.train_paths();
    all.extend(zero.test.iter().map(|row| row.path.as_str()));
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 20, "no image is lost or in both splits");
}

#[test]
fn a_split_beside_a_test_folder_is_refused_with_both_named() {
    let dir = tempfile::tempdir().unwrap();
    tree(dir.path());
    let root = dir.path().display();
    let advice = "asks for a split beside them; leave test_fraction and split_seed out to test on these, or move these away";
    assert_eq!(
        refusal(&section(dir.path(), ", test_fraction: 0.2, split_seed: 0")),
        format!("{root}/val: holds the test images, and `ingest.source.test_fraction` 0.2 {advice}")
    );
    assert_eq!(
        refusal(&section(dir.path(), ", split_seed: 7")),
        format!("{root}/val: holds the test images, and `ingest.source.split_seed` 7 {advice}")
    );
}

#[test]
fn classes_and_limits_choose_the_first_images() {
    let dir = tempfile::tempdir().unwrap();
    tree(dir.path());
    put(dir.path(), "train/mole/1.png", &png(7, 3, 3));
    put(dir.path(), "val/mole/1.png", &png(8, 3, 3));
    let chosen = format!("{}\nclasses: [zebra, mole]\nmax_train_per_class: 1", section(dir.path(), ""));
    let dataset = ingest(&chosen).unwrap();
    assert_eq!(dataset.classes, ["mole", "zebra"]);
    assert_eq!(dataset.train_paths(), ["train/mole/1.png", "train/zebra/10.PNG"]);
    assert_eq!(dataset.train.iter().map(|row| row.label).collect::<Vec<_>>(), [0, 1]);
    let kept = ingest(&format!("{chosen}\nlabel_space: keep\nmax_test_per_class: 5")).unwrap();
    assert_eq!(kept.classes, ["Ape", "mole", "zebra"]);
    assert_eq!(kept.train.iter().map(|row| row.label).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(kept.facts.train_per_class, [0, 1, 1]);
    assert_eq!(kept.summary, "2 training and 2 test images of 2 classes");
}

#[test]
fn a_broken_picture_is_named_or_counted() {
    let dir = tempfile::tempdir().unwrap();
    tree(dir.path());
    put(dir.path(), "train/Ape/b.png", &png(9, 6, 6)[..40]);
    put(dir.path(), "val/zebra/w.webp", b"RIFF....WEBPVP8 ");
    let message = refusal(&section(dir.path(), ""));
    assert!(
        message.starts_with(
            "train/Ape/b.png: cannot be decoded as an image; fix or delete it, or set `ingest.skip_broken: true` to count and \
             leave out such images: the image cannot be decoded or encoded: expected a complete JPEG, PNG, WebP, BMP or GIF"
        ),
        "{message}"
    );
    let dataset = ingest(&format!("{}\nskip_broken: true", section(dir.path(), ""))).unwrap();
    assert_eq!(
        dataset.summary,
        "4 training and 2 test images of 2 classes, 1 training and 1 test images broken and left out"
    );
    assert_eq!((dataset.facts.train_broken, dataset.facts.test_broken), (1, 1));
    assert_eq!(dataset.train.iter().map(|row| row.image_id).collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
fn a_picture_of_another_format_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    tree(dir.path());
    put(dir.path(), "train/Ape/b.tif", b"II*\0\x08\0\0\0");
    assert_eq!(
        refusal(&section(dir.path(), "")),
        "train/Ape/b.tif: found TIFF, expected JPEG, PNG, WebP, BMP or GIF; convert it, or set `ingest.skip_broken: true` to \
         count and leave out such images"
    );
}

#[test]
fn more_pictures_than_a_chunk_keep_their_order_and_numbers() {
    let dir = tempfile::tempdir().unwrap();
    for index in 0..600 {
        put(dir.path(), &format!("train/a/{index:04}.png"), &png(index, 2, 1));
    }
    put(dir.path(), "train/b/x.png", &png(3, 2, 1));
    put(dir.path(), "val/a/x.png", &png(3, 2, 1));
    let dataset = ingest(&section(dir.path(), "")).unwrap();
    for (index, row) in dataset.train[..600].iter().enumerate() {
        assert_eq!(
            (row.image_id, row.path.as_str()),
            (index as u64, format!("train/a/{index:04}.png").as_str())
        );
    }
    let limited = ingest(&format!("{}\nmax_train_per_class: 300", section(dir.path(), ""))).unwrap();
    assert_eq!(limited.facts.train_per_class, [300, 1]);
    assert_eq!(limited.train[..300], dataset.train[..300]);
}

#[test]
fn refusals_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().display().to_string();
    assert_eq!(
        refusal(&section(&dir.path().join("nowhere"), "")),
        format!(
            "{root}/nowhere: not found, expected a folder with one folder per class, or with train/ and val/; correct \
             `ingest.source.path` or give DATA=path"
        )
    );
    assert_eq!(
        refusal(&section(dir.path(), "")),
        format!(
            "{root}: holds 0 images and no folders, expected one folder per class; sort them into such folders, correct \
             `ingest.source.path` or give DATA=path"
        )
    );
    put(dir.path(), "trashnet/train/glass/1.png", &png(1, 2, 2));
    put(dir.path(), "trashnet/train/paper/1.png", &png(2, 2, 2));
    assert_eq!(
        refusal(&section(dir.path(), "")),
        format!("{root}: holds only the folder trashnet, and that holds train/; give DATA={root}/trashnet")
    );
    let inner = dir.path().join("trashnet");
    assert_eq!(
        refusal(&section(&inner, "")),
        format!(
            "{root}/trashnet: has no val/ or test/ beside train/; for a split of its own give \
             `ingest.source.test_fraction` and `ingest.source.split_seed`, e.g. 0.2 and 0"
        )
    );
    assert_eq!(
        refusal(&section(&inner, ", test_fraction: 0.5, split_seed: 0")),
        format!("{root}/trashnet/train/glass: has 1 image files, expected at least 2 to split them")
    );
    put(&inner, "val/glas/1.png", &png(3, 2, 2));
    assert_eq!(
        refusal(&section(&inner, "")),
        format!("{root}/trashnet/val: has classes that {root}/trashnet/train lacks: glas; make them agree")
    );
    std::fs::rename(inner.join("val/glas"), inner.join("val/glass")).unwrap();
    assert_eq!(
        refusal(&format!("{}\nclasses: [glas, paper]", section(&inner, ""))),
        "`ingest.classes`: there is no class `glas`, near names: glass; the source has 2 classes: glass, paper"
    );
    std::fs::create_dir_all(inner.join("train/metal")).unwrap();
    assert_eq!(
        refusal(&section(&inner, "")),
        "class `metal` has no training image; add some, or leave it out with `ingest.classes`"
    );
    std::fs::remove_dir(inner.join("train/metal")).unwrap();
    std::fs::remove_file(inner.join("val/glass/1.png")).unwrap();
    assert_eq!(refusal(&section(&inner, "")), "no test image is left; check the source and `ingest.classes`");
    let file = inner.join("train/glass/1.png");
    assert_eq!(
        refusal(&section(&file, "")),
        format!(
            "{}: is a file, expected a folder with one folder per class; unpack it and give the folder",
            file.display()
        )
    );
}

#[test]
fn folders_that_cannot_work_are_refused_before_a_picture_is_decoded() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().display().to_string();
    let no_picture: &[u8] = b"decoding this would fail";
    let at = |name: &str| section(&dir.path().join(name), "");
    for file in ["flat/train/a/1.JPEG", "flat/train/b/1.JPEG", "flat/val/1.JPEG", "flat/val/2.JPEG"] {
        put(dir.path(), file, no_picture);
    }
    for file in
        ["one/train/a/1.png", "one/val/a/1.png", "bare/only/1.png", "loose/1.png", "untested/train/a/1.png"]
    {
        put(dir.path(), file, no_picture);
    }
    put(dir.path(), "untested/train/b/1.png", no_picture);
    std::fs::create_dir_all(dir.path().join("untested/val/a")).unwrap();
    put(dir.path(), "hollow/train/a/1.png", no_picture);
    put(dir.path(), "hollow/val/a/1.png", no_picture);
    put(dir.path(), "hollow/train/b/notes.txt", no_picture);
    let single = "expected at least two; correct `ingest.source.path` or give DATA=path";
    let refusals = [
        (
            "flat",
            format!(
                "{root}/flat/val: holds 2 images and no folders, expected <class>/* as {root}/flat/train has \
                 (ImageNet-1K is distributed flat); move each image into the folder of its class"
            ),
        ),
        ("one", format!("{root}/one/train: holds a single class `a`, {single}")),
        ("bare", format!("{root}/bare: holds a single class `only`, {single}")),
        (
            "loose",
            format!(
                "{root}/loose: holds 1 images and no folders, expected one folder per class; sort them into such \
                 folders, correct `ingest.source.path` or give DATA=path"
            ),
        ),
        ("untested", "no test image is left; check the source and `ingest.classes`".to_owned()),
        (
            "hollow",
            "class `b` has no training image; add some, or leave it out with `ingest.classes`".to_owned(),
        ),
    ];
    for (name, expected) in refusals {
        assert_eq!(refusal(&at(name)), expected);
    }
}

#[test]
fn images_of_one_color_cannot_be_normalized() {
    let dir = tempfile::tempdir().unwrap();
    let flat = RgbImage { width: 2, height: 2, rgb: vec![9; 12] }.encode_png().unwrap();
    for file in ["train/a/1.png", "train/b/1.png", "val/a/1.png"] {
        put(dir.path(), file, &flat);
    }
    assert_eq!(
        refusal(&section(dir.path(), "")),
        "channel red has the same value in every training pixel, so its standard deviation is 0; give \
         `ingest.normalization`"
    );
}

#[test]
fn the_fingerprint_follows_the_content_and_not_the_place() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    tree(one.path());
    tree(two.path());
    let key = |root: &Path| {
        let source =
            serde_yaml::from_str(&format!("{{kind: image_folder, path: {}}}", root.display())).unwrap();
        open(&source).unwrap().fingerprint().unwrap()
    };
    assert_eq!(key(one.path()), key(two.path()));
    put(two.path(), "val/zebra/v.png", &png(55, 7, 2));
    assert_ne!(key(one.path()), key(two.path()));
}

#[test]
fn a_folder_too_high_and_half_of_a_split_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (root, inner) = (dir.path().display(), dir.path().join("trashnet"));
    put(dir.path(), "trashnet/train/glass/1.png", &png(1, 2, 2));
    put(dir.path(), "trashnet/train/paper/1.png", &png(2, 2, 2));
    put(dir.path(), "papers/1.png", &png(1, 2, 2));
    assert_eq!(
        refusal(&section(dir.path(), "")),
        format!(
            "{root}: holds the folders papers, trashnet, taken as classes, and no train/ with val/ or test/; trashnet holds train/: \
             give DATA={root}/trashnet"
        )
    );
    let flat = refusal(&section(&inner.join("train"), ", split_seed: 0"));
    let expected = "train: holds the folders glass, paper, taken as classes, and no train/ with val/ or test/; for a split of its own \
                    give `ingest.source.test_fraction` beside `ingest.source.split_seed`, e.g. 0.2, or where the classes lie deeper, \
                    give their folder as DATA=path";
    assert!(flat.ends_with(expected), "{flat}");
}
