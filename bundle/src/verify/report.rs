//! The table for people, and the file of all figures.

use std::io::{Write, stdout};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::verify::golden::{OUTCOMES, Suite};
use crate::verify::{machine, number, steps};

/// How far it went.
#[derive(Debug, PartialEq)]
pub(crate) enum State {
    /// It is running, or its machine went away.
    Unfinished,
    /// By the user, or since nobody reads the table any more.
    Interrupted,
    /// Why it ended early.
    Failed(String),
    /// To the end.
    Finished,
}

/// All that was found so far.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) device: Value,
    pub(crate) golden: Vec<Suite>,
    pub(crate) steps: Vec<Value>,
    pub(crate) stages: Vec<Value>,
    pub(crate) peer: Value,
}

impl Found {
    /// Only the machine is known.
    pub(crate) fn new(device: &str) -> Self {
        let (golden, steps, stages) = (Vec::new(), Vec::new(), Vec::new());
        Self { device: machine::around(device), golden, steps, stages, peer: Value::Null }
    }

    /// Whether golden tests ran, and neither they nor a stage failed.
    pub(crate) fn passed(&self) -> bool {
        self.golden.iter().any(Suite::ran)
            && self.golden.iter().all(Suite::passed)
            && self.stages.iter().all(|stage| stage["outcome"] != "failed")
    }

    /// Writes all figures.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub(crate) fn save(&self, output: &Path, state: &State, seconds: f64) -> Result<()> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let (name, why) = match state {
            State::Unfinished => ("unfinished", None),
            State::Interrupted => ("interrupted", None),
            State::Failed(why) => ("failed", Some(why)),
            State::Finished => ("finished", None),
        };
        let all = json!({
            "state": name, "why": why, "passed": *state == State::Finished && self.passed(),
            "machine": self.device, "golden": self.golden, "steps": self.steps, "digits": self.stages,
            "torch": self.peer, "not_reached": self.not_reached(),
            "seconds": seconds, "unix_seconds": now.map_or(0, |time| time.as_secs()),
        });
        std::fs::write(output, serde_json::to_string_pretty(&all)? + "\n")
            .with_context(|| format!("{} cannot be written", output.display()))
    }

    /// Names of all that the time was too short for.
    fn not_reached(&self) -> Vec<String> {
        let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let tests = self.golden.iter().flat_map(|suite| {
            suite
                .of("not reached")
                .map(move |test| format!("golden test, {}: {}", suite.name, text(test, "name")))
        });
        let rows = self.steps.iter().filter(|row| text(row, "why").starts_with("not reached"));
        let stages = self.stages.iter().filter(|stage| stage["outcome"] == "not reached");
        let stages = stages.map(|stage| format!("digits, {}", text(stage, "name")));
        let ways = self.peer["not_reached"].as_object().into_iter().flatten();
        let ways =
            ways.map(|(way, rows)| format!("PyTorch, {way}: {} rows", rows.as_array().map_or(0, Vec::len)));
        tests.chain(rows.map(|row| text(row, "name"))).chain(stages).chain(ways).collect()
    }
}

/// `println!` that returns where it panics.
macro_rules! tell {
    ($($line:tt)*) => { writeln!(stdout(), $($line)*)? };
}

/// The device, the machine and the throughput of products.
pub(crate) fn print_machine(device: &Value) -> Result<()> {
    let text = |key: &str| device[key].as_str().unwrap_or("unknown").to_owned();
    let is_tuned = if device["tuned_and_fused"] == true { ", tuned and fused" } else { "" };
    let name = device["name"].as_str().map_or(String::new(), |name| format!(": {name}"));
    tell!("device     {}{name}{is_tuned}", text("device"));
    for (name, key) in [("driver", "nvidia_smi"), ("kernels", "kernels_for")] {
        if let Some(found) = device[key].as_str() {
            tell!("{name:<10} {found}");
        }
    }
    tell!("processor  {}, {} threads, memory {}", text("cpu"), device["threads"], text("memory"));
    tell!("system     {}, Linux {}, {}", text("system"), text("kernel"), text("libc"));
    tell!("delt       {}, commit {}", text("version"), text("commit"));
    for dtype in ["f32", "bf16"] {
        let reached = 2e-12 * steps::product(device, dtype);
        match device.get(format!("product_{dtype}")) {
            None => tell!("product    {dtype}: not measured in time"),
            Some(Value::Null) => tell!("product    {dtype}: not offered by the device"),
            Some(of) => tell!("product    {dtype}: {reached:.3} TFLOP/s ({0} x {0})", of["side"]),
        }
    }
    Ok(())
}

