//! How the images of a branch were made and its students trained, in one line: a score means little without it.

use delt_augment::view::{MixSpec, Order};
use delt_formats::Keep;
use delt_formats::synthetic::mean_per_class;
use serde_json::{Value, json};

use crate::config::evaluate::{Evaluate, Loss, StudentSchedule};
use crate::config::given::{Batch, Budget, FirstWeights, Given, GivenLoss, GivenLr, GivenOptimizer, Per};
use crate::config::matching::{Matching, Start, Targets};
use crate::config::method::Method;
use crate::config::relabel::{Labels, Relabel, TeacherMode};
use crate::config::select::{FacilityLocation, Patches};
use crate::config::synthesize::Init;
use crate::config::target::Target;
use crate::config::{Invalid, Pipeline};

/// The recipe of a branch: its images, then its students. `imported` are the images of each class where those are not
/// `select.ipc`.
///
/// # Errors
/// [`Invalid`] where no batch is published for this number of images per class.
pub fn line(pipeline: &Pipeline, classes: usize, imported: &[u64]) -> Result<String, Invalid> {
    let (relabel, evaluate) = (&pipeline.relabel, &pipeline.evaluate);
    if let Some(given) = &evaluate.given {
        let student = format!("{}, {}", evaluate.student, given_parts(given).join(", "));
        return Ok(format!("{}; {student}, {}", images(pipeline, imported), bn_momentum(evaluate)));
    }
    let loss = match evaluate.loss {
        Loss::Kl { temperature } => format!("KL at T {temperature}"),
        Loss::MseGt { ce_weight } => format!("MSE of logits + {ce_weight} CE"),
        Loss::HardLabel {} => "hard labels".to_owned(),
    };
    let schedule = match evaluate.schedule {
        StudentSchedule::SmoothedCosine => "smoothed cosine",
        StudentSchedule::Cosine => "cosine",
        StudentSchedule::Constant => "constant",
        StudentSchedule::LateHalving => "halved late",
    };
    let optimizer = format!(
        "AdamW lr {} {schedule}, weight decay {}, {} epochs, batch {}, {}",
        pipeline.student_lr(classes)?,
        evaluate.weight_decay,
        relabel.epochs,
        pipeline.student_batch(classes, imported)?,
        bn_momentum(evaluate),
    );
    let mut parts = vec![evaluate.student.to_string(), loss];
    if pipeline.labels_by_committee() {
        let weighted = if relabel.strengths.is_some() { ", weighted" } else { "" };
        parts.push(format!("labels of {} networks{weighted}", 1 + pipeline.committee.len()));
    }
    if relabel.teacher_mode == TeacherMode::Train {
        parts.push("labels by batch statistics".to_owned());
    }
    parts.push(optimizer);
    let drops = evaluate.dropout && evaluate.student.has_dropout();
    parts.extend(drops.then(|| "dropout".to_owned()));
    parts.extend(evaluate.ema.map(|ema| format!("EMA {ema}")));
    parts.extend(views(relabel));
    parts.extend(stored_labels(relabel));
    Ok(format!("{}; {}", images(pipeline, imported), parts.join(", ")))
}

fn bn_momentum(evaluate: &Evaluate) -> String {
    let (asked, counts) = (evaluate.bn_momentum, evaluate.bn_momentum());
    let own = match counts == asked {
        true => String::new(),
        false => format!(" (the network's own; `bn_momentum: recipe` in evaluate.student takes {asked})"),
    };
    format!("bn_momentum {counts}{own}")
}

/// How students learn what the set itself gives.
fn given_parts(given: &Given) -> Vec<String> {
    let targets = match given.targets {
        Targets::Hard => "hard labels",
        Targets::Learned => "learned targets",
    };
    let loss = match given.loss {
        GivenLoss::CrossEntropy {} => "CE",
        GivenLoss::HalfSquaredError { per: Per::Image } => "half squared error an image",
        GivenLoss::HalfSquaredError { per: Per::ImageAndClass } => "half squared error an image and class",
    };
    let lr = match given.optimizer.lr() {
        GivenLr::Number(lr) => lr.to_string(),
        GivenLr::Learned(_) => "learned".to_owned(),
    };
    let (units, unit) = match given.budget {
        Budget::Epochs(epochs) => (epochs, "epochs"),
        Budget::Steps(steps) => (steps, "steps"),
    };
    let optimizer = match given.optimizer {
        GivenOptimizer::Sgd { momentum, weight_decay, drop, .. } => {
            let drop = drop.map_or(String::new(), |it| format!(" x {} after {} {unit}", it.factor, it.after));
            format!("SGD lr {lr}{drop}, momentum {momentum}, weight decay {weight_decay}")
        }
        GivenOptimizer::Adam { schedule, .. } => {
            let schedule = schedule.map_or(String::new(), |it| {
                format!(" after {} steps, cosine to {}", it.warmup_steps, it.final_share)
            });
            format!("Adam lr {lr}{schedule}")
        }
    };
    let batch = match given.batch {
        Batch::All => "all images a step".to_owned(),
        Batch::Images(images) => format!("batch {images}"),
        Batch::OfEachClass(images) => format!("{images} of each class a step"),
    };
    let strategies = json!(given.augmentation);
    let strategies = strategies.as_array().into_iter().flatten().filter_map(Value::as_str);
    let views = match strategies.collect::<Vec<_>>().as_slice() {
        [] => "no augmentation".to_owned(),
        some => format!("one of {}", some.join(" ")),
    };
    let mut parts =
        vec![targets.to_owned(), loss.to_owned(), optimizer, format!("{units} {unit}"), batch, views];
    parts.extend(
        given.whitening.map(|kind| format!("whitening {}", json!(kind).as_str().unwrap_or_default())),
    );
    parts.extend((given.first_weights == FirstWeights::Lecun).then(|| "LeCun's first weights".to_owned()));
    parts.extend(given.mirror.then(|| "mirror images too".to_owned()));
    parts
}

