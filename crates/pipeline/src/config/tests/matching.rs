//! The methods that match batches of real images: what loads, what is refused, and what counts.

use super::*;

const MATCHING: &str = "synthesize.matching={network: {name: convnet, depth: 2, width: 16, norm: instance}, iterations: 5, whitening: none, \
    augmentation: [crop], init: selected, image_optimizer: {kind: sgd, lr: 1, momentum: 0.5}, labels: hard}";
const DM: &str = "synthesize.method={kind: distribution_matching, real_batch: 8}";
const DC: &str = "synthesize.method={kind: gradient_matching, real_batch: 8, outer: 1, inner_epochs: 1, network_lr: 0.01, \
    network_batch: 256}";
const MTT: &str = "synthesize.method={kind: trajectory_matching, steps: 5, expert_epochs: 2, max_start_epoch: 4, lr: 0.01, \
    lr_step: {lr: 1.0e-5, momentum: 0.5}, curvature: true, expert_labels: false}";
const EXPERTS: &str = "experts={count: 2, epochs: 5, batch: 32, lr: 0.01, augmentation: [crop, color]}";
const RAT: &str = "synthesize.method={kind: rat_bptt, inner: {lr: 0.001, beta_1: 0.9, beta_2: 0.999, epsilon: 1.0e-8}, window: 3, \
    steps: 10, window_at_end: false, real_batch: 64, clip: {factor: 2, decay: 0.9}}";

/// The digits in a file with these settings, of which later ones change earlier ones.
fn digits(settings: &[&str]) -> Result<Vec<Branch>, YamlError> {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut root = yaml::load(&repository_file("digits.yaml"))?;
    settings.iter().try_for_each(|setting| yaml::set(&mut root, setting))?;
    let path = folder.path().join("digits.yaml");
    std::fs::write(&path, serde_yaml::to_string(&root).expect("YAML")).expect("written");
    load(&path, &[], None)
}

const FREPO: &str = "synthesize.method={kind: frepo, real_batch: 64, ridge: 1.0e-6, pool: 2, pool_spacing: 1, pool_steps: 5, \
    network_lr: 3.0e-4, train_batch: 100, bn_momentum: 0.9, mirror: true}";

/// Settings, and what is said of them.
const REFUSALS: [(&[&str], &str); 21] = [
    (&[DM], "`synthesize.matching`: is missing, which distribution matching needs"),
    (
        &[MATCHING],
        "`synthesize.matching`: no branch matches batches of real images; set synthesize.method in one",
    ),
    (
        &[EXPERTS],
        "`experts`: no branch matches trajectories; set synthesize.method to trajectory_matching in one",
    ),
    (&[DM, MATCHING, EXPERTS], "`experts`: no branch matches trajectories"),
    (&[MTT, MATCHING], "`experts`: is missing, which trajectory matching needs"),
    (
        &[MTT, MATCHING, EXPERTS, "experts.epochs=4"],
        "`experts.epochs`: found 4, expected at least 5: an expert of epoch 3 (max_start_epoch - 1) is matched 2 epochs \
             (expert_epochs) later",
    ),
    (
        &[DM, MATCHING, "synthesize.method.real_batch=0"],
        "`synthesize.method.real_batch`: found 0, expected at least 1",
    ),
    (&["synthesize.method={kind: distribution_matching, softplus: 60}"], "unknown field `softplus`"),
    (
        &[DM, MATCHING, "synthesize.matching.network={name: resnet18, stem: small}"],
        "`synthesize.matching.network`: found resnet18, expected a convnet, whose derivative",
    ),
    (
        &[DM, MATCHING, "synthesize.matching.network.norm=group"],
        "`synthesize.matching.network.norm`: found \"group\", expected batch, instance or none",
    ),
    (
        &[MTT, MATCHING, EXPERTS, "synthesize.matching.network.norm=batch"],
        "`synthesize.matching.network.norm`: found batch, whose running statistics no expert keeps",
    ),
    (
        &[DC, MATCHING, "synthesize.matching.network.norm=batch"],
        "`synthesize.method.statistics_batch`: is for networks with batch normalization, and needed by them",
    ),
    (
        &[DM, MATCHING, "synthesize.matching.network.depth=4"],
        "`synthesize.matching.network`: a ConvNet of depth 4 and width 16 does not fit 8 px",
    ),
    (
        &[DM, MATCHING, "synthesize.matching.init=noise_unit_length"],
        "`synthesize.matching.init`: found noise_unit_length without whitening: unit_length",
    ),
    (
        &[DM, MATCHING, "synthesize.matching.labels=learned"],
        "`synthesize.matching.labels`: found learned, expected hard: distribution matching has no gradient on labels",
    ),
    (
        &[RAT, MATCHING, "synthesize.matching.labels=learned"],
        "`synthesize.matching.label_optimizer`: is missing with labels: learned",
    ),
    (
        &[RAT, MATCHING, "synthesize.matching.label_optimizer={kind: sgd, lr: 1, momentum: 0}"],
        "`synthesize.matching.label_optimizer`: found with labels: hard",
    ),
    (
        &[RAT, MATCHING, "synthesize.method.window=11"],
        "`synthesize.method.window`: found 11, expected 1 to 10 (steps)",
    ),
    (
        &[RAT, MATCHING, "synthesize.method.images_per_class=11"],
        "`synthesize.method.images_per_class`: found 11, expected 1 to 10 (select.ipc)",
    ),
    (
        &[DM, MATCHING, "synthesize.matching.augmentation=[crop,flip,crop]"],
        "`synthesize.matching.augmentation`: names a strategy twice",
    ),
    (
        &[FREPO, MATCHING],
        "`synthesize.matching.augmentation`: found [\"crop\"], expected []: FRePo augments by mirror images alone",
    ),
];

#[test]
fn settings_of_matching_are_held_to_the_method_and_to_each_other() {
    for (settings, expected) in REFUSALS {
        let message = digits(settings).expect_err("refused").to_string();
        assert!(message.contains(expected), "{settings:?}: {message}");
    }
}

#[test]
fn a_branch_that_matches_has_nothing_of_early_late_and_the_others_nothing_of_matching() {
    let change = format!("branches.mtt.{MTT}");
    let branches = digits(&[MATCHING, EXPERTS, "branches.mtt.like=delt", &change]).expect("loads");
    let of = |name: &str| &branches.iter().find(|branch| branch.name == name).expect("a branch").pipeline;
    for name in ["random", "delt"] {
        assert_eq!((of(name).synthesize.matching.as_ref(), of(name).experts.as_ref()), (None, None));
    }
    assert!(of("random").keeps_random_images() && !of("mtt").keeps_random_images());
    let mtt = of("mtt").synthesize.needs();
    assert_eq!((mtt.teacher, mtt.real_images, mtt.experts, mtt.whitening), (false, true, true, false));
    assert!(!of("delt").synthesize.needs().experts);
}

#[test]
fn images_kept_at_no_iteration_of_early_late_are_matched_all_the_same() {
    let branches = digits(&[DM, MATCHING, "synthesize.max_iterations=0"]).expect("loads");
    assert!(branches.iter().all(|branch| branch.pipeline.synthesize.makes_images()));
    let names =
        branches[0].pipeline.synthesize.method.trace_names(branches[0].pipeline.synthesize.objective());
    assert_eq!(names[0].short, "mmd");
}
