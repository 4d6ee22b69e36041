//! Pipelines that load and settings that are refused.

use super::*;

mod matching;

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

#[test]
#[expect(clippy::too_many_lines, reason = "a list of cases")]
fn every_refusal_names_the_key_and_what_is_expected() {
    let refusals = [
        (
            "relabel.batch=null select.ipc=5",
            "`relabel.batch`: no batch is published for select.ipc 5; set relabel.batch, the images of one step",
        ),
        (
            "synthesize.import_tensors.zca=zca.pt",
            "`synthesize.import_tensors`: found without synthesize.import, whose tensors it is about; leave it out",
        ),
        (
            "synthesize.import=set.pt synthesize.import_tensors.mean=[0,0,0]",
            "`synthesize.import_tensors`: found one of mean and std; state both, or neither",
        ),
        (
            "synthesize.import=set.pt synthesize.import_tensors.mean=[0,0,0] synthesize.import_tensors.std=[1,0,1]",
            "`synthesize.import_tensors.std`: found 0, expected a finite number above 0",
        ),
        ("relabel.batch=1", "`relabel.batch`: found 1, expected at least 2 images: BatchNorm needs a batch"),
        ("relabel.seeds=[1,1]", "`relabel.seeds`: a seed is named twice; name each once"),
        ("relabel.seeds=[]", "`relabel.seeds`: found an empty list, expected at least one student seed"),
        ("relabel.epochs=0", "`relabel.epochs`: found 0, expected at least 1"),
        (
            "select.facility_location={candidates: 10}",
            "`select.facility_location.candidates`: found 10, expected more than select.ipc (10), at most 10000",
        ),
        ("relabel.labels.bits=4", "`relabel.labels.bits`: found 4, expected 16 or 8 bits a logit"),
        (
            "relabel.labels={keep: {top_k: 0}, bits: 8}",
            "`relabel.labels.keep.top_k`: found 0, expected at least 1 logit of a view, or keep: full",
        ),
        (
            "relabel.labels.keep=some",
            "`relabel.labels.keep`: unknown variant `some`, expected `full` or `top_k`",
        ),
        (
            "relabel.labels.epochs=0",
            "`relabel.labels.epochs`: found 0, expected 1 to 100 (relabel.epochs), or null to store them all",
        ),
        (
            "relabel.shuffle_patches=3",
            "`relabel.shuffle_patches`: 3 x 3 patches do not divide 8 px (teacher.size)",
        ),
        (
            "evaluate.student={\"name\":\"resnet18\"}",
            "`evaluate.student.stem`: is missing, expected `small` or `standard`; write it, or let the file extend one",
        ),
        ("relabel.mix.alpha=-1", "`relabel`: "),
        ("relabel.mix={kind: none, alpha: 1}", "unknown field `alpha`"),
        ("teacher.train.schedule={name: cosine, warmup: 0.2}", "unknown field `warmup`"),
        ("evaluate.loss={kind: hard_label, temperature: 4}", "unknown field `temperature`"),
        ("evaluate.loss.temperature=0", "`evaluate.loss.temperature`: found 0, expected more than 0"),
        ("evaluate.student={name: convnet, depth: 5, width: 8}", "`evaluate.student`: a ConvNet of depth 5"),
        ("evaluate.test_every=0", "`evaluate.test_every`: found 0, expected at least 1"),
        ("synthesize.lr=fast", "`synthesize.lr`: invalid type: string \"fast\", expected a number"),
        ("select=3", "`select`: invalid type: integer `3`, expected a section of `key: value` lines"),
        ("select.ipc=0", "`select.ipc`: found 0, expected at least 1 image per class"),
        ("synthesize.min_crop_scale=0", "`synthesize.min_crop_scale`: found 0, expected a share of the area"),
        ("synthesize.beta_1=1", "`synthesize.beta_1`: found 1, expected 0 or more, less than 1"),
        ("synthesize.min_iterations=7", "`synthesize.min_iterations`: found 7, expected a multiple of"),
        ("teacher.size=4", "`teacher.size`: 4 px is too small; expected 8 or more"),
        ("teacher.train=null", "`teacher`: expected `train` (a recipe) or `import` (a weights file)"),
        ("ingest.classes=[\"1\"]", "`ingest.classes`: expected at least two class names"),
        (
            "ingest.normalization={mean: [.nan, 0, 0], std: [1, 1, 1]}",
            "`ingest.normalization.mean`: found NaN, expected 0 to 1, as pixels are",
        ),
        (
            "ingest.normalization={mean: [0, 0, 0], std: [1, 0, 1]}",
            "`ingest.normalization.std`: found 0, expected more than 0, at most 1",
        ),
        (
            "ingest.normalization={mean: [127, 127, 127], std: [50, 50, 50]}",
            "`ingest.normalization.mean`: found 127, expected 0 to 1, as pixels are; divide what is meant for 0 to 255 by 255",
        ),
        (
            "ingest.normalization={mean: [0.5, 0.5, 0.5], std: [0.2, 50, 0.2]}",
            "`ingest.normalization.std`: found 50, expected more than 0, at most 1, for pixels from 0 to 1",
        ),
        (
            "teacher.import={path: t.pth, classes: dataset, normalization: {mean: [127, 127, 127], std: [50, 50, 50]}}",
            "`teacher.import.normalization`: found mean [127.0, 127.0, 127.0] and std [50.0, 50.0, 50.0], expected those of pixels",
        ),
        (
            "ingest.source={kind: imagenette, px: 64}",
            "`ingest.source.px`: expected 160 or 320; leave it out for the full size",
        ),
        (
            "ingest.source.test_fraction=1.5",
            "`ingest.source.test_fraction`: expected a share between 0 and 1",
        ),
    ];
    for (settings, expected) in refusals {
        let settings: Vec<String> = if settings.contains('{') {
            vec![settings.to_owned()]
        } else {
            settings.split(' ').map(str::to_owned).collect()
        };
        let message =
            load(&repository_file("digits.yaml"), &settings, None).expect_err("refused").to_string();
        assert!(message.contains("digits.yaml"), "{message}");
        assert!(message.contains(expected), "{settings:?}: expected `{expected}` in: {message}");
    }
}

