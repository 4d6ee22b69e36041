//! Published rules of thumb that a pipeline may leave to us.

use delt_formats::synthetic::mean_per_class;
use delt_formats::teacher::Architecture;

use super::{Invalid, Pipeline};

/// ConvNet-3 as the literature trains it on CIFAR.
const CONV3: Architecture = Architecture::convnet(3, 128);

/// Student batch where both networks are ConvNet-3 on CIFAR-100.
const CONV3_PAIR_BATCH: u32 = 25;

/// Student learning rate where both networks are ConvNet-3 on CIFAR-100.
const CONV3_PAIR_LR: f64 = 2e-3;

/// The setting of the images of each class.
pub(super) const IPC: &str = "select.ipc";

impl Pipeline {
    /// Images of a student's step: `relabel.batch`, else 25 for ConvNet-3 teacher and student on CIFAR-100, else
    /// [`published_batch`]; never more than there are. `imported` are the images of each class where those are not `select.ipc`:
    /// their mean then counts.
    ///
    /// # Errors
    /// [`Invalid`] where nothing is configured and no batch is published for this number of images per class.
    pub fn student_batch(&self, classes: usize, imported: &[u64]) -> Result<u32, Invalid> {
        let (ipc, images, counted) = match imported {
            [] => (self.select.ipc, u64::from(self.select.ipc).saturating_mul(classes as u64), IPC),
            counts => (
                mean_per_class(counts).round() as u32,
                counts.iter().sum(),
                "a mean number of images per class of",
            ),
        };
        let batch =
            self.relabel.batch_for(ipc, classes, counted)?.min(u32::try_from(images).unwrap_or(u32::MAX));
        let is_derived = self.relabel.batch.is_none() && self.is_conv3_pair(classes);
        Ok(if is_derived { batch.min(CONV3_PAIR_BATCH) } else { batch })
    }

    /// Peak learning rate of a student: `evaluate.lr`, else 2e-3 for ConvNet-3 teacher and student on CIFAR-100, else
    /// [`Architecture::published_lr`].
    ///
    /// # Errors
    /// [`Invalid`] where nothing is configured and none is published for the student.
    pub fn student_lr(&self, classes: usize) -> Result<f64, Invalid> {
        match self.evaluate.lr {
            None if self.is_conv3_pair(classes) => Ok(CONV3_PAIR_LR),
            _ => self.evaluate.lr_or_published(),
        }
    }

    /// CIFAR-100 is told by its 100 classes at 32 px.
    fn is_conv3_pair(&self, classes: usize) -> bool {
        let (teacher, student) = (&self.teacher, &self.evaluate.student);
        teacher.network == CONV3 && *student == CONV3 && teacher.size == 32 && classes == 100
    }
}

/// Student batch of the published post-evaluation: 10 at IPC 1, 50 at 10 to 20, 100 at 30 to 100, twice that for 100
/// or 1000 classes, and 100 for Tiny-ImageNet's 200. `None` for other IPC, where the published code says 0.
pub fn published_batch(ipc: u32, classes: usize) -> Option<u32> {
    let base = match ipc {
        1 => 10,
        10..=20 => 50,
        30..=100 => 100,
        _ => return None,
    };
    Some(match classes {
        100 | 1000 => 2 * base,
        200 => 100,
        _ => base,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_learning_rate_and_a_batch_left_out_are_the_published_ones() {
        let pipeline = |settings: &[&str]| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/cifar100-ipc10.yaml");
            let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
            super::super::load(&path, &settings, None).expect("loads").remove(0).pipeline
        };
        let of = |pipeline: &Pipeline, classes| {
            (
                pipeline.student_lr(classes).expect("published"),
                pipeline.student_batch(classes, &[]).expect("published"),
            )
        };
        assert_eq!(of(&pipeline(&[]), 100), (1e-3, 100));
        assert_eq!(of(&pipeline(&["evaluate.student={name: mobilenet_v2}"]), 100), (2.5e-3, 100));
        assert_eq!(of(&pipeline(&["evaluate.lr=0.5", "relabel.batch=7"]), 100), (0.5, 7));
        let conv3 = "{name: convnet, depth: 3, width: 128}";
        let (teacher, student) = (format!("teacher.network={conv3}"), format!("evaluate.student={conv3}"));
        assert_eq!(of(&pipeline(&[&teacher, &student]), 100), (2e-3, 25));
        assert_eq!(of(&pipeline(&[&teacher, &student]), 10), (1e-3, 50));
        assert_eq!(of(&pipeline(&[&student]), 100), (1e-3, 100));
        assert_eq!(
            of(&pipeline(&[&teacher, &student, "evaluate.lr=0.001", "relabel.batch=50"]), 100),
            (1e-3, 50)
        );
        // ten images of each class are asked for; those that are imported count: 26 of two classes, 104 of three, 4
        let imported = |counts: &[u64]| pipeline(&[]).student_batch(10, counts);
        assert_eq!(imported(&[12, 14, 0]), Ok(26));
        assert_eq!(imported(&[30, 34, 40]), Ok(100));
        assert_eq!(
            imported(&[1, 3]).expect_err("refused").to_string(),
            "`relabel.batch`: no batch is published for a mean number of images per class of 2; set relabel.batch, the images of \
             one step"
        );
    }

    #[test]
    fn a_learning_rate_that_is_not_published_has_to_be_given() {
        let load = |settings: &[&str]| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/cifar100-ipc10.yaml");
            let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
            super::super::load(&path, &settings, None)
        };
        let student = "evaluate.student={name: wrn_16_2}";
        let refused = format!("{:#}", load(&[student]).expect_err("refused"));
        let expected = "`evaluate.lr`: no learning rate is published for wrn_16_2 as student; set evaluate.lr (0.001 is that of most \
             networks)";
        assert!(refused.contains(expected), "{refused}");
        load(&[student, "evaluate.lr=0.001"]).expect("loads");
    }

    #[test]
    fn batches_are_the_published_ones() {
        assert_eq!(published_batch(10, 10), Some(50));
        assert_eq!(published_batch(10, 100), Some(100));
        assert_eq!(published_batch(50, 200), Some(100));
        assert_eq!(published_batch(4, 100), None);
    }
}
