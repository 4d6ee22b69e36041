//! The same work in PyTorch: `torch_peer.py` as a child that runs a work once whenever a line comes in.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result};

use crate::memory;

const SCRIPT: &str = "torch_peer.py";

/// Where the script lies: beside this program, as in a bundle, else in the clone that it was built from.
pub fn script() -> PathBuf {
    let bundled = std::env::current_exe().unwrap_or_default().with_file_name(SCRIPT);
    if bundled.exists() { bundled } else { Path::new(env!("CARGO_MANIFEST_DIR")).join(SCRIPT) }
}

/// A child that has one work ready.
#[derive(Debug)]
pub(crate) struct Peer {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    layout: String,
}

fn command(python: &Path, name: &str) -> Command {
    let mut command = Command::new(python);
    command.arg(script()).arg(name).arg(rayon::current_num_threads().to_string());
    command
}

impl Peer {
    /// Starts the child and waits until it has the work ready in the faster of its two memory layouts.
    ///
    /// # Errors
    /// Where it does not start.
    pub(crate) fn start(python: &Path, name: &str) -> Result<Self> {
        let mut child = command(python, name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} does not start", python.display()))?;
        let requests = child.stdin.take().context("no pipe to the child")?;
        let answers = BufReader::new(child.stdout.take().context("no pipe from the child")?);
        let mut peer = Self { child, requests, answers, layout: String::new() };
        peer.layout = peer.answer()?;
        Ok(peer)
    }

    /// The memory layout that it chose.
    pub(crate) fn layout(&self) -> &str {
        &self.layout
    }

    /// Runs the work once; seconds by the child's own clock.
    ///
    /// # Errors
    /// Where the child has ended.
    pub(crate) fn run(&mut self) -> Result<f64> {
        writeln!(self.requests, "run")?;
        self.requests.flush()?;
        let answer = self.answer()?;
        answer.parse().with_context(|| format!("{SCRIPT}: found `{answer}`, expected seconds"))
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        let length = self.answers.read_line(&mut line)?;
        anyhow::ensure!(length > 0, "{SCRIPT} ended; its error stands above");
        Ok(line.trim().to_owned())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = writeln!(self.requests, "stop");
        let _ = self.child.wait();
    }
}

/// Peak memory of PyTorch after so many runs of a work, in bytes.
///
/// # Errors
/// Where the script fails.
pub(crate) fn peak_bytes(python: &Path, name: &str, runs: usize) -> Result<u64> {
    memory::of_command(command(python, name).arg(runs.to_string()))
}
