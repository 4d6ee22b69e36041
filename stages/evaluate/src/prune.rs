//! Data-free pruning by network slimming: a student learns the set while the scales of its BatchNorm are drawn to zero, the channels of
//! the smallest go, and what is left learns the set once more by the same recipe; or, as a baseline, the channels of the smallest
//! filters go. No paper says how it did so with a synthetic set; start, weight and epochs are ours.

use std::process::ExitCode;

use anyhow::Result;
use burn::module::Module;
use burn::tensor::Device;
use delt_formats::evaluation::SUMMARY_FILE;
use delt_formats::history::HISTORY_FILE;
use delt_formats::{HistoryRow, HistoryWriter, LabelsReader, canonical, read_safetensors, write_safetensors};
use delt_harness::notes;
use delt_harness::progress::Progress;
use delt_harness::session::{self, Made, Session, Work};
use delt_harness::table::{Score, mean_and_std};
use delt_networks::Network;
use delt_networks::narrow::Importance;
use delt_pipeline::config::Branch;
use delt_pipeline::config::experiments::{Criterion, Prune, PruneStart};
use delt_pipeline::plan;
use delt_store::Entry;
use delt_training::test_accuracy;
use serde::{Deserialize, Serialize};

use crate::figures::{in_words, place, print, print_notes, write_csv};
use crate::stage::{Inputs, LR, training_images};
use crate::student::{TEST_BATCH, TrainingTargets, train_network};
use crate::summary::at_chance;

/// One student that lost channels; accuracies are top-1 in percent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Pruned {
    seed: u64,
    /// With all channels.
    before: f64,
    /// Without them.
    after: f64,
    /// Once it has learned again.
    tuned: f64,
    /// Channels that can go, before and after.
    channels: [usize; 2],
    /// Values that training moves, before and after.
    values: [usize; 2],
    /// Multiplications of an image, before and after.
    multiplications: [f64; 2],
    /// Layers that can lose channels, with how many they had and have, for notes.
    #[serde(skip)]
    layers: Vec<(String, [usize; 2])>,
}

/// The students of a branch, and the artifact that has them.
type Done = (Branch, Vec<Pruned>, Entry);

/// The students of a branch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Facts {
    students: Vec<Pruned>,
}

/// Columns of the figures.
const COLUMNS: [&str; 14] = [
    "branch",
    "student",
    "seed",
    "whole_top1",
    "pruned_top1",
    "fine_tuned_top1",
    "channels",
    "channels_left",
    "values",
    "values_left",
    "share",
    "criterion",
    "start",
    "artifact",
];

/// The program.
pub fn main() -> ExitCode {
    session::main(plan::PRUNE, |session| {
        session.check_branches(|branch| {
            let section = branch.pipeline.checked_prune()?;
            if section.criterion == Criterion::Magnitude
                && session.args.set.iter().any(|set| set.starts_with("prune.l1="))
            {
                session.say_once("prune: note: prune.l1 does not count with criterion: magnitude".to_owned());
            }
            Ok(())
        })?;
        let mut made = Vec::new();
        session.each_branch(|branch| {
            let section = branch.pipeline.checked_prune()?;
            let plan = session.dag().pruning_plan(branch, section)?;
            let entry = session.produce(&plan, |work| slim(session, branch, section, work))?;
            if let Some(entry) = entry {
                made.push((branch.clone(), entry.manifest.facts_as::<Facts>()?.students, entry));
            }
            Ok(())
        })?;
        session.say_artifacts();
        if session.args.dry_run { Ok(()) } else { tell(session, &made) }
    })
}

