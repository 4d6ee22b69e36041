//! Processes that do a part and say so line by line, each a JSON value.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

use crate::verify::is_over;

/// How often a wait looks whether the user wants to stop.
const TICK: Duration = Duration::from_millis(100);

/// Lines that are not yet heard, at most.
const UNHEARD: usize = 64;

/// How parts are started.
#[derive(Debug)]
pub(crate) struct Children {
    /// The device by its text.
    pub(crate) device: String,
    /// Where what they say on stderr goes.
    pub(crate) log: PathBuf,
}

/// How a part is started, where it is not as it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Way {
    /// Another program than this one.
    pub(crate) program: Option<PathBuf>,
    /// Whether kernels stay unfused. Burn reads the environment: after no exploration for fusion it takes operations one by one.
    pub(crate) is_unfused: bool,
}

/// What was heard of a child.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A line.
    Line(Value),
    /// It is over, with this status.
    Ended(String),
    /// It was too late, or the user wants to stop, and has been killed.
    Late,
}

/// A running child; it is killed with this value.
#[derive(Debug)]
pub(crate) struct Child {
    process: std::process::Child,
    lines: Receiver<String>,
}

impl Children {
    /// Starts a part.
    ///
    /// # Errors
    /// Where it does not start.
    pub(crate) fn start(&self, way: &Way, part: &str, work: &impl Serialize) -> Result<Child> {
        let own = std::env::current_exe().context("this program does not know where it lies")?;
        let mut command = Command::new(way.program.as_ref().unwrap_or(&own));
        if way.is_unfused {
            command.env("BURN_FUSION_MAX_EXPLORATIONS", "0");
        }
        command.env("DELT_PROGRAM", "verify-device").env("DELT_DEVICE", &self.device);
        command.args(["--part", part, "--device", &self.device, "--work"]).arg(serde_json::to_string(work)?);
        self.spawn(&mut command)
    }

    /// Starts any program that answers in lines of JSON.
    ///
    /// # Errors
    /// Where it does not start.
    pub(crate) fn spawn(&self, command: &mut Command) -> Result<Child> {
        let log = OpenOptions::new().append(true).open(&self.log)?;
        let program = command.get_program().to_string_lossy().into_owned();
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // Ctrl-C ends the one that measures, which ends them
            .process_group(0)
            .spawn()
            .with_context(|| format!("{program} does not start"))?;
        let output = process.stdout.take().context("no pipe from the child")?;
        let (sender, lines) = sync_channel(UNHEARD);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Child { process, lines })
    }
}

impl Child {
    /// What comes next, by this moment. Lines that are no JSON belong to libraries and are passed over.
    pub(crate) fn hear(&mut self, until: Instant) -> Heard {
        loop {
            match self.lines.recv_timeout(TICK.min(until.saturating_duration_since(Instant::now()))) {
                Ok(line) => {
                    if let Ok(value) = serde_json::from_str::<Value>(&line)
                        && value.is_object()
                    {
                        return Heard::Line(value);
                    }
                }
                Err(RecvTimeoutError::Timeout) if !is_over(until) => {}
                Err(RecvTimeoutError::Timeout) => {
                    let _ = self.process.kill();
                    return Heard::Late;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.process.wait();
                    return Heard::Ended(
                        status.map_or_else(|error| error.to_string(), |status| status.to_string()),
                    );
                }
            }
        }
    }

    /// Sends a line.
    ///
    /// # Errors
    /// Where the child has ended.
    pub(crate) fn tell(&mut self, line: &Value) -> Result<()> {
        let input = self.process.stdin.as_mut().context("no pipe to the child")?;
        writeln!(input, "{line}")?;
        Ok(input.flush()?)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A line of a child to the one that started it.
#[expect(clippy::print_stdout, reason = "a child answers on stdout")]
pub(crate) fn answer(value: &Value) {
    println!("{value}");
}
