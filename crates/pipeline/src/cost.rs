//! What a run costs before anything of it is computed: floating-point operations of every stage, counted from the
//! configuration, and the hours they come to on a device whose speed was measured.

mod matching;

use delt_formats::dataset::DatasetFacts;
use delt_formats::teacher::Architecture;

use crate::amounts::human_seconds;
use crate::config::teacher::Teacher;
use crate::config::{Branch, Pipeline};
use crate::early_late::EarlyLate;
use crate::plan::{DELT_SYNTHESIZE, EVALUATE, INIT_SELECT, RELABEL, TEACHER_TRAIN};
use crate::roles::Role;

/// A training step in forward passes: forward, gradients of what passes, gradients of the weights.
pub const TRAINING_PASSES: f64 = 3.0;

/// A recovery step in forward passes: the teacher's weights have no gradients.
const RECOVERY_PASSES: f64 = 2.0;

/// How many images there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Real training images.
    pub train_images: u64,
    /// Real test images.
    pub test_images: u64,
    /// Outputs of the networks.
    pub classes: usize,
    /// Classes that have training images.
    pub classes_in_use: u64,
}

impl From<&DatasetFacts> for Sizes {
    fn from(facts: &DatasetFacts) -> Self {
        Self {
            train_images: facts.train_images,
            test_images: facts.test_images,
            classes: facts.train_per_class.len(),
            classes_in_use: facts.train_per_class.iter().filter(|images| **images > 0).count() as u64,
        }
    }
}

/// What one stage computes, for all branches together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Name of the stage.
    pub stage: &'static str,
    /// Floating-point operations.
    pub flops: f64,
}

/// What each stage of a run computes, in their order. What branches share is counted once; tests of the teacher, a few
/// percent of its training, are left out.
pub fn of_run(branches: &[Branch], sizes: &Sizes) -> Vec<Cost> {
    let pipelines: Vec<&Pipeline> = branches.iter().map(|branch| &branch.pipeline).collect();
    let pass = |network: &Architecture, of: &Pipeline| pass(network, of, sizes);
    let images = |of: &Pipeline| images(of, sizes);
    let epochs = |of: &Pipeline| f64::from(of.relabel.epochs);

    let mut trained: Vec<Teacher> = Vec::new();
    for network in pipelines.iter().flat_map(|of| {
        let committee = of.committee_roles();
        let roles = [Role::Teacher, Role::Ranker, Role::FullData].into_iter().chain(committee);
        roles.map(|role| of.network_of(role))
    }) {
        trained.extend(network.filter(|network| !trained.contains(network)));
    }
    let training = trained.iter().map(|network| of_training(network, sizes));
    let experts =
        distinct(&pipelines, |of| (&of.experts, of.synthesize.matching.as_ref().map(|it| it.network)))
            .map(|of| of_experts(of, sizes));
    let scoring = distinct(&pipelines, |of| (of.network_of(Role::Ranker), &of.select.scores)).map(|of| {
        let ranker = of.network_of(Role::Ranker).filter(|_| of.select.scores.is_none());
        ranker.map_or(0.0, |ranker| pass(&ranker.network, of) * sizes.train_images as f64)
    });
    let passes = |networks: Vec<&Teacher>, of: &Pipeline| -> Vec<f64> {
        networks.into_iter().map(|network| pass(&network.network, of)).collect()
    };
    let recovery = distinct(&pipelines, |of| (of.recovering(), &of.select, &of.synthesize)).map(|of| {
        if let Some(matching) = &of.synthesize.matching {
            return pass(&matching.network, of) * matching::passes(of, sizes);
        }
        let iterations = EarlyLate::image_iterations_of(&of.synthesize, of.select.ipc, sizes.classes_in_use);
        let passes = passes(of.recovering(), of);
        let at_once = f64::from(of.networks_at_once());
        RECOVERY_PASSES * at_once * passes.iter().sum::<f64>() / passes.len() as f64 * iterations as f64
    });
    let labels =
        distinct(&pipelines, |of| (of.recovering(), of.labeling(), &of.select, &of.synthesize, &of.relabel))
            .map(|of| {
                let is_asked = of.relabel.import.is_none();
                let passes = passes(of.labeling(), of).iter().filter(|_| is_asked).sum::<f64>();
                passes * images(of) * epochs(of) * of.relabel.label_seeds().len() as f64
            });
    let students = pipelines.iter().map(|of| of_students(of, sizes));
    vec![
        Cost { stage: TEACHER_TRAIN.name, flops: training.sum::<f64>() + experts.sum::<f64>() },
        Cost { stage: INIT_SELECT.name, flops: scoring.sum() },
        Cost { stage: DELT_SYNTHESIZE.name, flops: recovery.sum() },
        Cost { stage: RELABEL.name, flops: labels.sum() },
        Cost { stage: EVALUATE.name, flops: students.sum() },
    ]
}

/// Training a network; nothing where it is imported.
pub fn of_training(network: &Teacher, sizes: &Sizes) -> f64 {
    let recipe = network.train.as_ref().filter(|_| network.import.is_none());
    let epochs = recipe.map_or(0, |recipe| recipe.epochs);
    let pass = network.network.forward_flops(network.size as usize, sizes.classes);
    TRAINING_PASSES * pass * f64::from(epochs) * sizes.train_images as f64
}

/// One image going through a network.
fn pass(network: &Architecture, of: &Pipeline, sizes: &Sizes) -> f64 {
    network.forward_flops(of.teacher.size as usize, sizes.classes)
}

/// Synthetic images.
fn images(of: &Pipeline, sizes: &Sizes) -> f64 {
    sizes.classes_in_use as f64 * f64::from(of.select.ipc)
}