fn slim(session: &Session, branch: &Branch, section: &Prune, work: &Work<'_>) -> Result<Made> {
    let mut inputs = Inputs::open(session, branch)?;
    let opened = delt_device::open(&session.args.device)?;
    session.use_device(&opened.name);
    let provenance = work.provenance(inputs.teacher.classes());
    let mut writer = HistoryWriter::create(work.out_dir().join(HISTORY_FILE), &provenance)?;
    let mut students = Vec::new();
    for (seed, labels) in std::mem::take(&mut inputs.labels) {
        let slimming = Slimming { inputs: &inputs, branch, section, device: &opened.device, work };
        let (student, network, history) = slimming.student(seed, labels)?;
        history.iter().try_for_each(|row| writer.write(row))?;
        let path = work.out_dir().join(format!("pruned-{seed}.safetensors"));
        write_safetensors(path, &network.named_tensors()?, Some(&provenance))?;
        students.push(student);
    }
    writer.finish()?;
    let last: Vec<_> = students.iter().map(|student| (student.seed, student.tuned)).collect();
    let lost = at_chance(&last, &inputs.test.labels, &inputs.knobs(LR)?);
    lost.into_iter()
        .chain(short_of(&students, section.share, section.criterion))
        .for_each(|note| work.note(note));
    let [before, after, tuned] = scores(&students);
    let removed = removed(&students);
    let facts = Facts { students };
    fs_err::write(work.out_dir().join(SUMMARY_FILE), canonical::readable_json(&facts))?;
    let summary = format!(
        "student {} top-1 {before}, {after} without {removed}, {tuned} fine-tuned (n = {}, {} test images)",
        branch.pipeline.evaluate.student,
        facts.students.len(),
        inputs.test.len()
    );
    Ok(Made { provenance, facts: serde_json::to_value(&facts)?, summary })
}

/// How the students of a branch lose channels.
struct Slimming<'a> {
    inputs: &'a Inputs<'a>,
    branch: &'a Branch,
    section: &'a Prune,
    device: &'a Device,
    work: &'a Work<'a>,
}

impl Slimming<'_> {
    /// A student without its channels, and the history of both trainings; the epochs of the second follow those of the first.
    fn student(&self, seed: u64, labels: LabelsReader) -> Result<(Pruned, Network, Vec<HistoryRow>)> {
        let (inputs, trainable) = (self.inputs, self.device.clone().autodiff());
        let start = self.start(&trainable)?;
        let targets = inputs.targets(seed, labels, self.device)?;
        let targets = TrainingTargets { start: start.as_ref(), scales_l1: self.section.penalty(), ..targets };
        let checkpoints = self.work.checkpoint_dir();
        let progress = self.progress(&format!("prune seed {seed}"));
        let (whole, mut history) = train_network(&targets, &inputs.test, checkpoints, &progress)?;
        progress.finish();

        let importance = match self.section.criterion {
            Criterion::Scales => Importance::Scale,
            Criterion::Magnitude => Importance::Magnitude,
        };
        let narrow = whole.narrowed(self.section.share, importance, &trainable)?;
        let progress = self.progress(&format!("fine-tune seed {seed}"));
        let test = |network: &Network| {
            test_accuracy(network, &inputs.test, targets.normalization, TEST_BATCH, self.device, &progress)
        };
        let after = test(&narrow.valid())?.top1;
        let before = test(&whole)?.top1;
        let targets = TrainingTargets { start: Some(&narrow), scales_l1: 0.0, ..targets };
        let (tuned, tuning) =
            train_network(&targets, &inputs.test, &checkpoints.join("fine-tune"), &progress)?;
        progress.finish();

        let epochs = targets.epochs;
        history.extend(tuning.into_iter().map(|row| HistoryRow { epoch: row.epoch + epochs, ..row }));
        let top1 = history.iter().rev().find_map(|row| row.top1).unwrap_or(after);
        let [old, new] = [&whole, &tuned].map(Network::description);
        let layer = |at: usize| {
            let [before, after] = [old, new].map(|description| &description.layers[at]);
            (before.name.clone(), [before.output.channels, after.output.channels])
        };
        let layers: Vec<_> = old.prunable().into_iter().map(layer).collect();
        let channels = [0, 1].map(|at| layers.iter().map(|(_, channels)| channels[at]).sum());
        let student = Pruned {
            seed,
            before,
            after,
            tuned: top1,
            channels,
            values: [old.parameters(), new.parameters()],
            multiplications: [old.multiplications(), new.multiplications()],
            layers,
        };
        Ok((student, tuned, history))
    }

    fn start(&self, trainable: &Device) -> Result<Option<Network>> {
        let teacher = &self.inputs.teacher;
        Ok(match self.section.start {
            PruneStart::Random => None,
            PruneStart::Teacher => {
                let (facts, classes) = (&teacher.facts, teacher.classes().len());
                let (tensors, _) = read_safetensors(teacher.weights()?)?;
                let network = Network::from_named(
                    &facts.architecture,
                    classes,
                    facts.size as usize,
                    tensors,
                    trainable,
                )?;
                Some(network)
            }
        })
    }

    fn progress(&self, label: &str) -> Progress {
        let (images, test) = (self.inputs.pictures.len(), self.inputs.test.len());
        Progress::of_branch(
            label,
            training_images(&self.branch.pipeline, images, test),
            "images",
            self.branch,
        )
    }
}

