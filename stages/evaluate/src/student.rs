//! One student: trained from scratch on replayed views, tested on real images.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use burn::module::Module;
use burn::optim::ModuleOptimizer;
use burn::tensor::{Device, Tensor, TensorData};
use delt_augment::build_views;
use delt_augment::draws::Draws;
use delt_formats::{HistoryRow, LabelsReader, Mix, NamedTensor, Normalization, RgbImage, ViewRow};
use delt_harness::progress::Progress;
use delt_networks::{Network, NetworkError};
use delt_pipeline::config::evaluate::{Evaluate, Loss};
use delt_pipeline::config::teacher::Optimizer;
use delt_training::losses::{class_indices, cross_entropy_to_distribution, kl_divergence, mse_gt};
use delt_training::schedule::student_factor;
use delt_training::training_state::kept;
use delt_training::{
    Drops, ImageSet, StepLoss, TrainingState, ahead, dropping_step, module_optimizer, test_accuracy,
};

/// Images of the test set that the student sees at once.
pub(crate) const TEST_BATCH: usize = 200;

/// What a student learns from.
#[derive(Debug)]
pub struct TrainingTargets<'a> {
    /// Recipe.
    pub config: &'a Evaluate,
    /// Peak learning rate, as configured or published.
    pub lr: f64,
    /// Seed of the student's initial weights.
    pub seed: u64,
    /// Epochs of training; where the labels store fewer, those come again.
    pub epochs: u32,
    /// Epochs that the labels store.
    pub stored_epochs: u32,
    /// All synthetic images.
    pub pictures: &'a [RgbImage],
    /// Class of each synthetic image.
    pub image_labels: &'a [u32],
    /// Stored views and soft labels.
    pub labels: LabelsReader,
    /// The teacher's constants.
    pub normalization: &'a Normalization,
    /// Side of the images, px.
    pub size: u32,
    /// Number of classes.
    pub classes: usize,
    /// A plain device.
    pub device: &'a Device,
    /// What learns on, of whatever widths, on the device with autodiff; none: a new student.
    pub start: Option<&'a Network>,
    /// Weight in the loss of the sum of the absolute scales of BatchNorm (network slimming); 0 leaves it out.
    pub scales_l1: f64,
}

impl TrainingTargets<'_> {
    /// A student of these tensors.
    fn network(&self, tensors: Vec<NamedTensor>, device: &Device) -> Result<Network, NetworkError> {
        match self.start {
            Some(start) => start.with_named(tensors, device),
            None => {
                let Evaluate { student, .. } = self.config;
                Network::from_named(student, self.classes, self.size as usize, tensors, device)
            }
        }
    }

    fn first_network(&self, device: &Device) -> Result<Network, NetworkError> {
        match self.start {
            Some(start) => Ok(start.clone()),
            None => {
                let Evaluate { student, .. } = self.config;
                Network::initialize(student, self.classes, self.size as usize, self.seed, device)
            }
        }
    }
}

/// Trains one student and returns its history, one row an epoch.
///
/// # Errors
/// Labels that do not fit, a loss that is NaN or infinite, or an interrupt (the last epoch is kept).
pub fn train(
    targets: &TrainingTargets<'_>,
    test: &ImageSet,
    checkpoints: &Path,
    progress: &Progress,
) -> Result<Vec<HistoryRow>> {
    Ok(train_network(targets, test, checkpoints, progress)?.1)
}

/// As [`train`], with the student that was tested last, on the plain device.
///
/// # Errors
/// As [`train`].
pub fn train_network(
    targets: &TrainingTargets<'_>,
    test: &ImageSet,
    checkpoints: &Path,
    progress: &Progress,
) -> Result<(Network, Vec<HistoryRow>)> {
    let config = targets.config;
    let trainable = targets.device.clone().autodiff();
    let folder = checkpoints.join(format!("student-{}", targets.seed));
    fs_err::create_dir_all(&folder)?;
    let mut checkpoint = TrainingState::new(&folder);
    let optimizer_of = |student: &Network| module_optimizer(&adamw(config, targets.lr), student);
    let saved = checkpoint.load_with(|tensors| targets.network(tensors, &trainable), optimizer_of)?;
    let (mut student, mut optimizer, mut history): (_, _, Vec<HistoryRow>) = match saved {
        Some(saved) => saved,
        None => {
            let student = targets.first_network(&trainable)?;
            let optimizer = optimizer_of(&student);
            (student, optimizer, Vec::new())
        }
    };
    let tests_done = history.iter().filter(|row| row.top1.is_some()).count();
    // on a plain device
    let mut average = None;
    if config.ema.is_some() {
        let kept = checkpoint.load_average(|tensors| targets.network(tensors, targets.device))?;
        ensure!(
            kept.is_some() || history.is_empty(),
            "{}: the checkpoint has no average of the student; delete the folder to train it again",
            folder.display()
        );
        average = Some(kept.unwrap_or_else(|| student.valid()));
    }
    progress.resume_at((history.len() * targets.pictures.len() + tests_done * test.len()) as u64);
    let learn_all = || -> Result<Network> {
        for epoch in history.len() as u32..targets.epochs {
            let (next, row) =
                learn_epoch(student, &mut average, &mut optimizer, epoch, targets, test, progress)?;
            student = next;
            history.push(row);
            checkpoint.keep(&student, average.as_ref(), &optimizer, &history)?;
        }
        Ok(student)
    };
    let learned = learn_all();
    checkpoint.flush(&history)?;
    let student = learned?;
    Ok((average.unwrap_or_else(|| student.valid()), history))
}

