//! Section `teacher`: the network whose BatchNorm statistics and labels guide everything after it.

use std::path::Path;

use delt_formats::teacher::{Architecture, Normalization};
use serde::{Deserialize, Deserializer, Serialize};

use super::{Invalid, SourcePath, is_default, range};

/// Section `teacher` (also `select.ranker`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Teacher {
    /// The network.
    pub network: Architecture,
    /// Side of the square input, px.
    pub size: u32,
    /// How to train it. Needed unless `import` is given (then it serves the full-data student).
    #[serde(default)]
    pub train: Option<TrainRecipe>,
    /// External weights, in place of training.
    #[serde(default)]
    pub import: Option<Import>,
}

/// Weights trained elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// `.safetensors` or `.pth` file.
    pub path: SourcePath,
    /// Which class each output of the classifier stands for.
    pub classes: ClassOrder,
    /// What stands before the names of the weights in the file (`state_dict`, `teacher`), where it holds several copies. Without
    /// it an average over training is preferred to the last weights.
    #[serde(default)]
    pub top_level_key: Option<String>,
    /// Top-1 on the whole test set as its makers state it, percent. More than one point away is an error; where ingest
    /// holds other or fewer test images (`classes`, `max_test_per_class`, `test_fraction`), more than three standard errors of
    /// a share of so many images, if that is more than a point.
    #[serde(default)]
    pub expected_top1: Option<f64>,
    /// What the weights were trained with: `imagenet`, or mean and std; the data set's own when absent.
    #[serde(default, deserialize_with = "stated_normalization")]
    pub normalization: Option<Normalization>,
}

/// How a pipeline states constants.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected `imagenet`, or a section of mean and std, three numbers each")]
enum Stated {
    Name(Known),
    Constants(Normalization),
}

/// Constants that have a name.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Known {
    Imagenet,
}

/// The constants themselves: keys know no names.
fn stated_normalization<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Normalization>, D::Error> {
    Ok(Option::deserialize(from)?.map(|stated| match stated {
        Stated::Name(Known::Imagenet) => Normalization::IMAGENET,
        Stated::Constants(constants) => constants,
    }))
}

/// The order of an imported classifier's outputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected `dataset`, a file name or a list of class names")]
pub enum ClassOrder {
    /// `dataset` (the data set's order), or a file: JSON with a list (or a `classes` list), or one name a line.
    Named(String),
    /// The names, in order.
    List(Vec<String>),
}

/// The word for the data set's own order.
const DATASET: &str = "dataset";

impl ClassOrder {
    /// The file that holds the names, where they stand in one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Named(word) if word == DATASET => None,
            Self::Named(path) => Some(Path::new(path)),
            Self::List(_) => None,
        }
    }
}

/// How a network is trained on hard labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainRecipe {
    /// Passes over the training images.
    pub epochs: u32,
    /// Images per step.
    pub batch: u32,
    /// Optimizer with all its values.
    pub optimizer: Optimizer,
    /// Learning rate over the steps.
    pub schedule: TrainSchedule,
    /// Share of the target spread over all classes.
    pub label_smoothing: f64,
    /// Pad by so many black pixels on each side, then crop at random; 0 turns it off.
    pub pad: u32,
    /// Mirror half of the images.
    pub flip: bool,
    /// BatchNorm momentum (PyTorch: 0.1) of networks that have none of their own, as MnasNet has.
    pub bn_momentum: f64,
    /// Train with the network's dropout and stochastic depth; absent: without.
    #[serde(default, skip_serializing_if = "is_default")]
    pub dropout: bool,
    /// Data-parallel training: the parts of a batch, each with BatchNorm statistics of its own, as PyTorch's
    /// DistributedDataParallel has them. One device or several compute them; the network is the same.
    #[serde(default, skip_serializing_if = "is_default")]
    pub replicas: Replicas,
    /// Publish a network that is no better than guessing, which else stays a checkpoint. It changes no network, so no key names it.
    #[serde(default, skip_serializing)]
    pub allow_chance: bool,
}

/// Parts of a training batch, 1 unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Replicas(pub u32);

impl Default for Replicas {
    fn default() -> Self {
        Self(1)
    }
}

/// Optimizer with every value written out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum Optimizer {
    /// Stochastic gradient descent with momentum.
    Sgd {
        /// Peak learning rate.
        lr: f64,
        /// Momentum.
        momentum: f64,
        /// Nesterov's form.
        nesterov: bool,
        /// Weight decay, on tensors of two or more dimensions.
        weight_decay: f64,
    },
    /// Adam with decoupled weight decay.
    Adamw {
        /// Peak learning rate.
        lr: f64,
        /// First-moment decay.
        beta_1: f64,
        /// Second-moment decay.
        beta_2: f64,
        /// Denominator's guard (PyTorch: 1e-8).
        epsilon: f64,
        /// Weight decay, on tensors of two or more dimensions.
        weight_decay: f64,
    },
}

impl Optimizer {
    /// Peak learning rate.
    pub fn lr(&self) -> f64 {
        match self {
            Self::Sgd { lr, .. } | Self::Adamw { lr, .. } => *lr,
        }
    }
}

/// Learning rate over the training steps, as a factor of the peak.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum TrainSchedule {
    /// Up from peak/25 to the peak over `warmup` of the steps, then down to peak/250,000, both along a cosine, as
    /// PyTorch's `OneCycleLR` does. The momentum stays as it is, while PyTorch's default cycles it between 0.85 and 0.95.
    OneCycle {
        /// Share of the steps that go up.
        warmup: f64,
    },
    /// From the peak to zero along a cosine. (Braces: serde lets unknown keys pass beside a unit variant.)
    Cosine {},
    /// Always the peak.
    Constant {},
}