/// How the views of the images are drawn.
fn views(relabel: &Relabel) -> Vec<String> {
    let randaugment = relabel.randaugment.map_or("no RandAugment".to_owned(), |policy| {
        format!("RandAugment m {} n {} std {}", policy.magnitude, policy.layers, policy.std)
    });
    let crop = match relabel.min_crop_scale {
        1.0 => "no crop".to_owned(),
        least => format!("crop {least} to 1"),
    };
    let flip = if relabel.flip { "flip" } else { "no flip" };
    let mix = match relabel.mix {
        MixSpec::None {} => "no mix".to_owned(),
        MixSpec::Cutmix { alpha } => format!("CutMix alpha {alpha}"),
        MixSpec::Mixup { alpha } => format!("MixUp alpha {alpha}"),
    };
    let mut parts = vec![randaugment, crop, flip.to_owned(), mix];
    parts.extend(relabel.shuffle_patches.map(|side| format!("{side} x {side} patches shuffled")));
    parts.extend((relabel.order == Order::Torch).then(|| "torch's order of batches".to_owned()));
    parts
}

/// What the students do not see of the soft labels, where that is anything.
fn stored_labels(relabel: &Relabel) -> Option<String> {
    let Labels { keep, bits, epochs } = relabel.labels;
    let import = relabel.import.as_ref();
    let mut parts: Vec<String> =
        import.map(|path| format!("those of {}", path.display())).into_iter().collect();
    if let Keep::TopK(k) = keep {
        parts.push(format!("the {k} largest logits"));
    }
    if bits != 16 {
        parts.push(format!("{bits} bits a logit"));
    }
    parts.extend(epochs.map(|epochs| format!("{epochs} epochs stored")));
    (!parts.is_empty()).then(|| format!("labels: {}", parts.join(", ")))
}

/// How the images are made, with the network whose labels and statistics they have.
fn images(pipeline: &Pipeline, imported: &[u64]) -> String {
    let teacher = &pipeline.teacher;
    let drops = teacher.train.as_ref().is_some_and(|train| train.dropout) && teacher.network.has_dropout();
    let trained = match teacher.import {
        Some(_) => " (imported)",
        None if drops => ", dropout",
        None => "",
    };
    let ipc = match imported {
        [] => pipeline.select.ipc.to_string(),
        counts => spread(counts),
    };
    let made = match &pipeline.synthesize.import {
        Some(images) => format!("images of {}", images.display()),
        None => format!("{}, {}", initial(pipeline), recovery(pipeline).join(", ")),
    };
    format!("teacher {}{trained}; ipc {ipc}, {made}", teacher.network)
}

/// How many images the classes have: `7`, or the mean with the least and the most of those that have any, `6.5 (5 to 8)`.
pub fn spread(per_class: &[u64]) -> String {
    let in_use = per_class.iter().filter(|images| **images > 0);
    match (in_use.clone().min(), in_use.max()) {
        (Some(least), Some(most)) if least < most => {
            format!("{:.1} ({least} to {most})", mean_per_class(per_class))
        }
        (_, most) => most.copied().unwrap_or(0).to_string(),
    }
}

/// What the images start from.
fn initial(pipeline: &Pipeline) -> String {
    let matching = pipeline.synthesize.matching.as_ref();
    let starts_from_noise = match matching {
        Some(matching) => matching.init != Start::Selected,
        None => pipeline.synthesize.init == Init::Noise,
    };
    if starts_from_noise {
        return "from noise".to_owned();
    }
    let strategy = pipeline.select.strategy.name();
    match (pipeline.select.patches, pipeline.select.facility_location) {
        (Some(Patches { factor, .. }), _) => format!("{factor} x {factor} patches of {strategy} images"),
        (None, Some(FacilityLocation { candidates })) => {
            format!("those that cover {candidates} {strategy} images")
        }
        (None, None) => strategy.to_owned(),
    }
}