/// One epoch, and the test where one is due: of the exponential moving average of the student where one is kept (EDC).
fn learn_epoch(
    mut student: Network,
    average: &mut Option<Network>,
    optimizer: &mut ModuleOptimizer,
    epoch: u32,
    targets: &TrainingTargets<'_>,
    test: &ImageSet,
    progress: &Progress,
) -> Result<(Network, HistoryRow)> {
    let config = targets.config;
    let lr = targets.lr * student_factor(&config.schedule, epoch, targets.epochs);
    let rows = targets.labels.epoch(epoch % targets.stored_epochs.max(1))?;
    let batches: Vec<&[ViewRow]> = rows.chunk_by(|a, b| a.batch == b.batch).collect();
    let TrainingTargets { pictures, size, normalization, .. } = *targets;
    let views = batches.iter().map(|rows| build_views(pictures, rows, size, normalization));
    let (mut loss_sum, steps) = (0.0, batches.len());
    student = ahead(views, |views| {
        let mut account = |index: usize, loss: StepLoss| -> Result<()> {
            let loss = loss.read()?;
            ensure!(
                loss.is_finite(),
                "student seed {}, epoch {epoch}, batch {index}, iteration {}: the loss is {loss}; {}; lower evaluate.lr",
                targets.seed,
                epoch as usize * steps + index,
                kept(epoch)
            );
            loss_sum += loss * batches[index].len() as f64;
            progress.message(format!("epoch {epoch} loss {loss:.4}"));
            Ok(())
        };
        let mut before = None;
        for (index, (batch, views)) in batches.iter().zip(views).enumerate() {
            let drops = drops(targets, epoch as usize * steps + index);
            let (next, loss) = learn(student, optimizer, batch, views?, targets, (lr, drops))?;
            student = next;
            *average =
                average.take().zip(config.ema).map(|(mean, decay)| mean.averaged_with(&student, decay));
            if let Some((index, loss)) = before.replace((index, loss)) {
                account(index, loss)?;
            }
            progress.advance(batch.len() as u64)?;
        }
        before.map_or(Ok(()), |(index, loss)| account(index, loss))?;
        anyhow::Ok(student)
    })?;
    ensure!(
        rows.len() == pictures.len(),
        "labels.parquet: epoch {epoch} has {} views, expected one of each of {} images; run relabel again (FORCE=1)",
        rows.len(),
        pictures.len()
    );
    let tested = || average.clone().unwrap_or_else(|| student.valid());
    let accuracy = is_tested(config, epoch, targets.epochs)
        .then(|| test_accuracy(&tested(), test, normalization, TEST_BATCH, targets.device, progress))
        .transpose()?;
    if let Some((tensor, value)) = student.first_not_finite()? {
        bail!(
            "student seed {}, epoch {epoch}, after batch {}, iteration {}: `{tensor}` holds {value}; {}; lower evaluate.lr",
            targets.seed,
            steps.saturating_sub(1),
            (epoch as usize + 1) * steps - 1,
            kept(epoch)
        );
    }
    let (top1, top5) = (accuracy.map(|a| a.top1), accuracy.map(|a| a.top5));
    let row = HistoryRow { seed: targets.seed, epoch, lr, loss: loss_sum / rows.len() as f64, top1, top5 };
    Ok((student, row))
}

/// Whether the student is tested after an epoch: 0, n, 2n, … and the last.
pub fn is_tested(config: &Evaluate, epoch: u32, epochs: u32) -> bool {
    epoch.is_multiple_of(config.test_every) || epoch + 1 == epochs
}

/// AdamW as PyTorch's post-evaluation uses it, decay on weights of two or more dimensions.
pub fn adamw(config: &Evaluate, lr: f64) -> Optimizer {
    Optimizer::Adamw {
        lr,
        beta_1: config.beta_1,
        beta_2: config.beta_2,
        epsilon: config.epsilon,
        weight_decay: config.weight_decay,
    }
}

