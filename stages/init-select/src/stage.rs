//! The stage: dataset and ranker in, scores and initial images out.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use anyhow::{Context, Result, ensure};
use delt_augment::draws::Draws;
use delt_augment::resize::fit;
use delt_formats::dataset::{DatasetReader, TRAIN_FILE};
use delt_formats::initial::{INITIAL_FILE, InitialRow};
use delt_formats::scores::{SCORES_FILE, ScoreRow, ScoresFacts, ScoresReader, read_csv_into, write_csv};
use delt_formats::table::{Row, TableWriter};
use delt_harness::external_scores;
use delt_harness::parts::InPieces;
use delt_harness::progress::Progress;
use delt_harness::session::{Made, Session, Work};
use delt_harness::trained::Trained;
use delt_networks::FrozenNetwork;
use delt_pipeline::config::Branch;
use delt_pipeline::config::select::{Patches, Select};
use delt_pipeline::dag::Node;
use delt_pipeline::roles::Role;
use delt_store::Entry;
use serde_json::to_value;

use crate::facility_location::{cover, unit_features};
use crate::median_selection::{select, write_ranks};
use crate::patches::Cutter;
use crate::scoring::{Ranker, UNFINISHED_FILE, images_of, passes, picture, rows_of};

/// The scores once more, for people and other programs.
const CSV_FILE: &str = "scores.csv";

/// Makes or finds the scores and the initial images of one branch.
///
/// # Errors
/// Missing inputs, a ranking that does not fit the dataset, classes that are too small, and what scoring reports.
pub fn run(session: &Session, branch: &Branch) -> Result<()> {
    if branch.pipeline.synthesize.import.is_some() {
        eprintln!(
            "init-select: {}/{}: nothing to select, its images are imported",
            session.pipeline_name(),
            branch.name
        );
        return Ok(());
    }
    let inputs = Inputs::open(session, branch)?;
    inputs.make_scores()?;
    if session.makes_one_part() {
        return Ok(());
    }
    let plan = session.dag().plan(branch, Node::Initial)?;
    let scores = session.dag().entry(branch, Node::Scores)?;
    session.produce(&plan, |work| {
        let reader = ScoresReader::open(scores.verified_file(SCORES_FILE)?)?;
        reader.expect_classes(inputs.classes())?;
        let mut rows = Vec::with_capacity(reader.len() as usize);
        for row in reader.rows() {
            rows.push(row?);
        }
        let picked = pick(&branch.pipeline.select, rows, inputs.classes(), &inputs.draws())?;
        match branch.pipeline.select.patches {
            None => inputs.select_initial(picked, work),
            Some(patches) => inputs.cut_initial(patches, &picked, work),
        }
    })?;
    Ok(())
}

/// The selected images of each class, in slot order.
type Picked = Vec<Vec<ScoreRow>>;

/// What scores and initial images are made from.
struct Inputs<'a> {
    session: &'a Session,
    branch: &'a Branch,
    dataset: Entry,
    /// The network that scores; none where a ranking is given and no image is looked at again.
    ranker: Option<Trained>,
}

impl<'a> Inputs<'a> {
    fn open(session: &'a Session, branch: &'a Branch) -> Result<Self> {
        let (dataset, select) = (session.dag().entry(branch, Node::Dataset)?, &branch.pipeline.select);
        let is_needed = select.scores.is_none() || select.looks_at_images();
        let ranker = is_needed.then(|| session.network(branch, Role::Ranker)).transpose()?;
        Ok(Self { session, branch, dataset, ranker })
    }

    fn classes(&self) -> &[String] {
        &self.dataset.manifest.provenance.classes
    }

    fn images(&self) -> Result<DatasetReader> {
        Ok(DatasetReader::open(self.dataset.verified_file(TRAIN_FILE)?)?)
    }

    fn draws(&self) -> Draws {
        Draws::new(self.branch.pipeline.draw_seed())
    }

