//! What the device and the machine are, and the throughput of a large matrix product on the device.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Distribution, FloatDType, Tensor};
use serde_json::{Value, json};

use crate::verify::child::{Children, Heard, Way, answer};

/// Largest side of the matrices.
const LARGEST: usize = 8192;

/// How long a product takes at least before its time is believed.
const LONG: Duration = Duration::from_millis(100);

/// Asks a child what the device is, and adds it to what is known of the machine: that it opens by the first moment, products by the
/// second.
///
/// # Errors
/// Where the device does not open, with what the child says.
pub(crate) fn ask(children: &Children, found: &mut Value, opens: Instant, ends: Instant) -> Result<()> {
    let found = found.as_object_mut().context("what is known of the machine is no object")?;
    let mut child = children.start(&Way::default(), "device", &())?;
    loop {
        match child.hear(if found.contains_key("device") { ends } else { opens }) {
            Heard::Line(Value::Object(more)) => found.extend(more),
            Heard::Line(_) => {}
            // the rest is known all the same
            Heard::Ended(_) | Heard::Late if found.contains_key("device") => return Ok(()),
            Heard::Ended(_) => {
                let said = std::fs::read_to_string(&children.log)?;
                let said = said.lines().last().unwrap_or("the device did not open, without a word");
                bail!("{}", said.trim_start_matches("verify-device: "));
            }
            Heard::Late => bail!("device `{}` did not open in time", children.device),
        }
    }
}

/// In the child: the device, then its throughput in each type.
///
/// # Errors
/// Where it does not open.
pub(crate) fn describe(choice: &str) -> Result<()> {
    let opened = delt_device::open(choice)?;
    let said = delt_device::describe(&opened.device);
    answer(&json!({
        "device": opened.name,
        "is_cpu": opened.is_cpu(),
        "is_software": opened.is_cpu() || said.is_software,
        "name": said.name,
        "kernels_for": said.kernels_for,
        "tuned_and_fused": delt_device::IS_TUNED && !opened.is_cpu(),
        "nvidia_smi": nvidia(choice),
    }));
    for (name, dtype) in [("f32", FloatDType::F32), ("bf16", FloatDType::BF16)] {
        let key = format!("product_{name}");
        if !opened.device.supports_dtype(dtype) {
            answer(&json!({key: null}));
            continue;
        }
        answer(&json!({key: product(&opened.device, dtype)?}));
    }
    Ok(())
}

/// Multiplications (each with an addition) per second of a product of two square matrices: of the smallest that takes long enough.
fn product(device: &Device, dtype: FloatDType) -> Result<Value> {
    let mut side = 512;
    loop {
        let random =
            || Tensor::<2>::random([side, side], Distribution::Uniform(-1.0, 1.0), device).cast(dtype);
        let (left, right) = (random(), random());
        let multiply = || -> Result<Duration> {
            let started = Instant::now();
            let product = left.clone().matmul(right.clone());
            device.sync()?;
            drop(product);
            Ok(started.elapsed())
        };
        // the first run may compile and tune kernels
        multiply()?;
        let second = multiply()?;
        let is_slow = second > 20 * LONG;
        let best = if is_slow { second } else { second.min(multiply()?).min(multiply()?) };
        if best > LONG || side >= LARGEST || is_slow {
            let per_second = (side as f64).powi(3) / best.as_secs_f64();
            return Ok(json!({"side": side, "multiplications_per_second": per_second}));
        }
        side *= 2;
    }
}

/// What NVIDIA's tool says of the device of this number.
fn nvidia(choice: &str) -> Option<String> {
    let index = choice.split_once(':').map_or("0", |(_, index)| index);
    if !choice.starts_with("cuda") && choice != "auto" {
        return None;
    }
    let fields = "name,driver_version,memory.total,compute_cap,clocks.max.sm,power.limit";
    said("nvidia-smi", &["-i", index, &format!("--query-gpu={fields}"), "--format=csv,noheader"])
}

/// The device that is asked for, the machine around it, and what was compiled.
pub(crate) fn around(device: &str) -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let line = |text: String, start: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_default();
        found.trim_matches(|c: char| c.is_whitespace() || c == ':' || c == '"').to_owned()
    };
    let folder = delt_tests::workspace();
    let commit = std::fs::read_to_string(folder.join("commit")).ok();
    let folder = folder.to_string_lossy().into_owned();
    let commit =
        commit.or_else(|| said("git", &["-C", &folder, "describe", "--always", "--dirty", "--abbrev=12"]));
    let kib = line(read("/proc/meminfo"), "MemTotal").trim_end_matches(" kB").parse::<f64>();
    json!({
        "asked": device,
        "cpu": line(read("/proc/cpuinfo"), "model name"),
        "threads": std::thread::available_parallelism().map_or(1, usize::from),
        "memory": kib.map_or("unknown".to_owned(), |kib| format!("{:.1} GiB", kib / f64::from(1 << 20))),
        "system": line(read("/etc/os-release"), "PRETTY_NAME="),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "libc": said("getconf", &["GNU_LIBC_VERSION"]),
        "version": env!("CARGO_PKG_VERSION"),
        "commit": commit.map(|commit| commit.trim().to_owned()),
    })
}

/// What a program prints, where it is there and succeeds.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