/// How many channels went, of how many.
fn removed(students: &[Pruned]) -> String {
    let range = |of: &dyn Fn(&Pruned) -> usize| {
        let counts = || students.iter().map(of);
        match (counts().min().unwrap_or(0), counts().max().unwrap_or(0)) {
            (least, most) if least < most => format!("{least} to {most}"),
            (_, most) => most.to_string(),
        }
    };
    let [went, all] = [range(&|it| it.channels[0] - it.channels[1]), range(&|it| it.channels[0])];
    format!("{went} of {all} channels")
}

/// What to know where fewer channels went than were asked for.
fn short_of(students: &[Pruned], share: f64, criterion: Criterion) -> Option<String> {
    let is_short = |student: &Pruned| {
        let [all, left] = student.channels;
        left == all || (all - left) as f64 != (share * all as f64).round()
    };
    let why = why_short(students.iter().find(|student| is_short(student))?, share, criterion);
    Some(match removed(students) {
        none if none.starts_with("0 of") => {
            format!("{none} were removed where prune.share asks for {share}: {why}; raise it")
        }
        removed => format!("{removed} were removed where prune.share asks for {share}: {why}"),
    })
}

/// Which layers kept a student from losing as many channels as were asked for.
fn why_short(student: &Pruned, share: f64, criterion: Criterion) -> String {
    // the smallest of each layer go, or those of all layers together
    let by_layer = criterion == Criterion::Magnitude;
    let named = |is_one: &dyn Fn(&[usize; 2]) -> bool| -> Vec<String> {
        let layers = student.layers.iter().filter(|(_, channels)| is_one(channels));
        layers.map(|(name, [all, left])| format!("{name} ({left} of {all} left)")).collect()
    };
    let asked = |all: usize| share * all as f64;
    let last =
        named(&|[all, left]| *left == 1 && all > left && (!by_layer || asked(*all).round() >= *all as f64));
    let uneven = named(&|[all, left]| by_layer && ((all - left) as f64 - asked(*all)).abs() > 1e-6);
    // a note is stored, so it does not depend on how much is told
    let some = |layers: &[String]| match layers.get(2..) {
        Some(rest) if !rest.is_empty() => format!("{}, {} and {} more", layers[0], layers[1], rest.len()),
        _ => layers.join(", "),
    };
    match (&last[..], &uneven[..]) {
        ([], []) => "shares are rounded".to_owned(),
        ([], uneven) => format!("shares are rounded, as of {}", some(uneven)),
        (last, _) => format!("each layer keeps a channel, as {}", some(last)),
    }
}

/// Before, after, fine-tuned.
fn scores(students: &[Pruned]) -> [Score; 3] {
    let of = |top1: fn(&Pruned) -> f64| {
        let (mean, std) = mean_and_std(&students.iter().map(top1).collect::<Vec<_>>());
        Score { mean, std, n: students.len() }
    };
    [of(|student| student.before), of(|student| student.after), of(|student| student.tuned)]
}

/// What the table is of: what went in fact, and what was asked for.
fn title(name: &str, made: &[Done]) -> String {
    let section = made.first().and_then(|(branch, ..)| branch.pipeline.prune);
    let share = section.map_or_else(String::new, |section| section.share.to_string());
    let is_by_magnitude = section.is_some_and(|section| section.criterion == Criterion::Magnitude);
    let by = if is_by_magnitude { ", by the magnitude of their filters" } else { "" };
    let students: Vec<Pruned> = made.iter().flat_map(|(_, students, _)| students.clone()).collect();
    let removed = removed(&students);
    format!("{name}: top-1 in percent with and without {removed} (prune.share {share}){by}")
}

