//! What a run came to, in sentences: below the table of `evaluate` and on top of the pages. Whether the images are worth more than
//! random ones, whether that is beyond chance, and whether anything was learned at all.

use anyhow::Result;
use delt_formats::evaluation::StudentResult;
use delt_pipeline::config::published::Published;
use delt_pipeline::config::{Branch, Pipeline};
use delt_pipeline::dag::Node;

use crate::baseline::{baseline_of, is_baseline_of};
use crate::chance::Chance;
use crate::differences::Difference;
use crate::session::Session;
use crate::table::{Table, mean_and_std};

/// The students of a branch, over its repetitions.
struct Students<'a> {
    /// The first of its repetitions.
    branch: &'a Branch,
    results: Vec<StudentResult>,
    /// Accuracies after the last epoch, percent.
    last: Vec<f64>,
    /// What guessing reaches on the test images; none where the data set is not in the store.
    chance: Option<Chance>,
    /// Images that each student was trained on.
    images: u64,
}

/// One sentence for each two branches that differ in one thing only, images or labels; one on the full data, one on chance level;
/// and one for each branch whose students learned nothing after their first test. Empty before anything was evaluated.
///
/// # Errors
/// What the store reports, or a summary that cannot be read.
pub fn sentences(session: &Session, table: &Table) -> Result<Vec<String>> {
    Ok(sentences_of(session, table, &evaluated(session)?))
}

fn sentences_of(session: &Session, table: &Table, groups: &[Students<'_>]) -> Vec<String> {
    let mut sentences = Vec::new();
    // what the images are worth comes first, then what the labels are
    for differ in [is_baseline_of, are_hard_labels_of] {
        for group in groups {
            let others = groups.iter().filter(|other| differ(&other.branch.pipeline, &group.branch.pipeline));
            sentences.extend(others.map(|other| group.against(other)));
        }
    }
    sentences.extend(missing_baseline(session, groups));
    sentences.extend(beside_published(session, table));
    sentences.extend(share_of_full_data(table, groups));
    sentences.extend(chance(groups));
    sentences.extend(groups.iter().filter_map(Students::without_progress));
    sentences
}

fn evaluated(session: &Session) -> Result<Vec<Students<'_>>> {
    let mut groups = Vec::new();
    for group in session.groups() {
        let summaries = session.summaries(group)?;
        let (Some(first), branch) = (summaries.first(), &group[0]) else { continue };
        let images = first.images;
        let dataset = session.dag().if_made(branch, Node::Dataset)?;
        let chance = dataset.as_ref().map(Chance::of_dataset).transpose()?;
        let results: Vec<_> = summaries.into_iter().flat_map(|summary| summary.students).collect();
        let last = results.iter().map(|student| student.last_top1).collect();
        groups.push(Students { branch, results, last, chance, images });
    }
    Ok(groups)
}

/// Our score beside the one that the pipeline says is published.
fn beside_published(session: &Session, table: &Table) -> Option<String> {
    let published = session.branches().first()?.pipeline.published.as_ref()?;
    let best = table.rows.iter().find(|row| row.name == published.branch)?.best?;
    let gap = best.mean - published.top1;
    let side = if gap < 0.0 { "below" } else { "above" };
    let Published { source, branch, .. } = published;
    Some(format!(
        "{branch}: {best} best of the tested epochs (n = {}), {:.2} {side} the published {published} ({source})",
        best.n,
        gap.abs()
    ))
}

/// Whether these are the same images, learned under hard labels and in all else as the others are.
fn are_hard_labels_of(hard: &Pipeline, own: &Pipeline) -> bool {
    let (relabel, evaluate) = own.student_recipe();
    let recipe = (relabel, evaluate.with_hard_labels());
    let has_same_images = own.select == hard.select && own.synthesize == hard.synthesize;
    has_same_images && hard.student_recipe() == recipe && own.student_recipe() != recipe
}

/// What to add for the first method of which no branch of the run says what random images are worth to its students.
fn missing_baseline(session: &Session, groups: &[Students<'_>]) -> Option<String> {
    let has_baseline = |group: &&Students<'_>| {
        session.branches().iter().any(|other| is_baseline_of(&other.pipeline, &group.branch.pipeline))
    };
    let methods = || groups.iter().filter(|group| !group.branch.pipeline.keeps_random_images());
    // of labels by a teacher there may be several kinds, one of which says what the images are worth
    let is_told =
        methods().any(|group| has_baseline(&group) && group.branch.pipeline.evaluate.given.is_none());
    let is_lacking = |group: &&Students<'_>| {
        !has_baseline(group) && (group.branch.pipeline.evaluate.given.is_some() || !is_told)
    };
    let lacking: Vec<&Students<'_>> = methods().filter(is_lacking).collect();
    let names: Vec<&str> = lacking.iter().map(|group| group.branch.group.as_str()).collect();
    let (baseline, verb) =
        (baseline_of(lacking.first()?.branch), if names.len() == 1 { "is" } else { "are" });
    let cure = match session.args.branches.is_empty() {
        true => format!("add a branch to the pipeline, {baseline}"),
        false => format!("leave out BRANCH (--branch), or add a branch to the pipeline, {baseline}"),
    };
    Some(format!(
        "whether {} {verb} worth more than random real images is not known: {cure}",
        names.join(", ")
    ))
}

