//! A whole pipeline on the device, small: the digits from images to the students' table, each stage as users run it.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::verify::child::{Children, Heard};
use crate::verify::is_over;

const STAGES: [&str; 6] =
    ["ingest", "teacher-train", "init-select", "delt-synthesize", "relabel", "evaluate"];

/// What makes it small.
const SETTINGS: [&str; 8] = [
    "teacher.train.epochs=2",
    "select.ipc=2",
    "synthesize.max_iterations=20",
    "synthesize.round_iterations=10",
    "relabel.epochs=2",
    "relabel.batch=10",
    "relabel.seeds=[3407]",
    "evaluate.test_every=2",
];

/// Runs the stages as far as the time goes, and says of each how it went.
///
/// # Errors
/// Where a stage does not start.
pub(crate) fn run(children: &Children, until: Instant) -> Result<Vec<Value>> {
    let own = std::env::current_exe().context("this program does not know where it lies")?;
    let store = std::env::temp_dir().join(format!("delt-verify-{}", std::process::id()));
    let mut results: Vec<Value> = Vec::new();
    for stage in STAGES {
        // a stage needs those before it
        if is_over(until) || results.iter().any(|result| result["outcome"] != "passed") {
            results.push(json!({"name": stage, "outcome": "not reached"}));
            continue;
        }
        let started = Instant::now();
        let mut command = Command::new(&own);
        command.current_dir(delt_tests::workspace()).env("DELT_PROGRAM", stage);
        command
            .args(["--pipeline", "pipelines/digits.yaml", "--device", &children.device, "--store"])
            .arg(&store);
        command.args(SETTINGS.iter().flat_map(|setting| ["--set", setting]));
        let mut child = children.spawn(&mut command)?;
        let end = loop {
            match child.hear(until) {
                Heard::Line(_) => {}
                end => break end,
            }
        };
        let seconds = started.elapsed().as_secs_f64();
        results.push(match end {
            Heard::Ended(status) if status == "exit status: 0" => {
                json!({"name": stage, "outcome": "passed", "seconds": seconds})
            }
            Heard::Ended(status) => {
                let said = std::fs::read_to_string(&children.log).unwrap_or_default();
                let message = said.lines().last().unwrap_or(&status).to_owned();
                json!({"name": stage, "outcome": "failed", "seconds": seconds, "message": message})
            }
            _ => json!({"name": stage, "outcome": "not reached"}),
        });
    }
    let _ = std::fs::remove_dir_all(store);
    Ok(results)
}