    /// Makes or finds the scores of all training images.
    fn make_scores(&self) -> Result<()> {
        let (session, classes) = (self.session, self.classes());
        let plan = session.dag().plan(self.branch, Node::Scores)?;
        if let Some(file) = &self.branch.pipeline.select.scores {
            if !session.makes_one_part() {
                session.produce(&plan, |work| {
                    let scores = external_scores::read_for(file, &self.images()?, classes)?;
                    write_scores(&scores, &file.display().to_string(), classes, work)
                })?;
            }
            return Ok(());
        }
        let pieces = InPieces {
            units: &|| Ok(passes(self.images()?.len())),
            make: &|passes, work| self.score(passes, work),
            is_piece: |name| name == UNFINISHED_FILE,
            classes,
        };
        session.produce_in_pieces(&plan, &pieces, |pieces, work| {
            let images = self.images()?.len();
            let mut scores = Vec::with_capacity(images as usize);
            for range in pieces.ranges() {
                read_csv_into(pieces.file(range.start, UNFINISHED_FILE)?, &mut scores)?;
            }
            ensure!(
                scores.len() as u64 == images,
                "{} scores of {images} images; run init-select again (FORCE=1)",
                scores.len()
            );
            write_ranks(&mut scores);
            write_scores(&scores, &self.trained_ranker()?.facts.architecture.to_string(), classes, work)
        })
    }

    /// Scores the images of some forward passes into the checkpoint folder.
    fn score(&self, passes: Range<u64>, work: &Work<'_>) -> Result<()> {
        let (images, ranker) = (self.images()?, self.open_ranker()?);
        let own = images_of(passes, images.len());
        let progress = Progress::of_branch("init-select", own.end - own.start, "images", self.branch);
        ranker.score_all(&images, own, work.checkpoint_dir(), &progress)?;
        progress.finish();
        Ok(())
    }

    fn trained_ranker(&self) -> Result<&Trained> {
        self.ranker.as_ref().context("this branch has no ranker")
    }

    /// The network that scores, on a device.
    fn open_ranker(&self) -> Result<Ranker> {
        let trained = self.trained_ranker()?;
        let path = trained.weights()?;
        trained.entry.manifest.provenance.expect_classes(&path, self.classes())?;
        let opened = delt_device::open(&self.session.args.device)?;
        self.session.use_device(&opened.name);
        let network = FrozenNetwork::load(&trained.facts, self.classes().len(), &path, &opened.device)?;
        let (size, normalization) = (trained.facts.size, trained.facts.normalization);
        Ok(Ranker { network, device: opened.device, size, normalization })
    }

    /// Mosaics of patches as initial images.
    fn cut_initial(&self, patches: Patches, picked: &[Vec<ScoreRow>], work: &Work<'_>) -> Result<Made> {
        let (pipeline, ranker) = (&self.branch.pipeline, self.open_ranker()?);
        ensure!(
            ranker.size == pipeline.teacher.size,
            "select.patches: select.ranker sees {} px, expected {} as teacher.size: patches fill its input; leave select.ranker out or \
             give one of that size",
            ranker.size,
            pipeline.teacher.size
        );
        let candidates = image_ids(picked);
        let cutter = Cutter { ranker: &ranker, patches, ipc: pipeline.select.ipc, draws: self.draws() };
        let crops = candidates.len() as u64 * u64::from(patches.crops);
        let progress = Progress::of_branch("init-select", crops, "crops", self.branch);
        let mosaics = cutter.mosaics(&self.images()?, &candidates, &progress)?;
        progress.finish();
        let summary = format!(
            "{} images assembled from patches that {} is most confident about",
            mosaics.len(),
            self.trained_ranker()?.facts.architecture
        );
        write_table(INITIAL_FILE, &mosaics, |row| row.probability, summary, self.classes(), work)
    }

    fn select_initial(&self, mut picked: Picked, work: &Work<'_>) -> Result<Made> {
        let (pipeline, images) = (&self.branch.pipeline, self.images()?);
        if pipeline.select.facility_location.is_some() {
            picked = cover_classes(&self.open_ranker()?, &images, &picked, pipeline.select.ipc)?;
        }
        let mut pngs = pictures(&images, &picked, pipeline.teacher.size)?;
        let rows = picked.iter().flat_map(|class| (0..).zip(class)).map(|(slot, row)| {
            let ScoreRow { image_id, label, probability, .. } = *row;
            let png = pngs.remove(&image_id).with_context(|| {
                format!(
                    "train.parquet has no image {image_id}, which the scores name; run init-select again (FORCE=1)"
                )
            })?;
            Ok(InitialRow { png, label, slot, image_id, probability })
        });
        let rows = rows.collect::<Result<Vec<_>>>()?;
        let summary = format!("{} initial images selected", rows.len());
        write_table(INITIAL_FILE, &rows, |row| row.probability, summary, self.classes(), work)
    }
}

/// Writes scores and what is known of them; `by` is who gave them.
fn write_scores(scores: &[ScoreRow], by: &str, classes: &[String], work: &Work<'_>) -> Result<Made> {
    write_csv(work.out_dir().join(CSV_FILE), scores)?;
    let summary = format!("{} training images scored by {by}", scores.len());
    write_table(SCORES_FILE, scores, |row| row.probability, summary, classes, work)
}

