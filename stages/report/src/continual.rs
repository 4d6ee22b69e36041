//! Students of classes that come in steps, as far as the store has them, and what is missing of them.

use anyhow::Result;
use delt_formats::StudentResult;
use delt_harness::session::Session;
use delt_pipeline::config::Branch;
use serde::Deserialize;

use crate::findings::{BranchFindings, Findings};

/// The students of a branch.
#[derive(Debug, Default)]
pub struct Steps {
    /// Order, classes so far, top-1.
    pub points: Vec<(u64, u32, f64)>,
    /// Orders all of whose steps are there.
    pub complete: usize,
    /// Orders that the pipeline names.
    pub orders: usize,
    /// Whether there are students of another number of steps alone.
    pub has_others: bool,
}

impl Steps {
    /// Those of a branch whose images are there.
    ///
    /// # Errors
    /// What the store reports.
    pub(crate) fn of(session: &Session, branch: &Branch) -> Result<Self> {
        #[derive(Deserialize)]
        struct Step {
            student: StudentResult,
        }
        let dag = session.dag();
        let classes = dag.classes_in_use(branch)?.len();
        let Ok(section) = branch.pipeline.checked_continual(classes) else { return Ok(Self::default()) };
        let mut steps = Self { orders: section.orders.len(), ..Self::default() };
        for order in &section.orders {
            let find = |seen| {
                let plan = dag.continual_plan(branch, section, *order, seen)?;
                dag.found(plan.kind, &plan.key())
            };
            let mut is_complete = true;
            for (index, seen) in section.classes_by_step(classes).enumerate() {
                // the first that is not there ends the questions to the store
                let Some(entry) = find(seen)? else {
                    // a student of all classes is the same whatever the steps
                    steps.has_others |= index == 0 && seen < classes && find(classes)?.is_some();
                    is_complete = false;
                    break;
                };
                let Step { student } = entry.manifest.facts_as()?;
                steps.points.push((*order, seen as u32, student.last_top1));
            }
            steps.complete += usize::from(is_complete);
        }
        Ok(steps)
    }
}

/// What the curve lacks, where any of its students are there.
pub(crate) fn missing(findings: &Findings) -> Option<String> {
    let branches = || findings.branches.iter().filter(|branch| branch.continual.orders > 0);
    let cure = &findings.continual_command;
    if branches().all(|branch| branch.continual.points.is_empty()) {
        let has_others = branches().any(|branch| branch.continual.has_others);
        return has_others.then(|| {
            format!(
                "Classes came in another number of steps: repeat its STEPS= with P/report, or run {cure}."
            )
        });
    }
    let lacking = branches().filter(|branch| branch.continual.complete < branch.continual.orders);
    let each = |branch: &BranchFindings| {
        format!("{} ({} of {} orders)", branch.name, branch.continual.complete, branch.continual.orders)
    };
    let parts: Vec<String> = lacking.map(each).collect();
    (!parts.is_empty()).then(|| format!("Not whole: {}; run {cure}.", parts.join(", ")))
}
