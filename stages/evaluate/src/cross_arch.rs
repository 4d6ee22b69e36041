//! Cross-architecture: one set with its labels, many students, one table. Labels know no student, so nothing is labeled again,
//! and each student is an evaluation of its own in the store; that of the pipeline's own student is the one of `evaluate`.

use std::process::ExitCode;

use anyhow::Result;
use delt_formats::{Architecture, StudentResult, Summary};
use delt_harness::notes;
use delt_harness::session::{self, Session};
use delt_harness::table::{Score, mean_and_std};
use delt_pipeline::config::Branch;
use delt_pipeline::config::given::GivenLr;
use delt_pipeline::dag::Node;
use delt_pipeline::plan;
use delt_store::Entry;

use crate::figures::{place, print, print_notes, write_csv};
use crate::stage;

/// The program.
pub fn main() -> ExitCode {
    session::main(plan::CROSS_ARCH, |session| {
        session.check_branches(|branch| Ok(branch.pipeline.cross_students().map(drop)?))?;
        session.each_branch(|branch| {
            let students = branch.pipeline.cross_students()?;
            students.into_iter().try_for_each(|student| {
                stage::run(session, &branch.with_student(student), lr_setting(branch, student))
            })
        })?;
        session.say_artifacts();
        if session.args.dry_run { Ok(()) } else { tell(session) }
    })
}

/// What the learning rate of a student is called where it is to be changed.
fn lr_setting(branch: &Branch, student: Architecture) -> &'static str {
    if branch.with_student(student) == *branch { stage::LR } else { "cross_arch.lr" }
}

/// Prints the table with what is to be known of its students, and writes each student's accuracy.
fn tell(session: &Session) -> Result<()> {
    let (mut rows, mut lines, mut noted) = (Vec::new(), Vec::new(), Vec::new());
    for group in session.branches().chunk_by(|a, b| a.group == b.group) {
        for student in group[0].pipeline.cross_students()? {
            let entries = entries(session, group, student)?;
            let results = results(&entries)?;
            let lr = lr(session, &group[0].with_student(student))?;
            let published = group[0]
                .published_cross_arch(student)
                .map_or_else(|| "-".to_owned(), |top1| top1.to_string());
            let score = |top1: fn(&StudentResult) -> f64| match results.len() {
                0 => "-".to_owned(),
                n => {
                    let (mean, std) =
                        mean_and_std(&results.iter().map(|(student, _)| top1(student)).collect::<Vec<_>>());
                    Score { mean, std, n }.to_string()
                }
            };
            let (name, n) = (group[0].group.clone(), results.len().to_string());
            let called = group[0].pipeline.called(student);
            let notes = entries.iter().flat_map(notes::of);
            noted.extend(notes.map(|note| format!("{name}, student {called}: {note}")));
            lines.extend(results.iter().map(|(student_of_seed, place)| {
                let StudentResult { seed, last_top1, best_top1, .. } = student_of_seed;
                [
                    name.clone(),
                    called.clone(),
                    student.to_string(),
                    lr.clone(),
                    seed.to_string(),
                    last_top1.to_string(),
                    best_top1.to_string(),
                    published.clone(),
                    place.clone(),
                ]
            }));
            let [last, best] = [score(|student| student.last_top1), score(|student| student.best_top1)];
            rows.push([name, called, lr, last, best, n, published]);
        }
    }
    let title = format!("{}: top-1 in percent of students of one set", session.pipeline_name());
    print(&title, ["", "student", "lr", "last", "best", "n", "published"], &rows, &[0, 1]);
    print_notes(session, &noted)?;
    let head =
        ["branch", "student", "network", "lr", "seed", "last_top1", "best_top1", "published", "artifact"];
    write_csv(session, "cross-arch", head, &lines)
}

/// The evaluations of a network, over the repetitions of a branch, as far as they have been made.
fn entries(session: &Session, group: &[Branch], student: Architecture) -> Result<Vec<Entry>> {
    let of = |branch: &Branch| session.dag().if_made(&branch.with_student(student), Node::Evaluation);
    Ok(group.iter().map(of).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

/// Their students, each with the place of its evaluation.
fn results(entries: &[Entry]) -> Result<Vec<(StudentResult, String)>> {
    let mut results = Vec::new();
    for entry in entries {
        let students = entry.manifest.facts_as::<Summary>()?.students;
        results.extend(students.into_iter().map(|student| (student, place(entry))));
    }
    Ok(results)
}

/// The learning rate of a branch's student.
fn lr(session: &Session, branch: &Branch) -> Result<String> {
    if let Some(given) = &branch.pipeline.evaluate.given {
        return Ok(match given.optimizer.lr() {
            GivenLr::Number(lr) => lr.to_string(),
            GivenLr::Learned(_) => "learned".to_owned(),
        });
    }
    let Some(dataset) = session.dag().if_made(branch, Node::Dataset)? else { return Ok("-".to_owned()) };
    Ok(branch.pipeline.student_lr(dataset.manifest.provenance.classes.len())?.to_string())
}
