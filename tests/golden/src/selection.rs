//! `selection.json`: medium, top and min order of given scores, ties by index.

use delt_augment::Draws;
use delt_formats::ScoreRow;
use delt_pipeline::config::select::Strategy;
use delt_tests::{integers, json, numbers};
use init_select::median_selection::{select, write_ranks};

fn selections_are_the_published_ones() {
    let Some(cases) = json("selection") else { return };
    let cases = cases.as_object().unwrap();
    assert!(!cases.is_empty());
    for (name, case) in cases {
        let scores = numbers(&case["scores"]);
        let row = |(image_id, p): (u64, &f64)| ScoreRow {
            image_id,
            label: 0,
            probability: *p as f32,
            loss: 0.0,
            rank: 0,
        };
        let mut ranked: Vec<ScoreRow> = (0..).zip(&scores).map(row).collect();
        write_ranks(&mut ranked);
        ranked.sort_by_key(|row| row.rank);
        for (strategy, key) in [(Strategy::Medium, "medium"), (Strategy::Top, "top"), (Strategy::Min, "min")]
        {
            let expected = integers(&case[key]);
            let picked = select(strategy, &ranked, expected.len(), &Draws::new(0), "class").unwrap();
            let ids: Vec<u32> = picked.iter().map(|row| row.image_id as u32).collect();
            assert_eq!(ids, expected, "case {name}, {key}");
        }
    }
}

tests! {
    selections_are_the_published_ones,
}