/// Prints the table and writes each student's figures.
fn tell(session: &Session, made: &[Done]) -> Result<()> {
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for group in made.chunk_by(|a, b| a.0.group == b.0.group) {
        let branch = &group[0].0;
        let of_entry =
            |(_, students, entry): &Done| students.iter().map(|it| (it.clone(), place(entry))).collect();
        let (students, places): (Vec<Pruned>, Vec<String>) =
            group.iter().flat_map::<Vec<_>, _>(of_entry).unzip();
        let (name, network) = (branch.group.clone(), branch.pipeline.evaluate.student.to_string());
        let [before, after, tuned] = scores(&students).map(|score| score.to_string());
        let mean = |of: fn(&Pruned) -> f64| mean_and_std(&students.iter().map(of).collect::<Vec<_>>()).0;
        let left = |share: f64| format!("{:.1} %", 100.0 * share);
        let values = left(mean(|student| student.values[1] as f64 / student.values[0] as f64));
        let multiplications = left(mean(|student| student.multiplications[1] / student.multiplications[0]));
        let settings = branch.pipeline.prune.as_ref().map_or_else(Default::default, |it| {
            [it.share.to_string(), in_words(&it.criterion), in_words(&it.start)]
        });
        lines.extend(students.iter().zip(places).map(|(student, place)| {
            let Pruned { seed, before, after, tuned, channels, values, .. } = student;
            let counts = [channels[0], channels[1], values[0], values[1]].map(|count| count.to_string());
            let [channels, channels_left, values, values_left] = counts;
            let [before, after, tuned] = [before, after, tuned].map(f64::to_string);
            let seed = seed.to_string();
            [
                name.clone(),
                network.clone(),
                seed,
                before,
                after,
                tuned,
                channels,
                channels_left,
                values,
                values_left,
                settings[0].clone(),
                settings[1].clone(),
                settings[2].clone(),
                place,
            ]
        }));
        let n = students.len().to_string();
        rows.push([name, network, before, after, tuned, n, values, multiplications]);
    }
    let head = ["", "student", "whole", "pruned", "fine-tuned", "n", "values left", "operations left"];
    print(&title(session.pipeline_name(), made), head, &rows, &[0, 1]);
    let of = |(branch, _, entry): &Done| {
        notes::of(entry).into_iter().map(|note| format!("{}: {note}", branch.name)).collect::<Vec<_>>()
    };
    print_notes(session, &made.iter().flat_map(of).collect::<Vec<_>>())?;
    write_csv(session, "prune", COLUMNS, &lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_removed_is_said_where_it_is_not_what_was_asked_for() {
        let student = |layers: &[[usize; 2]]| Pruned {
            seed: 1,
            before: 90.0,
            after: 10.0,
            tuned: 80.0,
            channels: [0, 1].map(|at| layers.iter().map(|channels| channels[at]).sum()),
            values: [2, 1],
            multiplications: [2.0, 1.0],
            layers: (0..).zip(layers).map(|(at, channels)| (format!("norm.{at}"), *channels)).collect(),
        };
        let short = |students: &[Pruned], share, criterion| short_of(students, share, criterion);
        let said =
            |students: &[Pruned], share| (removed(students), short(students, share, Criterion::Scales));
        assert_eq!(said(&[student(&[[8, 6], [8, 2]])], 0.5), ("8 of 16 channels".to_owned(), None));
        let (removed, note) = said(&[student(&[[8, 6], [8, 2]]), student(&[[8, 8], [8, 1]])], 0.5);
        assert_eq!(removed, "7 to 8 of 16 channels");
        assert_eq!(
            note.expect("noted"),
            "7 to 8 of 16 channels were removed where prune.share asks for 0.5: each layer keeps a channel, as norm.1 (1 of 8 left)"
        );
        let by_layer = |layers: &[[usize; 2]], share| short(&[student(layers)], share, Criterion::Magnitude);
        let too_many = by_layer(&[[2, 1], [5, 2], [5, 2]], 0.5).expect("noted");
        assert!(
            too_many.ends_with("shares are rounded, as of norm.1 (2 of 5 left), norm.2 (2 of 5 left)"),
            "{too_many}"
        );
        let kept = by_layer(&[[2, 1], [8, 1]], 0.9).expect("noted");
        assert!(kept.ends_with("each layer keeps a channel, as norm.0 (1 of 2 left)"), "{kept}");
        assert_eq!(
            by_layer(&[[4, 4]], 0.1).expect("noted"),
            "0 of 4 channels were removed where prune.share asks for 0.1: shares are rounded, as of norm.0 (4 of 4 left); raise it"
        );
    }
}
