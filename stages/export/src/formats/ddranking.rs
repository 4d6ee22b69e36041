//! `ddranking`: what DD-Ranking takes to score a result by its soft labels: the images, the teacher in its layout, and its YAML.
//!
//! ```text
//! images/00000/00000.png                       compute_metrics(image_path="images")
//! teacher_models/DATASET/MODEL/ckpt_best.pt    the teacher that labels the images while its student trains
//! ddranking.yaml, score.py                     its configuration, and how to run it
//! ```
//!
//! What DD-Ranking cannot express is refused or becomes a note: its data sets, networks and the order of its classes are fixed.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use delt_augment::view::MixSpec;
use delt_formats::teacher::WEIGHTS_FILE;
use delt_formats::tensors::{NamedTensor, TensorValues, read_safetensors};
use delt_formats::{Architecture, Norm, Stem, TeacherFacts};
use delt_interchange::pth::{self, Tensor, Value};
use delt_pipeline::config::evaluate::{Loss, StudentSchedule};
use delt_pipeline::config::ingest::{Ingest, LabelSpace, Source};
use delt_pipeline::config::{Branch, Invalid, Pipeline};
use delt_pipeline::dag::Node;
use delt_pipeline::roles::Role;
use serde_json::{Map, Value as Json, json};

use super::{Written, image_folder};
use crate::results::Results;

const YAML: &str = "ddranking.yaml";
const SCRIPT: &str = "score.py";
const TEACHERS: &str = "teacher_models";
const IMAGES: &str = "images";
/// The width of its ConvNets.
const WIDTH: u32 = 128;
/// It tests students at multiples of so many epochs only.
const TEST_INTERVAL: u32 = 20;
/// Accuracies on the real images that it knows (`REAL_DATA_ACC_CACHE`).
const KNOWN: [&str; 2] = ["ImageNet1K-ResNet-18-BN", "TinyImageNet-ResNet-18-BN"];
/// Networks that it can train on the real images instead (`REAL_DATA_TRAINING_CONFIG`).
const TRAINABLE: [&str; 3] = ["CIFAR10-ConvNet-3-BN", "CIFAR100-ConvNet-3-BN", "TinyImageNet-ConvNet-4-BN"];

/// A network as DD-Ranking calls it.
struct Model {
    name: String,
    is_torchvision: bool,
    takes_weights: bool,
}

/// Writes the folder, from which `python score.py` runs.
pub(super) fn write(results: &Results<'_>, folder: &Path) -> Result<Written> {
    let (classes, facts) = (results.classes()?, results.teacher()?);
    let dataset = dataset(&results.branch.pipeline.ingest, &classes)?;
    let teacher = model(&facts.architecture, facts.size).context("teacher.network")?;
    let images = folder.join(IMAGES);
    fs_err::create_dir(&images)?;
    let mut written = image_folder::images_by_number(results, &images)?;
    write_teacher(results, &facts, &folder.join(TEACHERS).join(dataset).join(&teacher.name))?;
    let yaml = configuration(results, dataset, &facts, &teacher, &mut written.notes)?;
    fs_err::write(folder.join(YAML), serde_yaml::to_string(&yaml)?)?;
    written.facts.insert("image_folder".to_owned(), IMAGES.into());
    let lr = results.branch.pipeline.student_lr(classes.len())?;
    fs_err::write(folder.join(SCRIPT), script(lr))?;
    written.summary +=
        &format!("; DD-Ranking: set real_data_path in {YAML}, then python {SCRIPT} in the folder");
    Ok(written)
}

/// The data set by its name there. It numbers the classes of CIFAR by their names, and those of folders by WordNet ids; another
/// order of ours would score every image by the label of another class.
fn dataset(ingest: &Ingest, classes: &[String]) -> Result<&'static str> {
    let is_id = |name: &String| {
        name.len() == 9 && name.starts_with('n') && name[1..].bytes().all(|b| b.is_ascii_digit())
    };
    let has_ids = classes.iter().all(is_id);
    let (name, count, is_sorted) = match &ingest.source {
        Source::Cifar10(_) => ("CIFAR10", 10, classes.is_sorted()),
        Source::Cifar100(_) => ("CIFAR100", 100, classes.is_sorted()),
        // in the order of its ids, whatever names they have, unless they were chosen
        Source::TinyImagenet(_) => ("TinyImageNet", 200, ingest.classes.is_none()),
        _ if has_ids && classes.len() == 200 => ("TinyImageNet", 200, classes.is_sorted()),
        _ if has_ids && classes.len() == 1000 => ("ImageNet1K", 1000, classes.is_sorted()),
        _ => bail!(
            "DD-Ranking has CIFAR10, CIFAR100, and TinyImageNet and ImageNet1K with classes called by WordNet ids (n01440764); found {} \
             classes, the first `{}`; use another format",
            classes.len(),
            classes.first().map_or("", String::as_str)
        ),
    };
    ensure!(
        classes.len() == count,
        "DD-Ranking's {name} has {count} classes, found {}; it cannot score a part of them",
        classes.len()
    );
    ensure!(
        is_sorted,
        "DD-Ranking numbers the classes of {name} in the order of their names, and here they stand in another; ingest them in that \
         order (ingest.classes)"
    );
    Ok(name)
}