/// How batches of real images are matched.
fn matched(method: Method, matching: &Matching) -> Vec<String> {
    let mut parts = vec![
        format!("{} iterations of {} under {}", matching.iterations, method.title(), matching.network),
        format!("lr {}", matching.image_optimizer.lr()),
    ];
    if matching.is_whitened() {
        parts.push("whitened".to_owned());
    }
    if !matching.augmentation.is_empty() {
        parts.push("DSA".to_owned());
    }
    if matching.labels == Targets::Learned {
        parts.push("learned labels".to_owned());
    }
    parts
}

/// What becomes of them.
fn recovery(pipeline: &Pipeline) -> Vec<String> {
    let synthesize = &pipeline.synthesize;
    if let Some(matching) = &synthesize.matching {
        return matched(synthesize.method, matching);
    }
    let iterations = match synthesize.max_iterations {
        0 => return vec!["as they are".to_owned()],
        most if synthesize.early_late && pipeline.select.ipc > 1 => {
            format!("EarlyLate MI {most} RI {}", synthesize.round_iterations)
        }
        most => format!("{most} iterations each"),
    };
    let mut parts = vec![iterations, format!("lr {}", synthesize.lr)];
    parts.extend(synthesize.residual.map(|by| format!("residual {} every {}", by.share, by.every)));
    if let Target::Barycenter { weight, cross_entropy } = synthesize.target {
        let labels = if cross_entropy > 0.0 { format!(" + {cross_entropy} CE") } else { String::new() };
        parts.push(format!("barycenter weight {weight}{labels}"));
    }
    if pipeline.recovers_by_committee() {
        let networks = 1 + pipeline.committee.len();
        parts.push(match &synthesize.together {
            Some(together) => format!("{} of {networks} networks at once", together.networks),
            None => format!("of {networks} networks by turns"),
        });
    }
    parts.extend(synthesize.densification.map(|by| format!("densification {}", by.weight)));
    if synthesize.convolution_statistics.is_some() {
        parts.push("convolution statistics".to_owned());
    }
    parts
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_recipe_of_matched_batches_names_the_method_and_its_network() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/cifar10-ipc1-matching.yaml");
        let branches = crate::config::load(&path, &[], None).expect("loads");
        let branch = branches.iter().find(|branch| branch.name == "frepo").expect("a branch");
        let said = line(&branch.pipeline, 10, &[]).expect("no batch is asked for");
        let expected = "teacher convnet3-w128; ipc 1, random, 500000 iterations of FRePo under convnet3-w128-pre-doubling, lr 0.0003, \
            whitened, learned labels; convnet3-w128-none-doubling, learned targets, half squared error an image, Adam lr 0.0003";
        assert!(said.starts_with(expected), "{said}");
    }

    #[test]
    fn a_recipe_names_what_a_score_depends_on() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/cifar100-ipc10.yaml");
        let said = |settings: &[&str]| {
            let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
            let branch = crate::config::load(&path, &settings, None).expect("loads").remove(1);
            line(&branch.pipeline, 100, &[]).expect("published")
        };
        assert_eq!(
            said(&[]),
            "teacher resnet18 (small stem); ipc 10, medium, EarlyLate MI 4000 RI 500, lr 0.25; \
             resnet18 (small stem), KL at T 20, AdamW lr 0.001 smoothed cosine, weight decay 0.01, 300 epochs, batch 100, \
             bn_momentum 0.1, RandAugment m 5 n 4 std 1, crop 0.25 to 1, flip, CutMix alpha 1"
        );
        let own = said(&["evaluate.student={name: mnasnet1_3}", "evaluate.lr=0.001"]);
        let expected =
            "bn_momentum 0.0003 (the network's own; `bn_momentum: recipe` in evaluate.student takes 0.1), ";
        assert!(own.contains(expected), "{own}");
        let dropping = ["evaluate.dropout=true", "evaluate.ema=0.5", "evaluate.student={name: mobilenet_v2}"];
        assert!(said(&dropping).contains("bn_momentum 0.1, dropout, EMA"));
        assert!(said(&dropping[..2]).contains("bn_momentum 0.1, EMA"));
        let teacher = ["teacher.train.dropout=true", "teacher.network={name: mobilenet_v2}"];
        assert!(said(&teacher).starts_with("teacher mobilenet_v2, dropout; ipc"));
        assert!(said(&teacher[..1]).starts_with("teacher resnet18 (small stem); ipc"));
        let plain = [
            "evaluate.loss={kind: hard_label}",
            "synthesize.max_iterations=0",
            "relabel.randaugment=null",
            "relabel.min_crop_scale=1",
            "relabel.mix={kind: mixup, alpha: 0.8}",
            "relabel.order=torch",
            "relabel.labels={keep: {top_k: 5}, bits: 8, epochs: 30}",
        ];
        assert_eq!(
            said(&plain),
            "teacher resnet18 (small stem); ipc 10, medium, as they are; resnet18 (small stem), hard labels, AdamW lr 0.001 smoothed cosine, weight decay 0.01, 300 epochs, batch 100, \
             bn_momentum 0.1, no RandAugment, no crop, flip, MixUp alpha 0.8, torch's order of batches, labels: the 5 largest logits, 8 bits a logit, 30 epochs stored"
        );
    }
}
