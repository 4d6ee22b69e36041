//! Key `synthesize.method`: the outer loop that makes the images. What the loops that match batches of real images share stands in
//! `synthesize.matching`; here is what each has of its own. Symbols are those of the papers.

mod checks;

use serde::{Deserialize, Serialize};

use super::objective::{Needs, ObjectiveKind, TraceName};

/// An outer loop with its own settings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Method {
    /// Recovery from a frozen teacher, image after image joining (DELT). (Braces: serde lets unknown keys pass beside a unit
    /// variant.)
    EarlyLate {},
    /// Mean features of real and synthetic images under networks drawn anew (DM, WACV 2023).
    DistributionMatching(DistributionMatching),
    /// Gradients on real and synthetic images along a training on the latter (DC, ICLR 2021; DSA, ICML 2021).
    GradientMatching(GradientMatching),
    /// Where training on the synthetic images leads from a point of an expert's way (MTT, CVPR 2022; TESLA, ICML 2023).
    TrajectoryMatching(TrajectoryMatching),
    /// The loss on real images after an inner training, through a window of its steps (RaT-BPTT, ICLR 2024).
    RatBptt(RatBptt),
    /// Kernel ridge regression on the features of a pool of networks (FRePo, NeurIPS 2022).
    Frepo(Frepo),
    /// Implicit gradients through linearized networks (RCIG, ICML 2023).
    Rcig(Rcig),
}

/// Settings of DM.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistributionMatching {
    /// Real images of a class in an iteration.
    pub real_batch: u32,
}

/// Settings of DC and DSA.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GradientMatching {
    /// Real images of a class in an outer step.
    pub real_batch: u32,
    /// Outer steps, each on all images, with one network.
    pub outer: u32,
    /// Epochs that the network is trained on the synthetic images between two outer steps.
    pub inner_epochs: u32,
    /// Learning rate of that training (SGD without momentum).
    pub network_lr: f64,
    /// Images of a step of that training.
    pub network_batch: u32,
    /// Real images of a class that renew batch normalization's statistics in each outer step, which are then frozen. Only for
    /// networks that have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistics_batch: Option<u32>,
}

/// Settings of MTT and TESLA; its experts are those of section `experts`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrajectoryMatching {
    /// N: steps on the synthetic images.
    pub steps: u32,
    /// M: epochs that the expert is ahead of its start.
    pub expert_epochs: u32,
    /// M⁺: the start is an epoch before this one, from 0.
    pub max_start_epoch: u32,
    /// α₀: learning rate of the steps, before it is learned.
    pub lr: f64,
    /// How it is learned.
    pub lr_step: LrStep,
    /// Synthetic images of a step, chunks of a permutation; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<u32>,
    /// Differentiate through the way of the weights (MTT); off: it is held constant, as the published code of TESLA does.
    pub curvature: bool,
    /// Targets are the target expert's softmax on the synthetic images, renewed in each iteration (TESLA on ImageNet-1K).
    pub expert_labels: bool,
}

/// How a number is learned by SGD.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LrStep {
    /// Learning rate of the learning rate.
    pub lr: f64,
    /// Momentum.
    pub momentum: f64,
}

/// Settings of RaT-BPTT.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatBptt {
    /// Adam of the inner training.
    pub inner: InnerAdam,
    /// W: last steps of the inner training, through which is differentiated.
    pub window: u32,
    /// K_max: the most steps that the inner training has.
    pub steps: u32,
    /// The window always ends at the last step; off: its end is drawn anew in each pass over the real images.
    pub window_at_end: bool,
    /// Real images of an iteration.
    pub real_batch: u32,
    /// Synthetic images of each class in an inner step; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images_per_class: Option<u32>,
    /// Classes of an inner step, drawn anew; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<u32>,
    /// Where the gradient is cut.
    pub clip: Clip,
}

/// Adam of an inner training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InnerAdam {
    /// Learning rate.
    pub lr: f64,
    /// First-moment decay.
    pub beta_1: f64,
    /// Second-moment decay.
    pub beta_2: f64,
    /// Denominator's guard.
    pub epsilon: f64,
}

/// Cuts the gradient on the images at a multiple of the moving average of its norm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clip {
    /// The multiple.
    pub factor: f64,
    /// Decay of the average.
    pub decay: f64,
}

/// Settings of FRePo.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frepo {
    /// Real images of an iteration.
    pub real_batch: u32,
    /// λ: ridge, as a share of the kernel's mean diagonal.
    pub ridge: f64,
    /// Networks in the pool.
    pub pool: u32,
    /// Steps between the counters of two networks at the start.
    pub pool_spacing: u32,
    /// Steps after which a network is replaced.
    pub pool_steps: u32,
    /// Learning rate of the networks' Adam.
    pub network_lr: f64,
    /// Synthetic images of a network's step, at most.
    pub train_batch: u32,
    /// Share of a batch in batch normalization's running statistics.
    pub bn_momentum: f64,
    /// Take the images together with their mirror images.
    pub mirror: bool,
}