/// The name of a network there, if it builds the same one.
fn model(architecture: &Architecture, size: u32) -> Option<Model> {
    let is_small = [32, 64].contains(&size);
    let stem_there = if is_small { Stem::Small } else { Stem::Standard };
    let (name, is_torchvision) = match *architecture {
        Architecture::ConvNet { depth, width: WIDTH, norm, norm_before_conv: false, doubling: false } => {
            (format!("ConvNet-{depth}{}", suffix(norm)?), false)
        }
        Architecture::Resnet18 { stem, .. } if stem == stem_there => ("ResNet-18-BN".to_owned(), true),
        Architecture::Resnet34 { stem, .. } if stem == stem_there => ("ResNet-34-BN".to_owned(), true),
        Architecture::Resnet50 { stem, .. } if stem == stem_there => ("ResNet-50-BN".to_owned(), true),
        Architecture::DcResnet18 { norm } if is_small => (format!("ResNet-18{}", suffix(norm)?), false),
        Architecture::DcVgg11 { norm } if is_small => (format!("VGG-11{}", suffix(norm)?), false),
        Architecture::DcAlexnet { norm: Norm::None } if is_small => ("AlexNet".to_owned(), false),
        Architecture::MobilenetV2 {} => ("mobilenet_v2".to_owned(), true),
        _ => return None,
    };
    // what goes by torchvision's name gets torchvision's weights, or none
    let takes_weights = !matches!(architecture, Architecture::MobilenetV2 {});
    Some(Model { name, is_torchvision, takes_weights })
}

/// What follows the depth in its name of a ConvNet, whose plain one has instance norm.
fn suffix(norm: Norm) -> Option<&'static str> {
    match norm {
        Norm::Batch => Some("-BN"),
        Norm::Instance => Some(""),
        Norm::Group | Norm::Layer | Norm::None => None,
    }
}

/// Refuses data sets that it does not have, networks that it does not build and losses that it does not score.
pub(super) fn check(branch: &Branch, classes: Option<&[String]>) -> Result<()> {
    let Pipeline { ingest, teacher, evaluate, .. } = &branch.pipeline;
    // before ingest, what the settings say of the classes
    let digits = || (0..10).map(|digit| digit.to_string()).collect();
    let digits = matches!(ingest.source, Source::EmbeddedDigits(_)).then(digits);
    let said = if ingest.label_space == LabelSpace::Shrink { ingest.classes.clone() } else { None };
    if let Some(classes) = classes.map(<[String]>::to_vec).or(said).or(digits) {
        dataset(ingest, &classes).map_err(|error| Invalid::new("ingest.source", error.to_string()))?;
    }
    let builds = |network: &Architecture, needs_weights: bool| {
        model(network, teacher.size).filter(|model| !needs_weights || model.takes_weights).is_some()
    };
    let refused = |place: &str, found: &Architecture| {
        let problem = format!(
            "found {found}; DD-Ranking takes ConvNets of width {WIDTH} with norm batch or instance, ResNet-18 and 34 with the small \
             stem at 32 and 64 px and torchvision's at others, as students also MobileNetV2; use another format"
        );
        Invalid::new(place, problem)
    };
    if !builds(&teacher.network, true) {
        return Err(refused("teacher.network", &teacher.network).into());
    }
    if !builds(&evaluate.student, false) {
        return Err(refused("evaluate.student", &evaluate.student).into());
    }
    if evaluate.given.is_some() {
        let problem =
            "found students on the set's own targets, and this format scores soft labels; use another format";
        return Err(Invalid::new("evaluate.given", problem).into());
    }
    if evaluate.loss == (Loss::HardLabel {}) {
        let problem =
            "found hard labels, and this format scores soft ones; set kl or mse_gt, or use another format";
        return Err(Invalid::new("evaluate.loss", problem).into());
    }
    Ok(())
}

