//! The content digests of all artifacts of toy runs, on the kind of CPU that they were written on: how a sum is split depends on
//! the vector unit and the caches. `make same-bytes BASE=commit` compares two builds on any.

use std::collections::BTreeSet;
use std::io::Write as _;

use delt_tests::binaries::{KINDS, Run};

use crate::assert_pinned;

/// Pipelines whose artifacts are pinned; `switches.yaml` has a branch for each switch of a method.
const PIPELINES: [&str; 3] =
    ["pipelines/digits.yaml", "tests/pipelines/crash.yaml", "tests/pipelines/switches.yaml"];

/// Digits of a digest that are pinned.
const DIGITS: usize = 32;

/// What sums depend on: vendor, family, model and the widest vectors.
fn cpu() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.split(':').next().is_some_and(|head| head.trim() == name));
        line.and_then(|line| line.split_once(':')).map_or("?", |(_, value)| value.trim()).to_owned()
    };
    let flags = field("flags");
    let widest = ["avx512f", "avx2"].into_iter().find(|flag| flags.split(' ').any(|have| have == *flag));
    let (vendor, family, model) = (field("vendor_id"), field("cpu family"), field("model"));
    format!("{}-{vendor}-{family}-{model}-{}", std::env::consts::ARCH, widest.unwrap_or("plain"))
}

#[test]
fn the_bytes_of_every_artifact_of_toy_runs_are_the_pinned_ones() {
    let head = format!("bytes {} ", cpu());
    let pins = std::fs::read_to_string(delt_tests::workspace().join("tests/pins.txt")).unwrap_or_default();
    if !pins.lines().any(|line| line.starts_with(&head)) && std::env::var_os(crate::ADD).is_none() {
        // past the capture of tests' output: who reads the summary must know
        let _ = writeln!(
            std::io::stderr(),
            "skipped: no bytes are pinned for {}; `make same-bytes BASE=commit` compares builds",
            cpu()
        );
        return;
    }
    let mut found = BTreeSet::new();
    let folder = tempfile::tempdir().unwrap();
    for pipeline in PIPELINES {
        let run = Run::of(pipeline, &folder.path().join("store"), "flex");
        run.up_to("evaluate", &[]);
        for (name, kind) in run.pointers() {
            let (_, manifest) = run.pointed(&name, &kind);
            assert!(KINDS.contains(&kind.as_str()), "{kind}");
            found.insert(format!("{head}{name} {}", manifest.digest.prefix(DIGITS)));
        }
    }
    assert_pinned(&[&head], &found);
}
