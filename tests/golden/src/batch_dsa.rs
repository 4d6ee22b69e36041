//! `batch/dsa`: each augmentation with given draws, and its gradient.

use delt_augment::dsa::{Operation, Strategy};
use delt_tests::{assert_close, json, tensors, values};
use delt_training::dsa::apply;
use serde_json::Value;

/// The draws of a case: each number stands alone, or in a list with one for each image.
fn draws(case: &Value, names: &[&str]) -> Vec<[f64; 3]> {
    let lists: Vec<Vec<f64>> = names
        .iter()
        .map(|name| match &case["draws"][name] {
            Value::Array(list) => list.iter().map(|v| v.as_f64().unwrap()).collect(),
            one => vec![one.as_f64().unwrap()],
        })
        .collect();
    let of = |image: usize| std::array::from_fn(|at| lists.get(at).map_or(0.0, |list| list[image]));
    (0..lists[0].len()).map(of).collect()
}

fn operation(case: &Value) -> Operation {
    let (strategy, names): (_, &[&str]) = match case["kind"].as_str().unwrap() {
        "color" => (Strategy::Color, &["brightness", "saturation", "contrast"]),
        "crop" => (Strategy::Crop, &["down", "right"]),
        "cutout" => (Strategy::Cutout, &["row", "column"]),
        "flip" => (Strategy::Flip, &["coin"]),
        "scale" => (Strategy::Scale, &["sx", "sy"]),
        "rotate" => (Strategy::Rotate, &["angle"]),
        other => panic!("no augmentation is called {other}"),
    };
    Operation { strategy, draws: draws(case, names) }
}

fn augmented_images_and_their_gradients_equal_the_published_ones() {
    let (Some(cases), Some(golden)) = (json("batch/dsa"), tensors("batch/dsa")) else { return };
    let device = delt_tests::device().autodiff();
    let images = golden.tensor::<4>("images", &device).require_grad();
    let cotangent = golden.tensor::<4>("cotangent", &device);
    for (name, case) in cases["cases"].as_object().unwrap() {
        let output = apply(&operation(case), images.clone());
        let has = |what: &str| golden.names().any(|n| n == format!("{name}.{what}"));
        let compare = |what: &str, ours| {
            let tensor = format!("{name}.{what}");
            assert_close(&tensor, &values(ours), &golden.values(&tensor), 1e-5);
        };
        let gradients = (output.clone() * cotangent.clone()).sum().backward();
        compare("output", output.inner());
        // a gradient is there where the operation is not another one's at other draws
        if has("vjp") {
            compare("vjp", images.grad(&gradients).unwrap());
        }
    }
}

tests! {
    augmented_images_and_their_gradients_equal_the_published_ones,
}
