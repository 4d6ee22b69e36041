//! `selection.json`: medium, top and min order of given scores, ties by index.

use delt_augment::Draws;
use delt_pipeline::config::select::Strategy;
use delt_tests::{integers, json, numbers};
use init_select::median_selection::{Candidate, rank, select};

#[test]
fn selections_are_the_published_ones() {
    let Some(cases) = json("selection") else { return };
    let cases = cases.as_object().unwrap();
    assert!(!cases.is_empty());
    for (name, case) in cases {
        let scores = numbers(&case["scores"]);
        let candidates =
            (0..).zip(&scores).map(|(image_id, p)| Candidate { image_id, probability: *p as f32 });
        let ranked = rank(candidates.collect());
        for (strategy, key) in [(Strategy::Medium, "medium"), (Strategy::Top, "top"), (Strategy::Min, "min")]
        {
            let expected = integers(&case[key]);
            let picked = select(strategy, &ranked, expected.len(), &Draws::new(0), (0, "class")).unwrap();
            let ids: Vec<u32> = picked.iter().map(|candidate| candidate.image_id as u32).collect();
            assert_eq!(ids, expected, "case {name}, {key}");
        }
    }
}
