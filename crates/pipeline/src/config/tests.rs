//! Pipelines that load and settings that are refused.

use super::*;

mod matching;
mod values;

fn repository_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines").join(name)
}

#[test]
fn every_pipeline_of_the_repository_loads() {
    let folder = repository_file("");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("pipelines folder") {
        let path = entry.expect("entry").path();
        if path.extension().is_some_and(|e| e == "yaml") {
            let branches = load(&path, &[], None).expect("pipeline loads");
            assert!(!branches.is_empty());
            count += 1;
        }
    }
    assert!(count >= 7, "found only {count} pipelines");
}

#[test]
fn unknown_yaml_key_is_rejected_with_its_place() {
    let wrong = ["synthesize.max_itertions=5".to_owned()];
    let message = load(&repository_file("digits.yaml"), &wrong, None).expect_err("refused").to_string();
    assert!(message.contains("digits.yaml: at `synthesize.max_itertions`: unknown field"), "{message}");
}

/// What is said of these settings after the name of the pipeline file.
fn said(pipeline: &str, settings: &[&str], data: Option<&str>) -> String {
    let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
    let loaded = load(&repository_file(pipeline), &settings, data.map(Path::new));
    let message = loaded.expect_err("refused").to_string();
    message.split_once(pipeline).map_or(message.clone(), |(_, said)| said.to_owned())
}

#[test]
fn what_is_published_is_of_a_branch_and_in_percent() {
    let said = |given: &str| said("digits.yaml", &[&format!("published={{source: a paper, {given}}}")], None);
    assert_eq!(
        said("branch: gone, top1: 50"),
        " (branch random): at `published.branch`: no branch `gone`; name the one that the score is compared with"
    );
    assert_eq!(
        said("branch: delt, top1: 101"),
        " (branch random): at `published.top1`: found 101, expected percent, 0 to 100"
    );
}

#[test]
fn networks_at_once_are_of_the_committee_and_each_has_a_strength() {
    let together = |networks: u32, values: &str| {
        format!(
            "synthesize.together={{networks: {networks}, strengths: {{values: {values}, temperature: 5}}}}"
        )
    };
    assert_eq!(
        said("digits.yaml", &[&together(1, "[1]")], None),
        " (branch random): at `synthesize.together`: found without synthesize.teachers: committee, whose networks it is about; leave \
         it out"
    );
    let committee = "synthesize.teachers=committee";
    assert_eq!(
        said("digits.yaml", &[committee, &together(2, "[1]")], None),
        " (branch random): at `synthesize.together.networks`: found 2, expected 1 to 1"
    );
    assert_eq!(
        said("digits.yaml", &[committee, &together(1, "[1, 2]")], None),
        " (branch random): at `synthesize.together.strengths.values`: found 2 numbers, expected 1: the teacher's, then one for each \
         network of section `committee`"
    );
    let strengths = committee::Strengths { values: vec![60.0, 70.0, 65.0], temperature: 5.0 };
    let [strong, weak] = strengths.weights(&[1, 2])[..] else { panic!("two weights") };
    assert!((strong + weak - 1.0).abs() < 1e-12 && (strong / weak - 1_f64.exp()).abs() < 1e-12);
}

#[test]
fn images_of_a_class_that_has_one_are_not_kept_apart() {
    let settings = ["select.ipc=1", "synthesize.densification={weight: 1, temperature: 4}"];
    assert_eq!(
        said("digits.yaml", &settings, None),
        " (branch delt): at `synthesize.densification`: found with select.ipc 1, where a class has no images to keep apart; leave it \
         out"
    );
}

#[test]
fn a_residual_that_would_change_nothing_is_refused() {
    let residual =
        |every: u32| format!("synthesize.residual={{share: 0.5, every: {every}, restart_adam: true}}");
    assert_eq!(
        said("digits.yaml", &[&residual(200)], None),
        " (branch delt): at `synthesize.residual.every`: found 200, which no image reaches before its last iteration; \
         expected less than max_iterations (200)"
    );
    assert_eq!(
        said("digits.yaml", &[&residual(50), "synthesize.init=noise"], None),
        " (branch delt): at `synthesize.residual`: found with init: noise, which has no real image to blend with; set \
         init: selected"
    );
}

#[test]
fn a_barycenter_wants_batches_of_one_class() {
    let target = "synthesize.target={kind: barycenter, weight: 1}";
    assert_eq!(
        said("digits.yaml", &[target, "synthesize.batch=7"], None),
        " (branch delt): at `synthesize.batch`: found 7 with target.kind barycenter, whose statistics are those of one \
         class; expected select.ipc (10), so that each batch is a class"
    );
    assert_eq!(
        said("digits.yaml", &[target, "synthesize.batch=10", "synthesize.batches=across_classes"], None),
        " (branch delt): at `synthesize.batches`: found across_classes with target.kind barycenter, whose statistics are \
         those of one class; set it to by_class"
    );
    assert_eq!(
        said("digits.yaml", &["synthesize.target={kind: barycenter, weight: 0}"], None),
        " (branch random): at `synthesize.target.weight`: found 0, expected a finite number above 0"
    );
}