/// Settings of RCIG.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rcig {
    /// Real images of an iteration.
    pub real_batch: u32,
    /// l₂ of one synthetic image: the ridge is this times their number.
    pub l2: f64,
    /// Adam steps of the inner training.
    pub inner_steps: u32,
    /// Adam steps of the inverse Hessian's product.
    pub inverse_steps: u32,
    /// Learning rate that the search for the inner one starts at.
    pub inner_lr: f64,
    /// Learning rate that the search for the inverse's starts at.
    pub inverse_lr: f64,
    /// How both are found and kept right.
    pub lr_control: LrControl,
    /// Networks in the pool.
    pub pool: u32,
    /// Steps after which a network is replaced.
    pub pool_steps: u32,
    /// A network takes 1 to so many steps after an iteration.
    pub network_steps: u32,
    /// Learning rate of the networks' Adam.
    pub network_lr: f64,
    /// β of the softplus in place of ReLU while the images are made; absent: ReLU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub softplus: Option<f64>,
    /// Take the images together with their mirror images.
    pub mirror: bool,
    /// κ: logarithm of the factor of the predictions.
    pub log_temperature: LogTemperature,
    /// Synthetic images of a partial backward pass; absent: all at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partial: Option<u32>,
    /// Decay of the moving average of images and labels, which is what the set holds; absent: the last ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
}

/// How RCIG finds a learning rate at which all losses of the steps fall, and keeps it there.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LrControl {
    /// The search raises by this until the losses do not all fall,
    pub raise: f64,
    /// then multiplies by this.
    pub retreat: f64,
    /// Iterations between two looks at the inner one.
    pub every: u32,
    /// Where at least this share of them diverged,
    pub diverged: f64,
    /// it is multiplied by this;
    pub lower: f64,
    /// where at least this share fell throughout,
    pub fell: f64,
    /// by this.
    pub higher: f64,
}

/// How the logarithm of a factor is learned.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogTemperature {
    /// Where it starts.
    pub start: f64,
    /// Learning rate, of the images' kind of optimizer.
    pub lr: f64,
}

impl TrajectoryMatching {
    /// The last epoch of an expert that may be a target.
    pub fn last_epoch(&self) -> u32 {
        self.max_start_epoch.saturating_sub(1).saturating_add(self.expert_epochs)
    }
}

impl Method {
    /// Whether it matches batches of real images, by the numbers of `synthesize.matching`.
    pub fn is_matching(self) -> bool {
        self != Self::EarlyLate {}
    }

    /// Whether it reads expert trajectories.
    pub fn needs_experts(self) -> bool {
        matches!(self, Self::TrajectoryMatching(_))
    }

    /// Whether targets can be learned with the images: where the gradient on them is part of the method.
    pub fn learns_labels(self) -> bool {
        matches!(self, Self::TrajectoryMatching(_) | Self::RatBptt(_) | Self::Frepo(_) | Self::Rcig(_))
    }

    /// Layout of the columns of the synthetic set: matched images are kept in 32 bits, in the networks' space.
    pub fn schema_version(self) -> u32 {
        if self.is_matching() { 2 } else { 1 }
    }

    /// As papers call it.
    pub fn title(self) -> &'static str {
        match self {
            Self::EarlyLate {} => "EarlyLate",
            Self::DistributionMatching(_) => "distribution matching",
            Self::GradientMatching(_) => "gradient matching",
            Self::TrajectoryMatching(TrajectoryMatching { curvature: true, .. }) => "trajectory matching",
            Self::TrajectoryMatching(_) => "trajectory matching (TESLA)",
            Self::RatBptt(_) => "RaT-BPTT",
            Self::Frepo(_) => "FRePo",
            Self::Rcig(_) => "RCIG",
        }
    }

    /// What the method reads; EarlyLate recovery what its objective does. `is_whitened`: the space of the images.
    pub fn needs(self, objective: ObjectiveKind, is_whitened: bool) -> Needs {
        match self {
            Self::EarlyLate {} => objective.needs(),
            other => Needs {
                teacher: false,
                real_images: true,
                experts: other.needs_experts(),
                whitening: is_whitened,
            },
        }
    }

    /// What the columns `ce` and `bn` of the trace hold; EarlyLate recovery's follow from its objective.
    pub fn trace_names(self, objective: ObjectiveKind) -> [TraceName; 2] {
        let name = |short, long| TraceName { short, long };
        let gradient = name("|g|", "norm of the gradient");
        match self {
            Self::EarlyLate {} => objective.trace_names(),
            Self::DistributionMatching(_) => [name("mmd", "squared distance of mean features"), gradient],
            Self::GradientMatching(_) => [name("distance", "distance of the gradients"), gradient],
            Self::TrajectoryMatching(_) => [
                name("distance", "squared distance to the expert, share of its way"),
                name("lr", "learned learning rate"),
            ],
            Self::RatBptt(_) => [
                name("ce", "cross-entropy of real images"),
                name("|g|", "norm of the gradient before clipping"),
            ],
            Self::Frepo(_) => [name("mse", "squared error of the regression"), name("margin", "margin term")],
            Self::Rcig(_) => {
                [name("ce", "cross-entropy of real images"), name("inner", "inner loss after its steps")]
            }
        }
    }
}

impl Default for Method {
    fn default() -> Self {
        Self::EarlyLate {}
    }
}
