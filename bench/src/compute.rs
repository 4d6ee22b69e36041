//! The work of the device: recovery iteration, training steps, forward passes, as the stages call them.

use anyhow::{Context, Result};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Int, Tensor, TensorData};
use delt_augment::Draws;
use delt_formats::{Architecture, Conv1Start, CropBox, Normalization, RgbImage, Stem, VitStart};
use delt_formula::formula_uniform;
use delt_networks::{FrozenNetwork, Network};
use delt_pipeline::config::relabel::TeacherMode;
use delt_pipeline::config::synthesize::Synthesize;
use delt_pipeline::config::teacher::Optimizer;
use delt_pipeline::early_late::EarlyLate;
use delt_synthesize::augmentation::Augmentation;
use delt_synthesize::recover::{Recovery, RecoveryTeacher};
use delt_training::Labeler;
use delt_training::losses::{cross_entropy, kl_divergence};
use delt_training::{ImageSet, module_optimizer, training_step};

use crate::{matching, scaling};

/// What is run once and timed.
pub type Job = Box<dyn FnMut() -> Result<()>>;

pub(crate) const NORMALIZATION: Normalization =
    Normalization { mean: [0.507, 0.487, 0.441], std: [0.267, 0.256, 0.276] };

/// A network at a size of image, with the batch that it is measured with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// A network of the table in this file, or of the batch-to-batch methods'.
    pub network: &'static str,
    /// Side of the images, px.
    pub size: u32,
    /// Images.
    pub batch: usize,
    /// Classes.
    pub classes: u32,
}

/// Networks by the names that they have here.
const NETWORKS: [(&str, Architecture); 8] = [
    ("convnet3", Architecture::convnet(3, 128)),
    ("resnet18", Architecture::resnet18(Stem::Small)),
    ("resnet18-imagenet", Architecture::resnet18(Stem::Standard)),
    ("resnet50", Architecture::Resnet50 { stem: Stem::Small, conv1_start: Conv1Start::Kaiming }),
    ("resnet50-imagenet", Architecture::Resnet50 { stem: Stem::Standard, conv1_start: Conv1Start::Kaiming }),
    ("mobilenet_v2", Architecture::MobilenetV2 {}),
    ("efficientnet_b0", Architecture::EfficientnetB0 {}),
    ("deit_tiny", Architecture::DeitTiny { start: VitStart::Timm }),
];

const CASES: [Case; 7] = [
    Case { network: "convnet3", size: 32, batch: 100, classes: 100 },
    Case { network: "resnet18", size: 32, batch: 50, classes: 100 },
    Case { network: "resnet18", size: 64, batch: 25, classes: 100 },
    Case { network: "resnet50", size: 32, batch: 25, classes: 100 },
    Case { network: "mobilenet_v2", size: 64, batch: 50, classes: 100 },
    Case { network: "efficientnet_b0", size: 64, batch: 50, classes: 100 },
    Case { network: "deit_tiny", size: 224, batch: 4, classes: 100 },
];

impl Case {
    fn architecture(&self) -> Option<Architecture> {
        NETWORKS.iter().find(|(name, _)| *name == self.network).map(|(_, architecture)| *architecture)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Recovery,
    Student,
    Teacher,
    Labeling,
    Scoring,
    Matching(matching::Kind),
}

const KINDS: [(Kind, &str); 5] = [
    (Kind::Recovery, "recovery"),
    (Kind::Student, "student"),
    (Kind::Teacher, "teacher"),
    (Kind::Labeling, "labeling"),
    (Kind::Scoring, "scoring"),
];

/// One kind of work with one network.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    kind: Kind,
    kind_name: &'static str,
    /// What it is done with.
    pub case: Case,
    is_bf16: bool,
}

/// Every work, by network, then the batch-to-batch methods. Recovery needs statistics of batch normalization.
pub(crate) fn all() -> Vec<Work> {
    let of_case = |case: Case| {
        let has_statistics = case.architecture().is_some_and(|network| network.has_batch_norm());
        let kinds = KINDS.into_iter().filter(move |(kind, _)| has_statistics || *kind != Kind::Recovery);
        kinds.map(move |(kind, kind_name)| Work { kind, kind_name, case, is_bf16: false })
    };
    let matching = matching::all().map(|(kind, kind_name, case)| {
        let kind = Kind::Matching(kind);
        Work { kind, kind_name, case, is_bf16: false }
    });
    CASES.into_iter().flat_map(of_case).chain(matching).collect()
}

/// The work of a name.
///
/// # Errors
/// Where there is none.
pub(crate) fn find(name: &str) -> Result<Work> {
    let named = |work: &Work| work.name() == name || work.full_name() == name;
    all().into_iter().chain(scaling::all()).find(named).with_context(|| format!("no work is called {name}"))
}

