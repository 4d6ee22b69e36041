//! A run asks its store for each artifact once: in a store in the cloud every question is a request.

use clap::Parser as _;
use delt_harness::args::Args;
use delt_harness::session::Session;
use delt_harness::{recipes, table};
use delt_pipeline::plan::EVALUATE;
use delt_tests::binaries::Run;
use delt_tests::workspace;

#[test]
fn an_evaluation_that_is_cached_asks_for_each_artifact_once() {
    let settings = ["--branch", "delt", "--set", "relabel.seeds=[1,2,3]", "--set", "relabel.epochs=2"];
    let run = Run::new();
    run.up_to("evaluate", &settings);

    let pipeline = workspace().join("tests/pipelines/tiny.yaml");
    let place = ["evaluate", "--pipeline", pipeline.to_str().unwrap(), "--store"];
    let store = run.store();
    let words = place.into_iter().chain([store.to_str().unwrap()]).chain(settings);
    let session = Session::open(EVALUATE, Args::parse_from(words)).unwrap();
    session.each_branch(|branch| evaluate::stage::run(&session, branch, evaluate::stage::LR)).unwrap();
    table::collect(&session).unwrap();
    recipes::lines(&session).unwrap();

    let asked = session.dag().lookup.asked();
    // dataset, teacher (which is the full-data line too), scores, initial, synthetic, three of labels, evaluation
    assert_eq!(asked.len(), 9, "{asked:?}");
    assert!(asked.values().all(|times| *times == 1), "{asked:?}");
}
