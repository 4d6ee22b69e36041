//! The methods that match batches of real images ([`delt_matching`]) behind the door of the outer loop: a unit is all images, or
//! with distribution matching those of one class.

mod one_set;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use burn::tensor::{Device, Tensor, TensorData};
use delt_augment::draws::{Draws, standard_normal};
use delt_formats::dataset::{DatasetFacts, TRAIN_FILE};
use delt_formats::{InitialRow, Normalization, RgbImage, Space, SyntheticRow, TraceRow};
use delt_harness::progress::Progress;
use delt_harness::space::OpenSpace;
use delt_matching::distribution::DistributionMatching;
use delt_matching::frepo::Frepo;
use delt_matching::gradient::GradientMatching;
use delt_matching::rat_bptt::{RatBptt, unit_noise};
use delt_matching::rcig::Rcig;
use delt_matching::trajectory::{TrajectoryMatching, read_experts};
use delt_matching::{Learned, Matching as Loss, RealImages, Scene, learning_rate};
use delt_pipeline::config::matching::{Matching, Start, Targets};
use delt_pipeline::config::method::Method as Kind;
use delt_tangent::unrolled_sgd::Set;
use delt_tangent::{Activation, Form, Function, Norm};
use delt_training::ImageSet;

use self::one_set::OneSet;
use crate::checkpoint::Kept;
use crate::health::Health;
use crate::inputs::Inputs;
use crate::method::{Finished, Method, Place, Prepared, Unit};

/// Classes whose first image the course shows.
const SHOWN: usize = 10;

/// Class and slot of an image.
type Slot = (u32, u32);

/// Batch-to-batch distillation of one branch.
#[derive(Debug)]
pub struct BatchMatching<'a> {
    inputs: &'a Inputs<'a>,
    method: Kind,
    config: &'a Matching,
    form: Form,
    facts: DatasetFacts,
    units: Vec<Vec<Slot>>,
}

impl<'a> BatchMatching<'a> {
    /// Divides the images into units.
    ///
    /// # Errors
    /// A network whose derivatives are not known.
    pub fn new(inputs: &'a Inputs<'a>) -> Result<Self> {
        let synthesize = &inputs.branch.pipeline.synthesize;
        let config = synthesize.matching.as_ref().context("the pipeline was validated")?;
        let (size, classes) = (inputs.branch.pipeline.teacher.size as usize, inputs.teacher.classes().len());
        let activation = match synthesize.method {
            Kind::Rcig(rcig) => rcig.softplus.map_or(Activation::Relu, |beta| Activation::Softplus { beta }),
            _ => Activation::Relu,
        };
        let form = Form::of(&config.network, activation, size, classes).with_context(|| {
            format!(
                "`synthesize.matching.network`: found {}, expected a convnet with norm batch, instance or none, whose derivative \
                 along a direction in weight space is known here",
                config.network
            )
        })?;
        let slots = inputs.initial.iter().map(|row| (row.label, row.slot)).collect::<Vec<Slot>>();
        let by_class = matches!(synthesize.method, Kind::DistributionMatching(_)) && form.norm != Norm::Batch;
        let units = match by_class {
            true => slots.chunk_by(|a, b| a.0 == b.0).map(<[Slot]>::to_vec).collect(),
            false => vec![slots],
        };
        let entry = inputs.dataset.as_ref().context("the method reads real images")?;
        let facts = entry.manifest.facts_as()?;
        Ok(Self { inputs, method: synthesize.method, config, form, facts, units })
    }

    /// Steps of the images.
    fn steps(&self) -> u32 {
        match self.method {
            Kind::GradientMatching(it) => self.config.iterations.saturating_mul(it.outer),
            _ => self.config.iterations,
        }
    }

    fn normalization(&self) -> Normalization {
        Normalization { mean: self.facts.mean, std: self.facts.std }
    }

    fn open_space(&self) -> Result<OpenSpace> {
        OpenSpace::open(self.normalization(), self.form.size, self.inputs.whitening.as_ref())
    }

    fn real_images(&self, space: &OpenSpace, device: &Device) -> Result<RealImages> {
        let entry = self.inputs.dataset.as_ref().context("the method reads real images")?;
        let (side, classes) = (self.form.size, self.inputs.teacher.classes());
        let progress = Progress::new("delt-synthesize reading", self.facts.train_images, "images");
        let set = ImageSet::load(&entry.verified_file(TRAIN_FILE)?, side as u32, classes, &progress)?;
        progress.finish();
        if self.config.is_whitened() {
            let enter = |values: &mut [f32]| space.enter(values);
            let values = set.entered(&space.stated.normalization, enter, &progress)?;
            return Ok(RealImages::floats(values, set.labels, classes.len(), side, device));
        }
        Ok(RealImages::normalized(set, self.normalization(), classes.len(), device))
    }

