//! The golden tests on the device: first those of a program without tuning, where there is one, then this one's; those that fail
//! once more with kernels that are not fused.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};

use crate::verify::child::{Children, Heard, Way, answer};

/// One way to run the tests.
#[derive(Debug, Serialize)]
pub(crate) struct Suite {
    /// What is special about it.
    pub(crate) name: String,
    /// Each test: `name`, `outcome`, and what else is known.
    pub(crate) tests: Vec<Value>,
}

/// Outcomes, in the order in which they are counted.
pub(crate) const OUTCOMES: [&str; 5] = ["passed", "failed", "died", "skipped", "not reached"];

impl Suite {
    /// Tests of an outcome.
    pub(crate) fn of<'a>(&'a self, outcome: &'a str) -> impl Iterator<Item = &'a Value> {
        self.tests.iter().filter(move |test| test["outcome"] == outcome)
    }

    /// Whether none that was reached failed.
    pub(crate) fn passed(&self) -> bool {
        self.of("failed").chain(self.of("died")).next().is_none()
    }
}

/// Runs all tests that are not slow.
///
/// # Errors
/// Where a program does not start.
pub(crate) fn measure(children: &Children, untuned: Option<PathBuf>, until: Instant) -> Result<Vec<Suite>> {
    let names: Vec<String> = delt_golden::tests().map(|(name, _)| name.to_owned()).collect();
    let mut suites = Vec::new();
    let mut run = |name: &str, way: &Way, names: &[String], until| {
        let tests = suite(children, way, names, until)?;
        let failed = tests.iter().filter(|test| test["outcome"] == "failed" || test["outcome"] == "died");
        let failed: Vec<String> =
            failed.filter_map(|test| test["name"].as_str().map(str::to_owned)).collect();
        suites.push(Suite { name: name.to_owned(), tests });
        anyhow::Ok(failed)
    };
    if untuned.is_some() {
        let half = Instant::now() + until.saturating_duration_since(Instant::now()) / 2;
        run("without tuning", &Way { program: untuned, is_unfused: false }, &names, half)?;
    }
    let is_tuned = delt_device::IS_TUNED;
    let failed = run(if is_tuned { "tuned" } else { "as built" }, &Way::default(), &names, until)?;
    if is_tuned && !failed.is_empty() {
        run("what failed, unfused", &Way { program: None, is_unfused: true }, &failed, until)?;
    }
    Ok(suites)
}

fn suite(children: &Children, way: &Way, names: &[String], until: Instant) -> Result<Vec<Value>> {
    let mut left: VecDeque<String> = names.iter().cloned().collect();
    let mut results = Vec::new();
    while !left.is_empty() && Instant::now() < until {
        let mut child = children.start(way, "golden", &left)?;
        loop {
            match child.hear(until) {
                Heard::Line(result) => {
                    left.retain(|name| result["name"] != **name);
                    results.push(result);
                }
                Heard::Ended(status) => {
                    // in the test after the last that answered
                    if let Some(name) = left.pop_front() {
                        results.push(json!({"name": name, "outcome": "died", "message": status}));
                    }
                    break;
                }
                Heard::Late => break,
            }
            if left.is_empty() {
                break;
            }
        }
    }
    results.extend(left.into_iter().map(|name| json!({"name": name, "outcome": "not reached"})));
    Ok(results)
}

/// In the child: runs tests by name, a line of each.
///
/// # Errors
/// Where a name is not that of a test.
pub(crate) fn run(names: &[String]) -> Result<()> {
    for (name, test) in delt_golden::tests().filter(|(name, _)| names.iter().any(|wanted| wanted == name)) {
        let started = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(test));
        let record = delt_tests::record::take();
        let nearest = record
            .nearest
            .map(|seen| json!({"what": seen.what, "error": seen.error, "tolerance": seen.tolerance}));
        let outcome = match (&result, record.missing > 0 && nearest.is_none()) {
            (Err(_), _) => "failed",
            (Ok(()), true) => "skipped",
            (Ok(()), false) => "passed",
        };
        let message = result.err().map(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
        });
        let seconds = started.elapsed().as_secs_f64();
        answer(
            &json!({"name": name, "outcome": outcome, "seconds": seconds, "nearest": nearest, "message": message}),
        );
    }
    Ok(())
}
