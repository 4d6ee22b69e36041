//! The experts of a branch that matches trajectories: data set and whitening in, weights after each epoch out.

use std::ops::Range;

use anyhow::{Context, Result};
use delt_augment::draws::Draws;
use delt_formats::dataset::{DatasetFacts, TEST_FILE, TRAIN_FILE};
use delt_formats::experts::expert_file;
use delt_formats::tensors::write_safetensors;
use delt_formats::{ExpertsFacts, Normalization};
use delt_harness::parts::{InPieces, Pieces};
use delt_harness::progress::Progress;
use delt_harness::session::{Made, Session, Work};
use delt_harness::space::OpenSpace;
use delt_pipeline::config::Branch;
use delt_pipeline::config::experts::Experts;
use delt_pipeline::config::matching::Matching;
use delt_pipeline::dag::Node;
use delt_store::Entry;
use delt_tangent::{Activation, Form, Function};
use delt_training::speed::flops_per_second;

use crate::expert_files::{ExpertFiles, FINISHED, finished_file, read_finished};
use crate::experts::{ExpertTraining, Split};
use crate::stage::read_images;

/// Makes or finds the experts of one branch, where it has any; a shard makes some of them.
///
/// # Errors
/// Missing inputs, and what training reports.
pub fn run(session: &Session, branch: &Branch) -> Result<()> {
    let (Some(recipe), Some(matching)) = (&branch.pipeline.experts, &branch.pipeline.synthesize.matching)
    else {
        return Ok(());
    };
    let plan = session.dag().plan(branch, Node::Experts)?;
    let dataset = session.dag().entry(branch, Node::Dataset)?;
    let stage = Stage { session, branch, recipe, matching, facts: dataset.manifest.facts_as()?, dataset };
    let pieces = InPieces {
        units: &|| Ok(recipe.count.into()),
        make: &|experts, work| stage.make(experts, work),
        is_piece: |name| name.ends_with(FINISHED),
        classes: &stage.dataset.manifest.provenance.classes,
    };
    session.produce_in_pieces(&plan, &pieces, |pieces, work| stage.join(pieces, work))
}

struct Stage<'a> {
    session: &'a Session,
    branch: &'a Branch,
    recipe: &'a Experts,
    matching: &'a Matching,
    dataset: Entry,
    facts: DatasetFacts,
}

impl Stage<'_> {
    fn classes(&self) -> &[String] {
        &self.dataset.manifest.provenance.classes
    }

    fn size(&self) -> u32 {
        self.branch.pipeline.teacher.size
    }

    fn normalization(&self) -> Normalization {
        Normalization { mean: self.facts.mean, std: self.facts.std }
    }

    /// A split as the network takes it.
    fn split(&self, file: &str, space: &OpenSpace) -> Result<Split> {
        let path = self.dataset.verified_file(file)?;
        let images = read_images(&path, &self.facts, self.size(), self.classes())?;
        let progress = Progress::new("teacher-train entering", images.len() as u64, "images");
        let enter = |values: &mut [f32]| space.enter(values);
        let pixels = images.entered(&space.stated.normalization, enter, &progress)?;
        Ok(Split { pixels, labels: images.labels })
    }

    /// Trains some experts into the checkpoint folder.
    fn make(&self, experts: Range<u64>, work: &Work<'_>) -> Result<()> {
        let (network, size) = (&self.matching.network, self.size() as usize);
        let opened = delt_device::open(&self.session.args.device)?;
        self.session.use_device(&opened.name);
        self.session.forecast(self.branch, |classes| {
            Ok(flops_per_second(network, self.size(), classes, &opened.device)?)
        })?;
        let form = Form::of(network, Activation::Relu, size, self.classes().len());
        let form = form
            .with_context(|| format!("`synthesize.matching.network`: {network} has no known derivative"))?;
        let whitening =
            self.matching.is_whitened().then(|| self.session.dag().entry(self.branch, Node::Whitening));
        let space = OpenSpace::open(self.normalization(), size, whitening.transpose()?.as_ref())?;
        let training = ExpertTraining {
            recipe: self.recipe,
            function: Function::new(form, &opened.device),
            train: self.split(TRAIN_FILE, &space)?,
            test: self.split(TEST_FILE, &space)?,
            draws: Draws::new(self.branch.pipeline.seed),
        };
        let files = ExpertFiles { folder: work.checkpoint_dir(), function: &training.function };
        let of_expert = u64::from(self.recipe.epochs) * training.images_of_epoch();
        let label = format!("teacher-train experts {network}");
        let total = (experts.end - experts.start) * of_expert;
        let progress = Progress::of_branch(&label, total, "images", self.branch);
        for (before, expert) in (0..).zip(experts) {
            progress.resume_at(before * of_expert);
            training.run(expert as u32, &files, before * of_expert, &progress)?;
        }
        progress.finish();
        Ok(())
    }

    /// Writes finished experts as the artifact has them.
    fn join(&self, pieces: &Pieces, work: &Work<'_>) -> Result<Made> {
        let provenance = work.provenance(self.classes());
        let mut test_top1 = Vec::new();
        for expert in 0..self.recipe.count {
            let (weights, right) =
                read_finished(&pieces.file(expert.into(), &finished_file(expert.into()))?)?;
            write_safetensors(work.out_dir().join(expert_file(expert)), &weights, Some(&provenance))?;
            test_top1.push(percent(right, self.facts.test_images));
        }
        let mean = test_top1.iter().sum::<f64>() / test_top1.len().max(1) as f64;
        let (count, epochs, network) = (self.recipe.count, self.recipe.epochs, self.matching.network);
        let facts = ExpertsFacts {
            architecture: network,
            size: self.size(),
            normalization: self.matching.whitening.normalization(self.normalization()),
            whitening: self.matching.whitening,
            epochs,
            test_top1,
        };
        let summary = format!(
            "{count} experts {network} after {epochs} epochs: top-1 {mean:.2} % of {} test images on average",
            self.facts.test_images
        );
        Ok(Made { provenance, facts: serde_json::to_value(facts)?, summary })
    }
}

/// To four decimals, as facts have it.
fn percent(right: u64, of: u64) -> f64 {
    (100.0 * right as f64 / of.max(1) as f64 * 1e4).round() / 1e4
}