/// How far the best few images go towards what all of them do; none where either was not measured, or a student of theirs guesses.
fn share_of_full_data(table: &Table, groups: &[Students<'_>]) -> Option<String> {
    let row = table.rows.iter().find(|row| row.is_full_data())?;
    let (full, all) = (row.last?, row.images?);
    let best = groups.iter().max_by(|a, b| a.mean().total_cmp(&b.mean()))?;
    if best.has_guessing() {
        return None;
    }
    let (name, mean) = (&best.branch.group, best.mean());
    let images = table.rows.iter().find(|row| row.name == *name).and_then(|row| row.images).unwrap_or(0);
    Some(format!(
        "{images} images ({name}) reach {mean:.2} of the {:.2} that all {all} training images reach with hard labels",
        full.mean
    ))
}

/// Chance level, and who is not above it.
fn chance(groups: &[Students<'_>]) -> Option<String> {
    let level = groups.first()?.chance?;
    let lost: Vec<&str> =
        groups.iter().filter(|group| group.is_at_chance()).map(|group| group.branch.group.as_str()).collect();
    Some(match lost.as_slice() {
        [] => level.to_string(),
        lost => format!(
            "{}: not distinguishable from guessing ({level}); no figure of theirs means anything",
            lost.join(", ")
        ),
    })
}

impl Students<'_> {
    fn mean(&self) -> f64 {
        mean_and_std(&self.last).0
    }

    fn against(&self, other: &Self) -> String {
        let name = |of: &Self| match self.images == other.images {
            true => of.branch.group.clone(),
            false => format!("{} ({} images)", of.branch.group, of.images),
        };
        let names = format!("{} against {}", name(self), name(other));
        let lost: Vec<&str> =
            [self, other].iter().filter(|of| of.is_at_chance()).map(|of| of.branch.group.as_str()).collect();
        match Difference::of(&self.last, &other.last) {
            _ if !lost.is_empty() => {
                format!("{names}: nothing to compare, as guessing explains {}", lost.join(" and "))
            }
            Some(difference) => format!("{names}: {difference}"),
            None => format!(
                "{names}: {:+.2} points (n = {} and {}): too few students to tell this from chance; relabel.seeds takes more",
                self.mean() - other.mean(),
                self.last.len(),
                other.last.len()
            ),
        }
    }

    fn is_at_chance(&self) -> bool {
        self.chance.is_some_and(|chance| chance.reaches(self.mean()))
    }

    /// Whether guessing explains any of them.
    fn has_guessing(&self) -> bool {
        self.chance.is_some_and(|chance| self.last.iter().any(|top1| chance.reaches(*top1)))
    }

    /// The first test is after epoch 0. A student that was right on all images then had nothing more to learn.
    fn without_progress(&self) -> Option<String> {
        let is_first = |student: &&StudentResult| student.best_epoch == 0 && student.best_top1 < 100.0;
        let (first, n) = (self.results.iter().filter(is_first).count(), self.results.len());
        (2 * first > n && self.branch.pipeline.relabel.epochs > 1).then(|| {
            format!(
                "{}: {first} of {n} students did best at their first test, after one epoch: no learning shows after it",
                self.branch.group
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;
    use delt_pipeline::plan;

    use super::*;
    use crate::args::Args;
    use crate::table::{FULL_DATA, Row, Score};

    /// A session on the digits, whose branches are `random` and `delt`.
    fn session(store: &Path, more: &[&str]) -> Session {
        session_of("digits.yaml", store, more)
    }

    fn session_of(pipeline: &str, store: &Path, more: &[&str]) -> Session {
        let pipeline = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines").join(pipeline);
        let (pipeline, store) = (pipeline.display().to_string(), store.display().to_string());
        let given = ["evaluate", "--pipeline", &pipeline, "--store", &store];
        let args = Args::try_parse_from(given.iter().chain(more)).expect("parses");
        Session::open(plan::EVALUATE, args).expect("opens")
    }

    /// Students that were tested on 500 images of ten classes.
    fn students<'a>(session: &'a Session, name: &str, last: &[f64], best_epoch: u32) -> Students<'a> {
        let branch = session.branches().iter().find(|branch| branch.name == name).expect("a branch");
        let result = |(seed, top1): (u64, &f64)| StudentResult {
            seed,
            last_top1: *top1,
            best_top1: *top1,
            best_epoch,
            last_top5: 100.0,
        };
        let results = (0..).zip(last).map(result).collect();
        let labels: Vec<u32> = (0..500).map(|image| image % 10).collect();
        Students { branch, results, last: last.to_vec(), chance: Some(Chance::of(&labels)), images: 100 }
    }

    fn said(session: &Session, groups: &[Students<'_>]) -> Vec<String> {
        let table = Table { pipeline: "digits".into(), test_sets: Vec::new(), rows: Vec::new() };
        sentences_of(session, &table, groups)
    }

    #[test]
    fn images_are_compared_with_random_ones_and_with_guessing() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let session = session(folder.path(), &[]);
        let of = |name, last: &[f64]| students(&session, name, last, 90);
        assert_eq!(
            said(&session, &[of("random", &[40.0, 40.1, 40.2]), of("delt", &[50.0, 50.1, 50.2])]),
            [
                "delt against random: +10.00 points, 95 % interval +9.77 to +10.23 (n = 3 and 3): better, beyond chance",
                "guessing reaches up to 13.2 %, the share of the largest class is 10.0 %"
            ]
        );
        assert_eq!(
            said(&session, &[of("random", &[13.0, 13.4]), of("delt", &[50.0])]),
            [
                "delt against random: nothing to compare, as guessing explains random",
                "random: not distinguishable from guessing (guessing reaches up to 13.2 %, the share of the largest class is 10.0 %); \
                 no figure of theirs means anything"
            ]
        );
        assert_eq!(
            said(&session, &[of("random", &[30.0, 31.0]), of("delt", &[50.0])])[0],
            "delt against random: +19.50 points (n = 1 and 2): too few students to tell this from chance; relabel.seeds takes \
             more"
        );
    }

    #[test]
    fn a_published_score_stands_beside_ours() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let published = "published={source: a paper, branch: delt, top1: 50, std: 0.5}";
        let session = session(folder.path(), &["--set", published]);
        let row = |name: &str, mean| {
            let best = Some(Score { mean, std: 0.25, n: 3 });
            Row { name: name.into(), best, ..Row::default() }
        };
        let said = |rows| {
            let table = Table { pipeline: "digits".into(), test_sets: Vec::new(), rows };
            beside_published(&session, &table)
        };
        assert_eq!(
            said(vec![row("random", 60.0), row("delt", 49.0)]).expect("is there"),
            "delt: 49.00 ± 0.25 best of the tested epochs (n = 3), 1.00 below the published 50.0 ± 0.5 (a paper)"
        );
        assert_eq!(said(vec![row("random", 60.0)]), None);
    }

    #[test]
    fn images_whose_students_guess_in_part_are_not_measured_by_the_full_data() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let session = session(folder.path(), &[]);
        let row = |name: &str, mean, images| {
            let last = Some(Score { mean, std: 0.0, n: 1 });
            Row { name: name.into(), last, images: Some(images), ..Row::default() }
        };
        let rows = vec![row(FULL_DATA, 99.07, 1258), row("random", 14.53, 100)];
        let table = Table { pipeline: "digits".into(), test_sets: Vec::new(), rows };
        let said = |last: &[f64]| share_of_full_data(&table, &[students(&session, "random", last, 90)]);
        assert_eq!(
            said(&[14.5, 15.0]).expect("is there"),
            "100 images (random) reach 14.75 of the 99.07 that all 1258 training images reach with hard labels"
        );
        assert_eq!(said(&[20.0, 13.0]), None);
    }

    #[test]
    fn a_run_without_random_images_says_what_to_add() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let alone = session(folder.path(), &["--set", "branches.random.synthesize.max_iterations=50"]);
        assert_eq!(
            said(&alone, &[students(&alone, "delt", &[50.0, 51.0], 90)])[0],
            "whether delt is worth more than random real images is not known: add a branch to the pipeline, random: {select: \
             {strategy: random}, synthesize: {max_iterations: 0}}"
        );
        let chosen = session(folder.path(), &["--branch", "delt"]);
        let said = said(&chosen, &[students(&chosen, "delt", &[50.0, 51.0], 90)]);
        assert!(said[0].contains("not known: leave out BRANCH (--branch), or add"), "{said:?}");
    }

    #[test]
    fn methods_to_whose_students_no_branch_shows_random_images_are_named() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let session = session_of("digits-matching.yaml", folder.path(), &[]);
        let of = |name| students(&session, name, &[50.0, 51.0], 90);
        let found = said(&session, &[of("dm"), of("dc"), of("frepo")]);
        let cure = "whether dc is worth more than random real images is not known: add a branch to the pipeline, random-dc: {like: dc, ";
        assert!(found[0].starts_with(cure), "{found:?}");
        assert!(
            said(&session, &[of("dm"), of("frepo")]).iter().all(|sentence| !sentence.contains("not known"))
        );
    }

    #[test]
    fn students_that_are_best_at_their_first_test_have_learned_nothing() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let session = session(folder.path(), &[]);
        let said = said(&session, &[students(&session, "delt", &[50.0, 51.0], 0)]);
        assert_eq!(
            said.last().expect("sentences"),
            "delt: 2 of 2 students did best at their first test, after one epoch: no learning shows after it"
        );
    }
}