/// How many tests came out how, and those that failed.
pub(crate) fn print_golden(suites: &[Suite]) -> Result<()> {
    for suite in suites {
        let counted = OUTCOMES.map(|outcome| format!("{} {outcome}", suite.of(outcome).count()));
        tell!("golden     {}: {}", suite.name, counted.join(", "));
        for test in suite.of("failed").chain(suite.of("died")) {
            let text = |key: &str| test[key].as_str().unwrap_or_default().replace('\n', " ");
            tell!("  {} {}: {}", test["outcome"].as_str().unwrap_or_default(), text("name"), text("message"));
        }
    }
    if !suites.iter().any(Suite::ran) {
        tell!("golden     none ran, so nothing is verified: give more --minutes");
    }
    Ok(())
}

/// A row of the table.
pub(crate) fn step(row: &Value) -> String {
    let name = row["name"].as_str().unwrap_or_default();
    let Some(seconds) = row["seconds"].as_f64() else {
        return format!("{name:<36} {}", row["why"].as_str().unwrap_or("not reached"));
    };
    let of_peak =
        row["share_of_product"].as_f64().map_or("-".to_owned(), |share| format!("{:.0} %", 100.0 * share));
    let memory = row["peak_bytes"]
        .as_f64()
        .map_or("-".to_owned(), |bytes| format!("{:.0}", bytes / f64::from(1 << 20)));
    let ways = row["torch"].as_object().into_iter().flat_map(|ways| ways.values());
    let cold = if row["torch"].is_object() { "a first step alone" } else { "-" };
    let failed = ways.into_iter().find_map(|way| way["why"].as_str()).unwrap_or(cold);
    let peer = row["torch_fastest"]["way"].as_str().map_or(failed.to_owned(), |way| {
        let theirs = 1e3 * number(&row["torch_fastest"], "seconds");
        format!("{theirs:.2} ms {way}, ratio {:.2}", number(row, "ratio"))
    });
    format!(
        "{name:<36} {:>5} {:>10.2} {:>10.0} {memory:>8}  {of_peak:>7}  {peer}",
        row["batch"].to_string(),
        1e3 * seconds,
        number(row, "images_per_second"),
    )
}

/// The table of all steps.
pub(crate) fn print_steps(rows: &[Value], peer: &Value) -> Result<()> {
    tell!();
    tell!(
        "{:<36} {:>5} {:>10} {:>10} {:>8}  {:>7}  PyTorch, the fastest of what was reached",
        "step",
        "batch",
        "ms",
        "images/s",
        "MiB",
        "of peak"
    );
    for row in rows {
        tell!("{}", step(row));
    }
    match peer["why"].as_str() {
        Some(why) => tell!("PyTorch    {why}"),
        None => {
            let text = |key: &str| peer[key].as_str().unwrap_or("unknown");
            tell!("PyTorch    {} on {}", text("torch"), text("device"));
        }
    }
    Ok(())
}

/// The stages of the digits.
pub(crate) fn print_stages(stages: &[Value]) -> Result<()> {
    let said = |stage: &Value| {
        let text = |key: &str| stage[key].as_str().unwrap_or_default().to_owned();
        match stage["outcome"].as_str() {
            Some("passed") => format!("{} {:.1} s", text("name"), number(stage, "seconds")),
            _ => format!("{} {} {}", text("name"), text("outcome"), text("message")).trim_end().to_owned(),
        }
    };
    tell!("digits     {}", stages.iter().map(said).collect::<Vec<_>>().join(", "));
    Ok(())
}

/// What was not reached, and where the figures are.
pub(crate) fn print_end(found: &Found, state: &State, output: &Path, seconds: f64) -> Result<()> {
    if let State::Failed(why) = state {
        eprintln!("verify-device: {why}");
    }
    let missing = found.not_reached();
    match state {
        State::Finished if missing.is_empty() => tell!("all of it was reached"),
        State::Finished => {
            tell!("not reached in time: {}\n  {}", missing.len(), missing.join("\n  "));
        }
        _ => {}
    }
    let of_state = if *state == State::Interrupted { "interrupted after " } else { "" };
    tell!("{of_state}{seconds:.0} s; all figures are in {}", output.display());
    Ok(())
}
