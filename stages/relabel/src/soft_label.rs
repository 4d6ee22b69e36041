//! Soft labels: the teacher's logits of stored views.

use anyhow::Result;
use burn::tensor::{Device, Tensor, TensorData};
use delt_augment::{Draws, ViewSpec, build_views, draw_views};
use delt_formats::{Normalization, Picture, ViewRow};
use delt_harness::progress::Progress;
use delt_networks::FrozenNetwork;
use half::f16;

/// Views that the teacher sees at once. Its statistics are fixed, so the number changes no label.
const TEACHER_BATCH: usize = 128;

/// A frozen teacher with what its views are made with.
#[derive(Debug)]
pub struct Labeller {
    /// In evaluation mode, on a device without autodiff.
    pub teacher: FrozenNetwork,
    /// The teacher's own constants.
    pub normalization: Normalization,
    /// Side of the images, px.
    pub size: u32,
    /// Where the teacher is.
    pub device: Device,
}

impl Labeller {
    /// Draws the views of one epoch and labels them; `progress` advances by views.
    ///
    /// # Errors
    /// Views that cannot be built, a device that returns no values, or
    /// [`delt_harness::interrupt::Interrupted`]: this epoch is then lost.
    pub fn epoch(
        &self,
        pictures: &[Picture],
        draws: &Draws,
        epoch: u32,
        batch: usize,
        spec: &ViewSpec,
        progress: &Progress,
    ) -> Result<Vec<ViewRow>> {
        let mut rows = draw_views(draws, epoch, pictures.len(), batch, spec, self.size)?;
        let mut views = Vec::new();
        let mut labelled = 0;
        let mut built = 0;
        while built < rows.len() {
            let end = built + rows[built..].iter().take_while(|row| row.batch == rows[built].batch).count();
            views.extend(build_views(pictures, &rows[built..end], self.size, &self.normalization)?);
            built = end;
            if built - labelled >= TEACHER_BATCH || built == rows.len() {
                let logits = self.logits(std::mem::take(&mut views), built - labelled)?;
                let classes = logits.len() / (built - labelled);
                for (row, logits) in rows[labelled..built].iter_mut().zip(logits.chunks(classes)) {
                    row.logits = logits.iter().map(|value| f16::from_f32(*value)).collect();
                }
                progress.advance((built - labelled) as u64)?;
                labelled = built;
            }
        }
        Ok(rows)
    }

    /// Logits, before temperature, of normalised views: `[n, 3, size, size]` → n · classes values.
    ///
    /// # Errors
    /// A device that returns no values.
    pub fn logits(&self, views: Vec<f32>, n: usize) -> Result<Vec<f32>> {
        let side = self.size as usize;
        let views = Tensor::<4>::from_data(TensorData::new(views, [n, 3, side, side]), &self.device);
        let data =
            self.teacher.forward(views).try_into_data().map_err(|e| anyhow::anyhow!("device: {e:?}"))?;
        data.try_into_vec::<f32>().map_err(|e| anyhow::anyhow!("device: {e:?}"))
    }
}
