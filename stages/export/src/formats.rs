//! The formats: a module each, and the table of them. A new one is a module and a row.

mod ddranking;
mod fkd;
mod huggingface;
mod image_folder;
mod teacher;
mod tensorboard;
mod torch;

use std::path::Path;

use anyhow::Result;
use delt_pipeline::config::{Branch, Invalid};
use delt_pipeline::near::near_names;
use serde_json::{Map, Value};

use crate::results::Results;

/// A format in which results leave.
#[derive(Debug)]
pub struct Format {
    /// What `FORMAT=` calls it.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Refuses a branch whose settings, or classes where the data set has been read, it cannot express: before anything else is made.
    pub check: fn(&Branch, Option<&[String]>) -> Result<()>,
    /// Writes the results of a branch to a folder, which is empty.
    pub write: fn(&Results<'_>, &Path) -> Result<Written>,
}

/// All formats.
pub const FORMATS: [Format; 8] = [
    Format {
        name: "imagefolder",
        about: "lossless PNG as torchvision's ImageFolder reads it, folders by class number",
        check: any,
        write: image_folder::by_number,
    },
    Format {
        name: "imagefolder-names",
        about: "the same, folders by class name",
        check: any,
        write: image_folder::by_name,
    },
    Format {
        name: "huggingface",
        about: "a data set with its card, as datasets.load_dataset(folder) opens it",
        check: any,
        write: huggingface::write,
    },
    Format {
        name: "torch",
        about: "one .pt: images as networks take them, class by class, labels, class names, how to invert it",
        check: any,
        write: torch::write,
    },
    Format {
        name: "ddranking",
        about: "what DD-Ranking scores, of CIFAR10, CIFAR100, TinyImageNet or ImageNet1K: images, teacher, its YAML",
        check: ddranking::check,
        write: ddranking::write,
    },
    Format {
        name: "fkd",
        about: "images and soft labels as the scripts of SRe2L, CDA, CV-DD and FADRM read them",
        check: fkd::check,
        write: fkd::write,
    },
    Format {
        name: "teacher",
        about: "the networks that recover and label, as .pth and .safetensors with torchvision's names",
        check: any,
        write: teacher::write,
    },
    Format {
        name: "tensorboard",
        about: "curves of the teacher, of recovery and of the students",
        check: any,
        write: tensorboard::write,
    },
];

/// For formats that can express every branch.
fn any(_: &Branch, _: Option<&[String]>) -> Result<()> {
    Ok(())
}

/// What a format has written.
#[derive(Debug, Default)]
pub struct Written {
    /// For the user, after the name of the branch.
    pub summary: String,
    /// What `delt-export.json` says beside what it says of every format.
    pub facts: Map<String, Value>,
    /// What whoever opens it must know, one line each.
    pub notes: Vec<String>,
}

/// Writes what a format needs above several branches, which have folders of their names.
///
/// # Errors
/// Files that cannot be read or written.
pub fn join(format: &Format, folder: &Path, pipeline: &str, branches: &[&str]) -> Result<()> {
    match format.name {
        "huggingface" => huggingface::join(folder, pipeline, branches),
        _ => Ok(()),
    }
}

/// The format of a name.
///
/// # Errors
/// [`Invalid`] with the names that are near, or all of them.
pub fn named(name: Option<&str>) -> Result<&'static Format, Invalid> {
    let list = || {
        let lines = FORMATS.iter().map(|format| format!("\n  {:18} {}", format.name, format.about));
        lines.collect::<String>()
    };
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        let problem = format!("expected one of these: FORMAT=name (--format name){}", list());
        return Err(Invalid::new("FORMAT", problem));
    };
    FORMATS.iter().find(|format| format.name == name).ok_or_else(|| {
        let names = FORMATS.iter().map(|format| format.name);
        let near = near_names(name, names.clone()).join("` or `");
        let advice = if near.is_empty() {
            format!("there are: {}", names.collect::<Vec<_>>().join(", "))
        } else {
            format!("did you mean `{near}`?")
        };
        Invalid::new("FORMAT", format!("no format `{name}`; {advice}"))
    })
}