    fn expert_files(&self) -> Result<Vec<PathBuf>> {
        let Some(entry) = &self.inputs.experts else { return Ok(Vec::new()) };
        let count = self.inputs.branch.pipeline.experts.as_ref().map_or(0, |experts| experts.count);
        (0..count)
            .map(|expert| Ok(entry.verified_file(&delt_formats::experts::expert_file(expert))?))
            .collect()
    }
}

impl Method for BatchMatching<'_> {
    fn describe(&self) -> String {
        let images: usize = self.units.iter().map(Vec::len).sum();
        let whitened = if self.config.is_whitened() { ", whitened" } else { "" };
        let (title, network, steps) = (self.method.title(), self.config.network, self.steps());
        format!("{images} images, {steps} steps of {title} under {network}{whitened}")
    }

    fn units(&self) -> u64 {
        self.units.len() as u64
    }

    fn work_of(&self, unit: u64) -> u64 {
        u64::from(self.steps()) * self.units[unit as usize].len() as u64
    }

    fn counted_in(&self) -> &'static str {
        "image-steps"
    }

    fn prepare<'m>(&'m self, place: &'m Place<'m>) -> Result<Box<dyn Prepared + 'm>> {
        let device = place.opened.device.clone();
        let space = self.open_space()?;
        let real = Arc::new(self.real_images(&space, &device)?);
        let function = Function::new(self.form.clone(), &device);
        Ok(Box::new(Sets { of: self, real, function, space, experts: self.expert_files()? }))
    }

    fn rows(&self, unit: u64, finished: &Kept) -> Result<Finished> {
        let (slots, space) = (&self.units[unit as usize], self.open_space()?);
        let (side, classes) = (self.form.size, self.form.classes);
        let images = finished.floats("images")?.1;
        let targets = finished.floats("targets")?.1;
        let fits = images.len() == slots.len() * 3 * side * side && targets.len() == slots.len() * classes;
        ensure!(fits, finished.misfit("images"));
        let are_learned = self.config.labels == Targets::Learned;
        let mut rows = Vec::new();
        for (at, (label, slot)) in slots.iter().enumerate() {
            let pixels = images[at * 3 * side * side..][..3 * side * side].to_vec();
            rows.push(SyntheticRow {
                png: space.preview(&pixels).encode_png()?,
                label: *label,
                slot: *slot,
                round: 0,
                iterations: self.steps(),
                pixels: Some(pixels),
                target: are_learned.then(|| targets[at * classes..][..classes].to_vec()),
            });
        }
        let trace = read_trace(unit, finished, self)?;
        let learned = Learned {
            lr: finished.number("learned_lr")?,
            log_temperature: finished.number("log_temperature")?,
        };
        let shown = slots.chunk_by(|a, b| a.0 == b.0).take(SHOWN).count();
        let mut course = course(&space, &finished.floats("course")?.1, shown, side);
        let last = slots.chunk_by(|a, b| a.0 == b.0).take(SHOWN).map(|of_class| of_class[0]);
        let end = last.filter_map(|slot| slots.iter().position(|other| *other == slot));
        course
            .push(end.map(|at| space.preview(&images[at * 3 * side * side..][..3 * side * side])).collect());
        Ok(Finished { images: rows, trace, health: Health::default(), learned, course })
    }

    fn notes(&self, _: &[Health]) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn rounds(&self) -> Option<usize> {
        None
    }

    fn space(&self) -> Result<Option<Space>> {
        Ok(Some(self.open_space()?.stated))
    }
}

/// Pixels of the course of so many images as rows of previews, one for each moment.
fn course(space: &OpenSpace, pixels: &[f32], images: usize, side: usize) -> Vec<Vec<RgbImage>> {
    let previews = pixels.chunks_exact(3 * side * side).map(|pixels| space.preview(pixels));
    let previews: Vec<RgbImage> = previews.collect();
    previews.chunks(images.max(1)).map(<[RgbImage]>::to_vec).collect()
}

