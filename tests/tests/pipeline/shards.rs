//! Work in parts: the same bytes for any number of shards, in any order, by any number of processes.

use delt_tests::binaries::{KINDS, Run, STAGES, published};

const DELT: [&str; 2] = ["--branch", "delt"];
const SHARDED: [&str; 3] = ["init-select", "delt-synthesize", "relabel"];

/// All stages; `shard` runs those that have parts.
fn run_with(arguments: &[&str], shard: impl Fn(&Run, &str)) -> Run {
    let run = Run::new();
    for stage in STAGES {
        if SHARDED.contains(&stage) {
            shard(&run, stage);
        } else {
            run.stage(stage, arguments);
        }
    }
    run
}

fn assert_same(whole: &Run, parted: &Run, what: &str) {
    let (whole, parted) = (published(&whole.store(), &KINDS), published(&parted.store(), &KINDS));
    assert!(whole.len() > 10, "only {} files", whole.len());
    assert_eq!(whole.len(), parted.len(), "{what}");
    for (a, b) in whole.iter().zip(&parted) {
        assert_eq!(a.0, b.0, "{what}");
        assert!(a.1 == b.1, "{what}: {} differs", a.0.display());
    }
}

#[test]
fn any_number_of_shards_in_any_order_gives_the_bytes_of_none() {
    let whole = run_with(&[], |run, stage| drop(run.stage(stage, &[])));

    // the last run makes every part itself
    let alone = run_with(&[], |run, stage| drop(run.stage(stage, &["--shards", "2"])));
    assert_same(&whole, &alone, "2 shards by one process");

    // every part by a process of its own, the last first; more shards than there are batches
    let many = run_with(&[], |run, stage| {
        for shard in ["2", "0", "1"] {
            let said = run.stage(stage, &["--shards", "3", "--shard", shard]);
            assert!(!said.contains(" joined"), "{said}");
            run.stage(stage, &["--shards", "3", "--shard", shard]);
        }
        let said = run.stage(stage, &["--shards", "3"]);
        assert!(!said.contains("ahead"), "the join made a part again: {said}");
        // whatever is asked for then is there
        run.stage(stage, &["--shards", "3", "--shard", "1"]);
        run.cached(stage, &[]);
        run.cached(stage, &["--shards", "5"]);
    });
    assert_same(&whole, &many, "3 shards by three processes");
    assert!(many.manifests("labels_part").len() >= 3);

    // once joined, no run leads to a part any more
    let pointers = delt_store::Store::open(&many.store()).unwrap().pointers().unwrap();
    assert!(pointers.iter().all(|pointer| !pointer.run.contains("part")), "{pointers:?}");
}

#[test]
fn parts_are_forgotten_however_the_whole_was_made() {
    let run = Run::new();
    run.up_to("delt-synthesize", &DELT);
    let labels = ["--branch", "delt", "--set", "relabel.epochs=40"];
    let sharded = [&labels[..], &["--shards", "2", "--shard", "0"]].concat();
    run.stage("relabel", &sharded);
    let parts = || -> Vec<String> {
        let pointers = delt_store::Store::open(&run.store()).unwrap().pointers().unwrap();
        pointers.into_iter().map(|pointer| pointer.run).filter(|run| run.contains(".parts-")).collect()
    };
    assert_eq!(parts().len(), 2, "one of each student");
    run.stage("relabel", &labels);
    assert!(parts().is_empty());
}

#[test]
fn shards_side_by_side_share_the_work() {
    let whole = run_with(&DELT, |run, stage| drop(run.stage(stage, &DELT)));
    let beside = run_with(&DELT, |run, stage| {
        let start = |shard: &str| {
            run.command(stage, &["--branch", "delt", "--shards", "2", "--shard", shard]).spawn().unwrap()
        };
        let (mut first, mut second) = (start("0"), start("1"));
        assert!(first.wait().unwrap().success() && second.wait().unwrap().success());
        run.stage(stage, &["--branch", "delt", "--shards", "2"]);
    });
    let labels = |run: &Run| run.pointed("tiny/delt/labels-3407", "labels").1.digest;
    assert_eq!(labels(&whole), labels(&beside));
}

#[test]
fn shards_that_cannot_be_are_refused() {
    let run = Run::new();
    let refused = |stage: &str, arguments: &[&str]| {
        let output = run.output(stage, arguments);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert_eq!(
        refused("ingest", &["--shards", "2"]),
        "ingest: command line: at `--shards`: ingest has no parts, expected one of teacher-train, init-select, delt-synthesize, relabel\n"
    );
    assert_eq!(
        refused("relabel", &["--shards", "2", "--shard", "2"]),
        "relabel: command line: at `--shard`: found 2, expected a number from 0 to 1\n"
    );
    assert!(refused("relabel", &["--shard", "0"]).contains("--shards"));
    assert!(refused("relabel", &["--shards", "0"]).contains("0 is not in 1.."));
}