/// Training the experts of a branch, where it has any.
fn of_experts(of: &Pipeline, sizes: &Sizes) -> f64 {
    let (Some(experts), Some(matching)) = (&of.experts, &of.synthesize.matching) else { return 0.0 };
    let images = f64::from(experts.count) * f64::from(experts.epochs) * sizes.train_images as f64;
    TRAINING_PASSES * pass(&matching.network, of, sizes) * images
}

/// Training and testing the students of a branch.
fn of_students(of: &Pipeline, sizes: &Sizes) -> f64 {
    let (passes, tests) = match &of.evaluate.given {
        Some(given) => {
            let per_class = vec![u64::from(of.select.ipc); sizes.classes_in_use as usize];
            (given.passes(&per_class), given.tested_after().len() as u32)
        }
        None => {
            let after_first = of.relabel.epochs.saturating_sub(1);
            (f64::from(of.relabel.epochs), after_first.div_ceil(of.evaluate.test_every.max(1)) + 1)
        }
    };
    let seen = TRAINING_PASSES * images(of, sizes) * passes;
    let tested = f64::from(tests) * sizes.test_images as f64;
    pass(&of.evaluate.student, of, sizes) * (seen + tested) * of.relabel.seeds.len() as f64
}

/// The first pipeline of each kind.
fn distinct<'a, K: PartialEq>(
    pipelines: &[&'a Pipeline],
    kind: impl Fn(&'a Pipeline) -> K,
) -> impl Iterator<Item = &'a Pipeline> {
    let mut kinds = Vec::new();
    let mut first = Vec::new();
    for of in pipelines {
        let kind = kind(of);
        if !kinds.contains(&kind) {
            kinds.push(kind);
            first.push(*of);
        }
    }
    first.into_iter()
}

/// What is said before long work: the time from this stage to the table on a device of that speed, and what to run on a
/// smaller machine.
pub fn forecast(pipeline: &str, stage: &str, costs: &[Cost], flops_per_second: f64, smaller: &str) -> String {
    let ahead: Vec<&Cost> = costs.iter().skip_while(|cost| cost.stage != stage).collect();
    let time = |flops: f64| human_seconds(flops / flops_per_second.max(1.0));
    let parts: Vec<String> =
        ahead.iter().map(|cost| format!("{} {}", cost.stage, time(cost.flops))).collect();
    format!(
        "{pipeline}: about {} on this device to the end ({}), at {:.1} GFLOP/s as just measured; for a desktop there is \
         `make {smaller}`",
        time(ahead.iter().map(|cost| cost.flops).sum()),
        parts.join(", "),
        flops_per_second / 1e9
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use delt_formats::teacher::Stem;

    use super::*;

    fn branches(pipeline: &str, settings: &[&str]) -> Vec<Branch> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines").join(pipeline);
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        crate::config::load(&path, &settings, None).expect("loads")
    }

    #[test]
    fn work_that_branches_share_counts_once() {
        let sizes = Sizes { train_images: 50_000, test_images: 10_000, classes: 100, classes_in_use: 100 };
        let branches = branches("cifar100-ipc10.yaml", &["evaluate.test_every=300"]);
        let pass = Architecture::resnet18(Stem::Small).forward_flops(32, 100);
        let passes: Vec<f64> =
            of_run(&branches, &sizes).iter().map(|cost| (cost.flops / pass).round()).collect();
        // the full-data student is the teacher; ten slots of a class in eight rounds: two in the first two rounds
        let image_iterations = 100.0 * 500.0 * (2.0 * 8.0 + 2.0 * 7.0 + 21.0);
        let students = 2.0 * 3.0 * (3.0 * 1000.0 * 300.0 + 2.0 * 10_000.0);
        assert_eq!(
            passes,
            [3.0 * 200.0 * 50_000.0, 50_000.0, 2.0 * image_iterations, 2.0 * 3.0 * 1000.0 * 300.0, students]
        );
    }

    #[test]
    fn an_iteration_takes_one_network_of_the_committee_and_a_label_takes_all() {
        let sizes = Sizes { train_images: 50_000, test_images: 10_000, classes: 100, classes_in_use: 100 };
        let mut branches = branches("compare-small.yaml", &[]);
        branches.retain(|branch| branch.name == "g-vbsm");
        let pass = |depth, width| Architecture::convnet(depth, width).forward_flops(32, 100);
        let all = pass(3, 128) + pass(3, 64) + pass(2, 64);
        let flops: Vec<f64> = of_run(&branches, &sizes).iter().map(|cost| cost.flops).collect();
        assert_eq!(flops[2].round(), (2.0 * all / 3.0 * 1000.0 * 1000.0).round());
        assert_eq!(flops[3].round(), (all * 1000.0 * 100.0).round());
    }

    #[test]
    fn the_forecast_starts_at_the_stage_that_runs_and_names_the_smaller_pipeline() {
        let cost = |stage, flops| Cost { stage, flops };
        let costs = [cost("teacher-train", 3.6e15), cost("init-select", 2e10), cost("evaluate", 7.2e15)];
        assert_eq!(
            forecast("big", "teacher-train", &costs, 1e11, "small"),
            "big: about 30.0 h on this device to the end (teacher-train 10.0 h, init-select 0 s, evaluate 20.0 h), at 100.0 \
             GFLOP/s as just measured; for a desktop there is `make small`"
        );
        assert_eq!(
            forecast("big", "evaluate", &costs, 1e11, "small"),
            "big: about 20.0 h on this device to the end (evaluate 20.0 h), at 100.0 GFLOP/s as just measured; for a \
             desktop there is `make small`"
        );
    }
}
