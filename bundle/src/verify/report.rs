//! The table for people, and the file of all figures.

#![expect(clippy::print_stdout, reason = "results go to stdout")]

use std::path::Path;

use serde_json::{Value, json};

use crate::verify::golden::{OUTCOMES, Suite};
use crate::verify::{number, steps};

/// The device, the machine and the throughput of products.
pub(crate) fn print_machine(device: &Value) {
    let text = |key: &str| device[key].as_str().unwrap_or("unknown").to_owned();
    let is_tuned = if device["tuned_and_fused"] == true { ", tuned and fused" } else { "" };
    let name = device["name"].as_str().map_or(String::new(), |name| format!(": {name}"));
    println!("device     {}{name}{is_tuned}", text("device"));
    for (name, key) in [("driver", "nvidia_smi"), ("kernels", "kernels_for")] {
        if let Some(found) = device[key].as_str() {
            println!("{name:<10} {found}");
        }
    }
    println!("processor  {}, {} threads, {}", text("cpu"), device["threads"], text("memory"));
    println!("system     {}, Linux {}, {}", text("system"), text("kernel"), text("libc"));
    println!("delt       {}, commit {}", text("version"), text("commit"));
    for dtype in ["f32", "bf16"] {
        let reached = steps::product(device, dtype);
        if reached.is_nan() {
            println!("product    {dtype}: not offered by the device, or not measured in time");
        } else {
            let side = &device[format!("product_{dtype}")]["side"];
            println!("product    {dtype}: {:.3} TFLOP/s ({side} x {side})", 2e-12 * reached);
        }
    }
}

/// How many tests came out how, and those that failed.
pub(crate) fn print_golden(suites: &[Suite]) {
    for suite in suites {
        let counted = OUTCOMES.map(|outcome| format!("{} {outcome}", suite.of(outcome).count()));
        println!("golden     {}: {}", suite.name, counted.join(", "));
        for test in suite.of("failed").chain(suite.of("died")) {
            let text = |key: &str| test[key].as_str().unwrap_or_default().replace('\n', " ");
            println!(
                "  {} {}: {}",
                test["outcome"].as_str().unwrap_or_default(),
                text("name"),
                text("message")
            );
        }
    }
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
        "{name:<36} {:>5} {:>10.2} {:>10.0} {memory:>8} {of_peak:>7}  {peer}",
        row["batch"].to_string(),
        1e3 * seconds,
        number(row, "images_per_second"),
    )
}

/// The table of all steps.
pub(crate) fn print_steps(rows: &[Value], peer: &Value) {
    println!();
    println!(
        "{:<36} {:>5} {:>10} {:>10} {:>8} {:>7}  PyTorch, the fastest of what was reached",
        "step", "batch", "ms", "images/s", "MiB", "of peak"
    );
    for row in rows {
        println!("{}", step(row));
    }
    match peer["why"].as_str() {
        Some(why) => println!("PyTorch    {why}"),
        None => {
            let text = |key: &str| peer[key].as_str().unwrap_or("unknown");
            println!("PyTorch    {} on {}", text("torch"), text("device"));
        }
    }
}

/// The stages of the digits.
pub(crate) fn print_stages(stages: &[Value]) {
    let said = |stage: &Value| {
        let text = |key: &str| stage[key].as_str().unwrap_or_default().to_owned();
        match stage["outcome"].as_str() {
            Some("passed") => format!("{} {:.1} s", text("name"), number(stage, "seconds")),
            _ => format!("{} {} {}", text("name"), text("outcome"), text("message")),
        }
    };
    println!("digits     {}", stages.iter().map(said).collect::<Vec<_>>().join(", "));
}

/// All figures as one value.
pub(crate) fn all(
    device: &Value,
    golden: &[Suite],
    steps: &[Value],
    stages: &[Value],
    peer: &Value,
    seconds: f64,
) -> Value {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    json!({
        "machine": device, "golden": golden, "steps": steps, "digits": stages, "torch": peer,
        "not_reached": not_reached(golden, steps, stages, peer),
        "seconds": seconds, "unix_seconds": now.map_or(0, |time| time.as_secs()),
    })
}

/// Names of all that the time was too short for.
fn not_reached(golden: &[Suite], steps: &[Value], stages: &[Value], peer: &Value) -> Vec<String> {
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let tests = golden.iter().flat_map(|suite| {
        suite
            .of("not reached")
            .map(move |test| format!("golden test, {}: {}", suite.name, text(test, "name")))
    });
    let rows = steps.iter().filter(|row| text(row, "why").starts_with("not reached"));
    let stages = stages.iter().filter(|stage| stage["outcome"] == "not reached");
    let stages = stages.map(|stage| format!("digits, {}", text(stage, "name")));
    let ways = peer["not_reached"].as_object().into_iter().flatten();
    let ways =
        ways.map(|(way, rows)| format!("PyTorch, {way}: {} rows", rows.as_array().map_or(0, Vec::len)));
    tests.chain(rows.map(|row| text(row, "name"))).chain(stages).chain(ways).collect()
}

/// What was not reached, and where the figures are.
pub(crate) fn print_end(all: &Value, output: &Path, seconds: f64) {
    let missing = all["not_reached"].as_array().map_or(&[][..], Vec::as_slice);
    if missing.is_empty() {
        println!("all of it was reached");
    } else {
        println!("not reached in time: {}", missing.len());
        for name in missing {
            println!("  {}", name.as_str().unwrap_or_default());
        }
    }
    println!("{:.0} s; all figures are in {}", seconds, output.display());
}