/// What is said of these settings after the name of the pipeline file.
fn said(pipeline: &str, settings: &[&str], data: Option<&str>) -> String {
    let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
    let loaded = load(&repository_file(pipeline), &settings, data.map(Path::new));
    let message = loaded.expect_err("refused").to_string();
    message.split_once(pipeline).map_or(message.clone(), |(_, said)| said.to_owned())
}

#[test]
fn a_value_outside_its_range_is_refused_with_key_value_and_range() {
    let refusals = [
        ("evaluate.lr=0", "evaluate.lr`: found 0, expected a finite number above 0"),
        ("evaluate.epsilon=0", "evaluate.epsilon`: found 0, expected a finite number above 0"),
        ("evaluate.bn_momentum=0", "evaluate.bn_momentum`: found 0, expected more than 0, at most 1"),
        ("evaluate.bn_momentum=1.5", "evaluate.bn_momentum`: found 1.5, expected more than 0, at most 1"),
        ("evaluate.loss.temperature=.nan", "evaluate.loss.temperature`: found NaN, expected more than 0"),
        ("synthesize.batch=0", "synthesize.batch`: found 0, expected at least 1 image"),
        (
            "synthesize.round_iterations=0",
            "synthesize.round_iterations`: 200 iterations are not a multiple of rounds of 0; choose a divisor",
        ),
        (
            "synthesize.min_iterations=0",
            "synthesize.min_iterations`: found 0, expected a multiple of round_iterations (25) up to \
             max_iterations (200)",
        ),
        (
            "synthesize.min_crop_scale=1.5",
            "synthesize.min_crop_scale`: found 1.5, expected a share of the area, more than 0, at most 1",
        ),
        (
            "synthesize.milestone=2",
            "synthesize.milestone`: found 2, expected a share of the iterations, 0 to 1",
        ),
        (
            "synthesize.residual={share: 1, every: 5, restart_adam: true}",
            "synthesize.residual.share`: found 1, expected more than 0, less than 1",
        ),
        ("synthesize.beta_2=-1", "synthesize.beta_2`: found -1, expected 0 or more, less than 1"),
        ("synthesize.lr=0", "synthesize.lr`: found 0, expected a finite number above 0"),
        ("synthesize.epsilon=-1", "synthesize.epsilon`: found -1, expected a finite number above 0"),
        ("teacher.train.epochs=0", "teacher.train.epochs`: found 0, expected more than 0"),
        (
            "teacher.train.batch=1",
            "teacher.train.batch`: found 1, expected at least 2 images: BatchNorm needs a batch",
        ),
        ("teacher.train.optimizer.lr=0", "teacher.train.optimizer.lr`: found 0, expected more than 0"),
        (
            "teacher.train.label_smoothing=1",
            "teacher.train.label_smoothing`: found 1, expected a share of 0 or more, less than 1",
        ),
        (
            "teacher.network.width=0",
            "teacher.network`: a ConvNet of depth 2 and width 0 does not fit 8 px; expected a width of 1 or more, \
             and 8 px to be left with a pixel when halved 2 times; lower the depth or raise teacher.size",
        ),
        (
            "relabel.min_crop_scale=0",
            "relabel`: augmentation setting `min_crop_scale` is 0, expected above 0 and at most 1; correct it in the \
             pipeline's YAML",
        ),
    ];
    for (setting, expected) in refusals {
        // the branch `random` recovers nothing, so settings of rounds are met by `delt`
        let branch = if expected.contains("iterations`: ") { "delt" } else { "random" };
        let expected = format!(" (branch {branch}): at `{expected}");
        assert_eq!(said("digits.yaml", &[setting], None), expected, "{setting}");
    }
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
fn branches_that_are_none_are_refused() {
    let refusals = [
        ("{}", "`branches`: expected at least one branch, e.g. `delt: {}`"),
        ("{delt: null}", "`branches`: expected at least one branch, e.g. `delt: {}`"),
        (
            "{delt: 3}",
            "`branches.delt`: found a number, expected a map of overrides, e.g. `random: {select: {strategy: random}}`",
        ),
        ("{7: {}}", "`branches`: found a number as the name of a branch, expected text; quote it"),
        ("{delt: {like: dent}}", "`branches.delt`: `like` names no branch; there are: delt"),
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
