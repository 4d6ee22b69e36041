//! The same steps in PyTorch, where it is there: every row eager first, then compiled as far as the time goes.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use crate::verify::child::{Child, Children, Heard};
use crate::verify::is_over;

/// The ways in the order in which all rows are taken through them.
const WAYS: [(&str, bool, bool); 4] = [
    ("eager channels-last", false, true),
    ("eager NCHW", false, false),
    ("compiled channels-last", true, true),
    ("compiled NCHW", true, false),
];

/// How long PyTorch may take to start, at most.
const START: Duration = Duration::from_secs(60);

/// Whether a Python has PyTorch, without loading it.
pub(crate) fn is_there(python: &Path) -> bool {
    let program = "import importlib.util as u, sys; sys.exit(not (u.find_spec('torch') and u.find_spec('torchvision')))";
    Command::new(python).args(["-c", program]).output().is_ok_and(|output| output.status.success())
}

/// Measures the rows that this program has measured and puts PyTorch's figures into them; what PyTorch says of itself.
///
/// # Errors
/// Where a request is not taken.
pub(crate) fn measure(
    children: &Children,
    python: &Path,
    device: &Value,
    rows: &mut [Value],
    until: Instant,
) -> Result<Value> {
    let place = match device["device"].as_str().and_then(|name| name.strip_prefix("cuda")) {
        Some(index) => format!("cuda:{}", index.trim_matches(|c: char| !c.is_ascii_digit())),
        None => "cpu".to_owned(),
    };
    let place = if place == "cuda:" { "cuda:0".to_owned() } else { place };
    let threads = device["threads"].to_string();
    let mut command = Command::new(python);
    command.arg(delt_bench::script()).args(["--serve", &place, &threads]);
    let absent = |why: &str| Ok(json!({"why": format!("not measured: {why}")}));
    let Ok(mut child) = children.spawn(&mut command) else {
        return absent(&format!("{} does not start", python.display()));
    };
    let mut said = match child.hear(until.min(Instant::now() + START)) {
        Heard::Line(said) => said,
        Heard::Ended(_) => {
            return absent(&format!("{} has no torch and torchvision; the log says more", python.display()));
        }
        Heard::Late => return absent("PyTorch did not start in time"),
    };
    let mut measured: Vec<&mut Value> = rows.iter_mut().filter(|row| row["seconds"].is_f64()).collect();
    let mut left = (WAYS.len() * measured.len()) as u32;
    let mut is_over = false;
    for (way, is_compiled, is_channels_last) in WAYS {
        for row in &mut measured {
            let seconds = until.saturating_duration_since(Instant::now()).as_secs_f64() / f64::from(left);
            let request =
                json!({"compiled": is_compiled, "channels_last": is_channels_last, "seconds": seconds});
            left -= 1;
            let result = if is_over { None } else { asked(&mut child, row, request, until) };
            is_over = result.is_none();
            match result {
                Some(result) => row["torch"][way] = result,
                None => append(&mut said["not_reached"][way], row["name"].clone()),
            }
        }
    }
    measured.into_iter().for_each(name_fastest);
    Ok(said)
}

fn append(list: &mut Value, item: Value) {
    match list {
        Value::Array(items) => items.push(item),
        other => *other = json!([item]),
    }
}

/// A row in one way; `None` where the time is over or PyTorch has ended.
fn asked(child: &mut Child, row: &Value, mut request: Value, until: Instant) -> Option<Value> {
    if is_over(until) {
        return None;
    }
    for key in ["kind", "network", "size_px", "batch", "classes", "dtype", "runs"] {
        request[key] = row[key].clone();
    }
    child.tell(&request).ok()?;
    match child.hear(until) {
        Heard::Line(result) => Some(result),
        Heard::Ended(_) | Heard::Late => None,
    }
}

/// The fastest of the ways, and how ours is to it; a first step alone is compared with nothing.
fn name_fastest(row: &mut Value) {
    let Some(ways) = row["torch"].as_object() else { return };
    let warm = ways.iter().filter(|(_, result)| result["runs"] != 0);
    let seconds = warm.filter_map(|(way, result)| Some((way.clone(), result["seconds"].as_f64()?)));
    let Some((way, theirs)) = seconds.min_by(|a, b| a.1.total_cmp(&b.1)) else { return };
    row["torch_fastest"] = json!({"way": way, "seconds": theirs});
    row["ratio"] = json!(crate::verify::number(row, "seconds") / theirs);
}
