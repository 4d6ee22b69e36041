//! `randaugment`: timm's 15 operations on one image, and the policy they are drawn by.

use std::collections::BTreeMap;

use delt_augment::{Draws, apply, argument};
use delt_formats::{AugmentOp, Interpolation, Op};
use delt_pipeline::config;
use delt_tests::{json, number, numbers, record, tensors, workspace};

use crate::crops::difference;

fn randaugment_operations_equal_timm() {
    let (Some(cases), Some(golden)) = (json("randaugment"), tensors("randaugment")) else { return };
    let source = golden.picture("image");
    let cases = cases["ops"].as_object().unwrap();
    let mut operations = Vec::new();
    let mut values_differing = 0;
    for (name, case) in cases {
        let op: Op = case["op"].as_str().unwrap().parse().unwrap();
        let drawn = argument(op, number(&case["magnitude"]), name.contains("_-_"));
        let expected = case["args"].get(0).map_or(0.0, number);
        assert!((f64::from(drawn) - expected).abs() < 1e-5, "{name}: argument {drawn}, expected {expected}");
        let interpolation = match case["interpolation"].as_str() {
            Some("bicubic") => Interpolation::Bicubic,
            _ => Interpolation::Bilinear,
        };
        let ours = apply(&source, &[AugmentOp { op, argument: drawn, interpolation }]);
        let (by, values) = difference(&ours, &golden.picture(name));
        values_differing += values;
        assert!(by <= 1, "{name} differs by {by} in {values} values");
        operations.push(op);
    }
    assert!(Op::ALL.iter().all(|op| operations.contains(op)), "{operations:?}");
    record::say(format_args!(
        "randaugment: {values_differing} values of {} images differ by 1, the rest are equal",
        cases.len()
    ));
}

fn the_published_recipe_draws_by_the_policy() {
    let Some(golden) = json("randaugment") else { return };
    let policy = &golden["policy"];
    let ops: Vec<Op> =
        policy["ops"].as_array().unwrap().iter().map(|op| op.as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(ops, Op::ALL);
    assert_eq!(policy["replace"], true, "our operations are drawn with replacement");
    let branches = config::load(&workspace().join("pipelines/cifar100-ipc10.yaml"), &[], None).unwrap();
    let recipe = branches[0].pipeline.relabel.randaugment.unwrap();
    assert_eq!(Some(u64::from(recipe.layers)), policy["num_layers"].as_u64());

    const PICTURES: u64 = 4_000;
    let mut applied = BTreeMap::new();
    let mut rotations = Vec::new();
    for picture in 0..PICTURES {
        let mut rng = Draws::new(1).stream("policy", picture, 0);
        for op in recipe.draw(&mut rng) {
            *applied.entry(op.op.to_string()).or_insert(0.0) += 1.0;
            if op.op == Op::Rotate {
                rotations.push(f64::from(op.argument).abs());
            }
        }
    }
    // each operation is picked with equal probability and applied with its own
    let picked = (PICTURES * u64::from(recipe.layers)) as f64 / ops.len() as f64;
    for (op, probability) in ops.iter().zip(numbers(&policy["prob"])) {
        let share = applied[&op.to_string()] / picked;
        assert!(
            (share - probability).abs() < 0.08,
            "{op} is applied with probability {share}, expected {probability}"
        );
    }
    // a rotation of magnitude m turns by 3 m degrees: mean and spread of the drawn magnitudes
    let magnitudes: Vec<f64> = rotations.iter().map(|degrees| degrees / 3.0).collect();
    let mean = magnitudes.iter().sum::<f64>() / magnitudes.len() as f64;
    let std = (magnitudes.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / magnitudes.len() as f64).sqrt();
    assert!((mean - number(&policy["magnitude"][0])).abs() < 0.15, "magnitudes have mean {mean}");
    assert!(
        (std - number(&policy["magnitude_std"][0])).abs() < 0.15,
        "magnitudes have standard deviation {std}"
    );
}

tests! {
    randaugment_operations_equal_timm,
    the_published_recipe_draws_by_the_policy,
}