/// Writes the rows of one of the two artifacts, with what is known of their images.
fn write_table<R: Row>(
    file: &str,
    rows: &[R],
    probability: impl Fn(&R) -> f32,
    summary: String,
    classes: &[String],
    work: &Work<'_>,
) -> Result<Made> {
    let provenance = work.provenance(classes);
    let mut writer = TableWriter::create(work.out_dir().join(file), &provenance)?;
    rows.iter().try_for_each(|row| writer.write(row))?;
    writer.finish()?;
    let mean = mean(rows.iter().map(probability));
    let facts = to_value(ScoresFacts { images: rows.len() as u64, mean_probability: mean })?;
    Ok(Made { provenance, facts, summary: format!("{summary}, mean probability {mean:.3}") })
}

/// Of the candidates of each class, the `ipc` that cover them best.
fn cover_classes(
    ranker: &Ranker,
    images: &DatasetReader,
    picked: &[Vec<ScoreRow>],
    ipc: u32,
) -> Result<Picked> {
    let features = unit_features(ranker, images, &image_ids(picked))?;
    let mut covering = Vec::new();
    for class in picked {
        let of_class = class.iter().map(|row| features.get(&row.image_id).map(Vec::as_slice));
        let of_class: Vec<&[f32]> = of_class
            .collect::<Option<_>>()
            .context("train.parquet lacks an image that the scores name; run init-select again (FORCE=1)")?;
        let places = cover(&of_class, ipc as usize);
        covering.push(places.into_iter().map(|place| class[place].clone()).collect());
    }
    Ok(covering)
}

fn image_ids(picked: &[Vec<ScoreRow>]) -> BTreeSet<u64> {
    picked.iter().flatten().map(|row| row.image_id).collect()
}

/// The selection of all classes, in class order, each in slot order. A class without training images (a subset that keeps
/// the label space) has no initial images either.
fn pick(config: &Select, mut rows: Vec<ScoreRow>, classes: &[String], draws: &Draws) -> Result<Picked> {
    rows.sort_unstable_by_key(|row| (row.label, row.rank));
    let mut picked = Vec::new();
    for ranked in rows.chunk_by(|a, b| a.label == b.label) {
        let name = classes.get(ranked[0].label as usize).map_or("?", String::as_str);
        picked.push(select(config.strategy, ranked, images_wanted(config, ranked.len()), draws, name)?);
    }
    ensure!(!picked.is_empty(), "there are no training images to select from; check ingest.classes");
    Ok(picked)
}

/// Images of a class that are selected: those that become initial images, or those that patches are cut from or the initial
/// images are chosen among.
fn images_wanted(config: &Select, of_class: usize) -> usize {
    let (candidates, least) = match (&config.patches, &config.facility_location) {
        (Some(patches), _) => (patches.candidates, patches.of_class(config.ipc)),
        (None, Some(covered)) => (covered.candidates, config.ipc),
        (None, None) => return config.ipc as usize,
    };
    let to_spare = of_class.saturating_sub(config.strategy.spare() as usize);
    (candidates as usize).min(to_spare).max(least as usize)
}

/// The selected images, brought to size and encoded, by image id.
fn pictures(images: &DatasetReader, picked: &[Vec<ScoreRow>], size: u32) -> Result<BTreeMap<u64, Vec<u8>>> {
    let mut pngs = BTreeMap::new();
    for row in rows_of(images, &image_ids(picked)) {
        let row = row?;
        pngs.insert(row.image_id, fit(&picture(&row)?, size).encode_png()?);
    }
    Ok(pngs)
}

/// To six decimals: short enough that every JSON reader gets the same number, which the content digest covers.
fn mean(values: impl ExactSizeIterator<Item = f32>) -> f64 {
    let count = values.len().max(1) as f64;
    (values.map(f64::from).sum::<f64>() / count * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use delt_pipeline::config::select::Strategy;

    use super::*;

    #[test]
    fn nothing_to_select_from_is_refused() {
        let select = Select {
            ipc: 1,
            strategy: Strategy::Top,
            ranker: None,
            scores: None,
            patches: None,
            facility_location: None,
        };
        let error = pick(&select, Vec::new(), &["cat".to_owned()], &Draws::new(0)).expect_err("refused");
        assert_eq!(error.to_string(), "there are no training images to select from; check ingest.classes");
    }
}
