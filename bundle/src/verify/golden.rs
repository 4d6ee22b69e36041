//! The golden tests on the device: first those of a program without tuning, where there is one, then this one's; those that fail
//! once more with kernels that are not fused.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::{Value, json};

use crate::verify::child::{Children, Heard, Way, answer};
use crate::verify::is_over;

/// How long a program may take to say what it is.
const ANSWER: Duration = Duration::from_secs(20);

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

    /// Whether there is one that ran.
    pub(crate) fn ran(&self) -> bool {
        OUTCOMES[..3].iter().any(|outcome| self.of(outcome).next().is_some())
    }
}

/// Refuses a program for `--untuned` that is none.
///
/// # Errors
/// Where it does not start, is not this program, is tuned or has not the backend.
pub(crate) fn check_untuned(children: &Children, program: &Path) -> Result<()> {
    let name = || format!("--untuned {}", program.display());
    let way = Way { program: Some(program.to_owned()), is_unfused: false };
    let mut child = children.start(&way, "build", &()).with_context(name)?;
    let Heard::Line(said) = child.hear(Instant::now() + ANSWER) else {
        bail!("{}: does not say how it was built, expected `delt-all` of a bundle made with TUNE=0", name());
    };
    ensure!(said["tuned"] == false, "{}: it is tuned, expected one that was built with TUNE=0", name());
    said["refused"].as_str().map_or(Ok(()), |why| bail!("{}: {why}", name()))
}

/// In the child: how this program was built, and why it does not take the device.
pub(crate) fn describe_build(device: &str) {
    let refused = delt_device::check(device).err().map(|error| error.to_string());
    answer(&json!({"tuned": delt_device::IS_TUNED, "refused": refused}));
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
    while !left.is_empty() && !is_over(until) {
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
pub(crate) fn run(names: &[String]) {
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
}