#[test]
fn a_committee_is_of_different_networks_that_see_the_same_images() {
    let recipe = "{epochs: 1, batch: 40, optimizer: {name: sgd, lr: 0.1, momentum: 0, nesterov: false, weight_decay: 0}, \
        schedule: {name: cosine}, label_smoothing: 0, pad: 0, flip: false, bn_momentum: 0.1}";
    let member = |size: u32| {
        format!("{{size: {size}, network: {{name: convnet, depth: 2, width: 6}}, train: {recipe}}}")
    };
    let refused = |committee: &str, more: &str| said("digits.yaml", &[committee, more], None);
    assert_eq!(
        refused("committee=[]", "relabel.voters=committee"),
        " (branch random): at `relabel.voters`: found committee, but section `committee` names no network; list one, or \
         set it to teacher"
    );
    assert_eq!(
        refused(&format!("committee=[{}]", member(16)), "relabel.voters=committee"),
        " (branch random): at `committee.0.size`: found 16 px, expected teacher.size (8 px): all networks see the same \
         images"
    );
    assert_eq!(
        refused(&format!("committee=[{0}, {0}]", member(8)), "synthesize.teachers=committee"),
        " (branch random): at `committee.1`: is the same network as one before it, which would vote twice; change its \
         network, or how it is trained, or leave it out"
    );
}

#[test]
fn networks_without_batch_norm_are_refused_where_its_statistics_are_needed() {
    let instance = "teacher.network.norm=instance";
    let said = |settings: &[&str]| said("digits.yaml", settings, None);
    let matched = "which has no BatchNorm whose statistics the recovery could match; take norm: batch, match those of \
        convolutions (synthesize.convolution_statistics), or set synthesize.bn_matching_weight=0";
    assert_eq!(
        said(&[instance]),
        format!(" (branch delt): at `teacher.network`: found convnet2-w32-instance, {matched}")
    );
    let labels = "which has no BatchNorm and labels the same in both modes; take norm: batch, or leave \
        relabel.teacher_mode out";
    assert_eq!(
        said(&[instance, "relabel.teacher_mode=train", "synthesize.bn_matching_weight=0"]),
        format!(" (branch random): at `teacher.network`: found convnet2-w32-instance, {labels}")
    );
    for other in ["synthesize.bn_matching_weight=0", "synthesize.convolution_statistics={drop: 0.4}"] {
        let settings = [instance.to_owned(), other.to_owned(), "evaluate.student.norm=none".to_owned()];
        load(&repository_file("digits.yaml"), &settings, None).expect("the network serves");
    }
}

#[test]
fn a_ranker_is_held_to_what_a_teacher_is() {
    let ranker = "select.ranker={size: 8, network: {name: convnet, depth: 2, width: 8}}";
    assert_eq!(
        said("digits.yaml", &[ranker], None),
        " (branch random): at `select.ranker`: expected `train` (a recipe) or `import` (a weights file)"
    );
}

#[test]
fn constants_that_have_a_name_are_the_same_in_numbers() {
    let of = |constants: &str| {
        let import = format!("teacher.import={{path: t.pth, classes: dataset, normalization: {constants}}}");
        load(&repository_file("digits.yaml"), &[import], None).expect("loads").swap_remove(0).pipeline.teacher
    };
    assert_eq!(of("imagenet"), of("{mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}"));
}

#[test]
fn branches_that_are_none_are_refused() {
    let refusals = [
        ("{}", "`branches`: expected at least one branch, e.g. `delt: {}`"),
        ("{delt: null}", "`branches`: expected at least one branch, e.g. `delt: {}`"),
        (
            "{delt: 3}",
            "`branches.delt`: found a number, expected a map of overrides, e.g. `random: {select: {strategy: random}}`",
        ),
        ("{7: {}}", "`branches`: found a number as the name of a branch, expected text; quote it"),
        (
            "{delt: {like: dent}, random: {}}",
            "`branches.delt`: `like` is `dent`, but no branch is called so; there are: random",
        ),
        (
            "{a: {like: b}, b: {like: c}, c: {like: a}}",
            "`branches.a`: `like` is circular: a like b like c like a",
        ),
    ];
    for (branches, expected) in refusals {
        let path = repository_file("digits.yaml");
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut root = yaml::load(&path).expect("loads");
        root.insert("branches".into(), serde_yaml::from_str(branches).expect("test YAML"));
        let path = folder.path().join("p.yaml");
        std::fs::write(&path, serde_yaml::to_string(&root).expect("YAML")).expect("written");
        let message = load(&path, &[], None).expect_err("refused").to_string();
        assert_eq!(message, format!("{}: at {expected}", path.display()));
    }
}

