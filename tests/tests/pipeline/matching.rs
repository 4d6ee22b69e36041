//! What the methods that match batches of real images read, through the binaries: whitening and experts; and pools that resume.

use delt_formats::experts::expert_file;
use delt_formats::whitening::{Whitening, WhiteningFacts};
use delt_formats::{ExpertsFacts, TraceReader, read_safetensors};
use delt_tests::binaries::{Run, published};

use tempfile::TempDir;

use crate::export::python;
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

/// Methods whose digits take a second, with steps enough that a state is kept on the way.
const MATCHED: [(&str, &str); 3] =
    [("dm", "batch-00001-state"), ("dsa", "batch-00000-state"), ("mtt", "batch-00000-state")];

#[test]
fn killed_methods_resume_and_parts_of_classes_join_to_the_same_bytes() {
    let [one, two] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let of =
        |folder: &TempDir| Run::of("tests/pipelines/matching.yaml", &folder.path().join("store"), "flex");
    let (whole, stopped) = (of(&one), of(&two));
    for (branch, state) in MATCHED {
        let branch = ["--branch", branch];
        for stage in ["ingest", "teacher-train", "init-select"] {
            whole.stage(stage, &branch);
            stopped.stage(stage, &branch);
        }
        let said = whole.stage("delt-synthesize", &branch);
        assert!(said.contains("image-steps"), "{said}");
        let mut child = in_the_middle(&stopped, "delt-synthesize", &format!("{state}.safetensors"), &branch);
        child.kill().unwrap();
        child.wait().unwrap();
        let said = stopped.stage("delt-synthesize", &branch);
        assert!(said.contains(" resumes from its checkpoint"), "{said}");
    }
    let made = published(&whole.store(), &["synthetic"]);
    assert!(made.iter().any(|(path, _)| path.ends_with("course.png")), "no course");
    assert!(made == published(&stopped.store(), &["synthetic"]), "other bytes");

    let three = tempfile::tempdir().unwrap();
    let parted = of(&three);
    parted.up_to("init-select", &["--branch", "dm"]);
    for shard in ["2", "0", "1"] {
        parted.stage("delt-synthesize", &["--branch", "dm", "--shards", "3", "--shard", shard]);
    }
    parted.stage("delt-synthesize", &["--branch", "dm", "--shards", "3"]);
    let of_parts = published(&parted.store(), &["synthetic"]);
    assert!(of_parts.iter().all(|file| made.contains(file)), "parts gave other bytes");
}

/// Inverts the whitening to previews, and whitens these again.
const UNWHITENED: &str = r#"
import sys, torch
sys.path.insert(0, sys.argv[1])
import whitening
d = torch.load(sys.argv[1] + "/synthetic.pt", weights_only=True)
assert eval(d["invert"]).shape == d["images"].shape
there = whitening.prepare(whitening.invert(d["images"]))
assert torch.allclose(there, d["images"], atol=1e-3), (there - d["images"]).abs().max()
"#;

#[test]
fn methods_with_pools_of_networks_resume_with_the_same_bytes_and_their_losses_fall() {
    let frepo = ["--branch", "frepo", "--set", "branches.frepo.synthesize.matching.iterations=350"];
    let rcig = [
        "--branch",
        "rcig",
        "--set",
        "branches.rcig.synthesize.matching.iterations=150",
        "--set",
        "branches.rcig.synthesize.method.inner_steps=2",
        "--set",
        "branches.rcig.synthesize.method.inverse_steps=2",
    ];
    for (branch, settings) in [("frepo", &frepo[..]), ("rcig", &rcig)] {
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
        let [first, last] = [mean(&losses[..50]), mean(&losses[losses.len() - 50..])];
        assert!(last < 0.95 * first, "{branch}: {first} to {last}");
        let to = |format: &str| {
            let set = folders[0].path().join(format);
            let place = ["--format", format, "--output", set.to_str().unwrap()];
            (whole.stage("export", &[settings, &place].concat()), set)
        };
        assert!(to("imagefolder").0.contains("note: these are 8-bit previews"), "{branch}");
        let card = std::fs::read_to_string(to("huggingface").1.join("README.md")).unwrap();
        assert!(card.contains("`target` (learned with it"), "{card}");
        assert!(card.contains("the learned numbers are whitened (trace)"), "{card}");
        let (said, set) = to("torch");
        assert!(said.contains("by `prepare` of whitening.py"), "{said}");
        python("torch, safetensors", UNWHITENED, &[&set]);
    }
}
