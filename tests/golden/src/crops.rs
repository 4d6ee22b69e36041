//! `resized_crop`, `crop_distribution.json`, `resize_center_crop`: torchvision's crops and Pillow's resize.

use burn::tensor::{Tensor, TensorData};
use delt_augment::{Draws, Pixel, fit, random_resized_crop, resized_crop};
use delt_formats::{CropBox, RgbImage};
use delt_synthesize::augmentation::Augmentation;
use delt_tests::{assert_close, device, json, number, record, tensors, values};
use serde_json::Value;

const CROP_TOLERANCE: f64 = 1e-5;

/// Largest difference between two images, and how many values differ.
pub(crate) fn difference(ours: &RgbImage, expected: &RgbImage) -> (u8, usize) {
    assert_eq!((ours.width, ours.height), (expected.width, expected.height));
    let differences = ours.rgb.iter().zip(&expected.rgb).map(|(a, b)| a.abs_diff(*b));
    (differences.clone().max().unwrap(), differences.filter(|by| *by > 0).count())
}

fn resized_crops_equal_torchvision_on_the_host_and_on_the_device() {
    let Some(golden) = tensors("resized_crop") else { return };
    let [_, channels, height, width] = golden.shape("image");
    let image = golden.values("image");
    let area = height * width;
    let pixels: Vec<Pixel> =
        (0..area).map(|at| [image[at], image[area + at], image[2 * area + at], 0.0]).collect();
    let boxes: Vec<&str> = golden.names().filter(|name| name.starts_with("box_")).collect();
    assert!(!boxes.is_empty());
    for name in boxes {
        let sides: Vec<u32> = name.split('_').skip(1).map(|side| side.parse().unwrap()).collect();
        let crop = CropBox { top: sides[0], left: sides[1], height: sides[2], width: sides[3] };
        let [_, _, _, out] = golden.shape(name);
        let expected = golden.values(name);
        let host = |flip| planes(&resized_crop(&pixels, width, crop, out, flip));
        assert_close(&format!("{name} on the host"), &host(false), &expected, CROP_TOLERANCE);
        if (height, width) != (out, out) {
            continue;
        }
        // recovery crops a batch with two matrix products; the second image tells images from channels
        let batch: Vec<f32> = [1.0, -0.5].iter().flat_map(|by| image.iter().map(move |v| by * v)).collect();
        for (flip, expected) in [(false, expected), (true, host(true))] {
            let images = TensorData::new(batch.clone(), [2, channels, height, width]);
            let images = Tensor::<4>::from_data(images, &device());
            let ours = values(Augmentation { crop, flip, roll: (0, 0) }.apply(images));
            let (first, second) = ours.split_at(image.len());
            let halved: Vec<f32> = expected.iter().map(|v| -0.5 * v).collect();
            assert_close(&format!("{name} on the device, flip {flip}"), first, &expected, CROP_TOLERANCE);
            assert_close(&format!("{name}, second image, flip {flip}"), second, &halved, CROP_TOLERANCE);
        }
    }
}

/// `[height, width]` → `[3, height, width]`.
fn planes(pixels: &[Pixel]) -> Vec<f32> {
    (0..3).flat_map(|channel| pixels.iter().map(move |pixel| pixel[channel])).collect()
}

fn resized_pictures_equal_pillow() {
    let Some(golden) = tensors("resize_center_crop") else { return };
    let landscape = golden.picture("image");
    let portrait = transposed(&landscape);
    let names: Vec<&str> = golden.names().filter(|name| *name != "image").collect();
    assert!(!names.is_empty());
    for name in names {
        let (orientation, size) = name.split_once('_').unwrap();
        let source = if orientation == "landscape" { &landscape } else { &portrait };
        let (by, values) = difference(&fit(source, size.parse().unwrap()), &golden.picture(name));
        record::say(format_args!("{name}: {values} values differ, by {by} at most"));
        assert!(by <= 1, "{name} differs by {by}");
    }
}

/// Rows become columns: the portrait image of the golden file.
fn transposed(picture: &RgbImage) -> RgbImage {
    let (width, height) = (picture.width as usize, picture.height as usize);
    let pixel = |y: usize, x: usize| &picture.rgb[(y * width + x) * 3..][..3];
    let rgb = (0..width).flat_map(|x| (0..height).flat_map(move |y| pixel(y, x))).copied().collect();
    RgbImage { width: picture.height, height: picture.width, rgb }
}

fn crop_boxes_are_distributed_as_torchvision_draws_them() {
    const DRAWS: usize = 100_000;
    const SIDE: u32 = 32;
    let Some(golden) = json("crop_distribution") else { return };
    let scales = golden.as_object().unwrap();
    assert!(!scales.is_empty());
    for (scale, expected) in scales {
        let mut rng = Draws::new(1).stream("crop", 0, 0);
        let min_scale: f64 = scale.parse().unwrap();
        let boxes: Vec<CropBox> =
            (0..DRAWS).map(|_| random_resized_crop(&mut rng, SIDE, SIDE, (min_scale, 1.0))).collect();
        let areas: Vec<f64> =
            boxes.iter().map(|b| f64::from(b.height * b.width) / f64::from(SIDE * SIDE)).collect();
        let aspects: Vec<f64> = boxes.iter().map(|b| f64::from(b.width) / f64::from(b.height)).collect();
        check_quantiles(&format!("scale {scale}, area"), areas.clone(), &expected["area_quantiles"]);
        check_quantiles(&format!("scale {scale}, aspect"), aspects, &expected["aspect_quantiles"]);
        let mean = areas.iter().sum::<f64>() / DRAWS as f64;
        assert!((mean - number(&expected["area_mean"])).abs() < 0.005, "scale {scale}: mean area {mean}");
        let whole = areas.iter().filter(|area| **area == 1.0).count() as f64 / DRAWS as f64;
        assert!((whole - number(&expected["p_whole"])).abs() < 0.001, "scale {scale}: {whole} whole images");
    }
}

/// Sides are whole pixels, so areas and aspects are steps: besides the value of a quantile, the shares of draws below it and up
/// to it are compared.
fn check_quantiles(what: &str, mut values: Vec<f64>, quantiles: &Value) {
    const ROUNDED: f64 = 5e-5; // the file's quantiles have four decimals
    values.sort_by(f64::total_cmp);
    let share = |limit: f64| values.partition_point(|value| *value < limit) as f64 / values.len() as f64;
    for (level, expected) in quantiles.as_object().unwrap() {
        let (level, expected): (f64, f64) = (level.parse().unwrap(), number(expected));
        let ours = values[(level * (values.len() - 1) as f64).round() as usize];
        record::say(format_args!("{what}: quantile {level} is {ours:.4}, golden {expected}"));
        assert!((ours - expected).abs() <= 0.01, "{what}: quantile {level} is {ours}, golden {expected}");
        let (below, up_to) = (share(expected - ROUNDED), share(expected + ROUNDED));
        assert!(
            below - 0.01 <= level && level <= up_to + 0.01,
            "{what}: {below}..{up_to} around level {level}"
        );
    }
}

tests! {
    resized_crops_equal_torchvision_on_the_host_and_on_the_device,
    resized_pictures_equal_pillow,
    crop_boxes_are_distributed_as_torchvision_draws_them,
}