#[test]
fn a_branch_like_another_changes_what_that_one_changes_and_more() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut root = yaml::load(&repository_file("digits.yaml")).expect("loads");
    let branches = "{hard: {like: random, evaluate: {loss: {kind: hard_label}}}, \
        random: {select: {strategy: random}, synthesize: {max_iterations: 0}}}";
    root.insert("branches".into(), serde_yaml::from_str(branches).expect("test YAML"));
    let path = folder.path().join("p.yaml");
    std::fs::write(&path, serde_yaml::to_string(&root).expect("YAML")).expect("written");
    let loaded = load(&path, &[], None).expect("loads");
    let [hard, random] = loaded.as_slice() else { panic!("{loaded:?}") };
    assert_eq!((hard.name.as_str(), &hard.pipeline.select), ("hard", &random.pipeline.select));
    assert_eq!(hard.pipeline.synthesize.max_iterations, 0);
    assert_eq!(hard.pipeline.evaluate.loss, evaluate::Loss::HardLabel {});
    assert_ne!(random.pipeline.evaluate.loss, hard.pipeline.evaluate.loss);
}

#[test]
fn a_data_path_for_the_embedded_digits_is_refused() {
    assert_eq!(
        said("digits.yaml", &[], Some("my images")),
        ": at `ingest.source`: DATA (--data) says that the images are at my images, but this pipeline reads the \
         embedded digits; leave it out"
    );
}

#[test]
fn a_full_data_student_that_nobody_says_how_to_train_is_refused() {
    let settings = [
        "teacher.train=null",
        "teacher.import={path: weights.pth, classes: dataset}",
        "evaluate.student={name: convnet, depth: 3, width: 8}",
    ];
    assert_eq!(
        said("digits.yaml", &settings, None),
        " (branch random): at `full_data`: the student's network is not the imported teacher's, so `teacher.train` must \
         say how to train it on all images (or set full_data: false)"
    );
}

#[test]
fn a_data_path_is_taken_as_it_stands() {
    let path = repository_file("trashnet-ipc10.yaml");
    let branches = load(&path, &[], Some(Path::new("a folder #2"))).expect("loads");
    let folder = ingest::ImageFolder { path: "a folder #2".into(), test_fraction: None, split_seed: None };
    assert_eq!(branches[0].pipeline.ingest.source, ingest::Source::ImageFolder(folder));
}

#[test]
fn the_sum_of_an_archive_of_ones_own_is_64_digits_beside_a_path() {
    let sum = "0".repeat(64);
    for (setting, data) in
        [("ingest.source.sha256=abc", Some("a.tar.gz")), (&format!("ingest.source.sha256='{sum}'"), None)]
    {
        let message =
            load(&repository_file("cifar100-ipc10.yaml"), &[setting.to_owned()], data.map(Path::new))
                .expect_err("refused")
                .to_string();
        assert!(
            message.contains("`ingest.source.sha256`: expected 64 lower-case hex digits, and a `path`"),
            "{message}"
        );
    }
}

#[test]
fn rounds_that_do_not_divide_are_refused() {
    let wrong = ["synthesize.max_iterations=100".to_owned(), "synthesize.round_iterations=30".to_owned()];
    let message = load(&repository_file("digits.yaml"), &wrong, None).expect_err("refused").to_string();
    assert!(
        message.contains(
            "`synthesize.round_iterations`: 100 iterations are not a multiple of rounds of 30; choose a divisor"
        ),
        "{message}"
    );
}

#[test]
fn students_stand_in_the_space_of_their_images_and_real_ones_where_they_are_asked_to() {
    let load = |setting: &str| {
        let of_method = "branches.mtt.synthesize.matching.whitening=absolute".to_owned();
        load(&repository_file("digits-matching.yaml"), &[of_method, setting.to_owned()], None)
    };
    let white = "branches.white={like: random-hard, evaluate: {given: {whitening: absolute}}}";
    let branches = load(white).expect("loads");
    let of =
        |name| branches.iter().find(|branch| branch.name == name).expect("a branch").pipeline.whitening();
    let [unit_length, absolute] = [Whitening::UnitLength, Whitening::Absolute].map(Some);
    assert_eq!(["random-hard", "dm", "rat-bptt", "white"].map(of), [None, None, unit_length, absolute]);
    let message = load("branches.rat-bptt.evaluate.given.whitening=trace").expect_err("refused").to_string();
    let expected = "`evaluate.given.whitening`: is another than synthesize.matching.whitening, behind which the images are; leave it out";
    assert!(message.ends_with(expected), "{message}");
}
