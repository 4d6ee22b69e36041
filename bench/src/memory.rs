//! Peak memory of a process.

use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Largest resident memory that this process has had, in bytes (Linux).
///
/// # Errors
/// Where the system does not tell.
pub fn peak_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("peak memory is read from /proc")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("no VmHWM in /proc/self/status")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib << 10)
}

/// Runs a command whose last line of output is its peak memory in bytes.
///
/// # Errors
/// Where it fails or prints something else.
pub(crate) fn of_command(command: &mut Command) -> Result<u64> {
    let output = command.stderr(std::process::Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{command:?}: {}", output.status);
    let text = String::from_utf8(output.stdout)?;
    let last = text.lines().last().context("no output")?;
    last.parse().with_context(|| format!("{command:?}: found `{last}`, expected a number of bytes"))
}
