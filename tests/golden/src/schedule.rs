//! `early_late_schedule.json`: which images of which batch are updated in which round, exactly.

use delt_augment::Draws;
use delt_pipeline::config::synthesize::Synthesize;
use delt_pipeline::early_late::EarlyLate;
use delt_tests::{integers, json};

fn early_late_rounds_are_the_published_ones() {
    let Some(cases) = json("early_late_schedule") else { return };
    let cases = cases.as_array().unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let number = |key: &str| case[key].as_u64().unwrap();
        let config = Synthesize {
            max_iterations: number("max_iterations") as u32,
            round_iterations: number("round_iterations") as u32,
            batch: number("batch_size") as u32,
            ..Synthesize::published()
        };
        let schedule =
            EarlyLate::new(&config, number("ipc") as u32, 0..number("classes") as u32, &Draws::new(0));
        assert_eq!(schedule.image_iterations(), number("image_iterations"), "{config:?}");
        let batches = case["batches"].as_array().unwrap();
        assert_eq!(schedule.batches.len(), batches.len());
        for (ours, expected) in schedule.batches.iter().zip(batches) {
            assert_eq!(u64::from(ours.first), expected["first"].as_u64().unwrap());
            assert_eq!(ours.labels, integers(&expected["labels"]));
            assert_eq!(u64::from(ours.iterations), expected["iterations"].as_u64().unwrap());
            let rounds: Vec<_> = expected["rounds"].as_array().unwrap().iter().map(integers).collect();
            assert_eq!(ours.rounds, rounds, "{config:?}");
        }
    }
}

tests! {
    early_late_rounds_are_the_published_ones,
}