fn learn(
    student: Network,
    optimizer: &mut ModuleOptimizer,
    rows: &[ViewRow],
    views: Vec<f32>,
    targets: &TrainingTargets<'_>,
    (lr, drops): (f64, Option<Drops>),
) -> Result<(Network, StepLoss)> {
    let (n, side) = (rows.len(), targets.size as usize);
    let views = Tensor::<4>::from_data(TensorData::new(views, [n, 3, side, side]), targets.device).autodiff();
    let trainable = targets.device.clone().autodiff();
    let loss: Box<dyn FnOnce(Tensor<2>) -> Tensor<1> + Send> = match targets.config.loss {
        Loss::Kl { temperature } => {
            let labels = stored_logits(rows, targets)?.autodiff();
            Box::new(move |logits| kl_divergence(logits, labels, temperature))
        }
        Loss::MseGt { ce_weight } => {
            let labels = stored_logits(rows, targets)?.autodiff();
            let classes = rows.iter().map(|row| targets.image_labels[row.image_id as usize]);
            let classes = class_indices(classes, &trainable);
            Box::new(move |logits| mse_gt(logits, labels, classes, ce_weight))
        }
        Loss::HardLabel {} => {
            let mixed = hard_targets(rows, targets.image_labels, targets.classes, targets.size);
            let mixed = TensorData::new(mixed, [n, targets.classes]);
            let mixed = Tensor::from_data(mixed, targets.device).autodiff();
            Box::new(move |logits| cross_entropy_to_distribution(logits, mixed))
        }
    };
    let scales = Some(targets.scales_l1).filter(|weight| *weight > 0.0).zip(student.scales_l1());
    let loss = |logits| match scales {
        Some((weight, sum)) => loss(logits) + sum * weight,
        None => loss(logits),
    };
    Ok(dropping_step(student, optimizer, lr, targets.config.bn_momentum(), views, drops, loss))
}

fn drops(targets: &TrainingTargets<'_>, step: usize) -> Option<Drops> {
    let drops = || Drops { draws: Draws::new(targets.seed), step: step as u64, before: 0 };
    targets.config.dropout.then(drops)
}

fn stored_logits(rows: &[ViewRow], targets: &TrainingTargets<'_>) -> Result<Tensor<2>> {
    let (n, classes) = (rows.len(), targets.classes);
    let values: Vec<f32> = rows.iter().flat_map(|row| row.logits.iter().map(|v| v.to_f32())).collect();
    ensure!(
        values.len() == n * classes,
        "labels.parquet: {} logits for {n} views, expected {classes} each; run relabel again (FORCE=1)",
        values.len()
    );
    Ok(Tensor::from_data(TensorData::new(values, [n, classes]), targets.device))
}

/// One-hot targets of a batch, mixed by the share of the image (CutMix: of its pixels) that each image has, row by row.
fn hard_targets(rows: &[ViewRow], image_labels: &[u32], classes: usize, size: u32) -> Vec<f32> {
    let class = |row: &ViewRow| image_labels[row.image_id as usize] as usize;
    let area = f64::from(size).powi(2);
    let mut targets = vec![0.0_f32; rows.len() * classes];
    for (row, target) in rows.iter().zip(targets.chunks_mut(classes)) {
        let (partner, share) = match row.mix {
            Mix::None => (row.position, 1.0),
            Mix::Mixup { partner, lambda } => (partner, f64::from(lambda)),
            Mix::Cutmix { partner, top, left, bottom, right, .. } => {
                (partner, 1.0 - f64::from((bottom - top) * (right - left)) / area)
            }
        };
        target[class(row)] += share as f32;
        target[class(&rows[partner as usize])] += (1.0 - share) as f32;
    }
    targets
}

#[cfg(test)]
mod tests {
    use delt_formats::CropBox;

    use super::*;

    fn row(position: u32, image_id: u32, mix: Mix) -> ViewRow {
        ViewRow {
            epoch: 0,
            batch: 0,
            position,
            image_id,
            crop: CropBox { top: 0, left: 0, height: 8, width: 8 },
            flip: false,
            patch_order: Vec::new(),
            randaugment: Vec::new(),
            mix,
            logits: Vec::new(),
        }
    }

    #[test]
    fn hard_targets_are_mixed_by_the_share_of_the_picture() {
        // images 0, 1, 2 are of classes 2, 0, 1
        let labels = [2, 0, 1];
        let plain = [row(0, 0, Mix::None), row(1, 1, Mix::None)];
        assert_eq!(hard_targets(&plain, &labels, 3, 8), [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);

        // a box of 6 px, cut at the border to 4 x 6: its 24 of 64 pixels count, not the 36 that lambda stands for
        let lambda = 1.0 - 36.0 / 64.0;
        let cutmix = |partner| Mix::Cutmix { partner, lambda, top: 0, left: 1, bottom: 4, right: 7 };
        let rows = [row(0, 0, cutmix(1)), row(1, 1, cutmix(0))];
        assert_eq!(hard_targets(&rows, &labels, 3, 8), [0.375, 0.0, 0.625, 0.625, 0.0, 0.375]);

        let mixup = |partner| Mix::Mixup { partner, lambda: 0.75 };
        let rows = [row(0, 2, mixup(1)), row(1, 1, mixup(1))];
        assert_eq!(hard_targets(&rows, &labels, 3, 8), [0.25, 0.75, 0.0, 1.0, 0.0, 0.0]);
    }
}
