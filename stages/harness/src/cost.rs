//! What a run costs before anything of it is computed: floating-point operations of every stage, counted from the
//! configuration, and the hours they come to on a device whose speed was measured.

use delt_formats::teacher::{Architecture, Stem};

use crate::config::teacher::Teacher;
use crate::config::{Branch, Pipeline};
use crate::plan::{DELT_SYNTHESIZE, EVALUATE, INIT_SELECT, RELABEL, TEACHER_TRAIN};
use crate::progress::human_seconds;
use crate::resolve::Role;

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

/// What one stage computes, for all branches together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Name of the stage.
    pub stage: &'static str,
    /// Floating-point operations.
    pub flops: f64,
}

/// Floating-point operations of one picture going through a network: two for each multiplication of a convolution or a
/// linear layer.
pub fn forward_flops(network: &Architecture, size: u32, classes: usize) -> f64 {
    let (size, classes) = (f64::from(size), classes as f64);
    let multiplications = match *network {
        Architecture::ConvNet { depth, width } => {
            let width = f64::from(width);
            let side = |block: u32| (size / 2.0_f64.powi(block as i32)).floor();
            let blocks = (0..depth).map(|block| {
                let inputs = if block == 0 { 3.0 } else { width };
                9.0 * inputs * width * side(block).powi(2)
            });
            blocks.sum::<f64>() + classes * width * side(depth).powi(2)
        }
        Architecture::Resnet18 { stem } => resnet([2, 2, 2, 2], stem, size, classes),
        Architecture::Resnet34 { stem } => resnet([3, 4, 6, 3], stem, size, classes),
        Architecture::MobilenetV2 => mobilenet_v2(size, classes),
    };
    2.0 * multiplications
}

fn resnet(blocks: [u32; 4], stem: Stem, size: f64, classes: f64) -> f64 {
    let (mut multiplications, mut side) = match stem {
        Stem::Small => (9.0 * 3.0 * 64.0 * size.powi(2), size),
        Stem::Standard => (49.0 * 3.0 * 64.0 * (size / 2.0).powi(2), size / 4.0),
    };
    let mut inputs = 64.0;
    for (group, blocks) in (0..).zip(blocks) {
        let channels = 64.0 * 2.0_f64.powi(group);
        for _ in 0..blocks {
            if inputs != channels {
                side /= 2.0;
                multiplications += inputs * channels * side.powi(2);
            }
            multiplications += 9.0 * (inputs + channels) * channels * side.powi(2);
            inputs = channels;
        }
    }
    multiplications + inputs * classes
}

fn mobilenet_v2(size: f64, classes: f64) -> f64 {
    // expansion, channels, blocks, stride of the first: table 2 of the MobileNetV2 paper
    const GROUPS: [(f64, f64, u32, f64); 7] = [
        (1.0, 16.0, 1, 1.0),
        (6.0, 24.0, 2, 2.0),
        (6.0, 32.0, 3, 2.0),
        (6.0, 64.0, 4, 2.0),
        (6.0, 96.0, 3, 1.0),
        (6.0, 160.0, 3, 2.0),
        (6.0, 320.0, 1, 1.0),
    ];
    let (mut side, mut inputs) = (size / 2.0, 32.0);
    let mut multiplications = 9.0 * 3.0 * inputs * side.powi(2);
    for (expansion, channels, blocks, stride) in GROUPS {
        for block in 0..blocks {
            let hidden = inputs * expansion;
            if expansion > 1.0 {
                multiplications += inputs * hidden * side.powi(2);
            }
            if block == 0 {
                side = (side / stride).ceil();
            }
            multiplications += (9.0 + channels) * hidden * side.powi(2);
            inputs = channels;
        }
    }
    multiplications + inputs * 1280.0 * side.powi(2) + 1280.0 * classes
}