/// Losses and learning rates of a unit.
fn read_trace(unit: u64, kept: &Kept, of: &BatchMatching<'_>) -> Result<Vec<TraceRow>> {
    let [ce, bn] = [kept.floats("trace.first")?.1, kept.floats("trace.second")?.1];
    let lr =
        |iteration| learning_rate(&of.config.image_optimizer, u64::from(iteration), u64::from(of.steps()));
    let row = |(iteration, (ce, bn)): (u32, (f32, f32))| TraceRow {
        batch: unit as u32,
        iteration,
        lr: lr(iteration),
        ce,
        bn,
    };
    Ok((0..).zip(ce.into_iter().zip(bn)).map(row).collect())
}

/// What all units share, on a device.
#[derive(Debug)]
struct Sets<'a> {
    of: &'a BatchMatching<'a>,
    real: Arc<RealImages>,
    function: Function,
    space: OpenSpace,
    experts: Vec<PathBuf>,
}

impl Sets<'_> {
    /// First images of a unit, `[n, 3, side, side]`.
    fn start(&self, slots: &[Slot], draws: &Draws) -> Result<Tensor<4>> {
        let side = self.of.form.size;
        let shape = [slots.len(), 3, side, side];
        let noise = || {
            let of = |(label, slot): &Slot| {
                let rng = draws.stream("initial-noise", u64::from(*label), u64::from(*slot));
                standard_normal(rng).take(3 * side * side).collect::<Vec<f32>>()
            };
            slots.iter().flat_map(of).collect::<Vec<f32>>()
        };
        let data = match self.of.config.init {
            Start::Noise => TensorData::new(noise(), shape),
            Start::NoiseUnitLength => unit_noise(noise(), shape),
            Start::Selected => TensorData::new(self.space.values(&self.selected(slots)?), shape),
        };
        Ok(Tensor::from_data(data, self.function.device()))
    }

    fn selected(&self, slots: &[Slot]) -> Result<Vec<RgbImage>> {
        let rows = &self.of.inputs.initial;
        let picture = |(label, slot): &Slot| {
            let at =
                rows.binary_search_by_key(&(label, slot), |row: &InitialRow| (&row.label, &row.slot)).ok();
            let at =
                at.with_context(|| format!("initial.parquet: no image for class {label} slot {slot}"))?;
            RgbImage::decode(&rows[at].png).with_context(|| format!("initial.parquet, row {at}"))
        };
        slots.iter().map(picture).collect()
    }

    fn loss(&self, scene: Scene) -> Result<Box<dyn Loss>> {
        Ok(match self.of.method {
            Kind::EarlyLate {} => anyhow::bail!("internal error: EarlyLate recovery matches no batches"),
            Kind::DistributionMatching(it) => Box::new(DistributionMatching::new(scene, it)),
            Kind::GradientMatching(it) => Box::new(GradientMatching::new(scene, it)),
            Kind::TrajectoryMatching(it) => {
                let count = self.experts.len() as u32;
                let experts = read_experts(self.experts.clone(), self.function.clone());
                Box::new(TrajectoryMatching::new(scene, it, experts, count))
            }
            Kind::RatBptt(it) => Box::new(RatBptt::new(scene, it)),
            Kind::Frepo(it) => Box::new(Frepo::new(scene, it)),
            Kind::Rcig(it) => Box::new(Rcig::new(scene, it, self.of.config.image_optimizer)),
        })
    }
}

impl Prepared for Sets<'_> {
    fn begin(&self, unit: u64) -> Result<Box<dyn Unit + '_>> {
        let slots = &self.of.units[unit as usize];
        let draws = Draws::new(self.of.inputs.branch.pipeline.draw_seed());
        let scene = Scene {
            function: self.function.clone(),
            real: Arc::clone(&self.real),
            labels: slots.iter().map(|(label, _)| *label).collect(),
            strategies: self.of.config.augmentation.clone(),
            draws,
        };
        let set = Set { images: self.start(slots, &draws)?, targets: first_targets(self.of.method, &scene) };
        Ok(Box::new(OneSet::new(self, unit, set, scene)?))
    }
}

/// Targets at the start: one-hot rows; with FRePo and RCIG less 1/C, with FRePo over √(C/10) too.
fn first_targets(method: Kind, scene: &Scene) -> Tensor<2> {
    let one_hot = scene.one_hot(&scene.labels);
    let classes = scene.function.form.classes as f64;
    match method {
        Kind::Frepo(_) => (one_hot - 1.0 / classes) / (classes / 10.0).sqrt(),
        Kind::Rcig(_) => one_hot - 1.0 / classes,
        _ => one_hot,
    }
}