impl Work {
    /// Some work with a network of any size.
    pub(crate) fn new(wanted: Kind, case: Case) -> Self {
        let name = KINDS.iter().find(|(kind, _)| *kind == wanted).map_or("", |(_, name)| name);
        Self { kind: wanted, kind_name: name, case, is_bf16: false }
    }

    /// Some work by the name of its kind: `recovery`, `student`, `teacher`, `labeling` or `scoring`.
    pub fn of(kind: &str, case: Case) -> Option<Self> {
        let (kind, _) = KINDS.iter().find(|(_, name)| *name == kind)?;
        Some(Self::new(*kind, case))
    }

    /// The same with its convolutions in bf16, as the setting `synthesize.dtype` has them.
    #[must_use]
    pub fn in_bf16(self) -> Self {
        Self { is_bf16: true, ..self }
    }

    /// Multiplications of one run, each with an addition: of the layers forward, and again for each kind of gradient that is
    /// taken.
    ///
    /// # Errors
    /// Where the network has no name here.
    pub fn multiplications(&self) -> Result<f64> {
        let Case { size, classes, batch, .. } = self.case;
        let passes = match self.kind {
            Kind::Labeling | Kind::Scoring => 1.0,
            Kind::Recovery => 2.0,
            Kind::Student | Kind::Teacher | Kind::Matching(_) => 3.0,
        };
        let description = self.architecture()?.description(size as usize, classes as usize);
        Ok(passes * batch as f64 * description.multiplications())
    }

    fn architecture(&self) -> Result<Architecture> {
        self.case.architecture().with_context(|| format!("no network {} here", self.case.network))
    }

    /// E.g. `recovery-convnet3-32`.
    pub fn name(&self) -> String {
        format!("{}-{}-{}", self.kind_name, self.case.network, self.case.size)
    }

    /// E.g. `recovery-convnet3-32-b100-c10`.
    pub(crate) fn full_name(&self) -> String {
        format!("{}-b{}-c{}", self.name(), self.case.batch, self.case.classes)
    }

    /// Whether peak memory is compared too: recovery, and MTT, all of whose steps PyTorch keeps.
    pub(crate) fn compares_memory(&self) -> bool {
        matches!(self.kind, Kind::Recovery | Kind::Matching(matching::Kind::Trajectory(true)))
    }

    /// Images of one run.
    pub(crate) fn images(&self) -> usize {
        self.case.batch
    }

