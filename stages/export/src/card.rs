//! The card of a data set, as Hugging Face shows it: a header in YAML, and what whoever finds the images must know.

use std::collections::BTreeMap;

use anyhow::Result;
use delt_formats::{LabelsFacts, Normalization, Summary, SyntheticFacts};
use delt_harness::notes::{self, Note};
use delt_pipeline::amounts::human_bytes;
use delt_pipeline::dag::Node;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::record;
use crate::results::Results;

/// What is known of published sources.
const SOURCES: &str = include_str!("../../../data/sources.yaml");
/// How this program and its paper are cited.
const CITATION: &str = include_str!("../../../CITATION.cff");
/// Sizes by number of images, as Hugging Face sorts them.
const SIZES: [(u64, &str); 4] =
    [(1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (u64::MAX, "100K<n<1M")];

/// Sources that are not downloaded: by kind or folder, title and license (`data/README.md`).
const OTHER_SOURCES: [(&str, &str, &str); 2] = [
    ("embedded_digits", "Optical Recognition of Handwritten Digits (UCI)", "CC BY 4.0"),
    ("trashnet32", "TrashNet", "MIT"),
];
/// What is said of any other.
const UNKNOWN: &str = "not known to delt; that of the real images applies: state it before you publish";

/// What a card says.
#[derive(Debug)]
pub(crate) struct Card {
    name: String,
    classes: Vec<String>,
    facts: SyntheticFacts,
    /// Whether another project made them.
    is_imported: bool,
    /// Whether students learn what the set itself gives, without soft labels.
    is_given: bool,
    image_bytes: u64,
    /// Bytes of the soft labels of all students; none where none are made.
    label_bytes: Option<u64>,
    source: Source,
    recipe_line: String,
    recipe: Value,
    normalization: Normalization,
    /// Where networks see the images whitened, how.
    whitened: Option<String>,
    summary: Option<Summary>,
    /// What the stages noted of it.
    notes: Vec<String>,
}

/// Where the real images are from.
#[derive(Debug, Deserialize)]
struct Source {
    title: String,
    license: String,
    #[serde(default)]
    homepage: Option<String>,
}

/// The part of a citation file that is cited.
#[derive(Debug, Deserialize)]
struct Citation {
    references: Vec<Paper>,
}

#[derive(Debug, Deserialize)]
struct Paper {
    title: String,
    authors: Vec<Author>,
    #[serde(rename = "collection-title")]
    collection: String,
    year: u32,
    url: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Author {
    given_names: String,
    family_names: String,
}

impl Card {
    /// Reads what there is of a branch.
    pub(crate) fn of(results: &Results<'_>, image_bytes: u64, whitened: Option<String>) -> Result<Self> {
        let (recipe_line, recipe) = record::recipe(results)?;
        let mut label_bytes = None;
        for seed in results.branch.pipeline.relabel.label_seeds() {
            if let Some(labels) = results.if_made(Node::Labels(*seed))? {
                let facts: LabelsFacts = labels.manifest.facts_as()?;
                *label_bytes.get_or_insert(0) += facts.bytes;
            }
        }
        Ok(Self {
            name: results.name(),
            classes: results.classes()?,
            is_imported: results.branch.pipeline.synthesize.import.is_some(),
            is_given: results.branch.pipeline.relabel.is_given(),
            facts: results.entry(Node::Synthetic)?.manifest.facts_as()?,
            image_bytes,
            label_bytes,
            source: Source::of(&recipe)?,
            recipe_line,
            recipe,
            normalization: results.teacher()?.normalization,
            whitened,
            summary: results.evaluation()?,
            notes: noted(results)?,
        })
    }

    pub(crate) fn images(&self) -> u64 {
        self.facts.images
    }

    pub(crate) fn is_evaluated(&self) -> bool {
        self.summary.is_some()
    }

    /// The whole card.
    pub(crate) fn text(&self) -> Result<String> {
        let header = serde_yaml::to_string(&self.header())?;
        let recipe = serde_yaml::to_string(&self.recipe)?;
        Ok(format!(
            "---\n{header}---\n\n# {name}\n\n\
             {images} {what}, of {classes} classes, made from {source} by delt (DELT, CVPR 2025). A network \
             is trained on them in place of the whole set; their look is no measure of it.\n\n\
             ```python\nimport datasets\nimages = datasets.load_dataset(\"path/of/this/folder\", split=\"train\")\n```\n\n\
             Columns: `image`, `label` (a class), `slot` (place in the class), `round` (of EarlyLate, at which the image joined), \
             `iterations` (that updated it){numbers}. Normalize by mean {mean:?}, standard deviation {std:?}{whitened}.\n\n\
             ## Accuracy\n\n{accuracy}\n\n\
             {notes}\
             ## Size\n\n{size}\n\n\
             ## License of the source\n\n{license}\n\n\
             ## Recipe\n\n{line}\n\n```yaml\n{recipe}```\n\n\
             ## How to cite\n\n```bibtex\n{bibtex}```\n",
            name = self.name,
            images = self.facts.images,
            classes = self.classes.len(),
            what = self.what(),
            source = self.source.title,
            mean = self.normalization.mean,
            std = self.normalization.std,
            numbers = self.numbers(),
            whitened = self.whitened.as_ref().map_or_else(String::new, |note| format!("; {note}")),
            accuracy = self.accuracy(),
            notes = self.notes(),
            size = self.size(),
            license = self.source.line(),
            line = self.recipe_line,
            bibtex = bibtex()?,
        ))
    }

    /// What students learn beside or in place of images and classes, and where it is.
    fn numbers(&self) -> String {
        let Some(space) = &self.facts.space else {
            let labels = if self.is_given { "" } else { ", and no soft labels" };
            return format!("; there are neither learned pixels nor learned targets here{labels}");
        };
        let lr = self
            .facts
            .learned_lr
            .map_or_else(String::new, |lr| format!("; learned with them: learning rate {lr}"));
        format!(
            ", `pixels` (what students learn in place of `image`, an 8-bit preview of it: channel by channel, normalized by mean {:?}, standard \
             deviation {:?}{}), `target` (learned with it; empty where students learn the class){lr}",
            space.normalization.mean,
            space.normalization.std,
            if space.whitening.is_some() { ", and whitened" } else { "" }
        )
    }

    /// What kind of images they are.
    fn what(&self) -> &'static str {
        match (self.is_imported, self.facts.image_iterations) {
            (true, _) => "images of another project",
            (false, 0) => "real images, selected and not changed but for their size",
            (false, _) => "distilled images",
        }
    }

    /// Whether they are real images, to which the license of the source applies as it stands.
    pub(crate) fn are_real(&self) -> bool {
        !self.is_imported && self.facts.image_iterations == 0
    }

    /// What Hugging Face reads of it. The features are those of the file's own metadata.
    fn header(&self) -> impl Serialize {
        let images = self.facts.images;
        let names: BTreeMap<String, &String> =
            self.classes.iter().enumerate().map(|(class, name)| (class.to_string(), name)).collect();
        let size = SIZES.iter().find(|(below, _)| images < *below).map_or("n>1M", |(_, size)| size);
        let column = |name: &str, dtype: Value| json!({ "name": name, "dtype": dtype });
        let mut features = vec![
            column("image", json!("image")),
            column("label", json!({ "class_label": { "names": names } })),
            column("slot", json!("uint32")),
            column("round", json!("uint32")),
            column("iterations", json!("uint32")),
        ];
        if self.facts.space.is_some() {
            let list = |name: &str| json!({ "name": name, "sequence": "float32" });
            features.extend(["pixels", "target"].map(list));
        }
        json!({
            "license": self.source.identifier(),
            "pretty_name": format!("{} (distilled by delt)", self.name),
            "task_categories": ["image-classification"],
            "tags": ["dataset-distillation", "dataset-condensation", "delt", "synthetic"],
            "size_categories": [size],
            "configs": [{ "config_name": "default", "data_files": [{ "split": "train", "path": "data/train-*" }] }],
            "dataset_info": {
                "features": features,
                "splits": [{ "name": "train", "num_bytes": self.image_bytes, "num_examples": images }],
                "download_size": self.image_bytes, "dataset_size": self.image_bytes,
            },
        })
    }

    fn accuracy(&self) -> String {
        let Some(summary) = &self.summary else {
            return "No student was tested on it yet.".to_owned();
        };
        let Summary { last_mean, last_std, best_mean, best_std, test_images, .. } = summary;
        let seeds = summary.students.len();
        let targets = if self.is_given { "the targets that come with them" } else { "soft labels" };
        // of one student there is none
        let std = |std: &f64| if seeds > 1 { format!("{std:.2}") } else { String::new() };
        format!(
            "| top-1, % | mean | standard deviation | seeds |\n|---|---|---|---|\n\
             | after the last epoch | {last_mean:.2} | {} | {seeds} |\n\
             | best tested epoch | {best_mean:.2} | {} | {seeds} |\n\n\
             Students trained on these images with {targets} as the recipe says, tested on {test_images} real images.",
            std(last_std),
            std(best_std)
        )
    }

    /// A section of them, where there are any.
    fn notes(&self) -> String {
        let lines: String = self.notes.iter().map(|note| format!("- {note}\n")).collect();
        if lines.is_empty() { lines } else { format!("## What must be known of it\n\n{lines}\n") }
    }

    fn size(&self) -> String {
        let images = human_bytes(self.image_bytes);
        let labels = match self.label_bytes {
            None if self.is_given => {
                "There are no soft labels: students learn what the images give.".to_owned()
            }
            None => "Soft labels are not made yet.".to_owned(),
            Some(bytes) => format!(
                "The soft labels of all students, which are not here, take {}, {:.1} times the images.",
                human_bytes(bytes),
                bytes as f64 / self.image_bytes as f64
            ),
        };
        format!("The images take {images}. {labels}")
    }
}

impl Source {
    /// What is known of the source that a recipe names.
    fn of(recipe: &Value) -> Result<Self> {
        let named = |key: &str| recipe["ingest"]["source"][key].as_str();
        let mut known: BTreeMap<String, Self> = serde_yaml::from_str(SOURCES)?;
        let names = [named("kind"), named("path")];
        if let Some(published) = names.iter().flatten().find_map(|name| known.remove(*name)) {
            return Ok(published);
        }
        let other = OTHER_SOURCES.iter().find(|(name, ..)| names.contains(&Some(*name)));
        let (title, license) = other
            .map_or((named("path").unwrap_or("a data set"), UNKNOWN), |(_, title, license)| {
                (*title, *license)
            });
        Ok(Self { title: title.to_owned(), license: license.to_owned(), homepage: None })
    }

    /// What Hugging Face calls the license.
    fn identifier(&self) -> &'static str {
        match self.license.as_str() {
            "CC BY 4.0" => "cc-by-4.0",
            "MIT" => "mit",
            _ => "other",
        }
    }

    fn line(&self) -> String {
        let homepage = self.homepage.as_ref().map_or(String::new(), |page| format!(" (<{page}>)"));
        format!("{}{homepage}: {}.", self.title, self.license)
    }
}

