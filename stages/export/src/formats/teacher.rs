//! `teacher`: the networks that recover and label, as PyTorch loads them, each with what must be known of it.

use std::path::Path;

use anyhow::Result;
use delt_formats::canonical::readable_json;
use delt_formats::teacher::WEIGHTS_FILE;
use delt_formats::tensors::{NamedTensor, TensorValues, read_safetensors, write_safetensors};
use delt_formats::{Architecture, Stem, TeacherFacts};
use delt_interchange::pth::{self, Tensor, Value};
use delt_pipeline::dag::Node;
use delt_pipeline::roles::Role;
use serde_json::json;

use super::Written;
use crate::results::Results;

/// `teacher.pth`, `teacher.safetensors` and `teacher.json`, and the same of each `committee-N`.
pub(super) fn write(results: &Results<'_>, folder: &Path) -> Result<Written> {
    let mut roles = vec![Role::Teacher];
    roles.extend(results.branch.pipeline.committee_roles());
    let mut said = Vec::new();
    for role in &roles {
        let entry = results.entry(Node::Network(*role))?;
        let facts: TeacherFacts = entry.manifest.facts_as()?;
        let classes = &entry.manifest.provenance.classes;
        let (tensors, _) = read_safetensors(entry.verified_file(WEIGHTS_FILE)?)?;
        let place = |ending: &str| folder.join(format!("{}.{ending}", role.name()));
        write_safetensors(place("safetensors"), &tensors, None)?;
        pth::write(&place("pth"), state_dict(&facts.architecture, &tensors))?;
        let about = json!({
            "architecture": facts.architecture,
            "python": python(&facts.architecture, classes.len(), facts.size),
            "classes": classes,
            "size": facts.size,
            "mean": facts.normalization.mean,
            "std": facts.normalization.std,
            "test_top1": facts.test_top1,
            "test_top5": facts.test_top5,
            "imported": facts.imported,
        });
        fs_err::write(place("json"), readable_json(&about))?;
        said.push(format!("{} {}, top-1 {:.2}", role.name(), facts.architecture, facts.test_top1));
    }
    Ok(Written { summary: said.join("; "), ..Written::default() })
}

fn state_dict<'a>(architecture: &Architecture, tensors: &'a [NamedTensor]) -> Value<'a> {
    let members = tensors.iter().map(|NamedTensor { name, shape, values }| {
        let tensor = match values {
            TensorValues::F32(values) => Tensor::f32(shape.clone(), values),
            TensorValues::I64(values) => Tensor::i64(shape.clone(), values),
        };
        (name.clone(), Value::Tensor(tensor))
    });
    let members = members.collect();
    match architecture {
        Architecture::Mnasnet13 { .. } => Value::StateDict { members, version: MNASNET_VERSION },
        _ => Value::Dict(members),
    }
}

/// torchvision's MnasNet loads no `state_dict` that does not say its version.
const MNASNET_VERSION: i64 = 2;

/// Networks that torchvision makes by their name.
const TORCHVISION: [&str; 18] = [
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "densenet121",
    "vgg11",
    "vgg11_bn",
    "vgg16_bn",
    "alexnet",
    "mobilenet_v2",
    "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0",
    "mnasnet1_3",
    "efficientnet_b0",
    "regnet_y_8gf",
    "vit_b_16",
    "swin_t",
    "swin_v2_t",
];

/// Python that makes `model`, into which the weights load strictly; of our own networks, what they are made of.
fn python(architecture: &Architecture, classes: usize, size: u32) -> String {
    let name = architecture.name();
    match architecture {
        Architecture::ConvNet { .. } => {
            "not in torchvision: docs/artifacts.md of delt lists its layers".to_owned()
        }
        Architecture::Resnet18 { stem: Stem::Small, .. }
        | Architecture::Resnet34 { stem: Stem::Small, .. }
        | Architecture::Resnet50 { stem: Stem::Small, .. }
        | Architecture::Resnet101 { stem: Stem::Small, .. } => {
            format!(
                "model = torchvision.models.{name}(num_classes={classes}); \
             model.conv1 = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False); model.maxpool = torch.nn.Identity()"
            )
        }
        Architecture::VitB16 {} => {
            format!("model = torchvision.models.{name}(num_classes={classes}, image_size={size})")
        }
        Architecture::DeitTiny { .. } => format!(
            "model = torchvision.models.VisionTransformer({size}, 16, 12, 3, 192, 768, num_classes={classes})"
        ),
        _ if !TORCHVISION.contains(&name) => {
            "not in torchvision: docs/networks.md of delt says whose code makes it".to_owned()
        }
        _ => format!("model = torchvision.models.{name}(num_classes={classes})"),
    }
}