    /// Builds the network and the images.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn start(&self, device: &Device) -> Result<Job> {
        match self.kind {
            Kind::Recovery => self.recovery(device),
            Kind::Student => self.student(device),
            Kind::Teacher => self.teacher(device),
            Kind::Labeling => self.labeling(device),
            Kind::Scoring => self.scoring(device),
            Kind::Matching(kind) => matching::start(kind, &self.case, device),
        }
    }

    fn network(&self, device: &Device) -> Result<Network> {
        let Case { size, classes, .. } = self.case;
        Ok(Network::initialize(&self.architecture()?, classes as usize, size as usize, 0, device)?)
    }

    /// The network in evaluation mode.
    fn frozen(&self, device: &Device) -> Result<FrozenNetwork> {
        let frozen = FrozenNetwork::new(self.network(device)?, device);
        Ok(if self.is_bf16 { frozen.in_bf16() } else { frozen })
    }

    fn shape(&self) -> [usize; 4] {
        let size = self.case.size as usize;
        [self.case.batch, 3, size, size]
    }

    /// Normalized values.
    fn pixels(&self) -> Vec<f32> {
        let count = self.shape().iter().product();
        formula_uniform("bench/", "x", count).into_iter().map(|u| 1.5 * u as f32).collect()
    }

    fn labels(&self) -> Vec<u32> {
        (0..self.case.batch as u32).map(|image| image % self.case.classes).collect()
    }

    /// A whole iteration: crop and flip, forward, statistics, backward, Adam, clip.
    fn recovery(&self, device: &Device) -> Result<Job> {
        let config = recipe(self.case.batch as u32);
        let schedule = EarlyLate::new(&config, 1, self.labels(), &Draws::new(0));
        let batch = schedule.batches.first().context("no batch")?;
        let teacher = RecoveryTeacher::new(self.frozen(device)?, &NORMALIZATION, device);
        let size = self.case.size;
        let mut recovery = Recovery::start(batch, &self.pixels(), size as usize, &config, device);
        let crop = CropBox { top: 3, left: 2, height: size - 8, width: size - 6 };
        let augmentation = Augmentation { crop, flip: true, roll: (0, 0) };
        let classes = vec![String::new(); self.case.classes as usize];
        Ok(Box::new(move || recovery.step(&teacher, &augmentation, &classes)))
    }

    /// AdamW on the divergence from stored logits.
    fn student(&self, device: &Device) -> Result<Job> {
        let adamw =
            Optimizer::Adamw { lr: 1e-3, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, weight_decay: 0.01 };
        let logits = formula_uniform("bench/", "logits", self.case.batch * self.case.classes as usize);
        let logits: Vec<f32> = logits.into_iter().map(|u| 5.0 * u as f32).collect();
        let logits = TensorData::new(logits, [self.case.batch, self.case.classes as usize]);
        let device = device.clone().autodiff();
        self.training(&device, adamw, move |ours, device| {
            kl_divergence(ours, Tensor::from_data(logits.clone(), device), 20.0)
        })
    }

    /// SGD with Nesterov's momentum on class labels.
    fn teacher(&self, device: &Device) -> Result<Job> {
        let sgd = Optimizer::Sgd { lr: 0.01, momentum: 0.9, nesterov: true, weight_decay: 5e-4 };
        let labels: Vec<i32> = self.labels().into_iter().map(|label| label as i32).collect();
        let labels = TensorData::new(labels, [self.case.batch]);
        let device = device.clone().autodiff();
        self.training(&device, sgd, move |logits, device| {
            cross_entropy(logits, Tensor::<1, Int>::from_data(labels.clone(), device), 0.05)
        })
    }

    fn training(
        &self,
        device: &Device,
        optimizer: Optimizer,
        loss: impl Fn(Tensor<2>, &Device) -> Tensor<1> + Sync + 'static,
    ) -> Result<Job> {
        let network = self.network(device)?;
        let mut optimizer = module_optimizer(&optimizer, &network);
        let mut network = Some(network);
        let (pixels, shape, device, is_bf16) = (self.pixels(), self.shape(), device.clone(), self.is_bf16);
        Ok(Box::new(move || {
            let images = Tensor::from_data(TensorData::new(pixels.clone(), shape), &device);
            let before = network.take().context("the step before failed")?;
            let loss = |logits| loss(logits, &device);
            network = Some(if is_bf16 {
                bf16_step(before, &mut optimizer, images, loss)?
            } else {
                let (after, value) = training_step(before, &mut optimizer, 1e-3, 0.1, images, loss);
                value.read()?;
                after
            });
            Ok(())
        }))
    }

    fn labeling(&self, device: &Device) -> Result<Job> {
        let labeler = Labeler {
            teacher: self.frozen(device)?,
            committee: Vec::new(),
            weights: Vec::new(),
            mode: TeacherMode::Eval,
            normalization: NORMALIZATION,
            size: self.case.size,
            device: device.clone(),
        };
        let (pixels, batch) = (self.pixels(), self.case.batch);
        Ok(Box::new(move || Ok(labeler.logits(pixels.clone(), batch).map(drop)?)))
    }

    /// From 8-bit images to logits on the host.
    fn scoring(&self, device: &Device) -> Result<Job> {
        let network = self.frozen(device)?;
        let (batch, side) = (self.case.batch, self.case.size);
        let bytes = formula_uniform("bench/", "image", (3 * side * side) as usize);
        let rgb: Vec<u8> = bytes.into_iter().map(|u| ((u + 1.0) * 127.5) as u8).collect();
        let pictures = vec![RgbImage { width: side, height: side, rgb }; batch];
        let images = ImageSet::of(side, &pictures, self.labels())?;
        let indices: Vec<usize> = (0..batch).collect();
        let device = device.clone();
        Ok(Box::new(move || {
            let pixels = images.normalized(&indices, &NORMALIZATION)?;
            let logits = network.forward(images.on_device(pixels, &device));
            logits.try_into_vec_as::<f32>()?;
            Ok(())
        }))
    }
}

/// As [`training_step`], with convolutions in bf16, which students are not offered.
fn bf16_step(
    network: Network,
    optimizer: &mut ModuleOptimizer,
    images: Tensor<4>,
    loss: impl FnOnce(Tensor<2>) -> Tensor<1>,
) -> Result<Network> {
    let (logits, statistics) = network.forward_train_bf16(images);
    let loss = loss(logits);
    let value = loss.clone().inner();
    let gradients = GradientsParams::from_grads(loss.backward(), &network);
    let network = optimizer.step(1e-3, network, gradients).update_running(&statistics, 0.1);
    value.try_into_scalar::<f32>()?;
    Ok(network)
}

/// The published recipe; all images are active.
fn recipe(batch: u32) -> Synthesize {
    Synthesize { round_iterations: 4000, early_late: false, batch, ..Synthesize::published() }
}