/// What each stage of a run computes, in their order. What branches share is counted once; tests of the teacher, a few
/// percent of its training, are left out.
pub fn of_run(branches: &[Branch], sizes: &Sizes) -> Vec<Cost> {
    let pipelines: Vec<&Pipeline> = branches.iter().map(|branch| &branch.pipeline).collect();
    let pass = |network: &Architecture, of: &Pipeline| forward_flops(network, of.teacher.size, sizes.classes);
    let images = |of: &Pipeline| sizes.classes_in_use as f64 * f64::from(of.select.ipc);
    let epochs = |of: &Pipeline| f64::from(of.relabel.epochs);

    let mut trained: Vec<Teacher> = Vec::new();
    for network in pipelines.iter().flat_map(|of| {
        let committee = of.committee_roles();
        let roles = [Role::Teacher, Role::Ranker, Role::FullData].into_iter().chain(committee);
        roles.map(|role| of.network_of(role))
    }) {
        trained.extend(network.filter(|network| !trained.contains(network)));
    }
    let training = trained.iter().filter(|network| network.import.is_none()).map(|network| {
        let epochs = network.train.as_ref().map_or(0, |recipe| recipe.epochs);
        let pass = forward_flops(&network.network, network.size, sizes.classes);
        TRAINING_PASSES * pass * f64::from(epochs) * sizes.train_images as f64
    });
    let scoring = distinct(&pipelines, |of| (of.network_of(Role::Ranker), &of.select.scores)).map(|of| {
        let ranker = of.network_of(Role::Ranker).filter(|_| of.select.scores.is_none());
        ranker.map_or(0.0, |ranker| pass(&ranker.network, of) * sizes.train_images as f64)
    });
    let passes = |networks: Vec<&Teacher>, of: &Pipeline| -> Vec<f64> {
        networks.into_iter().map(|network| pass(&network.network, of)).collect()
    };
    let recovery = distinct(&pipelines, |of| (of.recovering(), &of.select, &of.synthesize)).map(|of| {
        let iterations = of.synthesize.image_iterations(of.select.ipc, sizes.classes_in_use);
        let passes = passes(of.recovering(), of);
        RECOVERY_PASSES * passes.iter().sum::<f64>() / passes.len() as f64 * iterations as f64
    });
    let labels =
        distinct(&pipelines, |of| (of.recovering(), of.labelling(), &of.select, &of.synthesize, &of.relabel))
            .map(|of| {
                let passes = passes(of.labelling(), of).iter().sum::<f64>();
                passes * images(of) * epochs(of) * of.relabel.label_seeds().len() as f64
            });
    let students = pipelines.iter().map(|of| {
        let seen = TRAINING_PASSES * images(of) * epochs(of);
        let tests = (of.relabel.epochs.saturating_sub(1)).div_ceil(of.evaluate.test_every.max(1)) + 1;
        let tested = f64::from(tests) * sizes.test_images as f64;
        pass(&of.evaluate.student, of) * (seen + tested) * of.relabel.seeds.len() as f64
    });
    vec![
        Cost { stage: TEACHER_TRAIN.name, flops: training.sum() },
        Cost { stage: INIT_SELECT.name, flops: scoring.sum() },
        Cost { stage: DELT_SYNTHESIZE.name, flops: recovery.sum() },
        Cost { stage: RELABEL.name, flops: labels.sum() },
        Cost { stage: EVALUATE.name, flops: students.sum() },
    ]
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

    use super::*;

    #[test]
    fn networks_cost_what_is_published_of_them() {
        // multiplications at 224 px, 1000 classes, as torchvision's documentation lists them ("GFLOPS"): 1.81, 3.66, 0.30
        let published = [
            (Architecture::Resnet18 { stem: Stem::Standard }, 1.81e9),
            (Architecture::Resnet34 { stem: Stem::Standard }, 3.66e9),
            (Architecture::MobilenetV2, 0.30e9),
        ];
        for (network, multiplications) in published {
            let ours = forward_flops(&network, 224, 1000) / 2.0;
            assert!((ours / multiplications - 1.0).abs() < 0.01, "{network}: {ours}");
        }
        // 27·128·32² + 9·128²·16² + 9·128²·8² + 100·128·4²
        let conv3 = forward_flops(&Architecture::ConvNet { depth: 3, width: 128 }, 32, 100) / 2.0;
        assert_eq!(conv3, 3_538_944.0 + 37_748_736.0 + 9_437_184.0 + 204_800.0);
    }

    fn branches(pipeline: &str, settings: &[&str]) -> Vec<Branch> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines").join(pipeline);
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        crate::config::load(&path, &settings, None).expect("loads")
    }

    #[test]
    fn work_that_branches_share_counts_once() {
        let sizes = Sizes { train_images: 50_000, test_images: 10_000, classes: 100, classes_in_use: 100 };
        let branches = branches("cifar100-ipc10.yaml", &["evaluate.test_every=300"]);
        let pass = forward_flops(&Architecture::Resnet18 { stem: Stem::Small }, 32, 100);
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
        let pass = |depth, width| forward_flops(&Architecture::ConvNet { depth, width }, 32, 100);
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
