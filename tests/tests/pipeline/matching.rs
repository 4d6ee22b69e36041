//! What the methods that match batches of real images read, through the binaries: whitening and experts; and pools that resume.

use delt_formats::experts::expert_file;
use delt_formats::whitening::{Whitening, WhiteningFacts};
use delt_formats::{ExpertsFacts, TraceReader, read_safetensors};
use delt_tests::binaries::{Run, published};
use tempfile::TempDir;

use crate::reproducible::in_the_middle;

const WHITENED: &str = "branches.mtt.synthesize.matching.whitening=absolute";
const MTT: [&str; 4] = ["--branch", "mtt", "--set", WHITENED];

fn digits(folder: &TempDir) -> Run {
    Run::of("pipelines/digits-matching.yaml", &folder.path().join("store"), "flex")
}

#[test]
fn experts_have_the_same_bytes_in_parts_and_branches_of_one_space_share_them() {
    let [one, two] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (whole, parted) = (digits(&one), digits(&two));
    for stage in ["ingest", "teacher-train"] {
        whole.stage(stage, &MTT);
    }
    parted.stage("ingest", &MTT);
    for shard in ["1", "0"] {
        parted.stage("teacher-train", &[&MTT[..], &["--shards", "2", "--shard", shard]].concat());
        assert!(!parted.store().join("teacher").exists(), "a part is of experts alone");
    }
    let said = parted.stage("teacher-train", &[&MTT[..], &["--shards", "2"]].concat());
    assert!(said.contains("3 experts convnet2-w16-instance after 8 epochs: top-1 "), "{said}");
    let kinds = ["whitening", "teacher", "experts"];
    assert!(published(&whole.store(), &kinds) == published(&parted.store(), &kinds), "other bytes");
    whole.cached("teacher-train", &["--branch", "tesla", "--set", WHITENED]);

    let (folder, manifest) = whole.pointed("digits-matching/mtt/experts", "experts");
    let facts: ExpertsFacts = manifest.facts_as().unwrap();
    assert_eq!((facts.whitening, facts.epochs), (Whitening::Absolute, 8));
    assert!(facts.test_top1.len() == 3 && facts.test_top1.iter().all(|top1| *top1 > 50.0), "{facts:?}");
    let (_, whitening) = whole.pointed("digits-matching/mtt/whitening", "whitening");
    assert_eq!(manifest.provenance.inputs["whitening"], whitening.digest);
    assert_eq!(whitening.facts_as::<WhiteningFacts>().unwrap().normalization.mean, [0.0; 3]);
    let (weights, _) = read_safetensors(folder.join(expert_file(2))).unwrap();
    assert_eq!(weights.len(), 9 * 10);
    assert!(weights.iter().any(|tensor| tensor.name == "8/classifier.weight"));
}

#[test]
fn a_part_of_what_trains_no_expert_does_nothing_and_says_so() {
    let run = Run::new();
    run.stage("ingest", &[]);
    let said = run.stage("teacher-train", &["--shards", "2", "--shard", "0"]);
    assert_eq!(said, "teacher-train: no branch has experts, which alone are made in parts\n");
}

#[test]
fn methods_with_pools_of_networks_resume_with_the_same_bytes_and_their_losses_fall() {
    let longer = "synthesize.matching.iterations=350";
    let short = ["synthesize.method.inner_steps=2", "synthesize.method.inverse_steps=2"];
    let rcig = ["--branch", "rcig", "--set", longer, "--set", short[0], "--set", short[1]];
    for (branch, settings) in [("frepo", &["--branch", "frepo", "--set", longer][..]), ("rcig", &rcig)] {
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let [whole, stopped] = folders.each_ref().map(digits);
        whole.up_to("delt-synthesize", settings);
        stopped.up_to("init-select", settings);
        let mut child = in_the_middle(&stopped, "delt-synthesize", "batch-00000-state.safetensors", settings);
        child.kill().unwrap();
        child.wait().unwrap();
        let said = stopped.stage("delt-synthesize", settings);
        assert!(said.contains(" resumes from its checkpoint"), "{branch}: {said}");
        let kinds = ["synthetic"];
        assert!(
            published(&whole.store(), &kinds) == published(&stopped.store(), &kinds),
            "{branch}: other bytes"
        );
        let (folder, _) = whole.pointed(&format!("digits-matching/{branch}/synthetic"), "synthetic");
        let trace = TraceReader::open(folder.join("trace.parquet")).unwrap();
        let losses: Vec<f64> = trace.rows().map(|row| f64::from(row.unwrap().ce)).collect();
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let [first, last] = [mean(&losses[..50]), mean(&losses[300..])];
        assert!(last < 0.8 * first, "{branch}: {first} to {last}");
    }
}