/// The weights by the names that they have there: ConvNets as DC calls them, ResNets as torchvision does.
fn write_teacher(results: &Results<'_>, facts: &TeacherFacts, folder: &Path) -> Result<()> {
    let file = results.entry(Node::Network(Role::Teacher))?.verified_file(WEIGHTS_FILE)?;
    let (tensors, _) = read_safetensors(file)?;
    let layouts = facts.architecture.layouts();
    let is_convnet = matches!(facts.architecture, Architecture::ConvNet { .. });
    let layout = if is_convnet { layouts.last() } else { layouts.first() }.context("a layout")?;
    let members = tensors.iter().map(|NamedTensor { name, shape, values }| {
        let tensor = match values {
            TensorValues::F32(values) => Tensor::f32(shape.clone(), values),
            TensorValues::I64(values) => Tensor::i64(shape.clone(), values),
        };
        ((layout.name)(name), Value::Tensor(tensor))
    });
    fs_err::create_dir_all(folder)?;
    Ok(pth::write(&folder.join("ckpt_best.pt"), Value::Dict(members.collect()))?)
}

/// Its YAML: our recipe, as far as it can say it.
fn configuration(
    results: &Results<'_>,
    dataset: &str,
    facts: &TeacherFacts,
    teacher: &Model,
    notes: &mut Vec<String>,
) -> Result<Json> {
    let pipeline = &results.branch.pipeline;
    let imported = results.session.dag().imported_per_class(results.branch)?;
    let (relabel, evaluate) = (&pipeline.relabel, &pipeline.evaluate);
    let student = model(&evaluate.student, facts.size).context("evaluate.student")?;
    let (criterion, loss) = match evaluate.loss {
        Loss::MseGt { ce_weight } => ("mse_gt", json!({ "mse_weight": 1.0, "ce_weight": ce_weight })),
        Loss::Kl { temperature } => ("kl", json!({ "temperature": temperature, "scale_loss": false })),
        Loss::HardLabel {} => ("kl", json!({ "temperature": 1.0, "scale_loss": false })),
    };
    let (augment, parameters) = match relabel.mix {
        MixSpec::None {} => (Json::Null, json!({})),
        MixSpec::Cutmix { alpha } => ("cutmix".into(), json!({ "beta": alpha })),
        MixSpec::Mixup { alpha } => ("mixup".into(), json!({ "lambda": alpha })),
    };
    let (schedule, step) = match evaluate.schedule {
        StudentSchedule::SmoothedCosine => ("cosine", None),
        StudentSchedule::Cosine => ("cosineannealing", None),
        // one step of it, see `departures`
        StudentSchedule::LateHalving => ("step", Some(relabel.epochs * 4 / 5)),
        StudentSchedule::Constant => ("step", Some(relabel.epochs + 1)),
    };
    let combination = format!("{dataset}-{}", student.name);
    notes.extend(departures(results, facts, &combination));
    let mut yaml = json!({
        "dataset": dataset, "real_data_path": "./dataset/", "ipc": pipeline.select.ipc, "im_size": [facts.size, facts.size],
        "model_name": student.name, "stu_use_torchvision": student.is_torchvision,
        "teacher_dir": format!("./{TEACHERS}"), "teacher_model_names": [teacher.name],
        "tea_use_torchvision": teacher.is_torchvision,
        "data_aug_func": augment, "aug_params": parameters,
        "custom_train_trans": transforms(results, facts, true), "custom_val_trans": transforms(results, facts, false),
        "soft_label_criterion": criterion, "loss_fn_kwargs": loss,
        "lr_scheduler": schedule, "step_size": step, "weight_decay": evaluate.weight_decay, "momentum": evaluate.beta_1,
        "num_eval": relabel.seeds.len(), "num_epochs": relabel.epochs,
        "eval_full_data": !KNOWN.contains(&combination.as_str()),
        "syn_batch_size": pipeline.student_batch(results.classes()?.len(), &imported)?,
    });
    yaml.as_object_mut().context("a map")?.extend(fixed());
    Ok(yaml)
}

/// What does not depend on the recipe.
fn fixed() -> Map<String, Json> {
    let fixed = json!({
        "use_zca": false, "use_aug_for_hard": false, "soft_label_mode": "M", "optimizer": "adamw",
        "num_workers": 4, "device": "cuda", "dist": false, "real_batch_size": 256,
        "random_data_path": "./random_data", "random_data_format": "image", "save_path": "./ddranking-scores.csv",
    });
    fixed.as_object().cloned().unwrap_or_default()
}

