//! `batch/zca`: the three whitenings; `batch/frepo`: kernel ridge regression on given features.

use delt_ridge::{Kind, Matrix, Moments, Ridge, Whitening, regression};
use delt_tests::{Tensors, assert_close, json, number, numbers, tensors};
use serde_json::Value;

use crate::batch::within;

/// Pixels as a whitening takes them.
fn prepared(kind: Kind, pixels: &[f32], case: &Value, plane: usize) -> Vec<f32> {
    let (mean, std) = (numbers(&case["mean"]), numbers(&case["std"]));
    let normalized = |(at, pixel): (usize, &f32)| {
        let channel = at / plane % 3;
        ((f64::from(*pixel) - mean[channel]) / std[channel]) as f32
    };
    match kind {
        Kind::Trace => pixels.iter().enumerate().map(normalized).collect(),
        Kind::Absolute => pixels.to_vec(),
        Kind::UnitLength => pixels.iter().map(|pixel| pixel * 255.0).collect(),
    }
}

/// Rows and columns of a matrix, or the values of an image, in the order rows, columns, channels.
fn channels_last(values: &[f32], plane: usize) -> Vec<f32> {
    let dimensions = 3 * plane;
    let from = |at: usize| at % 3 * plane + at / 3;
    let rows = values.len() / dimensions;
    let row = |at: usize| if rows == dimensions { from(at) } else { at };
    (0..values.len()).map(|at| values[row(at / dimensions) * dimensions + from(at % dimensions)]).collect()
}

fn assert_matrices(name: &str, ours: &Whitening, golden: &Tensors, order: impl Fn(&[f32]) -> Vec<f32>) {
    for (part, values) in [("matrix", &ours.matrix), ("inverse", &ours.inverse), ("mean", &ours.mean)] {
        let tensor = format!("{name}.{part}");
        assert_close(&tensor, &order(values), &golden.values(&tensor), 1e-5);
    }
}

fn whitened_images_and_their_matrices_equal_the_published_ones() {
    let (Some(case), Some(golden)) = (json("batch/zca"), tensors("batch/zca")) else { return };
    let [_, _, side, _] = golden.shape("pixels");
    let plane = side * side;
    for (name, kind) in [("frepo", Kind::Trace), ("mtt", Kind::Absolute), ("rat", Kind::UnitLength)] {
        let mut images = prepared(kind, &golden.values("pixels"), &case, plane);
        let mut moments = Moments::new(kind, 3 * plane);
        moments.add(&images);
        let whitening = moments.finish().unwrap();
        whitening.apply(&mut images);
        let output = format!("{name}.output");
        assert_close(&output, &images, &golden.values(&output), 1e-5);
        match kind {
            Kind::Trace => {
                assert_matrices(name, &whitening, &golden, |values| channels_last(values, plane));
            }
            Kind::Absolute => assert_matrices(name, &whitening, &golden, <[f32]>::to_vec),
            Kind::UnitLength => {}
        }
    }
}

fn ridge_regression_and_its_gradients_equal_the_published_ones() {
    let (Some(case), Some(golden)) = (json("batch/frepo"), tensors("batch/frepo")) else { return };
    let matrix = |name: &str| {
        let [rows, columns] = golden.shape(name);
        Matrix::from_f32(rows, columns, &golden.values(name))
    };
    let cases = case["cases"].as_object().unwrap().iter().filter(|(name, _)| name.starts_with("features_"));
    let mut compared = 0;
    for (name, settings) in cases {
        let ours = regression(
            matrix("features"),
            &matrix("labels"),
            &matrix("real_features"),
            &matrix("real_labels"),
            Ridge::Trace(number(&settings["ridge"])),
        )
        .unwrap();
        let reached = |what: &str| number(&case["reached"][name][what]);
        let loss = number(&settings["loss"]) as f32;
        within(&format!("{name}.loss"), &[ours.loss as f32], &[loss], reached("loss"));
        for (what, gradient) in
            [("grad_features", ours.gradient_features), ("grad_labels", ours.gradient_labels)]
        {
            let tensor = format!("{name}.{what}");
            within(&tensor, &gradient.to_f32(), &golden.values(&tensor), reached(what));
        }
        compared += 1;
    }
    assert!(compared > 0, "frepo holds no case on features");
}

tests! {
    whitened_images_and_their_matrices_equal_the_published_ones,
    ridge_regression_and_its_gradients_equal_the_published_ones,
}
