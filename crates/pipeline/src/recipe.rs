//! How the images of a branch were made and its students trained, in one line: a score means little without it.

use delt_augment::view::MixSpec;
use delt_formats::Keep;

use crate::config::evaluate::{Loss, StudentSchedule};
use crate::config::relabel::{Labels, Relabel, TeacherMode};
use crate::config::select::{FacilityLocation, Patches};
use crate::config::synthesize::Init;
use crate::config::target::Target;
use crate::config::{Invalid, Pipeline};

/// The recipe of a branch: its images, then its students.
///
/// # Errors
/// [`Invalid`] where no batch is published for this number of images per class.
pub fn line(pipeline: &Pipeline, classes: usize) -> Result<String, Invalid> {
    let (relabel, evaluate) = (&pipeline.relabel, &pipeline.evaluate);
    let loss = match evaluate.loss {
        Loss::Kl { temperature } => format!("KL at T {temperature}"),
        Loss::MseGt { ce_weight } => format!("MSE of logits + {ce_weight} CE"),
        Loss::HardLabel {} => "hard labels".to_owned(),
    };
    let schedule = match evaluate.schedule {
        StudentSchedule::SmoothedCosine => "smoothed cosine",
        StudentSchedule::Cosine => "cosine",
        StudentSchedule::Constant => "constant",
    };
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
    let labels = if pipeline.labels_by_committee() {
        format!(", labels of {} networks", 1 + pipeline.committee.len())
    } else {
        String::new()
    };
    let mode = match relabel.teacher_mode {
        TeacherMode::Eval => "",
        TeacherMode::Train => ", labels by batch statistics",
    };
    let ema = evaluate.ema.map_or(String::new(), |ema| format!(", EMA {ema}"));
    Ok(format!(
        "{}; {}, {loss}{labels}{mode}, AdamW lr {} {schedule}, weight decay {}, {} epochs, batch {}, bn_momentum {}{ema}, {randaugment}, {crop}, \
         {flip}, {mix}{}{}",
        images(pipeline),
        evaluate.student,
        pipeline.student_lr(classes),
        evaluate.weight_decay,
        relabel.epochs,
        pipeline.student_batch(classes)?,
        evaluate.bn_momentum,
        relabel
            .shuffle_patches
            .map_or_else(String::new, |side| format!(", {side} x {side} patches shuffled")),
        stored_labels(relabel),
    ))
}

/// What the students do not see of the soft labels, where that is anything.
fn stored_labels(relabel: &Relabel) -> String {
    let Labels { keep, bits, epochs } = relabel.labels;
    let mut said = Vec::new();
    if let Keep::TopK(k) = keep {
        said.push(format!("the {k} largest logits"));
    }
    if bits != 16 {
        said.push(format!("{bits} bits a logit"));
    }
    if let Some(epochs) = epochs {
        said.push(format!("{epochs} epochs stored"));
    }
    if said.is_empty() { String::new() } else { format!(", labels: {}", said.join(", ")) }
}

/// How the images are made, with the network whose labels and statistics they have.
fn images(pipeline: &Pipeline) -> String {
    let (select, synthesize, teacher) = (&pipeline.select, &pipeline.synthesize, &pipeline.teacher);
    let imported = if teacher.import.is_some() { " (imported)" } else { "" };
    if let Some(images) = &synthesize.import {
        return format!(
            "teacher {}{imported}; ipc {}, images of {}",
            teacher.network,
            select.ipc,
            images.display()
        );
    }
    let from = match (synthesize.init, select.strategy) {
        (Init::Noise, _) if synthesize.max_iterations > 0 => "from noise".to_owned(),
        (_, strategy) => match &select.patches {
            Some(Patches { factor, .. }) => {
                format!("{factor} x {factor} patches of {} images", strategy.name())
            }
            None => match select.facility_location {
                Some(FacilityLocation { candidates }) => {
                    format!("those that cover {candidates} {} images", strategy.name())
                }
                None => strategy.name().to_owned(),
            },
        },
    };
    let work = match synthesize.max_iterations {
        0 => "as they are".to_owned(),
        most if synthesize.early_late && select.ipc > 1 => {
            format!("EarlyLate MI {most} RI {}, lr {}", synthesize.round_iterations, synthesize.lr)
        }
        most => format!("{most} iterations each, lr {}", synthesize.lr),
    };
    let residual = synthesize
        .residual
        .filter(|_| synthesize.max_iterations > 0)
        .map_or(String::new(), |residual| format!(", residual {} every {}", residual.share, residual.every));
    let target = match synthesize.target {
        Target::Barycenter { weight } if synthesize.max_iterations > 0 => {
            format!(", barycenter weight {weight}")
        }
        _ => String::new(),
    };
    let committee = if pipeline.recovers_by_committee() {
        format!(", of {} networks by turns", 1 + pipeline.committee.len())
    } else {
        String::new()
    };
    let convolutions = match synthesize.convolution_statistics {
        Some(_) if synthesize.max_iterations > 0 => ", convolution statistics",
        _ => "",
    };
    format!(
        "teacher {}{imported}; ipc {}, {from}, {work}{residual}{target}{committee}{convolutions}",
        teacher.network, select.ipc
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_recipe_names_what_a_score_depends_on() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/cifar100-ipc10.yaml");
        let said = |settings: &[&str]| {
            let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
            let branch = crate::config::load(&path, &settings, None).expect("loads").remove(1);
            line(&branch.pipeline, 100).expect("published")
        };
        assert_eq!(
            said(&[]),
            "teacher resnet18 (small stem); ipc 10, medium, EarlyLate MI 4000 RI 500, lr 0.25; \
             resnet18 (small stem), KL at T 20, AdamW lr 0.001 smoothed cosine, weight decay 0.01, 300 epochs, batch 100, \
             bn_momentum 0.1, RandAugment m 5 n 4 std 1, crop 0.25 to 1, flip, CutMix alpha 1"
        );
        let plain = [
            "evaluate.loss={kind: hard_label}",
            "synthesize.max_iterations=0",
            "relabel.randaugment=null",
            "relabel.min_crop_scale=1",
            "relabel.mix={kind: mixup, alpha: 0.8}",
            "relabel.shuffle_patches=2",
            "relabel.labels={keep: {top_k: 5}, bits: 8, epochs: 30}",
        ];
        assert_eq!(
            said(&plain),
            "teacher resnet18 (small stem); ipc 10, medium, as they are; resnet18 (small stem), hard labels, AdamW lr 0.001 smoothed cosine, weight decay 0.01, 300 epochs, batch 100, \
             bn_momentum 0.1, no RandAugment, no crop, flip, MixUp alpha 0.8, 2 x 2 patches shuffled, labels: the 5 largest logits, 8 bits a logit, 30 epochs stored"
        );
    }
}
