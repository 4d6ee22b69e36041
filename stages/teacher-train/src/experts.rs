//! Experts: networks trained on the real images whose weights are kept after each epoch, for trajectory matching. Plain SGD at one
//! learning rate, so that weights alone are the state between two epochs.

use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Tensor, TensorData};
use delt_augment::draws::Draws;
use delt_augment::dsa::{Images, draw};
use delt_harness::progress::Progress;
use delt_pipeline::config::experts::Experts;
use delt_tangent::{Function, Norms, Start};
use delt_training::training_state::kept;
use delt_training::{Floats, dsa};
use rand::seq::SliceRandom;

use crate::expert_files::ExpertFiles;
use crate::train::TEST_BATCH;

/// Images as the network takes them, with their labels.
#[derive(Debug)]
pub struct Split {
    /// `[n, 3, size, size]`, row by row.
    pub pixels: Floats,
    /// Class of each.
    pub labels: Vec<u32>,
}

/// All that experts depend on.
#[derive(Debug)]
pub struct ExpertTraining<'a> {
    /// How they are trained.
    pub recipe: &'a Experts,
    /// Their network.
    pub function: Function,
    /// What they are trained on.
    pub train: Split,
    /// What they are tested on.
    pub test: Split,
    /// Seed of first weights, order and augmentation.
    pub draws: Draws,
}

impl ExpertTraining<'_> {
    /// Weights of an expert before its first epoch.
    pub fn start(&self, expert: u32) -> Tensor<1> {
        self.function.initialize(Start::Torch, &self.draws, "expert-weights", u64::from(expert), 0)
    }

    /// Images that pass through an expert's network in an epoch.
    pub fn images_of_epoch(&self) -> u64 {
        self.train.labels.len() as u64
    }

    /// Trains an expert, from its last epoch that was kept: the result is the same. `before` is the progress that experts before
    /// it have made.
    ///
    /// # Errors
    /// As [`Self::train_epoch`]; a file that cannot be read or written.
    pub fn run(&self, expert: u32, files: &ExpertFiles<'_>, before: u64, progress: &Progress) -> Result<()> {
        if files.has_finished(expert) {
            return Ok(());
        }
        let (mut epoch, mut theta) = match files.latest(expert)? {
            Some(kept) => kept,
            None => (0, self.start(expert)),
        };
        progress.resume_at(before + u64::from(epoch) * self.images_of_epoch());
        if epoch == 0 {
            files.keep(expert, 0, &theta)?;
        }
        while epoch < self.recipe.epochs {
            theta = self.train_epoch(theta, expert, epoch, progress)?;
            epoch += 1;
            files.keep(expert, epoch, &theta)?;
        }
        files.finish(expert, epoch, self.right(&theta)?)
    }

    /// The weights after an epoch.
    ///
    /// # Errors
    /// A loss or a weight that is NaN or infinite; an interrupt.
    pub fn train_epoch(
        &self,
        mut theta: Tensor<1>,
        expert: u32,
        epoch: u32,
        progress: &Progress,
    ) -> Result<Tensor<1>> {
        let (recipe, device) = (self.recipe, self.function.device());
        let counters = (u64::from(expert), u64::from(epoch));
        let mut order: Vec<usize> = (0..self.train.labels.len()).collect();
        order.shuffle(&mut self.draws.stream("expert-order", counters.0, counters.1));
        let mut views = self.draws.stream("expert-views", counters.0, counters.1);
        let mut loss = Tensor::<1>::zeros([1], device);
        for batch in order.chunks(recipe.batch as usize) {
            let (images, targets) = self.batch(&self.train, batch, device)?;
            let view =
                draw(&recipe.augmentation, &mut views, Images::Each(batch.len()), self.function.form.size);
            let images = view.map_or(images.clone(), |view| dsa::apply(&view, images));
            let gradient = self.function.gradient(&theta, images, targets, Norms::Own);
            theta = theta - gradient.weights * recipe.lr;
            loss = loss + gradient.loss * batch.len() as f64;
            progress.advance(batch.len() as u64)?;
        }
        let loss =
            loss.try_into_scalar::<f32>().context("the loss of an expert cannot be read from the device")?;
        let loss = f64::from(loss) / order.len() as f64;
        let weights = values(theta.clone())?.into_iter().map(f64::from);
        if let Some(found) = weights.chain([loss]).find(|found| !found.is_finite()) {
            bail!(
                "expert {expert}, epoch {epoch}: a loss or a weight is {found}; {}; lower experts.lr ({})",
                kept(epoch),
                recipe.lr
            );
        }
        progress.message(format!("expert {expert} epoch {}/{} loss {loss:.3}", epoch + 1, recipe.epochs));
        Ok(theta)
    }

    /// Test images whose class has the largest logit.
    ///
    /// # Errors
    /// Logits that the device does not return, images that a disk does not.
    pub fn right(&self, theta: &Tensor<1>) -> Result<u64> {
        let (weights, device) = (self.function.weights(theta), self.function.device());
        let indices: Vec<usize> = (0..self.test.labels.len()).collect();
        let mut right = 0;
        for batch in indices.chunks(TEST_BATCH) {
            let (images, _) = self.batch(&self.test, batch, device)?;
            let logits = self.function.forward(&weights, images, Norms::Own).logits;
            let logits =
                logits.try_into_vec_as::<f32>().context("the logits of a test batch cannot be read")?;
            let rows = logits.chunks_exact(self.function.form.classes);
            right +=
                rows.zip(batch).filter(|(row, at)| largest(row) == self.test.labels[**at] as usize).count()
                    as u64;
        }
        Ok(right)
    }

    /// Images and one-hot targets.
    fn batch(&self, of: &Split, indices: &[usize], device: &Device) -> Result<(Tensor<4>, Tensor<2>)> {
        let (size, classes) = (self.function.form.size, self.function.form.classes);
        let pixels = of.pixels.rows(indices)?;
        let mut targets = vec![0.0_f32; indices.len() * classes];
        for (row, at) in indices.iter().enumerate() {
            targets[row * classes + of.labels[*at] as usize] = 1.0;
        }
        let images = Tensor::from_data(TensorData::new(pixels, [indices.len(), 3, size, size]), device);
        Ok((images, Tensor::from_data(TensorData::new(targets, [indices.len(), classes]), device)))
    }
}

/// The first of the largest.
fn largest(row: &[f32]) -> usize {
    (0..row.len()).fold(0, |best, at| if row[at] > row[best] { at } else { best })
}

/// Weights on the host.
pub(crate) fn values(theta: Tensor<1>) -> Result<Vec<f32>> {
    theta.try_into_vec_as::<f32>().context("the weights of an expert cannot be read from the device")
}