/// What the stages noted of a branch. Of absolute paths only the last part is left.
fn noted(results: &Results<'_>) -> Result<Vec<String>> {
    let group = &results.branch.group;
    let mut notes = notes::collect(results.session)?;
    notes.retain(|note| note.branches.is_empty() || note.branches.contains(group));
    let without_folders = |word: &str| match word.trim_start_matches(['`', '(', '"']).starts_with('/') {
        true => word.rsplit('/').next().unwrap_or(word).to_owned(),
        false => word.to_owned(),
    };
    let text = |note: &Note| {
        format!("{}: {}", note.of, note.text.split(' ').map(without_folders).collect::<Vec<_>>().join(" "))
    };
    Ok(notes.iter().map(text).collect())
}

/// The paper of the method.
fn bibtex() -> Result<String> {
    let citation: Citation = serde_yaml::from_str(CITATION)?;
    let entry = |paper: &Paper| {
        let author = |author: &Author| format!("{}, {}", author.family_names, author.given_names);
        let authors: Vec<String> = paper.authors.iter().map(author).collect();
        format!(
            "@inproceedings{{delt,\n  title = {{{}}},\n  author = {{{}}},\n  booktitle = {{{}}},\n  year = {{{}}},\n  url = {{{}}}\n}}\n",
            paper.title,
            authors.join(" and "),
            paper.collection,
            paper.year,
            paper.url
        )
    };
    Ok(citation.references.iter().map(entry).collect())
}