/// Transforms of the images, by torchvision's names.
fn transforms(results: &Results<'_>, facts: &TeacherFacts, is_training: bool) -> Json {
    let relabel = &results.branch.pipeline.relabel;
    let named = |name: &str, args: Json| json!({ "name": name, "args": args });
    let mut list = Vec::new();
    if is_training && relabel.min_crop_scale < 1.0 {
        let scale = [relabel.min_crop_scale, 1.0];
        list.push(named("RandomResizedCrop", json!({ "size": facts.size, "scale": scale })));
    }
    if is_training && relabel.flip {
        list.push(named("RandomHorizontalFlip", json!({ "p": 0.5 })));
    }
    if !is_training && facts.size > 64 {
        list.push(named("Resize", json!({ "size": facts.size * 256 / 224 })));
        list.push(named("CenterCrop", json!({ "size": facts.size })));
    }
    list.push(named("ToTensor", Json::Object(Map::new())));
    let numbers =
        |values: [f32; 3]| values.map(|value| value.to_string().parse::<f64>().unwrap_or(f64::from(value)));
    let (mean, std) = (numbers(facts.normalization.mean), numbers(facts.normalization.std));
    list.push(named("Normalize", json!({ "mean": mean, "std": std })));
    list.into()
}

/// What DD-Ranking does otherwise than our recipe.
fn departures(results: &Results<'_>, facts: &TeacherFacts, combination: &str) -> Vec<String> {
    let relabel = &results.branch.pipeline.relabel;
    let mut notes = vec![
        "DD-Ranking labels views by the teacher while it trains; the labels of the store are not used"
            .to_owned(),
        format!(
            "DD-Ranking tests hard labels on images normalized by its own constants, which are not the teacher's {:?}, {:?}",
            facts.normalization.mean, facts.normalization.std
        ),
    ];
    if relabel.randaugment.is_some() || relabel.shuffle_patches.is_some() {
        notes.push(
            "RandAugment and shuffled patches of the recipe are left out: DD-Ranking has none of timm's"
                .to_owned(),
        );
    }
    if results.branch.pipeline.evaluate.schedule == StudentSchedule::LateHalving {
        notes.push(
            "DD-Ranking lowers the learning rate once, at 80 % of the epochs; the recipe halves it three times"
                .to_owned(),
        );
    }
    if relabel.epochs < TEST_INTERVAL {
        notes.push(format!(
            "DD-Ranking tests every {TEST_INTERVAL} epochs, and this recipe has {}: every accuracy will be 0; raise num_epochs",
            relabel.epochs
        ));
    }
    if !KNOWN.contains(&combination) && !TRAINABLE.contains(&combination) {
        notes.push(format!(
            "DD-Ranking knows no accuracy of {combination} on all real images and no way to train it on them: add either to its \
             ddranking/utils/train_and_eval.py"
        ));
    }
    notes
}

/// How it is run.
fn script(lr: f64) -> String {
    format!(
        "from ddranking.config import Config\nfrom ddranking.metrics import LabelRobustScoreSoft\n\n\
         if __name__ == \"__main__\":\n    evaluator = LabelRobustScoreSoft(Config.from_file(\"{YAML}\"))\n    \
         print(evaluator.compute_metrics(image_path=\"{IMAGES}\", syn_lr={lr}))\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_order_of_classes_is_refused_and_sets_of_ids_are_recognized() {
        let of =
            |source: Json| serde_json::from_value::<Ingest>(json!({ "source": source })).expect("a section");
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let ten = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
        let cifar = of(json!({ "kind": "cifar10" }));
        assert_eq!(dataset(&cifar, &names(&ten)).expect("fits"), "CIFAR10");
        let mut swapped = ten;
        swapped.swap(0, 1);
        assert!(dataset(&cifar, &names(&swapped)).expect_err("refused").to_string().contains("in another"));
        assert!(
            dataset(&cifar, &names(&ten[..9]))
                .expect_err("refused")
                .to_string()
                .contains("has 10 classes, found 9")
        );
        let folder = of(json!({ "kind": "image_folder", "path": "x" }));
        let ids: Vec<String> = (0..1000).map(|id| format!("n{:08}", 1_000_000 + id)).collect();
        assert_eq!(dataset(&folder, &ids).expect("fits"), "ImageNet1K");
        assert_eq!(dataset(&folder, &ids[..200]).expect("fits"), "TinyImageNet");
        assert!(dataset(&folder, &names(&ten)).expect_err("refused").to_string().contains("WordNet ids"));
    }
}