impl Teacher {
    pub(super) fn validate(&self, place: &str) -> Result<(), Invalid> {
        let problem = "expected `train` (a recipe) or `import` (a weights file)";
        range::ensure(self.train.is_some() || self.import.is_some(), place, problem)?;
        let at = |key: &str| format!("{place}.{key}");
        range::ensure(
            self.size >= 8,
            at("size"),
            format!("{} px is too small; expected 8 or more", self.size),
        )?;
        range::at_most(at("size"), self.size, range::MOST_SIDE)?;
        check_fit(&self.network, self.size, &at("network"))?;
        if let Some(train) = &self.train {
            train.validate(&at("train"))?;
        }
        if let Some(import) = &self.import {
            import.validate(&at("import"))?;
        }
        Ok(())
    }
}

/// Whether a network has anything left of an image after its last pooling, and is of a width that can be meant.
pub(super) fn check_fit(network: &Architecture, size: u32, place: &str) -> Result<(), Invalid> {
    for bound in network.bounds() {
        range::at_most(format!("{place}.{}", bound.field), bound.value, bound.most)?;
    }
    network.misfit(size as usize).map_or(Ok(()), |problem| Err(Invalid::new(place, problem)))
}

impl Import {
    /// Refuses files that are not there, before anything is computed for nothing; `place` is the key of the import.
    ///
    /// # Errors
    /// [`Invalid`] naming the key and the file.
    pub(crate) fn check_files(&self, place: &str) -> Result<(), Invalid> {
        let expected = format!("a .safetensors or .pth file{}", of_torchvision(&self.path));
        range::file(format!("{place}.path"), &self.path, &expected)?;
        match self.classes.file() {
            Some(file) => range::file(
                format!("{place}.classes"),
                file,
                "`dataset`, a list of names or a file with them",
            ),
            None => Ok(()),
        }
    }

    fn validate(&self, place: &str) -> Result<(), Invalid> {
        if let Some(expected) = self.expected_top1 {
            range::PERCENT.check(format!("{place}.expected_top1"), expected)?;
        }
        if let Some(Normalization { mean, std }) = self.normalization {
            range::not_of_bytes(format!("{place}.normalization"), mean, std)?;
            for mean in mean {
                range::FINITE.check(format!("{place}.normalization.mean"), f64::from(mean))?;
            }
            for std in std {
                range::POSITIVE.check(format!("{place}.normalization.std"), f64::from(std))?;
            }
        }
        Ok(())
    }
}

/// Where torchvision's weights are, if a file is called as they are: a network, and the first digits of the file's SHA-256.
fn of_torchvision(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let parts = name.strip_suffix(".pth").and_then(|name| name.rsplit_once('-'));
    let is_published = parts.is_some_and(|(network, sum)| {
        Architecture::NAMES.contains(&network) && sum.len() == 8 && sum.bytes().all(|b| b.is_ascii_hexdigit())
    });
    if is_published {
        format!("; torchvision's are at https://download.pytorch.org/models/{name}")
    } else {
        String::new()
    }
}

impl Optimizer {
    fn validate(&self, place: &str) -> Result<(), Invalid> {
        let at = |key: &str| format!("{place}.{key}");
        match *self {
            Self::Sgd { momentum, nesterov, weight_decay, .. } => {
                range::BELOW_ONE.check(at("momentum"), momentum)?;
                let problem = "found true with momentum 0, which it needs; set a momentum or nesterov: false";
                range::ensure(!nesterov || momentum > 0.0, at("nesterov"), problem)?;
                range::NOT_NEGATIVE.check(at("weight_decay"), weight_decay)
            }
            Self::Adamw { beta_1, beta_2, epsilon, weight_decay, .. } => {
                range::BELOW_ONE.check(at("beta_1"), beta_1)?;
                range::BELOW_ONE.check(at("beta_2"), beta_2)?;
                range::POSITIVE.check(at("epsilon"), epsilon)?;
                range::NOT_NEGATIVE.check(at("weight_decay"), weight_decay)
            }
        }
    }
}

impl TrainRecipe {
    fn validate(&self, place: &str) -> Result<(), Invalid> {
        let at = |key: &str| format!("{place}.{key}");
        range::ABOVE_ZERO.check(at("epochs"), f64::from(self.epochs))?;
        range::at_most(at("epochs"), self.epochs, range::MOST_EPOCHS)?;
        range::batch(&at("batch"), self.batch)?;
        range::at_most(at("pad"), self.pad, range::MOST_SIDE)?;
        let Replicas(replicas) = self.replicas;
        range::ABOVE_ZERO.check(at("replicas"), f64::from(replicas))?;
        let found = format!("{replicas} for a batch of {}", self.batch);
        let expected = "at least 2 images a replica: BatchNorm needs a batch";
        range::require(replicas <= self.batch / 2, at("replicas"), found, expected)?;
        range::ABOVE_ZERO.check(at("optimizer.lr"), self.optimizer.lr())?;
        self.optimizer.validate(&at("optimizer"))?;
        if let TrainSchedule::OneCycle { warmup } = self.schedule {
            range::BELOW_ONE.check(at("schedule.warmup"), warmup)?;
        }
        range::SHARE.check(at("bn_momentum"), self.bn_momentum)?;
        range::SMOOTHING.check(at("label_smoothing"), self.label_smoothing)
    }
}
